"""Grid: architectures by weightings of their tasks, what each combination is worth and what its step costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import Normalize

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.comparison import PAIR
from mtlbench.analysis.costs import step_costs
from mtlbench.analysis.frame import list_records, mean_over_tasks, relative_change
from mtlbench.analysis.inference import compute_intervals, describe_intervals
from mtlbench.analysis.selection import NEWEST, Selection, arms_matching, describe_failures, select_newest
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.figures._cells import COLOURS, choose_ink, write_in_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

PLAIN = "plain sum"  # of the losses, at the recipe's weights
COST = "step cost"


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    left: float = 1.15
    right: float = 0.1
    top: float = 0.75
    cell: float = 0.48
    row: float = 0.26
    title: float = 0.3
    between: float = 0.1


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class GridData:
    """rows and columns: architectures (labels: {arm: words}) and weightings in the order drawn. cells: panel (a task,
    "" = their mean), architecture, weighting, arm, mean (change against one-task in %, up is better), low, high (NaN
    below 3 seeds), n, differs (whether the interval excludes 0). costs: architecture, weighting, ratio (CPU seconds of
    a step over those of the plain sum, mean over seeds that have both)."""

    rows: list[str]
    labels: dict[str, str]
    columns: list[str]
    panels: list[str]
    cells: pd.DataFrame
    costs: pd.DataFrame
    caption: str


class Grid:
    """Architectures x weightings (`mtlbench run --weighting NAME`): is the choice of one worth more than that of the
    other? (Ours)"""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> GridData:
        """Everything that is drawn; `arms` are globs of architectures. Raises UserError without arms of a weighting."""
        frame, note = select_newest(results.frame, selection)
        known = frame.drop_duplicates("arm").set_index("arm")
        weighed = known[(known["method"] != "") & (known["purpose"] == "")]
        if weighed.empty:
            raise UserError(
                f"grid needs arms with a weighting; type: mtlbench run --pair {frame['pair'].iloc[0]} --arm split-fc8"
                " --weighting upgrad"
            )
        rows = arm_order(weighed["variant_of"])
        if arms:
            rows = [arm for arm in rows if arm in arms_matching(rows, arms, "architecture with weightings")]
        of_arms = {str(arm): str(base) for arm, base in weighed["variant_of"].items() if base in rows}
        named = [(arm, base, arm.removeprefix(f"{base}@")) for arm, base in of_arms.items()]
        plain = [(arm, arm, PLAIN) for arm in rows]
        places = pd.DataFrame([*plain, *named], columns=["arm", "architecture", "weighting"])
        changes = relative_change(frame).dropna(subset=["change"])
        if changes[changes["arm"].isin(of_arms)].empty:
            raise UserError(f"grid needs {BASELINE} on test; type: mtlbench run --pair {frame['pair'].iloc[0]}")
        if changes["task"].nunique() > 1:
            changes = pd.concat([changes, mean_over_tasks(changes, PAIR)], ignore_index=True)
        found = compute_intervals(changes)
        cells = found.rename(columns={"task": "panel"}).merge(places, on="arm")
        cells["differs"] = (cells["low"] > 0) | (cells["high"] < 0)
        names, kinds = sorted(cells["panel"].unique(), key=lambda name: name != PAIR), Arms.of(frame)
        return GridData(
            rows=[arm for arm in rows if arm in set(cells["architecture"])],
            labels={arm: kinds.label(arm) for arm in rows},
            columns=_order(cells, names[0]),
            panels=names,
            cells=cells.drop(columns=["metric", "error", "freedom", "paired"]),
            costs=step_costs(frame, places, PLAIN),
            caption=_write_caption(frame, cells, found, note, (describe_failures(frame, results.failures), paper)),
        )

    def draw(self, data: GridData, canvas: Canvas) -> None:
        """Draws on an empty canvas: a table a task, their mean first, and one of costs."""
        with style.theme():
            _draw(data, canvas)


def _order(cells: pd.DataFrame, panel: str) -> list[str]:
    """The plain sum, then weightings from the best to the worst mean over architectures."""
    means = cells[cells["panel"] == panel].groupby("weighting")["mean"].mean().sort_values(ascending=False)
    return [PLAIN, *(name for name in means.index if name != PLAIN)]


def _write_caption(
    frame: pd.DataFrame, cells: pd.DataFrame, found: pd.DataFrame, note: str, more: tuple[str, bool]
) -> str:
    failures, paper = more
    words = describe_intervals(found[found["arm"].isin(cells["arm"])])
    shown = cells.dropna(subset=["low"])
    about = (
        f"Bold and underlined: the 95 % interval of this one cell excludes 0 ({words}); of {len(shown)} equal cells"
        f" about {max(1, round(0.05 * len(shown)))} would be."
        if words
        else "No intervals below 3 seeds."
    )
    parts = [
        f"Change of the headline metric on test against {BASELINE} with the same seed, in %, up is better;"
        f" {panels.seeds_text(frame['seed'])}. The {PLAIN} is of the losses at the recipe's weights. {about} Step cost:"
        f" CPU seconds of a training step over those of the {PLAIN}.",
        note,
        "The paper weighs losses by fixed factors alone." if paper else "",
        failures,
    ]
    return " ".join(part for part in parts if part)


def _draw(data: GridData, canvas: Canvas) -> None:
    width = max(INCHES.left + len(data.columns) * INCHES.cell + INCHES.right, 4.5)
    lines = panels.wrap(data.caption, width)
    tall = len(data.rows) * INCHES.row
    blocks = [*data.panels, COST]
    height = INCHES.top + len(blocks) * (tall + INCHES.title + INCHES.between) + panels.LINE * len(lines) + 0.15
    canvas.set_size_inches(width, height)
    reach = float(data.cells["mean"].abs().max()) or 1.0
    top = INCHES.top
    for place, name in enumerate(blocks):
        axes = panels.add_panel(
            canvas, INCHES.left, top + INCHES.title, len(data.columns) * INCHES.cell, tall, style.SMALL
        )
        if name == COST:
            _draw_costs(axes, data)
        else:
            _draw_changes(axes, data, name, reach)
        title = "mean over tasks" if name == PAIR else name
        axes.set_title(title, fontsize=style.LARGE, loc="left", pad=4, fontweight="bold")
        axes.set_yticks(range(len(data.rows)), [data.labels[arm] for arm in data.rows])
        axes.tick_params(length=0, labeltop=place == 0, labelbottom=False)
        axes.set_xticks(range(len(data.columns)), data.columns, rotation=45, ha="left")
        top += INCHES.title + tall + INCHES.between
    panels.draw_caption(canvas, lines)


def _draw_changes(axes: Axes, data: GridData, panel: str, reach: float) -> None:
    values = np.full((len(data.rows), len(data.columns)), np.nan)
    for cell in list_records(data.cells[data.cells["panel"] == panel]):
        y, x = data.rows.index(cell["architecture"]), data.columns.index(cell["weighting"])
        values[y, x] = cell["mean"]
        weight, ink = "bold" if cell["differs"] else "normal", choose_ink(cell["mean"], reach)
        write_in_cell(axes, (x, y), f"{cell['mean']:+.1f}", style.SMALL, ink, weight)
        if cell["differs"]:
            axes.plot([x - 0.3, x + 0.3], [y + 0.36, y + 0.36], color=style.INK, lw=0.8)
    axes.imshow(values, cmap=matplotlib.colormaps[COLOURS], norm=Normalize(-reach, reach), aspect="auto")


def _draw_costs(axes: Axes, data: GridData) -> None:
    for cell in list_records(data.costs[data.costs["architecture"].isin(data.rows)]):
        y, x = data.rows.index(cell["architecture"]), data.columns.index(cell["weighting"])
        write_in_cell(axes, (x, y), f"{cell['ratio']:.1f}x", style.SMALL, style.INK)
    axes.set_xlim(-0.5, len(data.columns) - 0.5)
    axes.set_ylim(len(data.rows) - 0.5, -0.5)
