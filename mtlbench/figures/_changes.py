"""A panel of Figure 2: what every arm changes of one task's headline, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtlbench.analysis.frame import list_records
from mtlbench.arm_names import BASELINE
from mtlbench.figures import _style as style
from mtlbench.figures._panels import add_tip, draw_seeds
from mtlbench.figures._style import Table
from mtlbench.text import MINUS, write_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MARKS: dict[str, str | bool] = {  # of means, without the column
    "marker": "o",
    "spectrum": False,
    "far": False,
    "chosen_task": False,
    "chosen_pair": False,
    "differs": True,
}
SEEDS_FROM, SEEDS_TO = -0.37, -0.13  # where a mean's seeds stand beside it, in columns
PUBLISHED_AT = 0.24


def draw_changes(
    axes: Axes,
    points: Table,
    means: Table,
    colour: str,
    half_width: float = float("nan"),
    published: Table | None = None,
    scale: float = 1.0,
) -> None:
    """What each arm changes of one metric: a dot per seed, mean, interval, the baseline's band; n along the bottom.

    points: arm, seed, x (place), change (%). means: arm, x, mean, low, high (NaN without an interval), n, and where
    known marker (matplotlib's) and as booleans spectrum (joined by a line), far (an arrow in place of a mean that would
    flatten the others), chosen_task (a star), differs (whether the star is filled), chosen_pair (a ring). `half_width`
    is the band's around 0 in %, NaN for none; published: x, change. A mean and its seeds take `scale` columns.
    """
    points, means, published = pd.DataFrame(points), pd.DataFrame(means), pd.DataFrame(published)
    means = means.assign(**{name: value for name, value in MARKS.items() if name not in means})
    if np.isfinite(half_width):
        axes.axhspan(-half_width, half_width, color=style.BAND, lw=0, zorder=0)
    axes.axhline(0, color=style.INK, lw=0.8, zorder=1)
    line = means[means["spectrum"]].sort_values("x")
    axes.plot(line["x"], line["mean"].mask(line["far"]), color=colour, lw=1.0, alpha=0.6, zorder=2)
    seeds = sorted(points["seed"].unique())
    if len(seeds) > 1:  # one seed: its dot would hide behind the mean
        sway = dict(zip(seeds, scale * np.linspace(SEEDS_FROM, SEEDS_TO, len(seeds)), strict=True))
        dots = points[~points["arm"].isin({BASELINE, *means.loc[means["far"], "arm"]})]
        draw_seeds(axes, dots["x"] + dots["seed"].map(sway), dots["change"], zorder=2.5)
    _set_limits(axes, points, means, published, half_width)
    for row in list_records(means):
        _draw_mean(axes, row, colour)
        if not row["far"]:
            own = points[points["arm"] == row["arm"]].sort_values("seed")["change"]
            add_tip(axes, row["x"], row["mean"], describe_mean(row, list(own)))
    if len(published):
        places = published["x"] + PUBLISHED_AT * scale
        axes.scatter(places, published["change"], marker="d", s=18, facecolor="white", zorder=4, **style.EDGE)
    axes.grid(axis="y", zorder=0.2)


def describe_mean(row: Mapping[str, Any], seeds: Sequence[float]) -> str:
    """`split-conv4: +2.1 % [+0.3, +3.9] (seeds +1.2, +3.0)`."""
    text = f"{row['arm']}: {write_percent(row['mean'], row['low'], row['high'])}"
    return text + (f" (seeds {', '.join(f'{change:+.1f}' for change in seeds)})" if len(seeds) > 1 else "")


def _draw_mean(axes: Axes, row: dict[str, Any], colour: str) -> None:
    """One arm's mean with its interval and marks, and its number of seeds."""
    x, mean = row["x"], row["mean"]
    if row["far"]:
        _draw_far(axes, x, mean, colour)
    else:
        if np.isfinite(row["low"]):
            axes.errorbar(x, mean, yerr=row["high"] - mean, color=style.INK, lw=1.0, capsize=2.5, zorder=3)
        shape, size = ("*", 110) if row["chosen_task"] else (row["marker"], 26)
        fill = colour if row["differs"] or not row["chosen_task"] else "white"
        axes.scatter(x, mean, marker=shape, s=size, facecolor=fill, zorder=4, **style.EDGE)
        if row["chosen_pair"]:
            axes.scatter(x, mean, marker="o", s=170, facecolor="none", zorder=3.5, **style.EDGE)
    axes.text(
        x,
        0.025,
        f"n={row['n']}",
        transform=axes.get_xaxis_transform(),
        fontsize=style.SMALL - 1,
        ha="center",
        va="bottom",
        color=style.INK,
    )


def _draw_far(axes: Axes, x: float, mean: float, colour: str) -> None:
    """An arrow to the edge beyond which the mean lies, and the mean."""
    down = mean < axes.get_ylim()[0]
    tail, head = (0.28, 0.13) if down else (0.82, 0.97)
    axes.annotate(
        "",
        (x, head),
        (x, tail),
        xycoords=axes.get_xaxis_transform(),
        arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
    )
    axes.text(
        x,
        tail,
        f"{mean:+.0f}".replace("-", MINUS),
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom" if down else "top",
        fontsize=style.SMALL - 0.5,
        color=style.INK,
    )


def _set_limits(
    axes: Axes, points: pd.DataFrame, means: pd.DataFrame, published: pd.DataFrame, half_width: float
) -> None:
    """Room for everything that is drawn, some above for rings and a strip below for n (and for arrows)."""
    near = means[~means["far"]]
    shown = [points.loc[points["arm"].isin(near["arm"]), "change"], near["low"], near["high"]]
    shown += [published["change"]] if len(published) else []
    values = np.concatenate([*shown, [0.0, half_width, -half_width]])
    low, high = np.nanmin(values), np.nanmax(values)
    tall = max(high - low, 1.0)
    arrows = means.loc[means["far"], "mean"]
    below, above = (arrows < low).any(), (arrows > high).any()
    axes.set_ylim(low - (0.5 if below else 0.2) * tall, high + (0.3 if above else 0.12) * tall)
