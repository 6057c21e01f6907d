"""Differences of two arms: numbers against scipy, and the words for them."""

from __future__ import annotations

import pytest
import scipy.stats

from mtlbench.analysis.comparison import case_of
from mtlbench.text import listed, percent, probability
from tests.support.worlds import world


def test_the_pair_is_the_mean_over_tasks() -> None:
    case = case_of(world())
    changes = case.changes.set_index(["arm", "seed", "task"])["change"].unstack("task")
    assert changes[""].to_numpy() == pytest.approx(changes[["semseg", "normals"]].mean(axis=1).to_numpy())


def test_a_users_arm_that_is_called_like_one_of_ours_is_never_it() -> None:
    results = world()
    assert case_of(results).arm("mtl-shared", "ensemble") == "mtl-shared"
    results.frame.loc[results.frame["arm"] == "mtl-shared", ["scheme", "family"]] = ["MtlShared", "own"]
    case = case_of(results)
    assert case.arm("mtl-shared", "ensemble") == "ensemble" and case.arm("mtl-shared") is None
    assert case.kinds.label("mtl-shared") == "mtl-shared" and case.kinds.label("split-fc6") == "Split fc6"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((1.23, 0.31, 2.14), "+1.2 % [+0.3, +2.1]"),
        ((-0.04, -0.5, 0.42), "+0.0 % [-0.5, +0.4]"),
        ((0.6, 0.04, 1.16), "+0.60 % [+0.04, +1.16]"),
        ((2.0,), "+2.0 %"),
        ((-3.0,), "-3.0 %"),
    ],
)
def test_a_bound_that_excludes_0_does_not_read_0(numbers: tuple[float, ...], text: str) -> None:
    assert percent(*numbers) == text


def test_lists_and_probabilities_read_as_english() -> None:
    assert [listed(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert [probability(p) for p in (0.999, 0.001, 0.684, float("nan"))] == ["P > 0.99", "P < 0.01", "P = 0.68", ""]


def test_cross_stitch_against_a_rival_is_bonferronis_interval_of_the_paired_difference() -> None:
    case = case_of(world("det_attr"))
    one = case.difference("detection", "cross-stitch", "ensemble", 5)
    assert one is not None
    limits = scipy.stats.t.ppf([0.975, 1 - 0.025 / 5], 22)
    assert (one.wide_high - one.mean) / (one.high - one.mean) == pytest.approx(limits[1] / limits[0])
    assert case.difference("detection", "cross-stitch", "nothing") is None
