"""Conflicts: whether the tasks' gradients agree by what they share, and which is the longer, along training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.frame import rows_of_trials
from mtlbench.analysis.selection import NEWEST, Selection, select_newest
from mtlbench.arm_names import arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.figures._curves import LABEL_STEP_INCHES, LEADER_INCHES, draw_curves, label_curves
from mtlbench.figures._looks import choose_looks
from mtlbench.figures._shown_arms import choose_arms, list_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

QUANTITIES = ("cosine", "ratio")
MOST_ABREAST = 3  # pairs of tasks


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    left: float = 0.6
    right: float = 0.05
    panel: float = 2.15
    gap: float = 0.6
    title: float = 0.3
    cosine: float = 1.8
    ratio: float = 1.2
    between: float = 0.15
    ticks: float = 0.45
    letter: float = 0.051  # of an arm's name


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class ConflictsData:
    """arms: arm, colour, dashes, strong. pairs: task, other. points: arm, task, other, seed, x (iteration), cosine,
    ratio (norm of task's gradient over that of other). means: arm, task, other, x, quantity, mean (of the ratio
    geometric), low, high (smallest and largest seed), n."""

    arms: pd.DataFrame
    pairs: pd.DataFrame
    points: pd.DataFrame
    means: pd.DataFrame
    caption: str


class Conflicts:
    """Cosines between the gradients of every two tasks, and ratios of their norms, along training (after Yu et al.
    2020, who call gradients with a cosine below 0 conflicting)."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> ConflictsData:
        """Everything that is drawn; `arms` are globs. Raises UserError where no arm has gradients of two tasks."""
        frame, note = select_newest(results.frame, selection)
        names, names_text = choose_arms(frame, arms)
        rows = rows_of_trials(results.conflicts, frame)
        rows = rows[rows["arm"].isin(names)]
        if rows.empty:
            known = frame["pair"].iloc[0]
            raise UserError(
                f"conflicts needs arms whose tasks share parameters, trained by this version; type: mtlbench run --pair"
                f" {known} --arm split-fc8 --force split-fc8"
            )
        points = rows[["arm", "task", "other", "seed", "cosine"]].assign(
            x=rows["iteration"], ratio=rows["norm"] / rows["other_norm"]
        )
        lacking = [arm for arm in names if arm not in set(points["arm"])]
        return ConflictsData(
            arms=choose_looks(arm_order(points["arm"].unique()), Arms.of(frame)),
            pairs=points[["task", "other"]].drop_duplicates().reset_index(drop=True),
            points=points.reset_index(drop=True),
            means=_average(points),
            caption=_write_caption(points, note, lacking, (names_text, "The paper publishes none." if paper else "")),
        )

    def draw(self, data: ConflictsData, canvas: Canvas) -> None:
        """Draws on an empty canvas: for each two tasks the cosine above and the ratio of norms below."""
        with style.theme():
            _draw(data, canvas)


def _average(points: pd.DataFrame) -> pd.DataFrame:
    keys = ["arm", "task", "other", "x"]
    cosine = panels.over_seeds(points, keys, "cosine").assign(quantity="cosine")
    logs = panels.over_seeds(points.assign(ratio=np.log(points["ratio"])), keys, "ratio").assign(quantity="ratio")
    logs[["mean", "low", "high"]] = np.exp(logs[["mean", "low", "high"]])
    return pd.concat([cosine, logs], ignore_index=True)


def _write_caption(points: pd.DataFrame, note: str, lacking: Sequence[str], remarks: Sequence[str]) -> str:
    several = points["seed"].nunique() > 1
    parts = [
        "Gradients of two tasks' weighted losses by all parameters that tasks share, of the batch of that step: above"
        " their cosine (below 0 they conflict), below how many times as long the first one is."
        f" {'Thick: mean over' if several else 'One line an arm:'} {panels.seeds_text(points['seed'])}"
        f"{' (of ratios geometric); thin: each seed' if several else ''}.",
        note,
        f"Nothing is shared, or nothing was noted: {list_names(lacking)}." if lacking else "",
        *remarks,
    ]
    return " ".join(part for part in parts if part)


def _draw(data: ConflictsData, canvas: Canvas) -> None:
    letters = data.arms["arm"].str.len().max()
    column = INCHES.panel + LEADER_INCHES + INCHES.letter * letters + INCHES.gap
    abreast = min(len(data.pairs), MOST_ABREAST)
    width = INCHES.left + abreast * column - INCHES.gap + INCHES.right
    lines = panels.wrap(data.caption, width)
    talls = [max(INCHES.cosine, 0.1 + LABEL_STEP_INCHES * len(data.arms)), INCHES.ratio]
    block = INCHES.title + sum(talls) + INCHES.between + INCHES.ticks
    deep = -(-len(data.pairs) // abreast)
    canvas.set_size_inches(width, deep * block + panels.LINE * len(lines) + 0.1)
    for place, (task, other) in enumerate(data.pairs.itertuples(index=False)):
        left, top = INCHES.left + place % abreast * column, place // abreast * block + INCHES.title
        made = []
        for quantity, tall in zip(QUANTITIES, talls, strict=True):
            axes = panels.add_panel(canvas, left, top, INCHES.panel, tall, style.SMALL)
            _draw_panel(axes, data, (task, other), quantity)
            axes.tick_params(labelbottom=quantity == QUANTITIES[-1])
            made.append(axes)
            top += tall + INCHES.between
        own = data.means[(data.means["task"] == task) & (data.means["other"] == other)]
        label_curves(made[0], data.arms, own[own["quantity"] == "cosine"])
        made[0].set_title(f"{task}, {other}", fontsize=style.LARGE, loc="left", pad=4, fontweight="bold")
        made[0].set_ylabel("cosine", fontsize=style.NORMAL)
        made[1].set_ylabel(f"norm {task}\n/ {other}", fontsize=style.NORMAL)
        made[1].set_xlabel("iterations", fontsize=style.NORMAL)
    panels.draw_caption(canvas, lines)


def _draw_panel(axes: Axes, data: ConflictsData, tasks: tuple[str, str], quantity: str) -> None:
    def of_tasks(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table["task"] == tasks[0]) & (table["other"] == tasks[1])]

    means, points = of_tasks(data.means), of_tasks(data.points)
    draw_curves(axes, data.arms, means[means["quantity"] == quantity], points.rename(columns={quantity: "value"}))
    axes.set_xlim(0, 1.02 * data.points["x"].max())
    axes.axhline(0 if quantity == "cosine" else 1, color=style.INK, lw=0.7, zorder=1)
    values = points[quantity]
    if quantity == "cosine":
        reach = max(0.1, 1.1 * float(values.abs().max()))
        axes.set_ylim(-min(reach, 1.05), min(reach, 1.05))
    else:
        axes.set_yscale("log", base=2)
        reach = max(2.0, 1.2 * float(np.exp(np.abs(np.log(values)).max())))
        axes.set_ylim(1 / reach, reach)
