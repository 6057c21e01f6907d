"""Differences of two arms: numbers against scipy, and the words for them."""

from __future__ import annotations

import numpy as np
import pytest

from mtlbench.analysis.alphas import SHARE as ALPHAS_SHARE
from mtlbench.analysis.comparison import (
    BEATS,
    CLAIMS_SHARE,
    FAMILY_SHARE,
    LOSES,
    NOISE,
    Difference,
    case_of,
)
from mtlbench.text import list_in_words, write_percent, write_probability
from tests.support.equal_arms import Noise, equal_studies
from tests.support.worlds import world

NAN = float("nan")


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
    assert write_percent(*numbers) == text


def test_lists_and_probabilities_read_as_english() -> None:
    assert [list_in_words(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert [write_probability(p) for p in (0.999, 0.001, 0.684, float("nan"))] == [
        "P > 0.99",
        "P < 0.01",
        "P = 0.68",
        "",
    ]


def test_a_difference_has_the_contrasts_own_interval_and_one_for_its_family() -> None:
    case = case_of(world("det_attr"))
    assert case.family == 3 * (7 + 4 + 7) and len(case.splits) == 7
    one = case.difference("detection", "cross-stitch", "ensemble")
    contrast = case.runs["detection"].contrast("cross-stitch", "ensemble")
    assert one is not None and contrast is not None
    assert (one.low, one.high) == contrast.interval() and one.comparisons == 54
    assert (one.wide_low, one.wide_high) == contrast.simultaneous(54, 1 - 0.05 * FAMILY_SHARE)
    assert case.difference("detection", "cross-stitch", "nothing") is None
    assert FAMILY_SHARE + CLAIMS_SHARE + ALPHAS_SHARE <= 1


@pytest.mark.parametrize(
    ("bounds", "relation", "alone"),
    [
        ((1, 3, 0.5, 3.5), BEATS, False),
        ((-3, -1, -3.5, -0.5), LOSES, False),
        ((1, 3, -0.5, 4.5), NOISE, True),
        ((-3, -1, -4.5, 0.5), NOISE, True),
        ((-1, 3, -2, 4), NOISE, False),
        ((NAN, NAN, NAN, NAN), "", False),
    ],
)
def test_words_follow_the_interval_of_the_family(bounds: tuple[float, ...], relation: str, alone: bool) -> None:
    low, high, wide_low, wide_high = bounds
    found = Difference(2.0, low, high, wide_low, wide_high, 3)
    assert (found.relation, found.alone) == (relation, alone)


def test_the_family_is_what_the_answer_can_be_about() -> None:
    few = case_of(world("det_attr", arms=("one-task", "split-fc8", "split-fc7")))
    assert few.family == 3 * 2
    stitched = case_of(world("det_attr", arms=("one-task", "ensemble", "cross-stitch")))
    assert stitched.family == 3 * 2


def test_arms_of_one_parent_are_kin_in_the_pair_and_in_its_tasks() -> None:
    (study,) = equal_studies(np.random.default_rng(0), Noise(3, kin=True), 1)
    case = case_of(study)
    for scope in ("", "detection", "attributes"):
        kin = case.difference(scope, "cross-stitch", "one-task")
        assert kin is not None and case.runs[scope].are_kin("cross-stitch", "one-task")
        assert not case.runs[scope].are_kin("split-fc8", "one-task")
