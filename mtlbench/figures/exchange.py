"""Exchange: how much each task takes from each other one, layer by layer, where three or more are mixed by units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from mtlbench.analysis.alphas import arms_with_alphas, order_stages
from mtlbench.analysis.arms import Arms
from mtlbench.analysis.frame import rows_of_trials
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures, select_newest
from mtlbench.arm_names import arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.figures import _panels as panels
from mtlbench.figures import _style as style
from mtlbench.figures._exchanges import draw_exchange

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

FEWEST_TASKS = 3
MOST_CELLS = 20  # abreast


@dataclass(frozen=True)
class Layout:
    """Sizes in inches."""

    cell: float = 0.42
    names: float = 0.8
    givers: float = 0.62
    gap: float = 0.12
    title: float = 0.22
    heading: float = 0.3
    edge: float = 0.1


INCHES = Layout()


@dataclass(frozen=True, eq=False)
class ExchangeData:
    """tasks: in the order of rows (receivers) and columns (givers). cells: arm, stage, receiver, giver, mean (of a
    layer's alphas at the end of training, over its units and seeds), low, high (smallest and largest seed), n; stages
    in the networks' order. labels: {arm: its words}. Tasks that a layer's units do not mix have no cell."""

    tasks: list[str]
    cells: pd.DataFrame
    labels: dict[str, str]
    caption: str


class Exchange:
    """The matrix of alphas of every layer (Section 3's equation 1, for more tasks than two) (Ours)."""

    def data(
        self,
        results: Results,
        selection: Selection = NEWEST,
        paper: bool = False,
        arms: Sequence[str] = (),
    ) -> ExchangeData:
        """Everything that is drawn; `arms` are globs, without any the starts of cross-stitch.

        Raises UserError where no arm has alphas, and for two tasks."""
        frame, note = select_newest(results.frame, selection)
        rows = arms_with_alphas(rows_of_trials(results.alphas, frame), arms)
        pair = frame["pair"].iloc[0]
        if rows.empty:
            raise UserError(f"exchange needs an arm with alphas; type: mtlbench run --pair {pair} --arm cross-stitch")
        tasks = rows["receiver"].drop_duplicates().tolist()
        if len(tasks) < FEWEST_TASKS:
            raise UserError("exchange is for three tasks or more; of two, mtlbench plot alphas shows the same")
        last = rows["iteration"] == rows.groupby(["arm", "seed"])["iteration"].transform("max")
        ends = order_stages(rows[last & (rows["channel"] < 0)], results.architectures_of(frame))
        cells = panels.over_seeds(ends.dropna(subset=["alpha"]), ["arm", "stage", "receiver", "giver"], "alpha")
        kinds = Arms.of(frame)
        parts = [
            "What a task (row) takes of each task's features (column): mean of a layer's alphas at the end of training,"
            f" {panels.seeds_text(ends['seed'])}. Grey: of its own; colours: of the others, red below 0.",
            note,
            "The paper has no more than two tasks." if paper else "",
            describe_failures(frame, results.failures),
        ]
        return ExchangeData(
            tasks,
            cells,
            {arm: kinds.label(arm) for arm in arm_order(cells["arm"].unique())},
            " ".join(part for part in parts if part),
        )

    def draw(self, data: ExchangeData, canvas: Canvas) -> None:
        """Draws on an empty canvas: a matrix a layer, arm below arm."""
        with style.theme():
            _draw(data, canvas)


def _draw(data: ExchangeData, canvas: Canvas) -> None:
    side = len(data.tasks) * INCHES.cell
    abreast = max(1, MOST_CELLS // len(data.tasks))
    others = data.cells[data.cells["receiver"] != data.cells["giver"]]
    reach = float(others["mean"].abs().max()) or 1.0
    stages = {arm: data.cells.loc[data.cells["arm"] == arm, "stage"].drop_duplicates().tolist() for arm in data.labels}
    columns = min(abreast, max(map(len, stages.values())))
    width = INCHES.names + columns * (side + INCHES.gap) + INCHES.edge
    lines = panels.wrap(data.caption, width)
    block = INCHES.title + side + INCHES.gap
    deep = {arm: -(-len(found) // abreast) for arm, found in stages.items()}
    tall = sum(INCHES.heading + rows * block + INCHES.givers for rows in deep.values())
    canvas.set_size_inches(width, INCHES.edge + tall + panels.LINE * len(lines) + INCHES.edge)
    top = INCHES.edge
    for arm, label in data.labels.items():
        panels.draw_title(canvas, label, top + 0.14)
        top += INCHES.heading
        for place, stage in enumerate(stages[arm]):
            row, column = divmod(place, abreast)
            left = INCHES.names + column * (side + INCHES.gap)
            axes = panels.add_panel(canvas, left, top + row * block + INCHES.title, side, side, style.SMALL)
            of_stage = data.cells[(data.cells["arm"] == arm) & (data.cells["stage"] == stage)]
            draw_exchange(axes, of_stage, data.tasks, reach)
            axes.set_title(stage, fontsize=style.NORMAL, pad=3)
            is_lowest = place + abreast >= len(stages[arm])
            axes.tick_params(labelleft=column == 0, labelbottom=is_lowest)
        top += deep[arm] * block + INCHES.givers
    panels.draw_caption(canvas, lines)
