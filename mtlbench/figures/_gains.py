"""Panels of Figures 5 and 6: what categories and groups of them gain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtlbench.analysis.frame import list_records
from mtlbench.figures import _style as style
from mtlbench.figures._panels import draw_seeds, label_logarithmic
from mtlbench.figures._style import Table
from mtlbench.text import MINUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


SEEDS_AT = 0.3  # below a group's mean, in rows


def write_amount(row: dict[str, Any], digits: int = 1) -> str:
    """`+1.2 [-0.3, +2.7]` with true minus signs, without the interval where there is none."""
    mean, low, high = (f"{round(row[key], digits) + 0.0:+.{digits}f}" for key in ("mean", "low", "high"))
    return (mean if pd.isna(row["low"]) else f"{mean} [{low}, {high}]").replace("-", MINUS)


def draw_category_gains(axes: Axes, bars: Table, colour: str, labelled: str = "labels") -> None:
    """A bar and whisker a category, and to the right the label counts as a line on a logarithmic axis.

    bars, in the order drawn: category, x (0, 1, ...), count (labels in train, above 0), mean, low, high (points, NaN
    without an interval). `labelled` says what is counted.
    """
    bars = pd.DataFrame(bars)
    axes.bar(bars["x"], bars["mean"], width=0.72, color=colour, zorder=2)
    axes.vlines(bars["x"], bars["low"], bars["high"], color=style.FAINT, lw=0.9, zorder=3)
    axes.axhline(0, color=style.INK, lw=0.8, zorder=3)
    values = np.concatenate([bars["mean"], bars["low"], bars["high"], [0.0]])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = 0.06 * max(high - low, 0.1)
    axes.set_ylim(low - room, high + room)
    axes.set_xlim(-0.7, len(bars) - 0.3)
    axes.set_xticks(bars["x"], bars["category"], rotation=90, fontsize=style.SMALL)
    axes.set_ylabel("change (points, up is better)", fontsize=style.NORMAL)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", zorder=0.2)
    axes.set_axisbelow(True)
    counts = axes.twinx()
    counts.spines["right"].set_visible(True)
    counts.plot(bars["x"], bars["count"], color=style.INK, lw=1.0, marker=".", ms=2.5)
    counts.set_yscale("log")
    fewest, most = float(bars["count"].min()), float(bars["count"].max())
    counts.set_ylim(fewest / 1.6, most * 1.6 if most > 10 * fewest else fewest * 16)
    counts.set_ylabel(f"{labelled} in train (line)", fontsize=style.NORMAL)
    label_logarithmic(counts.yaxis, *counts.get_ylim(), most=7)
    counts.tick_params(labelsize=style.NORMAL, length=2)


def mark_least_labelled(axes: Axes, sizes: list[int], step_inches: float) -> None:
    """Where groups of so many least-labelled categories end, for bars that are `step_inches` apart."""
    previous = 0
    for size in sizes:
        axes.axvline(size - 0.5, color=style.FAINT, lw=0.7, ls=(0, (2, 2)), zorder=1)
        axes.text(
            size - 0.6,
            1.015,
            f"{size} least" if (size - previous) * step_inches > 0.5 else str(size),
            transform=axes.get_xaxis_transform(),
            ha="right",
            va="bottom",
            fontsize=style.SMALL,
            color=style.DOTS,
        )
        previous = size


def draw_group_gains(axes: Axes, groups: Table, seeds: Table, colour: str, published: Table | None = None) -> None:
    """A row a group: a dot per seed, mean, interval, the published mean, and the numbers in words.

    groups, from top to bottom: group, mean, low, high (points, NaN without an interval), and where known end
    ("difference" is drawn as a diamond). seeds: group, seed, gain. published: group, value.
    """
    groups, seeds, published = pd.DataFrame(groups), pd.DataFrame(seeds), pd.DataFrame(published)
    rows = {group: place for place, group in enumerate(groups["group"])}
    several = seeds["seed"].nunique() > 1
    axes.axvline(0, color=style.INK, lw=0.8, zorder=1)
    if several:  # one seed: its dot would hide behind the mean
        draw_seeds(axes, seeds["gain"], seeds["group"].map(rows) + SEEDS_AT, zorder=4)
    for row in list_records(groups):
        y, shape = rows[row["group"]], "D" if row.get("end") == "difference" else "o"
        axes.plot([row["low"], row["high"]], [y, y], color=style.INK, lw=1.0, marker="|", ms=5, zorder=2)
        axes.scatter(row["mean"], y, marker=shape, s=26, color=colour, zorder=3, **style.EDGE)
        axes.text(
            1.02,
            y,
            write_amount(row),
            transform=axes.get_yaxis_transform(),
            fontsize=style.NORMAL,
            va="center",
            color=style.INK,
        )
    for row in list_records(published):
        axes.scatter(row["value"], rows[row["group"]], marker="d", s=18, facecolor="white", zorder=5, **style.EDGE)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(list(rows.values()), list(rows), fontsize=style.NORMAL)
    legend = [
        "dot: seed" * several,
        "bracket: 95 % interval" * bool(groups["low"].notna().any()),
        "diamond: published, one run" * bool(len(published)),
    ]
    axes.set_xlabel("; ".join(filter(None, ["right is better", *legend])), fontsize=style.SMALL, labelpad=2)
    axes.set_ylabel("")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", zorder=0.2)
    axes.margins(x=0.06)
    axes.spines["left"].set_visible(False)
