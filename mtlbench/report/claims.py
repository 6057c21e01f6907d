"""The paper's claims, each tested on the results at hand: outcomes and numbers; `words` makes sentences of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mtlbench.analysis.alphas import alpha_numbers
from mtlbench.analysis.categories import ATTRIBUTES, CLASSES, category_gains
from mtlbench.analysis.choice import best_split
from mtlbench.analysis.comparison import CROSS_STITCH, PAIR, Case, Difference
from mtlbench.analysis.frame import records, relative_change
from mtlbench.analysis.paper import published
from mtlbench.analysis.selection import newest
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

    `scope` is a task, PAIR, or a group of a task's categories; `arm` and `other` are what was compared, "" where it was
    not two arms. mean, low and high are in % of one-task, in points of the metric (STARVED) or plain (ALPHAS); bounds
    are NaN below 3 seeds. `margin` (%) is what counts as equivalent (ROBUST). `diverged` of `seeds` (DIVERGES).
    """

    scope: str
    outcome: Outcome
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0
    arm: str = ""
    other: str = ""
    group: str = ""
    margin: float = math.nan
    diverged: int = 0
    beside: tuple[Finding, ...] = ()

    @property
    def has_interval(self) -> bool:
        """Whether there are bounds."""
        return not math.isnan(self.low)


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


def claims(case: Case, results: Results) -> ClaimResults:
    """The paper's claims whose arms are there, and those that were not tested.

    A claim holds where the plain 95 % interval lies on its side of 0, does not where it lies on the other side; else it
    is open. `results` (`store.Results`) gives alphas, label counts and the other pairs.
    """
    if case.changes.empty:
        return ClaimResults()
    tested: list[ClaimResult | None] = [*_splits_differ(case, results)]
    untested = []
    for claim in CLAIMS:
        if claim.pair in ("", case.pair):
            if found := _tested(case, claim):
                tested.append(found)
            else:
                untested.append(Untested(claim.text, _lacking(case, claim), claim.space))
    if case.pair == "semseg_sn":
        for found, text, arms in ((_robust(case), ROBUST, "two starts"), (_too_fast(case), TOO_FAST, "higher rate")):
            tested.append(found)
            if not found:
                untested.append(Untested(text, (f"no {arms}",), ABLATED))
    tested += [*_starved(case, results), *_task_specific(case, results)]
    return ClaimResults(tuple(one for one in tested if one), tuple(untested))


def _lacking(case: Case, claim: Claim) -> tuple[str, ...]:
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


def outcome_of(low: float, high: float) -> Outcome:
    """Whether an interval lies above 0."""
    return Outcome.HOLDS if low > 0 else Outcome.FAILS if high < 0 else Outcome.OPEN  # NaN: open


def _finding(scope: str, arm: str, other: str, found: Difference) -> Finding:
    return Finding(scope, outcome_of(found.low, found.high), found.mean, found.low, found.high, found.seeds, arm, other)


def _tested(case: Case, claim: Claim) -> ClaimResult | None:
    """A claim on every scope; None where its arms are missing or failed."""
    best = claim.other == (BEST_SPLIT,)
    findings = []
    for scope in case.scopes:
        other = case.choice.get(scope, {}).get("arm") if best else case.arm(*claim.other)
        arm = case.arm(*claim.arm)
        if arm and other and arm != other and (found := case.difference(scope, arm, other)):
            findings.append(_finding(scope, arm, other, found))
    kind = Kind.BEST_SPLIT if best else Kind.ARMS
    return ClaimResult(kind, claim.text, claim.source, tuple(findings)) if findings else None


def _splits_differ(case: Case, results: Results) -> Iterable[ClaimResult]:
    """Whether tasks, and pairs on the same data, want different Splits: what the other's choice would cost on test."""
    choice = {scope: str(row["arm"]) for scope, row in case.choice.items()}
    tasks = [scope for scope in choice if scope != PAIR]
    if len(tasks) > 1:
        yield _different(case, f"{DIFFERS} tasks", tasks, {task: choice[task] for task in tasks})
    for other in sorted(set(results.frame["pair"]) - {case.pair}):
        rows = results.frame[(results.frame["pair"] == other) & results.frame["dataset"].isin(case.frame["dataset"])]
        chosen = best_split(newest(rows)[0]).query("scope == 'pair'")["arm"].tolist() if len(rows) else []
        if PAIR in choice and chosen and case.arm(chosen[0]):
            arms = {PAIR: choice[PAIR], other: chosen[0]}
            yield _different(case, f"{DIFFERS} {case.pair} and {other}", [PAIR], arms)


def _different(case: Case, text: str, scopes: Sequence[str], arms: dict[str, str]) -> ClaimResult:
    """`arms` are what each scope (or another pair) chooses on val."""
    same = next(iter(arms.values())) if len(set(arms.values())) == 1 else ""
    findings = [
        _finding(scope, arms[scope], other, found)
        for scope in scopes
        for other in dict.fromkeys(arm for arm in arms.values() if arm != arms[scope])
        if (found := case.difference(scope, arms[scope], other))
    ]
    return ClaimResult(Kind.SPLITS_DIFFER, text, "Section 1.1", tuple(findings), same)


def _robust(case: Case) -> ClaimResult | None:
    """Starts are equivalent where all differences, allowed for their number, lie within the paper's own spread."""
    starts = [arm for arm in case.names if arm.startswith(ALPHA) and arm != USUAL_START and case.arm(arm)]
    usual = case.arm(USUAL_START)
    if not starts or not usual:
        return None
    table = published().query("source == 'Table 1'")
    spread = relative_change(table, USUAL_START).groupby("task")["change"].agg(lambda change: change.abs().max())
    findings = []
    for task in [scope for scope in case.scopes if scope in spread]:
        found = {arm: case.difference(task, case.names[arm], usual, len(starts)) for arm in starts}
        known = {arm: one for arm, one in found.items() if one}
        if not known:
            continue
        margin = float(spread[task])
        far = any(one.wide_low > margin or one.wide_high < -margin for one in known.values())
        near = all(-margin < one.wide_low and one.wide_high < margin for one in known.values())
        outcome = Outcome.FAILS if far else Outcome.HOLDS if near else Outcome.OPEN
        worst = max(known, key=lambda arm: abs(known[arm].mean))
        one = known[worst]
        bounds = one.mean, one.wide_low, one.wide_high
        findings.append(Finding(task, outcome, *bounds, one.seeds, worst, USUAL_START, margin=margin))
    return ClaimResult(Kind.ROBUST, ROBUST, "Table 1", tuple(findings)) if findings else None


def _too_fast(case: Case) -> ClaimResult | None:
    """Whether rates above 1000 times the network's diverged, seed by seed."""
    findings = []
    names = [*case.names, *(str(failure["arm"]) for failure in case.failures)]
    for arm in dict.fromkeys(name for name in names if name.startswith(RATE) and float(name.removeprefix(RATE)) > 1000):
        diverged = sum(failure["arm"] == arm and failure["kind"] == "diverged" for failure in case.failures)
        finished = case.changes.loc[case.changes["arm"] == case.names.get(arm), "seed"].nunique()
        total = diverged + finished
        fastest = case.arm(RATE + "1000")
        beside = [
            _finding(task, arm, fastest, found)
            for task in case.scopes
            if task != PAIR and finished and fastest and (found := case.difference(task, case.names[arm], fastest))
        ]
        outcome = Outcome.HOLDS if diverged == total else Outcome.OPEN if diverged else Outcome.FAILS
        if total:
            findings.append(Finding(PAIR, outcome, seeds=total, arm=arm, diverged=diverged, beside=tuple(beside)))
    return ClaimResult(Kind.DIVERGES, TOO_FAST, "Section 5.2", tuple(findings)) if findings else None


def _starved(case: Case, results: Results) -> Iterable[ClaimResult]:
    """Figures 5 and 6: least-labelled categories against most-labelled ones."""
    for question in (ATTRIBUTES, CLASSES):
        if question.task not in case.scopes:
            continue
        try:
            groups = category_gains(question, results, **case.pick).groups
        except UserError:
            continue  # the report names it
        for row in records(groups[groups["end"] == "difference"]):
            bounds = row["mean"], row["low"], row["high"]
            outcome = outcome_of(row["low"], row["high"])
            finding = Finding(question.task, outcome, *bounds, int(row["n"]), group=row["group"])
            yield ClaimResult(Kind.STARVED, STARVED, question.section, (finding,))


def _task_specific(case: Case, results: Results) -> Iterable[ClaimResult]:
    """Section 5.4, from the alphas' own contrasts."""
    try:
        found = alpha_numbers(results, **case.pick)
    except UserError:
        return
    arm = found.starts["arm"].iloc[0]
    holds = {"yes": Outcome.HOLDS, "no": Outcome.FAILS, "open": Outcome.OPEN}
    for text, table in found.claims[found.claims["arm"] == arm].groupby("claim", sort=False):
        findings = [
            Finding(row["task"], holds[row["holds"]], row["difference"], row["low"], row["high"], int(row["n"]), arm)
            for row in records(table)
        ]
        yield ClaimResult(Kind.ALPHAS, f"Alphas: {text}", "Section 5.4", tuple(findings))
