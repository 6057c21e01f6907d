"""The figure of regret: its lines, its points, its caption; it can be drawn."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mtlbench.errors import UserError
from mtlbench.figures.regret import Regret
from mtlbench.tabular import regret
from tests.support.synthetic_results import results_frame
from tests.support.worlds import World

ARMS = ("one-task", "split-conv4", "split-fc8", "cross-stitch")


@pytest.fixture(autouse=True)
def ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods of Ray Tune take seconds to import."""
    monkeypatch.setattr(regret, "can_run", lambda method: not method.function)


def test_lines_are_regrets_and_points_need_no_search() -> None:
    effects = {"split-conv4": 9.0, "split-fc8": -9.0, "cross-stitch": 6.0}
    data = Regret().data(World(results_frame("det_attr", (0, 1, 2), ARMS, 0.1, effects)))
    last = data.curves.groupby("method").last()
    assert set(last.index) == {"random", "grid"}
    assert last["mean"].tolist() == pytest.approx([0.0, 0.0]) and last["cost"].tolist() == pytest.approx([1.0, 1.0])
    assert (data.curves["low"] <= data.curves["mean"] + 1e-9).all()
    points = data.fixed.set_index("arm")
    # Two networks of one-task over those of two Splits and one-task, all of one size; cross-stitch starts from them.
    assert points.loc["one-task", "cost"] == pytest.approx(2 / 6)
    assert points.loc["cross-stitch", "cost"] == pytest.approx(4 / 6)
    assert points.loc["one-task", "regret"] > points.loc["cross-stitch", "regret"] > 0
    assert (
        "below that of split-conv4, the best on test" in data.caption and "costs 67 % of training all 3" in data.caption
    )
    canvas = Figure()
    Regret().draw(data, canvas)
    FigureCanvasAgg(canvas).draw()
    assert canvas.axes[0].get_xscale() == "log" and len(canvas.axes[0].lines) == 2 + 2 + 1


def test_too_few_architectures_are_one_line() -> None:
    with pytest.raises(UserError, match="a search needs 3 or more") as error:
        Regret().data(World(results_frame("det_attr", (0,), ("one-task", "split-fc8"))))
    assert "\n" not in str(error.value)
