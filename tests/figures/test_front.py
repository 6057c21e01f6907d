"""The figure of trade-offs: what is drawn where, for few and many arms, two and three tasks, weightings missing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from mtlbench.errors import UserError
from mtlbench.figures._trade_offs import bleach, free_corner, limit_trade_off
from mtlbench.figures.front import Front
from tests.support.arms import make_failure
from tests.support.drawings import draw
from tests.support.grids import THREE, TWO, grid_frame
from tests.support.synthetic_results import FakeResults, results_frame

pytestmark = pytest.mark.slow

FOUR: dict[str, Any] = {
    "split-fc8": (1.0, 2.0),
    "split-conv4": (3.0, 1.5),
    "cross-stitch": (3.5, 4.0),
    "mtl-shared": (-1.0, -2.0),
}
LONG = {"my-very-long-sharing-scheme-with-rank-16-gated": 1.0, "cross-stitch-after-convolutions": (3.0, 2.0)}


class Grid(FakeResults):
    """A made-up grid as results."""

    def __init__(self, frame: pd.DataFrame, failures: Sequence[dict[str, Any]] = ()) -> None:
        self.frame, self.failures, self.architectures = frame, list(failures), {}


drawn = partial(draw, Front())


def test_a_panel_has_a_curve_an_arm_a_dot_a_seed_and_one_task_at_the_origin() -> None:
    data = Front().data(Grid(grid_frame(FOUR, noise=0.8)))
    axes = drawn(data).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == 5]
    own = data.means[data.means["arm"] == "split-fc8"]
    assert own["weights"].tolist() == ["0.2 : 1.8", "0.6 : 1.4", "1 : 1", "1.4 : 0.6", "1.8 : 0.2"]
    assert own["share"].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9]) and own["own"].sum() == 1
    assert any(np.allclose(line.get_xdata(), own["x"]) and np.allclose(line.get_ydata(), own["y"]) for line in curves)
    assert len(curves) == 4
    dots = [one for one in axes.collections if isinstance(one, PathCollection) and len(one.get_offsets()) == 15]
    assert len(dots) == 4
    cross = [
        one for one in axes.collections if isinstance(one, PathCollection) and one.get_offsets().tolist() == [[0, 0]]
    ]
    assert len(cross) == 1 and "one-task" in [text.get_text() for text in axes.texts]


def test_the_front_is_dashed_steps_over_what_the_means_reach() -> None:
    data = Front().data(Grid(grid_frame({"split-fc8": 5.0, "mtl-shared": 0.0})))
    axes = drawn(data).axes[0]
    (steps,) = [line for line in axes.lines if line.get_drawstyle() == "steps-pre"]
    x, y = np.asarray(steps.get_xdata(), float), np.asarray(steps.get_ydata(), float)
    own = data.means[data.means["arm"] == "split-fc8"]
    assert x[1:-1].tolist() == pytest.approx(own["x"].tolist()) and y[1:-1].tolist() == pytest.approx(own["y"].tolist())
    assert x[0] == axes.get_xlim()[0] and y[-1] == axes.get_ylim()[0] and x[-1] == x[-2] and y[0] == y[1]
    assert (np.diff(x) >= 0).all() and (np.diff(y) <= 0).all()


def test_hypervolumes_stand_beside_with_seeds_interval_and_one_task() -> None:
    data = Front().data(Grid(grid_frame(FOUR, noise=0.8)))
    axes = drawn(data).axes[1]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "MTL-shared",
        "Split conv4",
        "Split fc8",
        "cross-stitch",
    ]
    spans = [list(line.get_xdata()) for line in axes.lines]
    for row in data.volumes.to_dict("records"):
        assert [max(row["low"], 0), row["high"]] in [pytest.approx(span) for span in spans if len(span) == 2]
    assert [data.reference] * 2 in spans
    assert len(data.volume_seeds) == 12
    assert "over n = 3 seeds" in data.caption and "one-task" not in set(data.volumes["arm"])


@pytest.mark.parametrize(
    "arms",
    [FOUR, {"split-fc8": 1.0}, LONG, {f"split-fc{i}": i for i in range(14)}],
    ids=["four", "one", "long names", "many"],
)
@pytest.mark.parametrize(("tasks", "levels"), [(TWO, 5), (THREE, 3)])
def test_nothing_leaves_the_page_and_axes_do_not_meet(
    arms: dict[str, Any], tasks: tuple[str, ...], levels: int
) -> None:
    gains = {arm: np.resize(gain, len(tasks)) for arm, gain in arms.items()}
    canvas = drawn(Front().data(Grid(grid_frame(gains, tasks, levels, noise=0.8))))
    pairs = len(tasks) * (len(tasks) - 1) // 2
    assert len(canvas.axes) == pairs + 1
    page = canvas.bbox
    boxes = [axes.get_tightbbox() for axes in canvas.axes]
    (legend,) = canvas.legends
    for box in (*boxes, legend.get_window_extent(), *(text.get_window_extent() for text in canvas.texts)):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in [*boxes[:place], legend.get_window_extent()])


def test_of_three_tasks_a_curve_goes_through_what_its_arm_does_not_beat() -> None:
    data = Front().data(Grid(grid_frame({"split-fc8": (1.0, 2.0, 0.0)}, THREE, 3, noise=0.3)))
    assert data.panels["panel"].tolist() == ["detection/attributes", "detection/semseg", "attributes/semseg"]
    for _, own in data.means[data.means["arm"] != "one-task"].groupby("panel"):
        line = own[own["joined"]]
        assert 1 < len(line) < len(own) == 7
        assert (np.diff(line["x"]) > 0).all() and (np.diff(line["y"]) < 0).all()
    assert "not beaten in the two tasks of a panel" in data.caption


def test_the_caption_names_what_is_missing_failed_and_on_the_front() -> None:
    frame = grid_frame(FOUR, noise=0.5)
    lost = (frame["arm"] == "split-fc8~0.2:1.8") | ((frame["arm"] == "mtl-shared") & (frame["seed"] == 1))
    about = {name: frame[name].iloc[0] for name in ("pair", "dataset", "recipe", "backbone", "setting")}
    failure = make_failure("split-fc8~0.2:1.8", **about, seed=0, task="", status="failed", failed="")
    data = Front().data(Grid(frame[~lost], [failure]), paper=True)
    assert "in every task and seed: mtl-shared 1 : 1 (2 of 3), split-fc8 0.2 : 1.8 (0 of 3)." in data.caption
    assert "Failed or blocked: split-fc8~0.2:1.8." in data.caption
    assert "cross-stitch (0.2 : 1.8, 0.6 : 1.4, 1 : 1, 1.4 : 0.6, 1.8 : 0.2)" in data.caption
    assert "over n = 2-3 seeds" in data.caption and "publishes no weightings" in data.caption
    drawn(data)
    alone = Front().data(Grid(grid_frame(FOUR, seeds=(4,))), arms=["split-*"])
    assert "1 seed (4)" in alone.caption and "n = 1, no intervals below 3 seeds" in alone.caption
    assert set(alone.arms["arm"]) == {"split-conv4", "split-fc8"}
    drawn(alone)


def test_a_seed_far_from_all_means_is_counted_and_does_not_flatten_the_others() -> None:
    frame = grid_frame({"split-fc8": 1.0}, noise=0.1, seeds=range(40))
    wild = (frame["arm"] == "split-fc8") & (frame["seed"] == 7) & (frame["task"] == "detection")
    frame.loc[wild, "value"] *= 1.6
    data = Front().data(Grid(frame))
    assert "Off the axes: 1 dot." in data.caption
    assert drawn(data).axes[0].get_xlim()[1] < 20
    (left, right), _ = limit_trade_off(data.means, data.seeds)
    assert left < data.means["x"].min() and data.means["x"].max() < right


def test_the_name_of_one_task_stands_where_no_mean_does() -> None:
    axes = Figure().add_subplot()
    axes.set_xlim(-10, 10)
    axes.set_ylim(-10, 10)
    assert free_corner(axes, {"x": np.array([5.0]), "y": np.array([5.0])}) == (-1, -1)
    assert free_corner(axes, {"x": np.array([-1.0, 9.0]), "y": np.array([-1.0, 9.0])}) == (-1, 1)
    axes.set_xlim(-1, 20)
    assert free_corner(axes, {"x": np.array([9.0]), "y": np.array([9.0])}) == (1, -1)


def test_markers_are_darker_the_more_the_task_weighs() -> None:
    greys = [bleach("#204060", share)[0] for share in (0.0, 0.3, 0.6, 1.0)]
    assert greys == sorted(greys, reverse=True) and greys[0] < 1 and greys[-1] == pytest.approx(0x20 / 255)


def test_without_a_grid_the_error_says_what_to_type() -> None:
    frame = results_frame(arms=("one-task", "split-fc8"))
    with pytest.raises(UserError, match="type: mtlbench run --pair det_attr --loss-weight-grid 5$"):
        Front().data(FakeResults(frame, {}))
