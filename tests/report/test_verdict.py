"""The verdict as data: on made-up results whose right verdict is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from mtlbench.analysis.comparison import BEATS, LOSES, NOISE, case_of
from mtlbench.analysis.inference import compute_intervals, find_detectable, seeds_for
from mtlbench.errors import UserError
from mtlbench.report.claims import Outcome
from mtlbench.report.verdict import NoChoice, Resolution, find_answer, find_gaps, find_resolution, reach_verdict
from tests.support.synthetic_results import ARMS, results_frame
from tests.support.worlds import TWINS, World, exact, world

FLAT = [100.0, 101.0, 99.0, 100.0]


# ---------------------------------------------------------------------------------------------------- the answer
def test_val_chooses_and_test_is_reported() -> None:
    test = {"one-task": FLAT, "split-conv2": [105.1, 105.9, 104.1, 104.9], "split-fc8": [110.0, 111.0, 109.0, 110.0]}
    val = test | {"split-conv2": [120.0, 121.0, 119.0, 120.0]}
    (one,) = find_answer(case_of(exact(test, val))).chosen
    assert (one.scope, one.arm, one.splits) == ("detection", "split-conv2", 2)
    assert one.val_change == pytest.approx(20.0, rel=1e-3)
    assert one.difference is not None and one.difference.relation == BEATS
    assert one.difference.mean == pytest.approx(5.0, rel=1e-3) and 4 < one.difference.low < 5


def test_lower_is_better_is_told_as_a_gain() -> None:
    test = {"one-task": [20.0, 21.0, 20.5], "split-conv4": [18.0, 18.9, 18.5], "cross-stitch": [22.0, 23.1, 22.6]}
    found = find_answer(case_of(exact(test, higher=False)))
    chosen = found.chosen[0].difference
    assert chosen is not None and (chosen.relation, round(chosen.mean, 1)) == (BEATS, 9.9)
    rival = found.comparisons[0].rivals["one-task"]
    assert (rival.relation, round(rival.mean, 1)) == (LOSES, -10.1)


def test_ties_are_within_noise_of_each_other() -> None:
    test = {"one-task": FLAT, "split-conv2": [101.0, 100.0, 100.0, 99.0], "cross-stitch": [99.5, 100.5, 101.0, 99.0]}
    found = find_answer(case_of(exact(test)))
    chosen = found.chosen[0].difference
    assert chosen is not None and chosen.relation == NOISE
    assert {one.relation for one in found.comparisons[0].rivals.values()} == {NOISE}
    assert not found.says_difference


def test_the_same_numbers_have_no_interval_and_are_not_called_better() -> None:
    test = {"one-task": FLAT, "cross-stitch": FLAT, "split-conv2": [103.0, 105.0, 104.0, 103.0]}
    rivals = find_answer(case_of(exact(test))).comparisons[0].rivals
    assert rivals["one-task"].relation == "" and rivals["one-task"].mean == 0


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_interval_below_three_seeds(seeds: int) -> None:
    found = reach_verdict(world("det_attr", seeds=range(seeds)))
    assert len(found.answer.chosen) == 3 and len(found.answer.comparisons) == 3
    assert {one.difference.relation for one in found.answer.chosen if one.difference} == {""}
    assert {rival.relation for one in found.answer.comparisons for rival in one.rivals.values()} == {""}
    assert found.resolution == Resolution(seeds, {}, {}, {}, 54) and not found.says_difference
    assert {one.outcome for claim in found.claims.tested for one in claim.findings} == {Outcome.OPEN}


def test_without_cross_stitch_the_splits_are_judged_and_the_gap_is_named() -> None:
    found = reach_verdict(world("det_attr", arms=[arm for arm in ARMS if arm != "cross-stitch"]))
    assert len(found.answer.chosen) == 3 and found.answer.comparisons == () == found.answer.costs
    assert found.gaps.missing == ("cross-stitch",)


def test_a_failed_arm_is_named_with_its_seeds_and_reason_and_is_not_missing() -> None:
    failure = {
        "pair": "det_attr",
        "dataset": "rooms",
        "recipe": "quick",
        "backbone": "caffenet",
        "task": "",
        "arm": "cross-stitch",
        "status": "failed",
        "reason": "ValueError: no",
    }
    other = {**failure, "dataset": "voc2008", "arm": "split-fc6"}
    results = world(
        "det_attr",
        arms=[arm for arm in ARMS if arm != "cross-stitch"],
        failures=[{**failure, "seed": seed} for seed in (0, 2)] + [{**other, "seed": 1}],
    )
    found = find_gaps(case_of(results))
    (one,) = found.failed
    assert found.missing == () and found.fewer == {}
    assert (one.arm, one.task, one.status, one.reason) == ("cross-stitch", "", "failed", "ValueError: no")
    assert one.seeds == ("0", "2")


def test_an_arm_with_fewer_seeds_is_named() -> None:
    results = world("det_attr")
    results.frame = results.frame[~((results.frame["arm"] == "split-fc7") & (results.frame["seed"] == 2))]
    found = find_gaps(case_of(results))
    assert (found.seeds, found.fewer, found.missing) == (3, {"split-fc7": 2}, ())
    assert find_gaps(case_of(world("det_attr"))).fewer == {}


def test_why_no_split_is_chosen() -> None:
    results = world("det_attr")
    results.frame = results.frame[results.frame["subset"] != "val"]
    assert find_answer(case_of(results)).no_choice is NoChoice.NO_VAL
    assert find_answer(case_of(world("det_attr", arms=("one-task", "cross-stitch")))).no_choice is NoChoice.NO_SPLITS
    found = reach_verdict(world("det_attr", arms=("split-conv2", "cross-stitch")))
    assert found.answer.no_choice is NoChoice.NO_BASELINE and found.answer.comparisons == ()
    assert found.resolution is None and found.claims.tested == () == found.claims.untested
    with pytest.raises(UserError, match="mtlbench run"):
        reach_verdict(World(results_frame().iloc[:0]))


def test_costs_count_the_parents() -> None:
    """Joint networks of the made-up frame have the FLOPs of one-task's two, and see half of their images in all."""
    parameters, training = find_answer(case_of(world("det_attr"))).costs
    assert (parameters.cost, training.cost) == ("parameters", "training_flops_with_parents")
    assert parameters.ratios["ensemble"] == 0.5 and parameters.ratios["one-task-longer"] == 1
    assert training.ratios["split-fc8"] == 2


def test_second_names_of_a_network_count_once() -> None:
    arms = ("one-task", "cross-stitch", *TWINS, "split-conv4")
    case = case_of(world(arms=arms))
    assert sorted(case.arms) == ["cross-stitch", "one-task", "split-conv4"]
    assert case.arm("cross-stitch-per-channel") == "cross-stitch" and case.arm("cross-stitch-per-layer") is None
    alone = case_of(world(arms=("one-task", "cross-stitch", "split-conv4")))
    assert find_answer(case) == find_answer(alone)
    alone.frame["arm"] = alone.frame["arm"].replace({"cross-stitch": "cross-stitch-from-one-task"})
    assert find_answer(case_of(World(alone.frame))).comparisons[0].arm == "cross-stitch-from-one-task"


# ---------------------------------------------------------------------------------------------------- what seeds show
def test_what_the_seeds_can_show_is_the_power_of_a_typical_contrast() -> None:
    case = case_of(world("det_attr"))
    found = find_resolution(case)
    assert found is not None and (found.seeds, found.contrasts) == (3, 54)
    rows = compute_intervals(case.changes[case.changes["task"] == "detection"]).dropna()
    noise, freedom = float((rows["error"] * np.sqrt(3 / 2)).median()), float(rows["freedom"].median())
    least = find_detectable(noise, freedom, 3)
    assert found.least["detection"] == pytest.approx(least)
    assert found.seeds_for_half["detection"] == seeds_for(least / 2, noise, freedom / 2)
    limit = scipy.stats.t.ppf(0.975, freedom)
    assert scipy.stats.nct.sf(limit, freedom, least / (noise * np.sqrt(2 / 3))) == pytest.approx(0.8, abs=0.01)
    assert all(found.least_said[scope] > found.least[scope] for scope in case.scopes)


def test_a_study_with_clear_effects_says_so_and_one_without_does_not() -> None:
    assert reach_verdict(world("det_attr", noise=0.1)).says_difference
    still = dict.fromkeys(ARMS, 0.0)
    assert not reach_verdict(world("det_attr", effects=still)).answer.says_difference
