"""Small drawings of architectures: a column of stage boxes per task, shared boxes spanning their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Rectangle

from mtlbench.analysis.frame import records
from mtlbench.figures import _style as style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


ROW, POOL_ROW, BETWEEN = 0.115, 0.06, 0.03  # heights in inches
SHADOW = 0.055  # offset of the ensemble's second network, in columns


def architecture_rows(architectures: dict[str, Any], arms: pd.DataFrame, tasks: list[str]) -> pd.DataFrame:
    """One row per arm, stage and task: which group the task's column belongs to, whether a unit follows the stage.

    The heads (fc8) are added below the trunk; a task that no group names (one-task trials know only their own) is
    alone. `place` is the task's in its pair, `slot` its column's from the left: tasks that share stand side by side.
    An arm without an architecture for any of the tasks gets no rows.
    """
    found = []
    for arm, x in zip(arms["arm"], arms["x"], strict=True):
        trunk = architectures.get(arm, [])
        if not any(task in group for stage in trunk for group in stage["groups"] for task in tasks):
            continue
        copies = 2 if arm.startswith("ensemble") else 1  # two networks per task (Section 6.1)
        stages = [*trunk, {"stage": "fc8", "groups": [], "unit": False}]
        groups = [[next((g for g in stage["groups"] if task in g), [task]) for task in tasks] for stage in stages]
        branches = {task: [tasks.index(own[place][0]) for own in groups] for place, task in enumerate(tasks)}
        slots = {task: slot for slot, task in enumerate(sorted(tasks, key=branches.__getitem__))}
        for row, (stage, own) in enumerate(zip(stages, groups, strict=True)):
            for place, task in enumerate(tasks):
                found.append(
                    (
                        arm,
                        x,
                        stage["stage"],
                        row,
                        task,
                        place,
                        slots[task],
                        "+".join(own[place]),
                        bool(stage["unit"]),
                        copies,
                    )
                )
    columns = ["arm", "x", "stage", "row", "task", "place", "slot", "group", "unit", "copies"]
    return pd.DataFrame(found, columns=columns)


def seeds_differ(found: Mapping[Any, pd.DataFrame]) -> list[str]:
    """The arms whose `architecture_rows` are not the same for every seed: what a search found."""
    kept = ["stage", "task", "group", "unit"]
    seen: dict[str, list[tuple[Any, ...]]] = {}
    for rows in found.values():
        for arm, own in rows.groupby("arm", sort=False):
            seen.setdefault(str(arm), []).append(tuple(own[kept].itertuples(index=False, name=None)))
    return [arm for arm, forms in seen.items() if len(set(forms)) > 1]


def own_units(architectures: pd.DataFrame) -> pd.Series:
    """Which rows have a unit in a stage that several tasks share: a unit for each task, that mixes no columns."""
    sharers = architectures.groupby(["arm", "row", "group"])["task"].transform("count")
    return architectures["unit"] & (sharers > 1)


def stage_names(architectures: pd.DataFrame) -> list[str]:
    """The stages in order, fc8 last."""
    return architectures.drop_duplicates("row").sort_values("row")["stage"].tolist()


def row_tops(architectures: pd.DataFrame) -> np.ndarray:
    """Tops of the stages' boxes in inches from the first, and the bottom of the last; pooling is drawn thinner."""
    heights = [(POOL_ROW if name.startswith("pool") else ROW) + BETWEEN for name in stage_names(architectures)]
    return np.concatenate([[0.0], np.cumsum(heights)])


def draw_architectures(axes: Axes, architectures: pd.DataFrame, tasks: list[str], scale: float) -> None:
    """A small network per arm, input on top: grey = shared by several tasks, coloured = a task's own, x = unit that
    mixes columns, coloured dots in grey = a unit for each task within what they share.

    `architectures` as `architecture_rows` gives them; y in inches, x in columns; a schematic is 0.78 * scale wide.
    """
    names, tops = stage_names(architectures), row_tops(architectures)
    axes.set(ylim=(max(float(tops[-1]), 0.01), 0), yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    extent = 0.78 * scale  # of a schematic, in columns
    gap = 0.32 * scale / len(tasks)
    box = (extent - gap * (len(tasks) - 1)) / len(tasks)
    boxes: dict[str, list[Rectangle]] = {}  # by colour
    strokes: list[list[tuple[float, float]]] = []
    dots: dict[str, list[tuple[float, float]]] = {}
    for (x, row), rows in _by_stage(architectures).items():
        top, tall = float(tops[row]), float(tops[row + 1] - tops[row] - BETWEEN)
        lefts = [x - extent / 2 + slot * (box + gap) for slot in range(len(tasks))]
        groups: dict[str, list[dict[str, Any]]] = {}
        for own in sorted(rows, key=lambda own: own["slot"]):
            groups.setdefault(own["group"], []).append(own)
        for members in groups.values():
            colour = style.SHARED if len(members) > 1 else style.task_colour(members[0]["place"])
            corner = lefts[members[0]["slot"]]
            size = lefts[members[-1]["slot"]] + box - corner
            if members[0]["copies"] > 1:  # the second network looks out from behind
                boxes.setdefault("white", []).append(Rectangle((corner + SHADOW * scale, top - 0.012), size, tall))
            boxes.setdefault(colour, []).append(Rectangle((corner, top), size, tall))
            if members[0]["unit"] and len(members) > 1:
                for own in members:
                    centre = (lefts[own["slot"]] + box / 2, top + tall / 2)
                    dots.setdefault(style.task_colour(own["place"]), []).append(centre)
        if rows[0]["unit"]:
            middle, reach = top + tall / 2, ROW * 0.42
            for members in list(groups.values())[1:]:  # between what is not shared
                left, right = (lefts[members[0]["slot"]] - gap * share for share in (0.92, 0.08))
                strokes += [
                    [(left, middle - reach), (right, middle + reach)],
                    [(left, middle + reach), (right, middle - reach)],
                ]
    for place, (colour, patches) in enumerate(sorted(boxes.items(), key=lambda item: item[0] != "white")):
        drawn = PatchCollection(patches, facecolor=colour, edgecolor=style.INK, lw=0.5, zorder=1 + place / 9)
        axes.add_collection(drawn)
    axes.add_collection(LineCollection(strokes, colors=style.INK, lw=1.1, capstyle="round", zorder=3))
    for colour, centres in dots.items():
        x, y = np.transpose(centres)
        axes.scatter(x, y, s=7, color=colour, edgecolor=style.INK, linewidth=0.4, zorder=3)
    for row, name in enumerate(names):
        middle = float(tops[row] + tops[row + 1] - BETWEEN) / 2
        axes.text(
            -0.012,
            middle,
            name,
            transform=axes.get_yaxis_transform(),
            fontsize=style.SMALL - 0.5,
            ha="right",
            va="center",
            color=style.INK,
        )


def _by_stage(architectures: pd.DataFrame) -> dict[tuple[float, int], list[dict[str, Any]]]:
    """{(x, row): the rows of the tasks}."""
    found: dict[tuple[float, int], list[dict[str, Any]]] = {}
    for own in records(architectures):
        found.setdefault((own["x"], own["row"]), []).append(own)
    return found
