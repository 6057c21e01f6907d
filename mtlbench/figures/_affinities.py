"""Panels of the figure of affinity: who helps whom as a matrix, and what groupings of tasks are predicted to give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from mtlbench.analysis.frame import list_records
from mtlbench.figures import _style as style
from mtlbench.figures._cells import COLOURS, choose_ink, write_in_cell
from mtlbench.figures._style import Table
from mtlbench.text import MINUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


NETWORKS_AT = 0.27  # below a grouping's prediction, in rows


def draw_affinity(
    axes: Axes, effects: Table, tasks: Sequence[str], reach: float, alone: Mapping[str, str] | None = None
) -> None:
    """What each task (row) changes by each partner (column), the numbers with their intervals in the cells.

    effects: task, partner, mean (%), low, high (NaN without an interval), own (whether that interval excludes 0: bold),
    shown (whether the one that allows for all effects does: framed). Colours end at -+ `reach` %. `alone`: {task: words
    on the diagonal}.
    """
    rows = list_records(pd.DataFrame(effects))
    values = np.full((len(tasks), len(tasks)), np.nan)
    for row in rows:
        values[tasks.index(row["task"]), tasks.index(row["partner"])] = row["mean"]
    axes.imshow(values, cmap=COLOURS, vmin=-reach, vmax=reach, aspect="auto")
    for row in rows:
        place = tasks.index(row["partner"]), tasks.index(row["task"])
        ink = choose_ink(row["mean"], reach)
        known = np.isfinite(row["low"])
        weight = "bold" if row["own"] else "normal"
        write_in_cell(axes, place, _write_number(row["mean"]), style.NORMAL, ink, weight, 5 if known else 0)
        if known:
            bounds = f"[{_write_number(row['low'])}, {_write_number(row['high'])}]"
            write_in_cell(axes, place, bounds, style.SMALL - 1, ink, weight, -5)
        if row["shown"]:
            corner = place[0] - 0.46, place[1] - 0.46
            axes.add_patch(Rectangle(corner, 0.92, 0.92, facecolor="none", edgecolor=style.INK, lw=1.8))
    for diagonal, task in enumerate(tasks):
        axes.add_patch(Rectangle((diagonal - 0.5, diagonal - 0.5), 1, 1, facecolor=style.BAND, lw=0))
        write_in_cell(axes, (diagonal, diagonal), (alone or {}).get(task, ""), style.SMALL - 0.5, style.DOTS)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_groupings(axes: Axes, groupings: Table, networks: Table, shades: Mapping[str, Any]) -> None:
    """What each grouping is predicted to change, a row each from the top, and networks of all tasks that have it.

    groupings: label, mean (%), low, high (NaN without an interval), suggested (a star), differs (whether the star is
    filled). networks: grouping (the place of its row, from 0), at (the layer where it parts), change (%), marker.
    shades: {layer: colour}.
    """
    groupings, networks = pd.DataFrame(groupings), pd.DataFrame(networks)
    axes.axvline(0, color=style.INK, lw=0.8, zorder=1)
    for place, row in enumerate(list_records(groupings)):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color=style.BAND, lw=0, zorder=0)
        if np.isfinite(row["low"]):
            axes.errorbar(
                row["mean"], place, xerr=row["high"] - row["mean"], color=style.INK, lw=1.0, capsize=2, zorder=3
            )
        shape, size = ("*", 95) if row["suggested"] else ("o", 22)
        fill = style.INK if row["differs"] or not row["suggested"] else "white"
        axes.scatter(row["mean"], place, marker=shape, s=size, facecolor=fill, zorder=4, **style.EDGE)
    for row in list_records(networks):
        place = row["grouping"] + NETWORKS_AT
        axes.scatter(
            row["change"], place, marker=row["marker"], s=26, color=shades[row["at"]], zorder=3.5, lw=0.5, ec=style.INK
        )
    axes.set_ylim(len(groupings) - 0.5, -0.5)
    axes.set_yticks(range(len(groupings)), groupings["label"])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", zorder=0.2)


def _write_number(number: float) -> str:
    """`+1.2`, with as few letters as a cell has room for."""
    digits = 1 if abs(number) < 99.95 else 0
    return f"{round(number, digits) + 0.0:+.{digits}f}".replace("-", MINUS)
