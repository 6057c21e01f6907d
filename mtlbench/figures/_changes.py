"""A panel of Figure 2: what every arm changes of one task's headline, seed by seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtlbench.analysis.frame import records
from mtlbench.arm_names import BASELINE, family, is_split
from mtlbench.figures import _style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


GAP = 0.7  # between the spectrum and the arms beside it, in columns
DAGGER, MINUS = "\N{DAGGER}", "\N{MINUS SIGN}"


def draw_panel(axes: Axes, data: dict[str, pd.DataFrame], task: str, colour: str, scale: float) -> None:
    """One task: a dot per seed, mean, interval, band and zero line; n along the bottom."""
    points, means = (data[name][data[name]["task"] == task] for name in ("points", "means"))
    band = next(row for row in records(data["band"]) if row["task"] == task)
    overlay = data["published"]
    overlay = overlay[overlay["task"] == task] if len(overlay) else overlay
    edge: dict[str, Any] = {"edgecolor": style.INK, "linewidth": 0.8}
    if np.isfinite(band["half_width"]):
        axes.axhspan(-band["half_width"], band["half_width"], color=style.BAND, lw=0, zorder=0)
    axes.axhline(0, color=style.INK, lw=0.8, zorder=1)
    spectrum = means[[is_split(arm) or arm == BASELINE for arm in means["arm"]]].sort_values("x")
    axes.plot(spectrum["x"], spectrum["mean"].mask(spectrum["far"]), color=colour, lw=1.0, alpha=0.6, zorder=2)
    seeds = sorted(points["seed"].unique())
    if len(seeds) > 1:  # one seed: its dot would hide behind the mean
        sway = dict(zip(seeds, scale * np.linspace(-0.37, -0.13, len(seeds)), strict=True))
        dots = points[~points["arm"].isin({BASELINE, *means.loc[means["far"], "arm"]})]
        axes.scatter(
            dots["x"] + dots["seed"].map(sway),
            dots["change"],
            s=7,
            facecolor="white",
            edgecolor=style.DOTS,
            linewidth=0.7,
            zorder=2.5,
        )
    _limits(axes, points, means, overlay, band["half_width"])
    for row in records(means):
        x, mean = row["x"], row["mean"]
        if row["far"]:
            _draw_far(axes, x, mean, colour)
        elif np.isfinite(row["low"]):
            axes.errorbar(x, mean, yerr=row["high"] - mean, color=style.INK, lw=1.0, capsize=2.5, zorder=3)
        shape, size = ("*", 110) if row["chosen_task"] else (style.marker(family(row["arm"])), 26)
        if not row["far"]:
            axes.scatter(x, mean, marker=shape, s=size, color=colour, zorder=4, **edge)
        if row["chosen_pair"] and not row["far"]:
            axes.scatter(x, mean, marker="o", s=170, facecolor="none", zorder=3.5, **edge)
        mark = DAGGER if row["flagged"] and np.isfinite(row["low"]) else ""
        axes.text(
            x,
            0.025,
            f"n={row['n']}{mark}",
            transform=axes.get_xaxis_transform(),
            fontsize=style.SMALL - 1,
            ha="center",
            va="bottom",
            color=style.INK,
        )
    if len(overlay):
        places = overlay["x"] + 0.24 * scale
        axes.scatter(places, overlay["change"], marker="d", s=18, facecolor="white", zorder=4, **edge)
    separator = float(data["arms"].loc[data["arms"]["arm"] == BASELINE, "x"].iloc[0]) + (1 + GAP) / 2
    if data["arms"]["x"].max() > separator:
        axes.axvline(separator, color=style.FAINT, lw=0.6, ls=(0, (2, 2)))
    direction = "higher" if band["higher_is_better"] else "lower"
    axes.set_title(
        f"{task}: {band['metric']}, {direction} is better; one-task = {band['mean']:.1f} {band['unit']}",
        fontsize=style.LARGE,
        loc="left",
        pad=3,
        color=style.INK,
    )
    axes.set_ylabel("change vs one-task\n(%, up is better)", fontsize=style.NORMAL)
    axes.set_xticks(data["arms"]["x"])
    axes.tick_params(labelsize=style.NORMAL, length=2)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#DDDDDD", lw=0.4, zorder=0.2)
    axes.spines[["top", "right"]].set_visible(False)


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


def _limits(axes: Axes, points: pd.DataFrame, means: pd.DataFrame, overlay: pd.DataFrame, half_width: float) -> None:
    """Room for everything that is drawn, some above for rings and a strip below for n (and for arrows)."""
    near = means[~means["far"]]
    shown = [points.loc[points["arm"].isin(near["arm"]), "change"], near["low"], near["high"]]
    shown += [overlay["change"]] if len(overlay) else []
    values = np.concatenate([*shown, [0.0, half_width, -half_width]])
    low, high = np.nanmin(values), np.nanmax(values)
    tall = max(high - low, 1.0)
    arrows = means.loc[means["far"], "mean"]
    below, above = (arrows < low).any(), (arrows > high).any()
    axes.set_ylim(low - (0.5 if below else 0.2) * tall, high + (0.3 if above else 0.12) * tall)
