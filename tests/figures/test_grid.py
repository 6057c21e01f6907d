"""Grid: which cell is which arm, what is marked, what a step costs; every sensible set of results can be drawn."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mtlbench.analysis.comparison import PAIR
from mtlbench.errors import UserError
from mtlbench.figures.grid import PLAIN, Grid
from tests.support.weighed_studies import weighed_study


def test_cells_are_changes_against_one_task_and_costs_against_the_plain_sum() -> None:
    data = Grid().data(weighed_study())
    assert data.rows == ["split-conv4", "split-fc8"]
    assert data.columns == [PLAIN, "upgrad", "rlw"]  # from the best to the worst
    assert data.panels == [PAIR, "detection", "attributes"]
    cells = data.cells.set_index(["panel", "architecture", "weighting"])
    assert cells.loc[(PAIR, "split-conv4", PLAIN), "mean"] == pytest.approx(2.0 * (1 - 0.7) / 2, abs=0.3)
    assert cells.loc[("detection", "split-fc8", "upgrad"), "mean"] == pytest.approx(-0.7, abs=0.3)  # turned round there
    assert cells.loc[("attributes", "split-fc8", "rlw"), "mean"] == pytest.approx(-9.0, abs=0.3)
    assert bool(cells.loc[("attributes", "split-fc8", "rlw"), "differs"])
    costs = data.costs.set_index(["architecture", "weighting"])["ratio"]
    assert costs["split-fc8", "upgrad"] == pytest.approx(1.5) and costs["split-fc8", PLAIN] == 1.0


def test_without_intervals_nothing_is_marked_and_the_caption_says_so() -> None:
    data = Grid().data(weighed_study(seeds=(0, 1)))
    assert not data.cells["differs"].any() and "No intervals below 3 seeds." in data.caption


def test_an_architecture_can_be_asked_for_and_results_without_weightings_are_refused() -> None:
    assert Grid().data(weighed_study(), arms=["split-fc*"]).rows == ["split-fc8"]
    with pytest.raises(UserError, match="architecture with weightings"):
        Grid().data(weighed_study(), arms=["mtan"])
    with pytest.raises(UserError, match="--arm split-fc8 --weighting upgrad"):
        Grid().data(weighed_study(weighings={}))


@pytest.mark.parametrize("count", [1, 18])
def test_one_and_many_weightings_can_be_drawn(count: int) -> None:
    data = Grid().data(weighed_study(weighings={f"method{number}": number - 5.0 for number in range(count)}))
    canvas = Figure()
    FigureCanvasAgg(canvas)
    Grid().draw(data, canvas)
    canvas.canvas.draw()
    assert len(canvas.axes) == 4  # the mean, two tasks, costs
    numbers = [text.get_text() for text in canvas.axes[0].texts]
    assert len(numbers) == 2 * (count + 1) and all(text[0] in "+-" for text in numbers)
