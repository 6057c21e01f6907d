"""The paper's claims as outcomes: on made-up results whose right outcome is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtlbench.analysis.comparison import PAIR, case_of
from mtlbench.report.claims import (
    ABLATED,
    IMAGENET,
    ROBUST,
    TOO_FAST,
    ClaimResult,
    ClaimResults,
    Kind,
    Outcome,
    Untested,
    judge_claims,
)
from tests.support.synthetic_results import ARMS
from tests.support.worlds import ABLATIONS, World, world

HOLDS, FAILS, OPEN = Outcome.HOLDS, Outcome.FAILS, Outcome.OPEN


def claim(results: World) -> ClaimResults:
    return judge_claims(case_of(results), results)


def about(results: World, text: str) -> ClaimResult:
    found = claim(results).about(text)
    assert found is not None
    return found


def find_untested(results: World, text: str) -> Untested:
    (one,) = [one for one in claim(results).untested if text in one.text]
    return one


def test_claims_hold_fail_or_stay_open_task_by_task() -> None:
    effects = {"cross-stitch": 8.0, "split-conv4": 2.0, "split-fc8": -2.0}  # normals: turned and shrunk by the frame
    arms = ("one-task", "split-conv4", "split-fc8", "ensemble", "cross-stitch")
    results = world(arms=arms, effects=effects, noise=0.2, seeds=range(5))
    found = about(results, "Cross-stitch beats one-task")
    assert found.outcomes() == {PAIR: HOLDS, "normals": FAILS, "semseg": HOLDS} and found.source == "Section 6.2"
    best = about(results, "the best Split")
    assert best.kind is Kind.BEST_SPLIT and {one.scope: one.other for one in best.findings}["semseg"] == "split-conv4"
    still = world(arms=("one-task", "cross-stitch"), effects={"cross-stitch": 0.0})
    assert set(about(still, "Cross-stitch beats one-task").outcomes().values()) == {OPEN}


def test_best_splits_that_differ_are_compared_on_each_others_task() -> None:
    found = about(world("det_attr", noise=0.3, seeds=range(5)), "differs between tasks")
    assert found.outcomes() == {"detection": HOLDS, "attributes": HOLDS} and found.same == ""
    compared = {one.scope: (one.arm, one.other) for one in found.findings}
    assert compared == {"detection": ("split-fc8", "split-conv4"), "attributes": ("split-conv4", "split-fc8")}
    assert found.outcome is HOLDS and found.says_difference
    sizes = {one.scope: one.difference.mean for one in found.findings if one.difference}
    assert sizes["attributes"] == pytest.approx(6.5, abs=1)
    one = about(world("det_attr", arms=("one-task", "split-conv4", "cross-stitch")), "differs between tasks")
    assert one.same == "split-conv4" and one.findings == ()


def test_that_the_best_split_differs_needs_both_directions() -> None:
    """Only detection has a best Split here: attributes' choice is as good as any other."""
    effects = {"split-fc8": -12.0, "split-conv4": -0.4}  # turned for detection, where attributes lose
    val = world("det_attr", arms=("one-task", "split-conv4", "split-fc8"), effects=effects, noise=0.2, seeds=range(5))
    frame = val.frame
    flat = (frame["task"] == "attributes") & (frame["arm"] != "one-task") & (frame["subset"] == "test")
    rng = np.random.default_rng(0)
    frame.loc[flat & frame["headline"], "value"] = 51.0 * (1 + rng.normal(0, 0.002, (flat & frame["headline"]).sum()))
    found = about(World(frame), "differs between tasks")
    assert found.outcomes() == {"detection": HOLDS, "attributes": OPEN}
    assert found.outcome is OPEN and not found.says_difference


def test_claims_beside_the_answer_allow_for_each_other() -> None:
    alone, many = (claim(world(arms=(*ARMS, *arms))) for arms in (("cross-stitch-from-scratch",), ABLATIONS))
    text = "beats one from scratch"
    few, more = (found.about(text) for found in (alone, many))
    assert few is not None and more is not None and few.kind is Kind.ARMS
    assert alone.claims_family == 3 < many.claims_family and alone.answer_family == many.answer_family == 54
    for one, other in zip(few.findings, more.findings, strict=True):
        assert one.difference is not None and other.difference is not None
        assert (one.difference.comparisons, other.difference.comparisons) == (3, many.claims_family)


def test_pairs_on_the_same_data_are_compared_by_what_they_choose() -> None:
    ours, theirs = world("det_attr"), world("semseg_sn", finished="2025-01-01T00:00:00")
    both = World(pd.concat([ours.frame, theirs.frame], ignore_index=True))
    found = about(both, "between det_attr and semseg_sn")
    compared = {one.scope: (one.arm, one.other) for one in found.findings}
    assert compared == {"det_attr": ("split-conv5", "split-conv2"), "semseg_sn": ("split-conv2", "split-conv5")}
    assert found.outcome is OPEN
    elsewhere = World(pd.concat([ours.frame, theirs.frame.assign(dataset="nyuv2")], ignore_index=True))
    assert claim(elsewhere).about("between det_attr and") is None


def test_every_claim_of_the_ablations_is_tested_where_its_arms_are() -> None:
    found = claim(world(arms=(*ARMS, *ABLATIONS)))
    for text in (
        "at 100 times the network's rate than at 1",
        "at 1000 times the network's rate than at 1",
        "beats one from scratch",
        "after convolutions",
        "per channel beats one per layer",
        ROBUST,
        "pool5 is more task",
    ):
        one = found.about(text)
        assert one is not None and all(part.difference and part.difference.has_interval for part in one.findings), text
    (imagenet,) = [one for one in found.untested if "ImageNet" in one.text]
    assert imagenet.space == IMAGENET
    assert imagenet.lacks == ("no cross-stitch-from-imagenet", "needs weights of ImageNet, docs/weights.md")


def test_what_lacks_is_named() -> None:
    failure = {"arm": "cross-stitch-rate-1", "seed": 0, "task": "", "status": "failed", "kind": "error", "reason": "x"}
    failed = world(arms=[*ARMS, *(arm for arm in ABLATIONS if arm != failure["arm"])], failures=[failure])
    assert find_untested(failed, "at 100 times the network's rate than at 1").lacks == ("cross-stitch-rate-1 failed",)
    assert find_untested(world(), ROBUST) == Untested(ROBUST, ("no two starts",), ABLATED)
    assert find_untested(world(), TOO_FAST).lacks == ("no higher rate",)


@pytest.mark.parametrize(
    ("effect", "noise", "outcome"),
    [(0.0, 0.02, HOLDS), (-30.0, 0.02, FAILS), (0.0, 1.5, OPEN)],
)
def test_starts_are_robust_within_the_papers_own_spread(effect: float, noise: float, outcome: Outcome) -> None:
    effects = {"cross-stitch-alpha-0.1-0.9": effect, "cross-stitch": 0.0}
    results = world(arms=("one-task", "cross-stitch", *ABLATIONS[:4]), effects=effects, noise=noise)
    found = about(results, ROBUST)
    assert found.outcomes() == {"normals": outcome, "semseg": outcome}
    margins = {one.scope: one.margin for one in found.findings}
    assert margins["normals"] == pytest.approx(100 * (34.6 - 34.0) / 34.0)  # Table 1, by hand
    assert margins["semseg"] == pytest.approx(100 * (18.9 - 18.2) / 18.9)


def test_divergence_is_counted_by_seeds_and_other_failures_are_not() -> None:
    failure = {
        "pair": "semseg_sn",
        "dataset": "rooms",
        "recipe": "quick",
        "backbone": "caffenet",
        "task": "",
        "arm": "cross-stitch-rate-10000",
        "status": "failed",
    }
    diverged = [
        {**failure, "seed": seed, "kind": "diverged", "reason": "Diverged: the loss is nan"} for seed in range(3)
    ]
    arms = ("one-task", "cross-stitch", "cross-stitch-rate-1000")
    (one,) = about(world(arms=arms, failures=diverged), TOO_FAST).findings
    assert (one.outcome, one.diverged, one.seeds, one.beside) == (HOLDS, 3, 3, ())
    at_another = [one | {"arm": f"{one['arm']}@3", "purpose": "rates"} for one in diverged]
    assert about(world(arms=arms, failures=[*diverged, *at_another]), TOO_FAST).findings == (one,)
    broken = [{**failure, "seed": 0, "kind": "error", "reason": "OSError: disk full"}]
    assert claim(world(arms=arms, failures=broken)).about(TOO_FAST) is None
    (trained,) = about(world(arms=(*arms, "cross-stitch-rate-10000")), TOO_FAST).findings
    assert (trained.outcome, trained.diverged, trained.seeds) == (FAILS, 0, 3)
    assert {one.scope for one in trained.beside} == {"normals", "semseg"}


def test_few_labels_and_alphas_are_tested() -> None:
    results = world(categories=12, seeds=range(5))
    (starved,) = about(results, "Data-starved").findings
    assert (starved.scope, starved.outcome) == ("semseg", HOLDS)
    assert starved.difference is not None and starved.difference.mean == pytest.approx(3.0, abs=0.3)
    assert starved.group.startswith("6 least")
    assert about(world("det_attr", categories=30), "Data-starved").source == "Section 6.5"
    assert about(results, "pool5 is more task-specific").outcomes()["normals"] is HOLDS
    assert about(results, "normals shares more").outcomes()["normals"] is OPEN
