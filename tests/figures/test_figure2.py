"""Figure 2: what its frames say, and that every sensible set of results can be drawn without overlaps."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from mtlbench.analysis.frame import relative_change
from mtlbench.analysis.inference import compute_intervals
from mtlbench.errors import UserError
from mtlbench.figures.figure2 import Figure2, count_columns, layout
from tests.support.arms import arms_of
from tests.support.drawings import draw
from tests.support.synthetic_results import ARMS, EFFECTS, STAGES, TASKS, fake_results

drawn = partial(draw, Figure2())


def test_arms_go_from_fully_shared_to_fully_separate_then_the_others() -> None:
    arms = Figure2().data(fake_results()).arms
    assert arms["arm"].tolist() == [
        "split-fc8",
        "split-fc7",
        "split-fc6",
        "split-conv5",
        "split-conv4",
        "split-conv3",
        "split-conv2",
        "one-task",
        "one-task-longer",
        "ensemble",
        "mtl-shared",
        "cross-stitch",
    ]
    steps = np.diff(arms["x"])
    assert steps[7] > 1 and set(steps) - {steps[7]} == {1.0}


def test_trees_stand_among_the_splits_by_how_much_is_shared() -> None:
    """Copies of the three layers conv1, conv2, fc6 of three tasks; the line joins Splits and one-task alone."""
    together, pair, apart = [["a", "b", "c"]], [["a", "b"], ["c"]], [["a"], ["b"], ["c"]]
    groups = {
        "split-fc8": (together, together, together),
        "tree-fc6:a+b-fc8": (together, together, pair),
        "split-fc6": (together, together, apart),
        "tree-conv2:a+b-fc6": (together, pair, apart),
        "split-conv2": (together, apart, apart),
        "one-task": (apart, apart, apart),
        "cross-stitch": (apart, apart, apart),
    }
    columns = count_columns({arm: [{"groups": own} for own in stages] for arm, stages in groups.items()})
    assert list(columns.values()) == [3, 4, 5, 6, 7, 9, 9]
    places = layout(list(groups)[::-1], arms_of(list(groups)), columns)
    assert places["arm"].tolist() == list(groups)
    assert places["spectrum"].tolist() == [True, False, True, False, True, True, False]


def test_results_with_trees_are_drawn() -> None:
    trees = ("tree-fc6:det+att-fc8", "tree-conv2:det+att-fc6")
    results = fake_results(arms=(*ARMS, *trees))
    data = Figure2().data(results)
    assert (
        set(trees) <= set(data.arms["arm"]) and not data.means.loc[data.means["arm"].isin(trees), "chosen_task"].any()
    )
    assert "in the order of how many copies" in data.caption
    assert "in the order of how many copies" not in Figure2().data(fake_results()).caption
    drawn(data)


def test_up_is_better_for_a_metric_where_lower_is() -> None:
    better = {**EFFECTS, "cross-stitch": -10.0}  # the made-up frame turns the effect on normals
    data = Figure2().data(fake_results("semseg_sn", noise=0.01, effects=better))
    mean = data.means.set_index(["task", "arm"])["mean"]
    assert mean["normals", "cross-stitch"] == pytest.approx(7.0, abs=0.1)
    assert mean["semseg", "cross-stitch"] == pytest.approx(-10.0, abs=0.1)


def test_points_are_one_per_seed_and_the_baseline_is_zero() -> None:
    data = Figure2().data(fake_results(seeds=range(4)))
    assert data.points.groupby(["task", "arm"]).size().eq(4).all()
    assert (data.points.loc[data.points["arm"] == "one-task", "change"] == 0).all()


def test_architectures_follow_the_groups() -> None:
    rows = Figure2().data(fake_results()).architectures
    stages = [*STAGES, "fc8"]
    for point in ("conv2", "conv4", "fc6", "fc8"):
        split = rows[rows["arm"] == f"split-{point}"]
        shared = split.loc[split["group"] == "detection+attributes", "stage"].unique().tolist()
        assert shared == stages[: stages.index(point)]
    stitched = rows[(rows["arm"] == "cross-stitch") & rows["unit"]]
    assert stitched["stage"].unique().tolist() == ["pool1", "pool2", "pool5", "fc6", "fc7"]


def test_one_task_trials_that_know_one_task_are_drawn_as_both_columns() -> None:
    results = fake_results()
    for stage in results.architectures["one-task"]:
        stage["groups"] = [["detection"]]
    rows = Figure2().data(results).architectures.query("arm == 'one-task'")
    assert rows["group"].eq(rows["task"]).all() and set(rows["task"]) == set(TASKS["det_attr"])


def test_the_caption_says_what_was_compared() -> None:
    results = fake_results()
    failure = {"pair": "det_attr", "arm": "tree", "seed": 0, "task": "", "status": "failed", "reason": "nan"}
    results.failures = [failure, {**failure, "pair": "semseg_sn", "arm": "other"}]
    text = Figure2().data(results).caption
    for part in (
        "detection mAP, attributes mAP",
        "3 seeds (0, 1, 2)",
        "det_attr on rooms, backbone caffenet,",
        "95 % intervals",
        "degrees of freedom",
        "Failed or blocked: tree.",
    ):
        assert part in text
    single = Figure2().data(fake_results(seeds=(5,))).caption
    assert "1 seed (5)" in single and "No intervals and no band below 3 seeds" in single


def test_published_values_are_shown_only_where_they_compare() -> None:
    ours = Figure2().data(fake_results(), paper=True)
    assert ours.published.empty and "dataset rooms, not voc2008" in ours.caption
    same = fake_results("semseg_sn", dataset="nyuv2", recipe="paper")
    theirs = Figure2().data(same, paper=True).published.set_index(["task", "arm"])["change"]
    assert theirs["semseg", "split-conv4"] == pytest.approx(100 * (19.2 - 18.4) / 18.4)
    assert theirs["normals", "cross-stitch"] == pytest.approx(100 * (34.8 - 34.1) / 34.8)
    assert Figure2().data(same).published.empty


def test_without_one_task_the_error_says_what_to_type() -> None:
    with pytest.raises(UserError, match="mtlbench run --pair det_attr"):
        Figure2().data(fake_results(arms=("split-conv4",)))


VARIANTS = (
    *(
        f"cross-stitch-{name}"
        for name in (
            "alpha-0.1-0.9",
            "alpha-0.5-0.5",
            "rate-1",
            "rate-10",
            "rate-1000",
            "after-convolutions",
            "from-scratch",
            "per-layer",
        )
    ),
    "mtl-shared-1-1",
    "mtl-shared-1-16",
    "nddr",
    "sluice",
    "mtan",
    "soft-sharing",
    "one-task-wide",
    "split-fc8-wide",
)


def test_ablations_are_shown_where_asked_for_with_the_same_intervals() -> None:
    results = fake_results(arms=(*ARMS, *VARIANTS))
    usual, every = Figure2().data(results), Figure2().data(results, arms=["*"])
    assert not usual.arms["arm"].str.startswith(("cross-stitch-", "mtl-shared-")).any()
    assert {"nddr", "one-task-wide", "split-fc8-wide"} <= set(usual.arms["arm"])
    assert "Left out: 10 ablations." in usual.caption
    assert set(every.arms["arm"]) == {*ARMS, *VARIANTS}
    lows = [data.means.set_index(["task", "arm"])["low"] for data in (usual, every)]
    assert lows[1][lows[0].index].tolist() == pytest.approx(lows[0].tolist(), nan_ok=True)
    some = Figure2().data(results, arms=["*rate*"]).arms["arm"].tolist()
    assert some == ["one-task", "cross-stitch-rate-1", "cross-stitch-rate-10", "cross-stitch-rate-1000"]


def test_a_control_that_is_wider_is_no_part_of_the_spectrum() -> None:
    arms = Figure2().data(fake_results(arms=(*ARMS, *VARIANTS))).arms.set_index("arm")["x"]
    assert arms["split-fc8"] == 0 and arms["split-fc8-wide"] > arms["one-task"]


def test_whiskers_are_the_arms_own_intervals_and_kin_have_paired_ones() -> None:
    results = fake_results(seeds=range(5))
    own = results.frame["key"]
    kin = own.where(
        results.frame["arm"] != "cross-stitch", own.str.replace(r".*/(\d)$", r"one-task/detection/\1", regex=True)
    )
    results.frame["roots"] = kin
    data = Figure2().data(results)
    reference = compute_intervals(relative_change(results.frame)).set_index(["task", "arm"])
    means = data.means.set_index(["task", "arm"])
    for name in ("low", "high"):
        assert means[name].to_dict() == pytest.approx(reference[name].to_dict(), nan_ok=True)
    assert means.index[means["paired"]].tolist() == [("detection", "cross-stitch")]
    assert "for cross-stitch the paired t interval" in data.caption


def test_a_star_is_filled_where_the_choice_differs_when_all_contrasts_are_allowed_for() -> None:
    for noise, differs in ((0.2, True), (3.0, False)):
        data = Figure2().data(fake_results(noise=noise))
        stars = data.means[data.means["chosen_task"]]
        assert len(stars) == 2 and set(stars["differs"]) == {differs}
        assert not data.means.loc[~data.means["chosen_task"], "differs"].any()
        panels = drawn(data).axes[1:3]
        faces = [tuple(dots.get_facecolor()[0]) for axes in panels for dots in axes.collections if is_star(dots)]
        assert [face != (1.0, 1.0, 1.0, 1.0) for face in faces] == [differs] * 2
    assert "all 54 contrasts" in data.caption


def is_star(dots: Any) -> bool:
    """Whether these markers are stars: ten corners."""
    return len(dots.get_paths()) == 1 and len(dots.get_paths()[0].vertices) == 11 and len(dots.get_offsets()) == 1


def test_an_arm_that_collapsed_does_not_flatten_the_others() -> None:
    data = Figure2().data(fake_results(effects={**EFFECTS, "mtl-shared": -90.0}))
    attributes = data.means[data.means["task"] == "attributes"].set_index("arm")
    assert attributes["far"][attributes["far"]].index.tolist() == ["mtl-shared"]
    axes = drawn(data).axes[2]
    assert axes.get_ylim()[0] > -40
    assert "\N{MINUS SIGN}9" in " ".join(text.get_text() for text in axes.texts)
    assert "Arrows: off the axis" in data.caption


def test_colours_go_with_the_tasks_in_every_panel() -> None:
    """Whatever the order of rows: the schematic's columns, the panels and the legend agree."""
    results = fake_results()
    baseline = results.frame["arm"] == "one-task"
    results.frame = pd.concat([results.frame[~baseline], results.frame[baseline].iloc[::-1]])
    data = Figure2().data(results)
    columns = data.architectures.drop_duplicates("task").set_index("task")["place"]
    assert data.band["task"].map(columns).tolist() == [0, 1]


@pytest.mark.parametrize(
    "case", ["all", "published", "one seed", "few", "custom", "no architectures", "many", "collapsed"]
)
def test_nothing_overlaps_and_nothing_leaves_the_page(case: str) -> None:
    options = {
        "published": {"pair": "semseg_sn", "dataset": "nyuv2", "recipe": "paper"},
        "one seed": {"seeds": (0,)},
        "many": {"arms": (*ARMS, *VARIANTS)},
        "collapsed": {"effects": {**EFFECTS, "mtl-shared": -90.0, "cross-stitch": -80.0}},
        "few": {"arms": ("one-task", "split-conv4")},
        "custom": {"arms": (*ARMS, "my-very-special-tree", "unhyphenatedlongname")},
    }.get(case, {})
    results = fake_results(**options)
    if case == "no architectures":
        results.architectures = {}
    canvas = drawn(Figure2().data(results, paper=case == "published", arms=["*"] if case == "many" else []))
    renderer = canvas.canvas.get_renderer()  # type: ignore[attr-defined]
    page = canvas.bbox
    texts = [text for axes in canvas.axes for text in axes.texts + axes.get_xticklabels() + [axes.yaxis.label]]
    texts += [axes.title for axes in canvas.axes] + [axes._left_title for axes in canvas.axes]  # type: ignore[attr-defined]
    texts += list(canvas.texts) + canvas.legends[0].get_texts()
    boxes = [
        (text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text() and text.get_visible()
    ]
    boxes = [(text, box) for text, box in boxes if box.width > 0]
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    for (one, first), (two, second) in itertools.combinations(boxes, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        tall = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert wide <= 1 or tall <= 1, f"{one!r} covers {two!r}"


def test_three_tasks_are_drawn_with_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    trio = ("semseg", "normals", "attributes")
    monkeypatch.setitem(TASKS, "trio", trio)
    results = fake_results("trio", arms=("one-task", "split-conv3", "tree"))
    results.architectures["tree"] = [
        {"stage": stage, "groups": [["semseg", "attributes"], ["normals"]], "unit": place == 7}
        for place, stage in enumerate(STAGES)
    ]
    data = Figure2().data(results)
    tree = data.architectures.query("arm == 'tree'")
    assert set(tree["group"]) >= {"semseg+attributes", "normals"}
    slots = tree.drop_duplicates("task").set_index("task")["slot"]  # tasks that share stand side by side
    assert abs(slots["semseg"] - slots["attributes"]) == 1
    assert len(drawn(data).axes) == 1 + 3


def test_units_within_a_shared_stage_are_the_tasks_own() -> None:
    results = fake_results(arms=("one-task", "cross-stitch", "mtan"))
    results.architectures["mtan"] = [
        {"stage": stage, "groups": [[*TASKS["det_attr"]]], "unit": stage == "conv5"} for stage in STAGES
    ]
    canvas = drawn(Figure2().data(results))
    words = [text.get_text() for text in canvas.legends[0].get_texts()]
    assert "task's unit in shared stage" in words and "unit mixing columns" in words
    dots = [collection for collection in canvas.axes[0].collections if isinstance(collection, PathCollection)]
    assert [len(collection.get_offsets()) for collection in dots] == [1, 1]  # a task each


def test_a_search_that_ends_in_other_trees_with_other_seeds_is_said() -> None:
    results = fake_results(arms=("one-task", "branching"))
    usual = results.architectures

    def of(frame: pd.DataFrame) -> dict[str, object]:
        apart = int(frame["seed"].min())
        forms = [[task] for task in TASKS["det_attr"]], [[*TASKS["det_attr"]]]
        trunk = [{"stage": stage, "groups": forms[place < apart], "unit": False} for place, stage in enumerate(STAGES)]
        return {**usual, "branching": trunk}

    results.architectures_of = of
    assert "first seed's network of branching" in Figure2().data(results).caption
    results.architectures_of = lambda frame: usual
    assert "first seed's" not in Figure2().data(results).caption
