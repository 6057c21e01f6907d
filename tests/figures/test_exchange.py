"""Exchange: what each cell is, whose, of how many tasks; what is not mixed has no cell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pandas as pd
import pytest
from matplotlib.figure import Figure

from mtlbench.errors import UserError
from mtlbench.figures.exchange import Exchange
from mtlbench.store.frames import NAMING
from tests.support.synthetic_results import FakeResults, results_frame

TASKS = ("detection", "attributes", "semseg")
STAGES = tuple(f"layer{number}" for number in range(9))


@dataclass
class WithAlphas(FakeResults):
    alphas: pd.DataFrame = field(default_factory=pd.DataFrame)


def make(tasks: tuple[str, ...] = TASKS, apart: str = "semseg") -> WithAlphas:
    """Of the i-th task by the j-th 0.1 i - 0.2 j + 0.01 seed at the end; the last layer does not mix `apart`."""
    frame = results_frame("det_attr", arms=("one-task", "cross-stitch"), seeds=(0, 1, 2))
    heads = frame[frame["arm"] == "cross-stitch"].drop_duplicates("key")
    found = [
        (*(head[name] for name in NAMING), step, stage, receiver, giver, -1, alpha if step else 0.5)
        for _, head in heads.iterrows()
        for step, stage in itertools.product((0, 9), STAGES)
        for (i, receiver), (j, giver) in itertools.product(enumerate(tasks), repeat=2)
        if stage != STAGES[-1] or (receiver == apart) == (giver == apart)
        for alpha in [0.1 * i - 0.2 * j + 0.01 * head["seed"]]
    ]
    columns = [*NAMING, "iteration", "stage", "receiver", "giver", "channel", "alpha"]
    order = [{"stage": stage, "groups": [], "unit": True} for stage in STAGES]
    return WithAlphas(frame, {"cross-stitch": order}, alphas=pd.DataFrame(found, columns=columns))


def test_a_cell_is_what_a_task_takes_of_another_at_the_end_mean_over_seeds() -> None:
    data = Exchange().data(make())
    cells = data.cells.set_index(["stage", "receiver", "giver"])
    assert data.tasks == list(TASKS) and list(data.labels) == ["cross-stitch"]
    assert cells.loc[("layer3", "attributes", "semseg"), "mean"] == pytest.approx(0.1 - 0.4 + 0.01)
    assert cells.loc[("layer3", "semseg", "attributes"), "high"] == pytest.approx(0.2 - 0.2 + 0.02)
    assert cells["n"].eq(3).all() and "3 seeds (0, 1, 2)" in data.caption
    assert ("layer8", "semseg", "detection") not in cells.index and ("layer8", "semseg", "semseg") in cells.index


def test_a_matrix_a_layer_is_drawn_with_its_numbers() -> None:
    canvas = Figure()
    data = Exchange().data(make())
    Exchange().draw(data, canvas)
    assert [axes.get_title() for axes in canvas.axes] == list(STAGES)
    assert [len(axes.texts) for axes in canvas.axes] == [9] * 8 + [5]
    assert [text.get_text() for text in canvas.axes[0].texts][:3] == ["0.01", "-0.19", "-0.39"]
    tops = [axes.get_position().y1 for axes in canvas.axes]
    assert tops[0] == tops[5] > tops[6] == tops[8]  # 18 cells abreast


def test_two_tasks_and_results_without_alphas_are_refused_in_a_line() -> None:
    with pytest.raises(UserError, match="mtlbench plot alphas shows the same"):
        Exchange().data(make(TASKS[:2]))
    results = make()
    results.alphas = results.alphas.iloc[:0]
    with pytest.raises(UserError, match="type: mtlbench run --pair det_attr --arm cross-stitch"):
        Exchange().data(results)
