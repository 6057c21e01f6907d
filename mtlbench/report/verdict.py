"""The verdict on one setting's results, as data: what val chooses, who beats whom, what the seeds can show, what lacks.

`sentences` makes words of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from mtlbench.analysis.affinity import Affinities, find_affinities
from mtlbench.analysis.comparison import (
    BEATS,
    CROSS_STITCH,
    FAMILY_SHARE,
    LOSES,
    RIVALS,
    Case,
    Difference,
    case_of,
)
from mtlbench.analysis.costs import COMPARED
from mtlbench.analysis.frame import FEWEST_SEEDS
from mtlbench.analysis.inference import CONFIDENCE, OWN_CONFIDENCE, find_detectable, seeds_for
from mtlbench.analysis.selection import NEWEST, Selection
from mtlbench.analysis.trade_offs import TradeOffs
from mtlbench.arm_names import BASELINE, expected_splits
from mtlbench.contracts import Results
from mtlbench.plan.arms import standard_arms
from mtlbench.report.beyond import BeyondSplits, beyond_splits, find_trade_offs
from mtlbench.report.claims import ClaimResults, judge_claims
from mtlbench.report.weighed import Weighed, find_weighed
from mtlbench.spec import Family

POWER = 0.8


class NoChoice(StrEnum):
    """Why no Split is chosen."""

    NO_BASELINE = "no baseline"
    NO_VAL = "no val"
    NO_SPLITS = "no Splits"


@dataclass(frozen=True)
class ChosenSplit:
    """The Split that val chooses of `splits` in a scope, its change on val (%), and on test against one-task."""

    scope: str
    arm: str
    splits: int
    val_change: float
    difference: Difference | None  # None where it shares no seed with one-task


@dataclass(frozen=True)
class Comparison:
    """An arm against its rivals in one scope, {rival: the arm minus the rival}."""

    scope: str
    arm: str
    rivals: Mapping[str, Difference]


@dataclass(frozen=True)
class CostRatio:
    """A cost of an arm over that of others, {other arm: ratio}."""

    cost: str  # one of COMPARED
    arm: str
    ratios: Mapping[str, float]


@dataclass(frozen=True)
class Answer:
    """The Split that val chooses in each scope, or why none is, and cross-stitch against its rivals."""

    chosen: tuple[ChosenSplit, ...] = ()
    no_choice: NoChoice | None = None
    comparisons: tuple[Comparison, ...] = ()
    costs: tuple[CostRatio, ...] = ()

    @property
    def says_difference(self) -> bool:
        """Whether a sentence says that one arm beats or loses to another."""
        found = [
            *(one.difference for one in self.chosen),
            *(rival for one in self.comparisons for rival in one.rivals.values()),
        ]
        return any(one.relation in (BEATS, LOSES) for one in found if one)


@dataclass(frozen=True)
class Resolution:
    """The smallest differences from one-task (%) that so many seeds show with POWER, by scope, as the median over arms.

    `least`: in an arm's own interval; `least_said`: in one that allows for all `contrasts` of the answer;
    `seeds_for_half`: how many seeds show half of `least`. Empty below 3 seeds and where the noise cannot be estimated.
    """

    seeds: int
    least: Mapping[str, float]
    least_said: Mapping[str, float]
    seeds_for_half: Mapping[str, int]
    contrasts: int


@dataclass(frozen=True)
class FailedArm:
    """An arm (or one of its tasks) that failed or was blocked with these seeds, and why."""

    arm: str
    task: str
    status: str
    reason: str
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class Gaps:
    """What was not compared: standard arms that were not trained, failures, {arm with fewer seeds than one-task: n}."""

    missing: tuple[str, ...] = ()
    failed: tuple[FailedArm, ...] = ()
    seeds: int = 0
    fewer: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What the results say: the answer, what the seeds can show, the paper's claims here, what was not compared."""

    case: Case
    answer: Answer
    resolution: Resolution | None  # None where nothing can be compared
    claims: ClaimResults
    gaps: Gaps
    trades: TradeOffs | None = None  # where arms were trained at several weightings
    beyond: BeyondSplits | None = None  # what they say, likewise
    affinities: Affinities | None = None  # where arms were trained for every two of the tasks
    weighed: tuple[Weighed, ...] = ()  # architectures that were trained with weightings

    @property
    def says_difference(self) -> bool:
        """Whether any sentence says that something differs."""
        outside = bool(self.beyond and self.beyond.outside)
        weighs = any(one.relation in (BEATS, LOSES) for own in self.weighed for one in own.differences)
        helps = bool(self.affinities and self.affinities.says_difference)
        return (
            outside
            or weighs
            or helps
            or self.answer.says_difference
            or any(one.says_difference for one in self.claims.tested)
        )


def reach_verdict(
    results: Results,
    selection: Selection = NEWEST,
) -> Verdict:
    """The verdict on the newest results or those asked for (`selection.select_newest`). Raises UserError without
    any."""
    return verdict_on(case_of(results, selection), results)


def verdict_on(case: Case, results: Results) -> Verdict:
    """The verdict on a case; `results` (`store.Results`) gives alphas, label counts and the other pairs."""
    trades = find_trade_offs(case, results)
    beyond = beyond_splits(trades) if trades else None
    found = judge_claims(case, results)
    return Verdict(
        case,
        find_answer(case),
        find_resolution(case),
        found,
        find_gaps(case),
        trades,
        beyond,
        find_affinities(results, case.selection),
        find_weighed(case, results),
    )


def find_answer(case: Case) -> Answer:
    """The Split that val chooses, and cross-stitch against its rivals, for the pair and each task."""
    if case.changes.empty:
        return Answer(no_choice=NoChoice.NO_BASELINE)
    chosen = tuple(_judge_choice(case, scope) for scope in case.scopes if scope in case.choice)
    no_choice = None if chosen else NoChoice.NO_VAL if case.splits else NoChoice.NO_SPLITS
    arm = case.arm(*CROSS_STITCH)
    if not arm:
        return Answer(chosen, no_choice)
    comparisons = (_against_rivals(case, scope, arm) for scope in case.scopes)
    return Answer(chosen, no_choice, tuple(one for one in comparisons if one.rivals), _cost_ratios(case, arm))


def _judge_choice(case: Case, scope: str) -> ChosenSplit:
    row = case.choice[scope]
    found = case.difference(scope, row["arm"], BASELINE)
    return ChosenSplit(scope, row["arm"], len(case.splits), row["val_change"], found)


def _against_rivals(case: Case, scope: str, arm: str) -> Comparison:
    rivals = [rival for rival in RIVALS if rival in case.arms]
    if scope in case.choice:
        rivals.append(case.choice[scope]["arm"])
    found = {rival: case.difference(scope, arm, rival) for rival in rivals}
    return Comparison(scope, arm, {rival: one for rival, one in found.items() if one})


def _cost_ratios(case: Case, arm: str) -> tuple[CostRatio, ...]:
    """How large an arm is beside the others, and how much training went into it, parents included."""
    costs = case.costs
    if arm not in costs.index:
        return ()
    names = dict.fromkeys([*(row["arm"] for row in case.choice.values()), *RIVALS])
    others = [other for other in names if other in costs.index and other != arm]
    found = []
    for cost in COMPARED:
        ratios = {other: float(costs.loc[arm, cost] / costs.loc[other, cost]) for other in others}
        found.append(CostRatio(cost, arm, {other: ratio for other, ratio in ratios.items() if ratio > 0}))
    return tuple(one for one in found if one.ratios)


def find_resolution(case: Case) -> Resolution | None:
    """What the seeds can and cannot show, and what half of that would take; None where nothing can be compared."""
    if case.changes.empty:
        return None
    least: dict[str, float] = {}
    said: dict[str, float] = {}
    half: dict[str, int] = {}
    family = max(case.family, 1)
    level = 1 - FAMILY_SHARE * (1 - CONFIDENCE) / family
    for scope in case.scopes if case.seeds >= FEWEST_SEEDS else []:
        contrasts = [case.runs[scope].contrast(arm, BASELINE) for arm in case.arms]
        known = [one for one in contrasts if one and one.error > 0]
        if not known:
            continue
        noise, freedom = _typical([(one.error, one.freedom, one.seeds) for one in known])
        least[scope] = find_detectable(noise, freedom, case.seeds, POWER)
        half[scope] = seeds_for(least[scope] / 2, noise, freedom / (case.seeds - 1), POWER)
        own = find_detectable(noise, freedom, case.seeds, POWER, min(level, OWN_CONFIDENCE))
        noise, freedom = _typical([(one.pooled_error, one.pooled_freedom, one.seeds) for one in known])
        said[scope] = max(own, find_detectable(noise, freedom, case.seeds, POWER, level))
    return Resolution(case.seeds, least, said, half, family)


def _typical(contrasts: list[tuple[float, float, int]]) -> tuple[float, float]:
    """The noise of a single run (%) and its degrees of freedom, medians over (standard error, freedom, seeds)."""
    noise = median(error * (seeds / 2) ** 0.5 for error, _, seeds in contrasts)
    return noise, median(freedom for _, freedom, _ in contrasts)


def find_gaps(case: Case) -> Gaps:
    """What was not compared: arms that are missing, have fewer seeds, failed or were blocked."""
    splits = expected_splits(case.kinds.splits())
    arms = standard_arms(per_channel=True)
    expected = [a.name for a in arms if a.family != Family.PARENT and (a.family != Family.SPLIT or a.name in splits)]
    failed = {str(failure["arm"]) for failure in case.failures}
    missing = tuple(arm for arm in expected if not case.arm(arm) and arm not in failed)
    seeds_of: dict[tuple[str, str, str, str], list[str]] = {}
    for failure in case.failures:
        what = str(failure["arm"]), str(failure["task"]), str(failure["status"]), str(failure["reason"])
        seeds_of.setdefault(what, []).append(str(failure["seed"]))
    counts = case.changes.groupby("arm", sort=False)["seed"].nunique(dropna=False)
    return Gaps(
        missing,
        tuple(FailedArm(*what, tuple(seeds)) for what, seeds in seeds_of.items()),
        case.seeds,
        {str(arm): int(n) for arm, n in counts.items() if n < case.seeds},
    )
