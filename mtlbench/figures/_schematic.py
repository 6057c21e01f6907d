"""Small drawings of architectures: a column of stage boxes per task, shared boxes spanning their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from mtlbench.figures import _style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, POOL_ROW, BETWEEN = 0.115, 0.06, 0.03  # heights in inches
SHADOW = 0.055  # offset of the ensemble's second network, in columns


def architecture_rows(architectures: dict[str, Any], arms: pd.DataFrame, tasks: list[str]) -> pd.DataFrame:
    """One row per arm, stage and task: which group the task's column belongs to, whether a unit follows the stage.

    The heads (fc8) are added below the trunk; a task that no group names (one-task trials know only their own) is
    alone. An arm without an architecture for any of the tasks gets no rows.
    """
    found = []
    for arm, x in zip(arms["arm"], arms["x"], strict=True):
        trunk = architectures.get(arm, [])
        if not any(task in group for stage in trunk for group in stage["groups"] for task in tasks):
            continue
        copies = 2 if arm == "ensemble" else 1  # two networks per task (Section 6.1)
        for row, stage in enumerate([*trunk, {"stage": "fc8", "groups": [], "unit": False}]):
            for place, task in enumerate(tasks):
                group = next((group for group in stage["groups"] if task in group), [task])
                found.append((arm, x, stage["stage"], row, task, place, "+".join(group), bool(stage["unit"]), copies))
    return pd.DataFrame(found, columns=["arm", "x", "stage", "row", "task", "place", "group", "unit", "copies"])


def stage_names(architectures: pd.DataFrame) -> list[str]:
    """The stages in order, fc8 last."""
    return architectures.drop_duplicates("row").sort_values("row")["stage"].tolist()


def row_tops(architectures: pd.DataFrame) -> np.ndarray:
    """Tops of the stages' boxes in inches from the first, and the bottom of the last; pooling is drawn thinner."""
    heights = [(POOL_ROW if name.startswith("pool") else ROW) + BETWEEN for name in stage_names(architectures)]
    return np.concatenate([[0.0], np.cumsum(heights)])


def draw_architectures(axes: Axes, architectures: pd.DataFrame, tasks: list[str], scale: float) -> None:
    """A small network per arm, input on top: grey = shared by several tasks, coloured = a task's own, x = unit.

    `architectures` as `architecture_rows` gives them; y in inches, x in columns; a schematic is 0.78 * scale wide.
    """
    rows, tops = stage_names(architectures), row_tops(architectures)
    axes.set(ylim=(max(float(tops[-1]), 0.01), 0), yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    extent = 0.78 * scale  # of a schematic, in columns
    gap = 0.32 * scale / len(tasks)
    box = (extent - gap * (len(tasks) - 1)) / len(tasks)
    for _, stage in architectures.groupby(["x", "row"]):
        x, row = float(stage["x"].iloc[0]), int(stage["row"].iloc[0])
        top, tall = tops[row], tops[row + 1] - tops[row] - BETWEEN
        lefts = [x - extent / 2 + place * (box + gap) for place in range(len(tasks))]
        for _, group in stage.groupby("group"):
            places = sorted(group["place"])
            shared = len(places) > 1
            colour = style.SHARED if shared else style.task_colour(places[0])
            runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)  # neighbours are drawn as one box
            for run in runs:
                size = lefts[run[-1]] + box - lefts[run[0]]
                corner = lefts[run[0]]
                if stage["copies"].iloc[0] > 1:  # the second network looks out from behind
                    behind = (corner + SHADOW * scale, top - 0.012)
                    axes.add_patch(Rectangle(behind, size, tall, facecolor="white", edgecolor=style.INK, lw=0.5))
                axes.add_patch(Rectangle((corner, top), size, tall, facecolor=colour, edgecolor=style.INK, lw=0.5))
            for before, after in zip(runs, runs[1:], strict=False):  # a shared stage reaches around a task in between
                ends = [lefts[before[-1]] + box, lefts[after[0]]]
                axes.plot(ends, [top + tall / 2] * 2, color=style.FAINT, lw=1.2, zorder=0.5)
        if stage["unit"].any():
            middle = top + tall / 2
            reach = ROW * 0.42
            for left in lefts[1:]:
                ends = [left - gap * 0.92, left - gap * 0.08]
                for y in ([middle - reach, middle + reach], [middle + reach, middle - reach]):
                    axes.plot(ends, y, color=style.INK, lw=1.1, solid_capstyle="round", zorder=3)
    for row, stage_name in enumerate(rows):
        middle = (tops[row] + tops[row + 1] - BETWEEN) / 2
        axes.text(-0.012, middle, stage_name, transform=axes.get_yaxis_transform(), fontsize=style.SMALL - 0.5,
                  ha="right", va="center", color=style.INK)  # fmt: skip
