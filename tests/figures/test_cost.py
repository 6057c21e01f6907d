"""Cost: the fronts against a slow reference, sums and means by hand, missing arms, and labels that cover nothing."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

from mtlbench.analysis.frame import relative_change
from mtlbench.analysis.inference import compute_intervals
from mtlbench.errors import UserError
from mtlbench.figures._labels import place_labels
from mtlbench.figures.cost import AXES, MEAN, Cost
from tests.support.drawings import draw
from tests.support.synthetic_results import ARMS, EFFECTS, SPLITS, FakeResults, fake_results

pytestmark = pytest.mark.slow

ABLATIONS = (
    "cross-stitch-alpha-0.1-0.9",
    "cross-stitch-alpha-0.5-0.5",
    "cross-stitch-rate-1",
    "my-tree",
    "mtl-shared-1-16",
    "cross-stitch-after-convolutions",
)
MORE = (
    "cross-stitch-rate-1000",
    "cross-stitch-from-scratch",
    "mtl-shared-1-1",
    "nddr",
    "sluice",
    "mtan",
    "soft-sharing",
    "branching",
    "one-task-wide",
    "split-fc8-wide",
)
SHARE = dict(zip(SPLITS, (0.99, 0.97, 0.93, 0.88, 0.85, 0.65, 0.51), strict=True))  # of two networks


def make_priced(**options: object) -> FakeResults:
    """Made-up results whose costs differ by arm as those of real networks do."""
    results = fake_results(**options)
    frame = results.frame
    costs = frame["subset"] == "cost"
    for arm in frame["arm"].unique():
        size = SHARE.get(arm, {"ensemble": 2.0, "mtl-shared": 1.08}.get(arm, 1.0))
        time = {"cross-stitch": 2.1, "one-task-longer": 1.8}.get(arm, 0.5 + size / 2)
        networks = 2 if arm.startswith(("one-task", "ensemble")) else 1
        for metric, value in (("parameters", 1.1e8 * size), ("flops", 1.4e9 * size), ("seconds_with_parents", time)):
            frame.loc[costs & (frame["arm"] == arm) & (frame["metric"] == metric), "value"] = value / networks
    return results


drawn = partial(draw, Cost())


def test_points_are_mean_changes_with_the_interval_against_costs_per_pair() -> None:
    results = make_priced(seeds=range(4))
    points = Cost().data(results).points
    changes = relative_change(results.frame)
    by_hand = changes[changes["arm"] == "split-conv4"].groupby("task")["change"].mean()
    own = points[points["arm"] == "split-conv4"].set_index(["panel", "cost"])
    assert own.loc[(MEAN, "flops"), "mean"] == pytest.approx(by_hand.mean())
    assert own.loc[("detection", "flops"), "mean"] == pytest.approx(by_hand["detection"])
    reference = compute_intervals(changes[changes["task"] == "detection"]).set_index("arm")
    shown = reference.loc["split-conv4", ["low", "high"]].tolist()
    assert own.loc[("detection", "parameters"), ["low", "high"]].tolist() == pytest.approx(shown)
    base = points[(points["arm"] == "one-task") & (points["panel"] == MEAN)].set_index("cost")
    assert base["x"].to_dict() == pytest.approx({"parameters": 1.1e8, "flops": 1.4e9, "seconds_with_parents": 1.0})
    assert base["mean"].tolist() == [0.0] * 3 and base["low"].isna().all()
    assert "ensemble-member" not in set(points["arm"])


def test_the_caption_names_the_arms_on_the_front() -> None:
    results = make_priced(noise=0.0)  # mean over tasks: 0.15 x the effect
    data = Cost().data(results)
    text = data.caption
    order = "split-fc8, split-fc7, split-fc6, split-conv5, split-conv4, cross-stitch"
    fronts = f"by parameters: {order}; FLOPs, forward: {order}; seconds, with parents: {order}."
    assert f"from cheap to dear, {fronts}" in text
    front = data.points.query("front and cost == 'parameters' and panel == 'detection'")["arm"].tolist()
    assert front == ["mtl-shared", "split-fc8"]  # there the effects are turned
    assert "Pareto front" in text and "3 seeds (0, 1, 2)" in text and "No intervals" not in text
    alone = Cost().data(make_priced(seeds=(5,)), paper=True).caption
    assert "1 seed (5)" in alone and "No intervals below 3 seeds" in alone and "publishes no costs" in alone


def test_arms_without_a_task_or_costs_are_named() -> None:
    results = make_priced()
    frame = results.frame
    no_cost = (frame["subset"] == "cost") & (frame["arm"] == "mtl-shared")
    no_task = (frame["task"] == "detection") & (frame["arm"] == "ensemble")
    results.frame = frame[~(no_cost | no_task)]
    results.failures = [{"arm": "ensemble", "seed": 0, "task": "detection", "status": "failed", "reason": ""}]
    data = Cost().data(results)
    assert not {"mtl-shared", "ensemble"} & set(data.points["arm"])
    text = data.caption
    assert "Not shown, for lack of a task, a seed or costs: ensemble, mtl-shared." in text
    assert "Failed or blocked: ensemble." in text


@pytest.mark.parametrize("arms", [("one-task",), ("split-conv4", "cross-stitch")])
def test_without_two_arms_the_error_says_what_to_type(arms: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="type: mtlbench run --pair det_attr$") as error:
        Cost().data(make_priced(arms=arms))
    assert "\n" not in str(error.value)


def place(anchors: np.ndarray, sizes: np.ndarray, lines: np.ndarray, page: np.ndarray) -> np.ndarray:
    """Every marker has a label."""
    return place_labels(anchors, sizes, anchors, lines, page)


def test_a_single_label_stands_beside_its_marker_and_two_do_not_meet() -> None:
    page, size = np.array([200.0, 100.0]), np.array([[40.0, 8.0]])
    lines = np.zeros((0, 2))
    alone = place(np.array([[100.0, 50.0]]), size, lines, page)
    assert alone[0].tolist() == pytest.approx([124.0, 50.0])
    cornered = place(np.array([[198.0, 98.0]]), size, lines, page)[0]
    assert (cornered + size[0] / 2 <= page).all()
    twins = place(np.array([[100.0, 50.0], [100.0, 50.0]]), np.repeat(size, 2, axis=0), lines, page)
    assert (np.abs(twins[0] - twins[1]) >= size[0]).any()
    first, _ = place(np.array([[100.0, 50.0], [124.0, 50.0]]), np.repeat(size, 2, axis=0), lines, page)
    assert (np.abs(first - [124.0, 50.0]) >= size[0] / 2).any()  # the other's marker
    struck = place(np.array([[100.0, 50.0]]), size, np.array([[x, 50.0] for x in range(200)]), page)[0]
    assert abs(struck[1] - 50) >= size[0, 1] / 2  # a line through the marker


def test_labels_keep_off_markers_without_a_label() -> None:
    page, size, lines = np.array([200.0, 100.0]), np.array([[40.0, 8.0]]), np.zeros((0, 2))
    anchor, others = np.array([[100.0, 50.0]]), np.array([[100.0, 50.0], [124.0, 50.0], [110.0, 50.0]])
    place = place_labels(anchor, size, others, lines, page)[0]
    assert not any((np.abs(place - other) < size[0] / 2).all() for other in others)


@pytest.mark.parametrize("case", ["all", "semseg", "one seed", "two arms", "same costs", "ablations", "many"])
def test_no_label_covers_another_or_a_marker_or_leaves_the_page(case: str) -> None:
    options: dict[str, object] = {
        "semseg": {"pair": "semseg_sn"},
        "one seed": {"seeds": (0,)},
        "two arms": {"arms": ("one-task", "cross-stitch")},
        "ablations": {"arms": (*ARMS, *ABLATIONS)},
        "many": {"arms": (*ARMS, *ABLATIONS, *MORE), "effects": {**EFFECTS, "cross-stitch-rate-1000": -90.0}},
    }.get(case, {})
    results = fake_results(**options) if case == "same costs" else make_priced(**options)
    data = Cost().data(results)
    canvas = drawn(data)
    renderer, page = canvas.canvas.get_renderer(), canvas.bbox  # type: ignore[attr-defined]
    top = canvas.axes[: len(AXES)]
    for axes, cost in zip(top, AXES, strict=True):
        rows = data.points.query(f"panel == '{MEAN}' and cost == '{cost}'")
        assert len(axes.texts) == rows["named"].sum()
        labels = [(text.get_text(), text.get_tightbbox(renderer)) for text in axes.texts]
        markers = axes.transData.transform(rows[["x", "mean"]])
        for name, box in labels:
            assert box.x0 >= page.x0 and box.x1 <= page.x1, name
            middle = (box.y0 + box.y1) / 2
            assert not any(box.x0 < x < box.x1 and abs(y - middle) < 2 for x, y in markers), name
        for (one, first), (two, second) in itertools.combinations(labels, 2):
            wide = min(first.x1, second.x1) - max(first.x0, second.x0)
            tall = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert wide <= 1 or tall <= 3, f"{one!r} covers {two!r}"  # boxes have air above and below
    others = [axes.yaxis.label for axes in canvas.axes] + [axes.xaxis.label for axes in canvas.axes]
    others += list(canvas.texts) + canvas.legends[0].get_texts()
    for text in others:
        box = text.get_window_extent(renderer)
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    assert len(canvas.axes) == 3 * len(data.panels)


def test_names_are_those_of_the_front_and_of_all_but_ablations() -> None:
    effects = {**EFFECTS, "cross-stitch-rate-1000": -90.0, "cross-stitch-rate-1": 40.0}
    data = Cost().data(make_priced(arms=(*ARMS, *ABLATIONS, *MORE), effects=effects, seeds=range(5)))
    points = data.points[data.points["panel"] == MEAN]
    for _, rows in points.groupby("cost"):
        named = set(rows.loc[rows["named"], "arm"])
        assert {*ARMS, "nddr", "mtan", "split-fc8-wide"} <= named and "cross-stitch-rate-1" in named
        assert "mtl-shared-1-1" not in named and "cross-stitch-alpha-0.5-0.5" not in named
        assert rows.loc[rows["far"], "arm"].tolist() == ["cross-stitch-rate-1000"]
    words = [text.get_text() for text in drawn(data).legends[0].get_texts()]
    assert {"cross-stitch: variants", "mtl-shared: variants", "off the axis"} <= set(words)
    assert "cross-stitch-rate-1000 \N{MINUS SIGN}1" in data.caption
    few = Cost().data(make_priced(arms=(*ARMS, *ABLATIONS)), arms=["split-*"]).points["arm"]
    assert set(few) == {"one-task", *SPLITS}


def test_few_trees_are_all_named_of_many_those_on_the_front() -> None:
    trees = [f"tree-conv{k}:det+att-fc{m}" for k in (2, 3, 4, 5) for m in (6, 7)]
    effects = {**EFFECTS, **dict.fromkeys(trees, -20.0), trees[0]: 90.0}
    for shown, named in ((trees[:6], set(trees[:6])), (trees, {trees[0]})):
        data = Cost().data(make_priced(arms=(*ARMS, *shown), effects=effects))
        points = data.points[data.points["panel"] == MEAN]
        for _, rows in points[points["arm"].isin(trees)].groupby("cost"):
            assert set(rows.loc[rows["named"], "arm"]) == named
        assert ("all arms but trees" in data.caption) == (len(shown) > 6)
        words = [text.get_text() for text in drawn(data).legends[0].get_texts()]
        assert words.count("trees") == (len(shown) > 6) and not any("variants" in word for word in words)
    assert points.set_index("arm").loc[trees[0], "label"].iloc[0] == "conv2:det+att-fc6"


def test_a_column_shares_its_costs_and_a_row_its_changes() -> None:
    axes = np.array(drawn(Cost().data(make_priced())).axes).reshape(3, 3)
    for column in axes.T:
        assert len({panel.get_xlim() for panel in column}) == 1 and column[0].get_xscale() == "log"
        low, high = column[0].get_xlim()
        assert 2 <= sum(low <= tick <= high for tick in column[0].get_xticks()) <= 5
    for row in axes:
        assert len({panel.get_ylim() for panel in row}) == 1
