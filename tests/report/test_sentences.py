"""The wording of every sentence, once: of made-up data, not of results."""

from __future__ import annotations

import math

import pytest

from mtlbench.analysis.comparison import Difference, case_of
from mtlbench.report.claims import ABLATED, IMAGENET, ClaimResult, ClaimResults, Finding, Kind, Outcome, Untested
from mtlbench.report.sentences import (
    answer_sentences,
    claim_sentences,
    gap_sentences,
    resolution_sentences,
    say_compared,
    write_sentences,
)
from mtlbench.report.verdict import (
    Answer,
    ChosenSplit,
    Comparison,
    CostRatio,
    FailedArm,
    Gaps,
    NoChoice,
    Resolution,
    reach_verdict,
)
from tests.support.worlds import world

CASE = case_of(world(arms=("one-task",), seeds=(0,)))
NAN = math.nan


def difference(mean: float, half: float = 1.0, wide: float = 1.5) -> Difference:
    return Difference(mean, mean - half, mean + half, mean - wide, mean + wide, 3, 54)


@pytest.mark.parametrize(
    ("found", "relation", "text"),
    [
        (difference(2), "beats", "x by 2.0 % [1.0, 3.0]"),
        (difference(-2), "loses to", "x by 2.0 % [1.0, 3.0]"),
        (
            difference(2, 1, 2.5),
            "is within noise of",
            "x (+2.0 % [+1.0, +3.0]; [-0.5, +4.5] where 54 contrasts are allowed for)",
        ),
        (difference(0.5), "is within noise of", "x (+0.5 % [-0.5, +1.5])"),
        (difference(0.5, NAN, NAN), "", "+0.5 % against x"),
    ],
)
def test_relations_and_their_words(found: Difference, relation: str, text: str) -> None:
    assert found.relation == relation and say_compared(found, "x") == text


def test_the_answer() -> None:
    beats, loses, none = difference(5, 1, 2), difference(-5, 1, 2), difference(0.5, NAN, NAN)
    found = Answer(
        (
            ChosenSplit("", "split-conv4", 7, 2.0, beats),
            ChosenSplit("semseg", "split-fc8", 1, -1.0, None),
        ),
        None,
        (Comparison("", "cross-stitch", {"mtl-shared": loses, "one-task": beats, "split-conv4": none}),),
        (CostRatio("parameters", "cross-stitch", {"split-fc8": 1.0, "one-task": 1.0, "ensemble": 0.5}),),
    )
    assert answer_sentences(found) == [
        "For the pair (mean over its tasks), val chooses Split conv4 of 7 Splits (+2.0 % there); on test it beats"
        " one-task by 5.0 % [4.0, 6.0].",
        "For semseg, val chooses Split fc8, the only Split (-1.0 % there); it shares no seed with one-task.",
        "For the pair, cross-stitch beats one-task by 5.0 % [4.0, 6.0]; loses to MTL-shared by 5.0 % [4.0, 6.0];"
        " stands at +0.5 % against Split conv4 (no interval).",
        "Parameters of cross-stitch for the pair: 1.0 x Split fc8 and one-task; 0.5 x ensemble.",
    ]


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (NoChoice.NO_BASELINE, "Nothing can be said: one-task has no headline on test that another arm could be"),
        (NoChoice.NO_VAL, "No Split is chosen: there is no val to choose on."),
        (NoChoice.NO_SPLITS, "No Split is chosen: there are no Splits."),
    ],
)
def test_why_no_split_is_chosen(why: NoChoice, text: str) -> None:
    (line,) = answer_sentences(Answer(no_choice=why))
    assert line.startswith(text)


def test_what_the_seeds_can_show() -> None:
    found = Resolution(3, {"": 2.0, "semseg": 3.0}, {"": 4.0, "semseg": 6.0}, {"": 10, "semseg": 12}, 54)
    assert resolution_sentences(found, CASE) == [
        "With 3 seeds, differences from one-task under 2.0 % (the pair) and 3.0 % (semseg) cannot be relied on to show"
        " in an arm's own interval (80 % power); 10 and 12 seeds would show half of that.",
        "What is said here allows for 54 contrasts at once, and needs 4.0 % (the pair) and 6.0 % (semseg).",
    ]
    assert resolution_sentences(Resolution(1, {}, {}, {}, 54), CASE) == [
        "With 1 seed there is no interval (they start at 3 seeds): none of these differences can be told from noise;"
        " type: mtlbench run --pair semseg_sn --dataset rooms --recipe quick --seeds 0-2"
    ]
    (line,) = resolution_sentences(Resolution(3, {}, {}, {}, 54), CASE)
    assert line.startswith("The noise between seeds cannot be estimated") and resolution_sentences(None, CASE) == []


def test_claims_in_the_order_holds_fails_open() -> None:
    findings = (
        Finding("", Outcome.OPEN, difference(0.5), "cross-stitch", "split-conv4"),
        Finding("normals", Outcome.FAILS, difference(-2), "cross-stitch", "split-fc8"),
        Finding("semseg", Outcome.HOLDS, difference(2, NAN, NAN), "cross-stitch", "split-conv4", seeds=2),
    )

    def said(kind: Kind) -> str:
        line, _ = claim_sentences(ClaimResults((ClaimResult(kind, "A", "B", findings),)), CASE)
        return line

    assert said(Kind.ARMS) == (
        "A (B): holds for semseg (+2.0 %, 2 seeds, no interval); does not hold for normals (-2.0 % [-3.0, -1.0]);"
        " is open for the pair (+0.5 % [-0.5, +1.5])."
    )
    assert "normals (Split fc8: -2.0 % [-3.0, -1.0])" in said(Kind.BEST_SPLIT)
    assert "normals (alpha_s - alpha_d differs by -2.00 [-3.00, -1.00])" in said(Kind.ALPHAS)


def test_a_claim_of_splits_has_one_outcome() -> None:
    findings = (
        Finding("semseg", Outcome.HOLDS, difference(2), "split-fc8", "split-conv4"),
        Finding("normals", Outcome.OPEN, difference(0.5), "split-conv4", "split-fc8"),
    )
    (line, _) = claim_sentences(ClaimResults((ClaimResult(Kind.SPLITS_DIFFER, "A", "B", findings),)), CASE)
    assert line == (
        "A (B): is open: on semseg Split fc8 against Split conv4: +2.0 % [+1.0, +3.0] and on normals Split conv4"
        " against Split fc8: +0.5 % [-0.5, +1.5]."
    )


def test_other_claims_have_words_of_their_own() -> None:
    start = Finding("semseg", Outcome.HOLDS, difference(1), "cross-stitch-alpha-0.1-0.9", margin=3.7)
    few = Finding("semseg", Outcome.HOLDS, difference(3), group="6 least \N{MINUS SIGN} 6 most")
    one = Finding("normals", Outcome.OPEN, difference(1))
    fast = Finding("", Outcome.FAILS, arm="cross-stitch-rate-10000", seeds=3, beside=(one,))
    found = (
        ClaimResult(Kind.ROBUST, "A", "B", (start,)),
        ClaimResult(Kind.STARVED, "A", "B", (few,)),
        ClaimResult(Kind.DIVERGES, "A", "B", (fast,)),
        ClaimResult(Kind.SPLITS_DIFFER, "A", "B", (), "split-fc8"),
    )
    assert claim_sentences(ClaimResults(found, (), 54, 22), CASE) == [
        "A (B): holds for semseg (farthest: (0.1, 0.9), +1.0 % [+0.0, +2.0] against (0.9, 0.1); the paper's own spread"
        " is 3.7 %).",
        "A (B): holds for semseg (6 least minus 6 most labelled categories: +3.0 points [+2.0, +4.0]).",
        "A (B): does not hold: x 10000 diverged in 0 of 3 seeds; normals +1.0 % [+0.0, +2.0] against x 1000.",
        "A (B): not seen here, val chooses Split fc8 for both.",
        "Outcomes allow for 54 contrasts that the answer makes, those that only the claims make for 22.",
    ]


def test_claims_not_tested_say_what_to_type() -> None:
    found = (
        Untested("A", ("no x",), ABLATED),
        Untested("B", ("y failed", "no z"), ABLATED),
        Untested("C", (), IMAGENET),
    )
    assert claim_sentences(ClaimResults((), found), CASE) == [
        "Not tested: A (no x); B (y failed, no z). Type: mtlbench run --pair ablations --dataset rooms --recipe quick"
        " --seeds 0 --all-splits",
        "Not tested: C (). Type: mtlbench run --pair semseg_sn --dataset rooms --recipe quick"
        " --seeds 0 --arm cross-stitch --init cross-stitch=imagenet",
    ]


def test_what_was_not_compared() -> None:
    failed = FailedArm("tree", "semseg", "failed", "ValueError: no", ("0", "2"))
    assert gap_sentences(Gaps(("mtl-shared", "split-fc8"), (failed,), 3, {"split-fc7": 2}), CASE) == [
        "Not compared, since not trained: MTL-shared and Split fc8; type: mtlbench run --pair semseg_sn --dataset rooms"
        " --recipe quick --seeds 0 --all-splits",
        "Not compared: tree, semseg, seeds 0 and 2: failed: ValueError: no",
        "Fewer than the 3 seeds of one-task: Split fc7 2.",
    ]


def test_the_answer_comes_first() -> None:
    found = reach_verdict(world())
    lines = write_sentences(found)
    assert lines[: len(answer_sentences(found.answer))] == answer_sentences(found.answer)
    assert lines[-1] == claim_sentences(found.claims, found.case)[-1]
