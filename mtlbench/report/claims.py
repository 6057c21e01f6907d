"""The paper's claims, each tested on the results at hand: outcomes and numbers; `sentences` makes words of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from mtlbench.analysis.alphas import SHARE as ALPHAS_SHARE
from mtlbench.analysis.alphas import alpha_numbers
from mtlbench.analysis.categories import ATTRIBUTES, CLASSES, Question, category_gains
from mtlbench.analysis.comparison import (
    BEATS,
    CLAIMS_SHARE,
    CROSS_STITCH,
    FAMILY_SHARE,
    LOSES,
    PAIR,
    Case,
    Difference,
    difference_of,
)
from mtlbench.analysis.frame import list_records, relative_change
from mtlbench.analysis.inference import make_paired_contrast
from mtlbench.analysis.paper import read_published
from mtlbench.analysis.selection import select_newest
from mtlbench.arm_names import BASELINE
from mtlbench.contracts import Results
from mtlbench.errors import UserError

BEST_SPLIT = "the best Split"  # stands for the arm that val chooses
ROBUST = "Cross-stitch is robust to the start of the alphas"
TOO_FAST = "Alphas diverge above 1000 times the network's rate"
STARVED = "Data-starved categories gain more"
DIFFERS = "The best Split differs between"
ALPHA, RATE = "cross-stitch-alpha-", "cross-stitch-rate-"
USUAL_START = ALPHA + "0.9-0.1"
ALL, ABLATED = "{pair} --all-splits", "{ablations} --all-splits"
IMAGENET = "{pair} --arm cross-stitch --init cross-stitch=imagenet"  # docs/weights.md


class Outcome(StrEnum):
    """What the results say of a claim in one scope."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "is open"


class Kind(StrEnum):
    """What a claim is about, which decides how it is worded."""

    ARMS = "one arm is better than another"
    BEST_SPLIT = "an arm is better than the Split that val chooses"
    SPLITS_DIFFER = "the best Split differs"
    ROBUST = "starts are equivalent"
    DIVERGES = "rates diverge"
    STARVED = "categories with few labels gain more"
    ALPHAS = "alphas differ between layers or tasks"


@dataclass(frozen=True)
class Claim:
    """One arm (any of its names) better than another, as the paper says it or, where marked, ours."""

    text: str
    source: str
    arm: tuple[str, ...]
    other: tuple[str, ...]
    pair: str = ""  # "" = any
    space: str = ALL  # what trains the arms


@dataclass(frozen=True)
class Finding:
    """What one contrast says of a claim.

    `scope` is a task, PAIR, or another pair; `arm` and `other` are what was compared, "" where it was not two arms.
    The difference is in % of one-task, in points of the metric (STARVED) or plain (ALPHAS). `group` names categories
    (STARVED); `margin` (%) is what counts as equivalent (ROBUST); `diverged` of `seeds` (DIVERGES).
    """

    scope: str
    outcome: Outcome
    difference: Difference | None = None
    arm: str = ""
    other: str = ""
    group: str = ""
    margin: float = math.nan
    diverged: int = 0
    seeds: int = 0
    beside: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class ClaimResult:
    """A claim that was tested. `same` is the Split that val chooses everywhere, where nothing is left to test."""

    kind: Kind
    text: str
    source: str
    findings: tuple[Finding, ...]
    same: str = ""

    def outcomes(self) -> dict[str, Outcome]:
        """{scope: outcome}."""
        return {one.scope: one.outcome for one in self.findings}

    @property
    def outcome(self) -> Outcome:
        """Of the claim as a whole: it holds where every finding does, and does not where one does not."""
        found = set(self.outcomes().values())
        if Outcome.FAILS in found:
            return Outcome.FAILS
        return Outcome.HOLDS if found == {Outcome.HOLDS} else Outcome.OPEN

    @property
    def says_difference(self) -> bool:
        """Whether its sentence says that something differs from something else."""
        if self.kind is Kind.DIVERGES:
            return False
        if self.kind is Kind.SPLITS_DIFFER:
            return self.outcome is not Outcome.OPEN
        saying = (Outcome.FAILS,) if self.kind is Kind.ROBUST else (Outcome.HOLDS, Outcome.FAILS)
        return any(one.outcome in saying for one in self.findings)


@dataclass(frozen=True)
class Draft:
    """A claim whose contrasts are known, but not yet how many others they have to be allowed for with."""

    contrasts: int  # that are no part of the answer
    judge: Callable[[int], ClaimResult]  # from the number of all such contrasts


@dataclass(frozen=True)
class Untested:
    """A claim that was not tested: what lacks, and the space (with options) that trains it."""

    text: str
    lacks: tuple[str, ...]
    space: str


@dataclass(frozen=True)
class ClaimResults:
    """All of the paper's claims on one case."""

    tested: tuple[ClaimResult, ...] = ()
    untested: tuple[Untested, ...] = ()
    answer_family: int = 0  # contrasts that the intervals of the answer allow for
    claims_family: int = 0  # contrasts that those of the other claims allow for

    def about(self, text: str) -> ClaimResult | None:
        """The claim tested whose statement contains the text."""
        return next((one for one in self.tested if text in one.text), None)


CLAIMS = (
    Claim("Cross-stitch beats one-task", "Section 6.2", CROSS_STITCH, (BASELINE,)),
    Claim("Cross-stitch beats the best Split", "Section 6.2", CROSS_STITCH, (BEST_SPLIT,)),
    Claim("Cross-stitch beats an ensemble of twice its size", "Section 6.2", CROSS_STITCH, ("ensemble",)),
    Claim("Its gain is more than longer training", "ours", CROSS_STITCH, ("one-task-longer",)),
    Claim(
        "Alphas learn better at 100 times the network's rate than at 1",
        "Table 2",
        (RATE + "100",),
        (RATE + "1",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "Alphas learn better at 1000 times the network's rate than at 1",
        "Table 2",
        (RATE + "1000",),
        (RATE + "1",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "A start from one-task networks beats one from ImageNet",
        "Table 3",
        CROSS_STITCH,
        ("cross-stitch-from-imagenet",),
        "semseg_sn",
        IMAGENET,
    ),
    Claim(
        "A start from one-task networks beats one from scratch",
        "Section 5.3, ours",
        CROSS_STITCH,
        ("cross-stitch-from-scratch",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "Units after pooling beat units after convolutions",
        "Section 5",
        CROSS_STITCH,
        ("cross-stitch-after-convolutions",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "A unit per channel beats one per layer",
        "Section 5, ours",
        ("cross-stitch-per-channel",),
        ("cross-stitch-per-layer",),
        "semseg_sn",
        ABLATED,
    ),
    Claim(
        "A unit per layer beats one per channel, which is unstable",
        "Section 6",
        ("cross-stitch-per-layer",),
        ("cross-stitch-per-channel",),
        "det_attr",
        ABLATED,
    ),
)


def judge_claims(case: Case, results: Results) -> ClaimResults:
    """The paper's claims whose arms are there, and those that were not tested.

    A claim holds where the interval that allows for the contrasts of its family (`comparison`) lies on its side of 0,
    does not where it lies on the other side; else it is open. That the best Split differs holds where each choice beats
    the other one where it was made. `results` (`store.Results`) gives alphas, label counts and the other pairs.
    """
    if case.changes.empty:
        return ClaimResults()
    drafts = [*_splits_differ(case, results)]
    untested = []
    for claim in CLAIMS:
        if claim.pair in ("", case.pair):
            if draft := _test(case, claim):
                drafts.append(draft)
            else:
                untested.append(Untested(claim.text, _list_lacking(case, claim), claim.space))
    if case.pair == "semseg_sn":
        for draft, text, arms in (
            (_find_robustness(case), ROBUST, "two starts"),
            (_too_fast(case), TOO_FAST, "higher rate"),
        ):
            if draft:
                drafts.append(draft)
            else:
                untested.append(Untested(text, (f"no {arms}",), ABLATED))
    drafts += [*_test_starved(case, results), *_task_specific(case, results)]
    family = sum(draft.contrasts for draft in drafts)
    return ClaimResults(tuple(draft.judge(family) for draft in drafts), tuple(untested), case.family, family)


def _list_lacking(case: Case, claim: Claim) -> tuple[str, ...]:
    """Why a claim was not tested."""
    failed = {str(failure["arm"]) for failure in case.failures}
    why = []
    for names in (claim.arm, claim.other):
        if names == (BEST_SPLIT,):
            why += [] if case.choice else ["no Split chosen on val"]
        elif not case.arm(*names):
            why.append(f"{names[0]} failed" if failed & set(names) else f"no {names[0]}")
    if claim.space == IMAGENET and why:
        why.append("needs weights of ImageNet, docs/weights.md")
    return tuple(why) or ("no seed in common",)


def outcome_of(found: Difference) -> Outcome:
    """Whether a difference lies above 0 when its family is allowed for."""
    return {BEATS: Outcome.HOLDS, LOSES: Outcome.FAILS}.get(found.relation, Outcome.OPEN)


def _make_finding(scope: str, arm: str, other: str, found: Difference) -> Finding:
    return Finding(scope, outcome_of(found), found, arm, other, seeds=found.seeds)


def _test(case: Case, claim: Claim) -> Draft | None:
    """A claim on every scope; None where its arms are missing or failed."""
    best = claim.other == (BEST_SPLIT,)
    found = []
    for scope in case.scopes:
        other = case.choice.get(scope, {}).get("arm") if best else case.arm(*claim.other)
        arm = case.arm(*claim.arm)
        if arm and other and arm != other and (contrast := case.runs[scope].contrast(arm, other)):
            found.append((scope, arm, str(other), contrast))
    if not found:
        return None
    answered = not claim.pair  # cross-stitch and its rivals

    def judge(family: int) -> ClaimResult:
        how = (case.family, FAMILY_SHARE) if answered else (family, CLAIMS_SHARE)
        findings = (_make_finding(scope, arm, other, difference_of(one, *how)) for scope, arm, other, one in found)
        return ClaimResult(Kind.BEST_SPLIT if best else Kind.ARMS, claim.text, claim.source, tuple(findings))

    return Draft(0 if answered else len(found), judge)


def _splits_differ(case: Case, results: Results) -> Iterable[Draft]:
    """Whether tasks, and pairs on the same data, want different Splits: what the other's choice would cost on test.

    Both choices have to be better than the other's, so that the number of pairs of Splits needs no allowing for."""
    choice = {scope: str(row["arm"]) for scope, row in case.choice.items()}
    tasks = [scope for scope in choice if scope != PAIR]
    if len(tasks) > 1:
        yield _find_difference(f"{DIFFERS} tasks", {task: (case, task, choice[task]) for task in tasks})
    for name in sorted({*results.frame["pair"].unique()} - {case.pair}):
        rows = results.frame[(results.frame["pair"] == name) & results.frame["dataset"].isin(case.frame["dataset"])]
        if PAIR not in choice or rows.empty:
            continue
        frame, note = select_newest(rows)
        other = Case(frame, (), note)
        chosen = other.choice.get(PAIR)
        if chosen and case.arm(chosen["arm"]) and other.arm(choice[PAIR]):
            places = {case.pair: (case, PAIR, choice[PAIR]), name: (other, PAIR, str(chosen["arm"]))}
            yield _find_difference(f"{DIFFERS} {case.pair} and {name}", places)


def _find_difference(text: str, places: Mapping[str, tuple[Case, str, str]]) -> Draft:
    """`places` are what is compared by name: the case, the scope and the Split that val chooses there."""
    arms = list(dict.fromkeys(arm for _, _, arm in places.values()))
    findings = [
        _make_finding(name, arm, other, found)
        for name, (case, scope, arm) in places.items()
        for other in arms
        if other != arm and (found := case.difference(scope, arm, other))
    ]
    same = arms[0] if len(arms) == 1 else ""
    return Draft(0, lambda family: ClaimResult(Kind.SPLITS_DIFFER, text, "Section 1.1", tuple(findings), same))


def _find_robustness(case: Case) -> Draft | None:
    """Starts are equivalent where all differences, allowed for their number, lie within the paper's own spread."""
    starts = [arm for arm in case.names if arm.startswith(ALPHA) and arm != USUAL_START and case.arm(arm)]
    usual = case.arm(USUAL_START)
    if not starts or not usual:
        return None
    table = read_published().query("source == 'Table 1'")
    spread = relative_change(table, USUAL_START).groupby("task")["change"].agg(lambda change: change.abs().max())
    contrasts = {
        (task, arm): found
        for task in case.scopes
        if task in spread
        for arm in starts
        if (found := case.runs[task].contrast(case.names[arm], usual))
    }
    if not contrasts:
        return None

    def judge(family: int) -> ClaimResult:
        findings = []
        for task in dict.fromkeys(task for task, _ in contrasts):
            known = {
                arm: difference_of(one, family, CLAIMS_SHARE) for (name, arm), one in contrasts.items() if name == task
            }
            margin = float(spread[task])
            far = any(one.wide_low > margin or one.wide_high < -margin for one in known.values())
            near = all(-margin < one.wide_low and one.wide_high < margin for one in known.values())
            outcome = Outcome.FAILS if far else Outcome.HOLDS if near else Outcome.OPEN
            worst = max(known, key=lambda arm: abs(known[arm].mean))
            seeds = known[worst].seeds
            findings.append(Finding(task, outcome, known[worst], worst, USUAL_START, margin=margin, seeds=seeds))
        return ClaimResult(Kind.ROBUST, ROBUST, "Table 1", tuple(findings))

    return Draft(len(contrasts), judge)


def _too_fast(case: Case) -> Draft | None:
    """Whether rates above 1000 times the network's diverged, seed by seed."""
    findings = []
    names = [*case.names, *(str(failure["arm"]) for failure in case.failures if not failure.get("purpose"))]
    for arm in dict.fromkeys(name for name in names if name.startswith(RATE) and float(name.removeprefix(RATE)) > 1000):
        diverged = sum(failure["arm"] == arm and failure["kind"] == "diverged" for failure in case.failures)
        finished = case.changes.loc[case.changes["arm"] == case.names.get(arm), "seed"].nunique()
        total = diverged + finished
        fastest = case.arm(RATE + "1000")
        beside = [
            Finding(task, Outcome.OPEN, found, arm, fastest, seeds=found.seeds)
            for task in case.scopes
            if task != PAIR and finished and fastest and (found := case.difference(task, case.names[arm], fastest))
        ]
        outcome = Outcome.HOLDS if diverged == total else Outcome.OPEN if diverged else Outcome.FAILS
        if total:
            findings.append(Finding(PAIR, outcome, arm=arm, diverged=diverged, seeds=total, beside=tuple(beside)))
    if not findings:
        return None
    return Draft(0, lambda family: ClaimResult(Kind.DIVERGES, TOO_FAST, "Section 5.2", tuple(findings)))


def _test_starved(case: Case, results: Results) -> Iterable[Draft]:
    """Figures 5 and 6: least-labelled categories against most-labelled ones."""
    for question in (ATTRIBUTES, CLASSES):
        if question.task not in case.scopes:
            continue
        try:
            groups = category_gains(question, results, case.selection).groups
        except UserError:
            continue  # the report names it
        for row in list_records(groups[groups["end"] == "difference"]):
            yield Draft(1, partial(_test_starved_by, question, row))


def _test_starved_by(question: Question, row: Mapping[str, Any], family: int) -> ClaimResult:
    found = difference_of(make_paired_contrast(row["mean"], row["high"], row["n"]), family, CLAIMS_SHARE)
    finding = Finding(question.task, outcome_of(found), found, group=row["group"], seeds=found.seeds)
    return ClaimResult(Kind.STARVED, STARVED, question.section, (finding,))


def _task_specific(case: Case, results: Results) -> Iterable[Draft]:
    """Section 5.4, from the alphas' own contrasts, a family of their own (`alphas.claims_of`)."""
    try:
        found = alpha_numbers(results, case.selection)
    except UserError:
        return
    arm = found.starts["arm"].iloc[0]
    holds = {"yes": Outcome.HOLDS, "no": Outcome.FAILS, "open": Outcome.OPEN}
    for text, table in found.claims[found.claims["arm"] == arm].groupby("claim", sort=False):
        findings = []
        for row in list_records(table):
            contrast = make_paired_contrast(row["difference"], row["high"], row["n"])
            difference = difference_of(contrast, len(found.claims), ALPHAS_SHARE)
            findings.append(Finding(row["task"], holds[row["holds"]], difference, arm, seeds=difference.seeds))
        result = ClaimResult(Kind.ALPHAS, f"Alphas: {text}", "Section 5.4", tuple(findings))
        yield Draft(0, partial(_as_it_is, result))


def _as_it_is(result: ClaimResult, family: int) -> ClaimResult:
    return result
