"""Panel of the figure of exchange: the matrix of one layer's alphas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from mtlbench.analysis.frame import list_records
from mtlbench.figures import _style as style
from mtlbench.figures._cells import COLOURS, choose_ink, write_in_cell
from mtlbench.figures._style import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_exchange(axes: Axes, cells: Table, tasks: Sequence[str], reach: float) -> None:
    """How much each task (row) takes of each task's features (column) at one layer.

    cells: receiver, giver, mean. Colours end at -+ `reach`; what a task takes of its own is grey.
    """
    values = np.full((len(tasks), len(tasks)), np.nan)
    rows = list_records(pd.DataFrame(cells))
    for row in rows:
        if row["receiver"] != row["giver"]:
            values[tasks.index(row["receiver"]), tasks.index(row["giver"])] = row["mean"]
    axes.imshow(values, cmap=COLOURS, vmin=-reach, vmax=reach, aspect="auto")
    for row in rows:
        y, x = tasks.index(row["receiver"]), tasks.index(row["giver"])
        own = x == y
        if own:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=style.BAND, lw=0))
        ink = style.INK if own else choose_ink(row["mean"], reach)
        write_in_cell(axes, (x, y), f"{round(row['mean'], 2) + 0.0:.2f}", style.SMALL, ink)
    axes.set_xticks(range(len(tasks)), tasks, rotation=90)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
