"""Small drawings of architectures: a column of stage boxes per task, shared boxes spanning their columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Rectangle

from mtlbench.analysis.frame import list_records
from mtlbench.figures import _style as style
from mtlbench.figures._style import Table
from mtlbench.spec import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes


ROW_INCHES, POOL_ROW_INCHES, BETWEEN_INCHES = 0.115, 0.06, 0.03  # heights
EXTENT = 0.78  # width of a schematic, in columns
TASK_GAP = 0.32  # between all its tasks' boxes
SHADOW = 0.055  # offset of the ensemble's second network


def architecture_rows(architectures: dict[str, Any], arms: pd.DataFrame, tasks: list[str]) -> pd.DataFrame:
    """One row per arm, stage and task: which group the task's column belongs to, whether a unit follows the stage.

    The heads (fc8) are added below the trunk; a task that no group names (one-task trials know only their own) is
    alone. `place` is the task's in its pair, `slot` its column's from the left: tasks that share stand side by side.
    An arm without an architecture for any of the tasks gets no rows. `arms`: arm, x, family.
    """
    found = []
    for arm, x, family in zip(arms["arm"], arms["x"], arms["family"], strict=True):
        trunk = architectures.get(arm, [])
        if not any(task in group for stage in trunk for group in stage["groups"] for task in tasks):
            continue
        copies = 2 if family == Family.ENSEMBLE else 1  # two networks per task (Section 6.1)
        stages = [*trunk, {"stage": "fc8", "groups": [], "unit": False}]
        groups = [[next((g for g in stage["groups"] if task in g), [task]) for task in tasks] for stage in stages]
        branches = {task: [tasks.index(own[place][0]) for own in groups] for place, task in enumerate(tasks)}
        slots = {task: slot for slot, task in enumerate(sorted(tasks, key=branches.__getitem__))}
        for row, (stage, own) in enumerate(zip(stages, groups, strict=True)):
            of_stage = {"arm": arm, "x": x, "stage": stage["stage"], "row": row, "unit": bool(stage["unit"])}
            for place, task in enumerate(tasks):
                of_task = {"task": task, "place": place, "slot": slots[task], "group": "+".join(own[place])}
                found.append({**of_stage, **of_task, "copies": copies})
    columns = ["arm", "x", "stage", "row", "task", "place", "slot", "group", "unit", "copies"]
    return pd.DataFrame(found, columns=columns)


def seeds_differ(found: Iterable[pd.DataFrame]) -> list[str]:
    """The arms whose `architecture_rows` are not the same in all of `found`, a frame a seed: what a search found."""
    kept = ["stage", "task", "group", "unit"]
    seen: dict[str, list[tuple[Any, ...]]] = {}
    for rows in found:
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
    heights = [
        (POOL_ROW_INCHES if name.startswith("pool") else ROW_INCHES) + BETWEEN_INCHES
        for name in stage_names(architectures)
    ]
    return np.concatenate([[0.0], np.cumsum(heights)])


@dataclass(frozen=True)
class Grid:
    """Where boxes stand: x in columns, y in inches."""

    tops: np.ndarray
    tasks: int
    scale: float

    @property
    def gap(self) -> float:
        """Between the boxes of two tasks."""
        return TASK_GAP * self.scale / self.tasks

    @property
    def box(self) -> float:
        """The width of a task's box."""
        return (EXTENT * self.scale - self.gap * (self.tasks - 1)) / self.tasks

    def left(self, own: Mapping[str, Any]) -> float:
        """The left edge of a row's box."""
        return float(own["x"] - EXTENT * self.scale / 2 + own["slot"] * (self.box + self.gap))

    def height(self, row: int) -> float:
        return float(self.tops[row + 1] - self.tops[row] - BETWEEN_INCHES)

    def middle(self, row: int) -> float:
        return float(self.tops[row]) + self.height(row) / 2


@dataclass
class Shapes:
    """What is drawn, gathered so that each kind is one artist: boxes and dots by colour, crossed strokes."""

    boxes: dict[str, list[Rectangle]] = field(default_factory=dict)
    dots: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    strokes: list[list[tuple[float, float]]] = field(default_factory=list)

    def add_group(self, grid: Grid, members: Sequence[Mapping[str, Any]]) -> None:
        """The box of tasks that share a stage, from left to right, and the dots of their own units in it."""
        first, shared = members[0], len(members) > 1
        corner, top, tall = grid.left(first), float(grid.tops[first["row"]]), grid.height(first["row"])
        wide = grid.left(members[-1]) + grid.box - corner
        if first["copies"] > 1:  # the second network looks out from behind
            behind = Rectangle((corner + SHADOW * grid.scale, top - 0.012), wide, tall)
            self.boxes.setdefault("white", []).append(behind)
        colour = style.SHARED if shared else style.task_colour(first["place"])
        self.boxes.setdefault(colour, []).append(Rectangle((corner, top), wide, tall))
        for own in members if first["unit"] and shared else ():
            centre = (grid.left(own) + grid.box / 2, grid.middle(own["row"]))
            self.dots.setdefault(style.task_colour(own["place"]), []).append(centre)

    def add_cross(self, grid: Grid, own: Mapping[str, Any]) -> None:
        """A cross in the gap to the left of a box, for a unit that mixes it with its neighbour."""
        left, right = (grid.left(own) - grid.gap * share for share in (0.92, 0.08))
        middle, reach = grid.middle(own["row"]), ROW_INCHES * 0.42
        for end in (reach, -reach):
            self.strokes.append([(left, middle - end), (right, middle + end)])


def draw_architectures(axes: Axes, architectures: Table, tasks: Sequence[str], scale: float = 1.0) -> None:
    """A small network per arm, input on top: grey = shared by several tasks, coloured = a task's own, x = unit that
    mixes columns, coloured dots in grey = a unit for each task within what they share.

    `architectures` as `architecture_rows` gives them; y in inches, x in columns; a schematic is 0.78 * scale wide.
    """
    architectures = pd.DataFrame(architectures)
    names, grid, shapes = stage_names(architectures), Grid(row_tops(architectures), len(tasks), scale), Shapes()
    axes.set(ylim=(max(float(grid.tops[-1]), 0.01), 0), yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for groups in _by_stage(architectures):
        for members in groups:
            shapes.add_group(grid, members)
        if groups[0][0]["unit"]:
            for members in groups[1:]:  # between what is not shared
                shapes.add_cross(grid, members[0])
    for place, (colour, patches) in enumerate(sorted(shapes.boxes.items(), key=lambda item: item[0] != "white")):
        drawn = PatchCollection(patches, facecolor=colour, edgecolor=style.INK, lw=0.5, zorder=1 + place / 9)
        axes.add_collection(drawn)
    axes.add_collection(LineCollection(shapes.strokes, colors=style.INK, lw=1.1, capstyle="round", zorder=3))
    for colour, centres in shapes.dots.items():
        x, y = np.transpose(centres)
        axes.scatter(x, y, s=7, color=colour, edgecolor=style.INK, linewidth=0.4, zorder=3)
    for row, name in enumerate(names):
        axes.text(
            -0.012,
            grid.middle(row),
            name,
            transform=axes.get_yaxis_transform(),
            fontsize=style.SMALL - 0.5,
            ha="right",
            va="center",
            color=style.INK,
        )


def _by_stage(architectures: pd.DataFrame) -> list[list[list[dict[str, Any]]]]:
    """Per arm and stage the groups of tasks that share it, each with its rows from left to right."""
    found: dict[tuple[float, int], dict[str, list[dict[str, Any]]]] = {}
    for own in sorted(list_records(architectures), key=lambda own: own["slot"]):
        found.setdefault((own["x"], own["row"]), {}).setdefault(own["group"], []).append(own)
    return [list(groups.values()) for groups in found.values()]


def draw_spectrum(axes: Axes, last: float) -> None:
    """An arrow `fully shared <-> fully separate` above the columns from 0 to `last`; nothing where they are few."""
    if last < 3:
        return
    where, height = axes.get_xaxis_transform(), 1.11
    axes.annotate(
        "",
        (last + 0.4, height),
        (-0.4, height),
        xycoords=where,
        annotation_clip=False,
        arrowprops={"arrowstyle": "<->", "color": style.FAINT, "lw": 0.8},
    )
    backing = {"facecolor": "white", "edgecolor": "none", "pad": 2}
    for x, words in ((-0.05, "fully shared"), (last + 0.05, "fully separate")):
        axes.text(
            x,
            height,
            words,
            ha="left" if x < 0 else "right",
            va="center",
            transform=where,
            bbox=backing,
            fontsize=style.NORMAL,
            color=style.INK,
        )
