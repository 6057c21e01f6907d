"""Figure 5 (and what it shares with 6): hand-worked gains, pairing by seed, what is left out, and the page."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mtlbench.analysis.selection import Selection
from mtlbench.errors import UserError
from mtlbench.figures.figure5 import Figure5
from mtlbench.figures.figure6 import Figure6
from tests.support.categories import Values, constant, drawn, make_up, measure
from tests.support.synthetic_results import results_frame

MINUS = "\N{MINUS SIGN}"


def test_the_gain_of_the_10_least_labelled_by_hand() -> None:
    """Of 30 categories the 10 rarest gain 4, the next 10 gain 2, the rest lose 1; seeds 0, 1, 2 add 0, .3, .6."""
    names = [f"c{place:02}" for place in range(30)]
    values = constant(names, (0, 1, 2), lambda place, seed: (4.0, 2.0, -1.0)[place // 10] + 0.3 * seed)
    shuffled = dict(sorted(((name, 100 * (i + 1)) for i, name in enumerate(names)), key=lambda item: item[0][::-1]))
    groups = Figure5().data(measure(values, shuffled)).groups.set_index("group")
    assert groups["mean"].to_dict() == pytest.approx(
        {
            "10 least-labelled": 4.3,
            "20 least-labelled": 3.3,
            "all 30": 5 / 3 + 0.3,
            "20 most-labelled": 0.8,
            "10 most-labelled": -0.7,
            f"10 least {MINUS} 10 most": 5.0,
        }
    )
    low, high = scipy.stats.t.interval(0.95, 2, 4.3, 0.3 / np.sqrt(3))
    assert groups.loc["10 least-labelled", ["low", "high"]].tolist() == pytest.approx([low, high])
    assert groups.loc[f"10 least {MINUS} 10 most", ["low", "high"]].tolist() == pytest.approx([5.0, 5.0])


def test_categories_stand_from_few_labels_to_many_with_their_paired_interval() -> None:
    values: Values = {
        "one-task": {0: {"a": 10.0, "b": 50.0}, 1: {"a": 20.0, "b": 50.0}, 2: {"a": 30.0, "b": 50.0}},
        "cross-stitch": {0: {"a": 11.0, "b": 51.0}, 1: {"a": 23.0, "b": 51.0}, 2: {"a": 32.0, "b": 51.0}},
    }
    bars = Figure5().data(measure(values, {"a": 90, "b": 7})).bars
    assert bars["category"].tolist() == ["b", "a"] and bars["count"].tolist() == [7, 90]
    reference = scipy.stats.ttest_rel([11, 23, 32], [10, 20, 30]).confidence_interval(0.95)
    assert bars.loc[1, ["mean", "low", "high"]].tolist() == pytest.approx([2.0, reference.low, reference.high])


def test_only_seeds_of_both_arms_count() -> None:
    """Seed 2 has no one-task and seed 3 no cross-stitch: unpaired means would give another change."""
    values = constant("abc", (0, 1, 2, 3), lambda place, seed: 1.0)
    values = {
        "one-task": {s: v for s, v in values["one-task"].items() if s != 2},
        "cross-stitch": {s: v for s, v in values["cross-stitch"].items() if s != 3},
    }
    data = Figure5().data(measure(values, {"a": 1, "b": 2, "c": 3}))
    assert data.bars["n"].tolist() == [2, 2, 2] and data.bars["mean"].tolist() == pytest.approx([1.0] * 3)
    assert data.bars["low"].isna().all() and "2 seeds (0, 1)" in data.caption


def test_the_correlation_is_spearmans_per_seed() -> None:
    results = make_up([f"c{place}" for place in range(12)])
    found = Figure5().data(results).correlation.iloc[0]
    rows = results.frame.query("category != '' and subset == 'test'")
    table = rows.pivot(index="category", columns=["arm", "seed"], values="value")
    counts = pd.Series(results.counts["attributes"]).loc[table.index]
    each = [scipy.stats.spearmanr(table["cross-stitch"][s] - table["one-task"][s], counts).statistic for s in range(3)]
    assert found["mean"] == pytest.approx(np.mean(each))
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(each), scipy.stats.sem(each))
    assert [found["low"], found["high"]] == pytest.approx([max(low, -1), min(high, 1)])
    equal = Figure5().data(measure(constant("abcd", (0, 1, 2), lambda place, seed: 1.0), dict.fromkeys("abcd", 5)))
    assert equal.correlation["mean"].isna().all() and "Spearman" not in equal.caption


def test_categories_that_cannot_be_shown_are_listed() -> None:
    values = constant("abcd", (0, 1, 2), lambda place, seed: 1.0)
    del values["one-task"][1]["d"]  # type: ignore[attr-defined]
    data = Figure5().data(measure(values, {"a": 5, "b": 0, "d": 4, "e": 9}))
    assert data.bars["category"].tolist() == ["a"]
    assert dict(data.left_out.itertuples(index=False)) == {
        "b": "no labels in train",
        "c": "label count unknown",
        "d": "no number for every seed",
        "e": "none in test",
    }
    assert "no labels in train: b" in data.caption
    drawn(data)
    with pytest.raises(UserError, match="no category of attributes has both labels") as error:
        Figure5().data(measure(values, {}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("categories", "groups"),
    [
        (64, [10, 20, 64, 20, 10, 10]),
        (24, [10, 20, 24, 20, 10, 10]),
        (17, [8, 10, 17, 10, 8, 8]),
        (10, [5, 10, 5, 5]),
        (1, [1]),
    ],
)
def test_few_categories_have_halves_for_groups(categories: int, groups: list[int]) -> None:
    data = Figure5().data(make_up([f"c{place}" for place in range(categories)]))
    assert data.groups["size"].tolist() == groups


def test_published_gains_are_shown_only_where_they_compare() -> None:
    names = [f"c{place}" for place in range(64)]
    ours = Figure5().data(make_up(names), paper=True)
    assert ours.published.empty and "dataset rooms, not voc2008" in ours.caption
    same = make_up(names, dataset="voc2008", recipe="paper")
    theirs = Figure5().data(same, paper=True)
    assert dict(theirs.published.itertuples(index=False)) == {"10 least-labelled": 4.6, "20 least-labelled": 4.3}
    drawn(theirs)
    assert Figure5().data(same).published.empty
    fewer = make_up(names[:15], dataset="voc2008", recipe="paper")
    data = Figure5().data(fewer, paper=True)
    assert data.published.empty and "15 categories of attributes, not 64" in data.caption


@pytest.mark.parametrize("missing", ["one-task", "cross-stitch"])
def test_a_missing_arm_is_one_line_with_what_to_type(missing: str) -> None:
    results = make_up("abc")
    results.frame = results.frame[results.frame["arm"] != missing]
    results.failures = [{"arm": missing, "pair": "det_attr", "seed": 0, "task": "", "status": "failed", "reason": ""}]
    with pytest.raises(UserError) as error:
        Figure5().data(results)
    assert str(error.value) == (
        "figure5 compares cross-stitch with one-task on attributes seed by seed, but there are no test numbers of"
        f" {missing}. Failed or blocked: {missing}. Type: mtlbench run --pair det_attr --arm cross-stitch"
    )


def test_the_pair_is_one_with_the_task_even_where_another_is_newer() -> None:
    results = make_up("abc")
    newer = results_frame("semseg_sn", finished="2027-01-01T00:00:00")
    results.frame = pd.concat([results.frame, newer], ignore_index=True)
    assert "det_attr on rooms" in Figure5().data(results).caption
    with pytest.raises(UserError, match="which pair semseg_sn has not; type: mtlbench plot figure5 --pair det_attr"):
        Figure5().data(results, selection=Selection("semseg_sn"))
    with pytest.raises(UserError, match="no pair with results called 'det_att'"):
        Figure5().data(results, selection=Selection("det_att"))
    results.frame = newer
    with pytest.raises(UserError, match="no results have; type: mtlbench run --pair det_attr"):
        Figure5().data(results)
    results.frame = newer.iloc[:0]
    with pytest.raises(UserError, match="there are no results yet"):
        Figure5().data(results)


@pytest.mark.parametrize(
    ("categories", "seeds"), [(2, (0, 1)), (10, (0,)), (17, (0,)), (24, (0, 1, 2)), (40, (0, 1, 2)), (64, (0, 1, 2))]
)
def test_nothing_overlaps_and_nothing_leaves_the_page(categories: int, seeds: tuple[int, ...]) -> None:
    names = [
        ("has a very long wheel " if place % 3 else "dark ")[: 4 + place % 17] + f"{place}"
        for place in range(categories)
    ]
    canvas = drawn(Figure5().data(make_up(names, seeds)))
    renderer, page = canvas.canvas.get_renderer(), canvas.bbox  # type: ignore[attr-defined]
    texts = [text for axes in canvas.axes for text in [*axes.texts, axes.xaxis.label, axes.yaxis.label]]
    bars, counts, groups = canvas.axes
    for axis in (bars.xaxis, bars.yaxis, counts.yaxis, groups.xaxis, groups.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        texts += [label for place, label in ticks if low <= place <= high]
    texts += list(canvas.texts)
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    for (one, first), (two, second) in itertools.combinations(boxes, 2):
        wide = min(first.x1, second.x1) - max(first.x0, second.x0)
        tall = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert wide <= 1 or tall <= 1, f"{one!r} covers {two!r}"


def test_figure5_takes_attributes_and_figure6_classes() -> None:
    with pytest.raises(UserError, match="figure6 needs the task semseg"):
        Figure6().data(make_up("abc"))
    with pytest.raises(UserError, match="figure5 needs the task attributes"):
        Figure5().data(make_up("abc", task="semseg"))
