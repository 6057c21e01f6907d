"""What figures share: ranges over seeds, captions, legends, axes in inches, labels kept apart."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter, NullLocator

from mtlbench.figures import _style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Canvas


LINE = 0.135  # of a caption, inches
DOT_POINTS = 2.65  # across a seed's dot
LETTERS = 19.5  # of the caption's size in an inch
TIP = "tip: "  # begins the id of what tells its numbers in the report, where one points at it
FEWEST_NEAR = 6  # arms that an axis is made for where others are far off
Limits = tuple[float, float]


def over_seeds(rows: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """Mean, smallest and largest value over seeds and their number, as columns mean, low, high, n."""
    groups = rows.groupby(list(keys), sort=False)[value]
    return groups.agg(mean="mean", low="min", high="max", n="count").reset_index()


def write_signed(mean: float, low: float, high: float, sign: str = "+") -> str:
    """`+0.12 [+0.08, +0.16]`, without the interval where there is none; two decimals."""
    texts = [f"{round(number, 2) + 0.0:{sign}.2f}" for number in (mean, low, high)]
    return texts[0] if np.isnan(low) else f"{texts[0]} [{texts[1]}, {texts[2]}]"


def seeds_text(seeds: Iterable[float]) -> str:
    """`3 seeds (0, 1, 2)`."""
    found = sorted(set(seeds))
    return f"{len(found)} seed{'s' if len(found) > 1 else ''} ({', '.join(f'{seed:g}' for seed in found)})"


def apart(wanted: Sequence[float], gap: float, limits: Limits) -> np.ndarray:
    """Places nearest to those wanted (least squares), in the same order, at least `gap` apart and inside the limits.

    Where they do not fit, the gap shrinks.
    """
    places: np.ndarray = np.asarray(wanted, float)
    if len(places) < 2:
        return places.clip(*limits)
    gap = min(gap, (limits[1] - limits[0]) / (len(places) - 1))
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    pools: list[tuple[float, int]] = []  # pool adjacent violators: mean and size
    for value in places[order] - steps:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            before, members = pools.pop()
            mean, size = (mean * size + before * members) / (size + members), size + members
        pools.append((mean, size))
    free = np.concatenate([np.full(size, mean) for mean, size in pools])
    result = np.empty(len(places))
    result[order] = np.clip(free, limits[0], limits[1] - steps[-1]) + steps
    return result


def far_off(rows: pd.DataFrame) -> pd.Series:
    """Which arms (rows with mean, low, high) lie so far from the rest that an axis with them would flatten the others.

    At most a third of the arms, on either side, cut off from the others by more than these and their whiskers span; at
    least 6 others. Ours.
    """
    far = np.zeros(len(rows), bool)
    means = rows["mean"].to_numpy(float)
    spans = rows[["mean", "low", "high"]].to_numpy(float)
    for sign in (1, -1):
        order = np.argsort(sign * means, kind="stable")
        for count in range(len(order) // 3, 0, -1):
            rest = spans[order[count:]]
            low, high = np.nanmin(rest), np.nanmax(rest)
            last = means[order[count - 1]]
            if len(rest) >= FEWEST_NEAR and (low - last if sign > 0 else last - high) > high - low:
                far[order[:count]] = True
                break
    return pd.Series(far, index=rows.index)


def wrap(text: str, width: float) -> list[str]:
    """The caption in lines that fit a figure of this width (inches)."""
    return textwrap.wrap(text, int(width * LETTERS), break_on_hyphens=False)


def draw_caption(canvas: Canvas, lines: Sequence[str]) -> None:
    """The caption's lines at the bottom of the canvas."""
    width, height = canvas.get_size_inches()
    canvas.text(
        0.08 / width,
        (LINE * len(lines) + 0.05) / height,
        "\n".join(lines),
        fontsize=style.SMALL,
        va="top",
        linespacing=1.25,
        color=style.INK,
    )


def label_logarithmic(axis: Axis, low: float, high: float, most: int = 5) -> None:
    """Ticks of a logarithmic axis at round numbers, as many as do not crowd it, in plain words (`2 k`)."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * decade for decade in decades for step in steps if low <= step * decade <= high]
        if len(ticks) <= most:
            break
    axis.set_ticks(ticks)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(EngFormatter())


def add_panel(
    canvas: Canvas, left: float, top: float, wide: float, tall: float, label_size: float = style.NORMAL
) -> Axes:
    """Axes in inches from the left and the top of the canvas; the tick labels' size in points."""
    width, height = canvas.get_size_inches()
    axes = canvas.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
    axes.tick_params(labelsize=label_size, length=2, pad=1.5 if label_size < style.NORMAL else 3.5)
    return axes


def draw_title(canvas: Canvas, text: str, top: float, left: float = 0.08, bold: bool = False) -> None:
    """Words on the canvas, their baseline `top` inches below its upper edge."""
    width, height = canvas.get_size_inches()
    weight = "bold" if bold else "normal"
    canvas.text(left / width, 1 - top / height, text, fontsize=style.LARGE, fontweight=weight, color=style.INK)


def draw_legend(canvas: Canvas, handles: Sequence[Any], rows: int, top_inches: float, spacing: float = 1.2) -> None:
    """A legend without a frame in the middle, its top so many inches above the canvas' lower edge."""
    canvas.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, top_inches / canvas.get_figheight()),
        ncols=-(-len(handles) // rows),
        fontsize=style.SMALL,
        frameon=False,
        handletextpad=0.5,
        columnspacing=spacing,
    )


def add_tip(axes: Axes, x: float, y: float, text: str) -> None:
    """An unseen mark at x, y, larger than what is drawn there, of which the report shows the text."""
    axes.plot([x], [y], marker="o", ms=20, ls="", mfc="none", mec="none", zorder=9, gid=TIP + text)


def draw_seeds(axes: Axes, x: Any, y: Any, zorder: float) -> None:
    """A small white dot per seed at x, y (sequences of numbers). seaborn's stripplot takes a second for hundreds."""
    across, up = np.asarray(x, float), np.asarray(y, float)
    axes.scatter(across, up, s=DOT_POINTS**2, facecolor="white", edgecolor=style.DOTS, linewidth=0.7, zorder=zorder)
