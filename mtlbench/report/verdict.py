"""The verdict on one setting's results, as data: what val chooses, who beats whom, what the seeds can show, what lacks.

`words` makes sentences of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mtlbench.analysis.comparison import CROSS_STITCH, RIVALS, Case, Difference, case_of
from mtlbench.analysis.frame import FEWEST_SEEDS, records
from mtlbench.analysis.inference import detectable, familywise, intervals, seeds_for
from mtlbench.analysis.selection import reason_of
from mtlbench.arm_names import HIDDEN_ARMS, is_split
from mtlbench.contracts import Results
from mtlbench.plan.arms import standard_arms
from mtlbench.report.claims import ClaimResults, claims

POWER = 0.8
COSTS = ("parameters", "training_flops_with_parents")  # of `costs.compute_matched`


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

    cost: str  # one of COSTS
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
    def has_probability(self) -> bool:
        """Whether a comparison says how probable it is that the arm is the better one."""
        found = (one for comparison in self.comparisons for one in comparison.rivals.values())
        return any(not math.isnan(one.probability) for one in found)


@dataclass(frozen=True)
class Resolution:
    """The smallest differences (%) that so many seeds show with POWER, by scope, and how many show half of that.

    Empty below 3 seeds and where the noise cannot be estimated.
    """

    seeds: int
    least: Mapping[str, float]
    seeds_for_half: Mapping[str, int]


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


def verdict(
    results: Results,
    pair: str | None = None,
    dataset: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
) -> Verdict:
    """The verdict on the newest results or those asked for (`selection.newest`). Raises UserError without any."""
    return verdict_on(case_of(results, pair, dataset, recipe, backbone), results)


def verdict_on(case: Case, results: Results) -> Verdict:
    """The verdict on a case; `results` (`store.Results`) gives alphas, label counts and the other pairs."""
    return Verdict(case, answer(case), resolution(case), claims(case, results), gaps(case))


def answer(case: Case) -> Answer:
    """The Split that val chooses, and cross-stitch against its rivals, for the pair and each task."""
    if case.changes.empty:
        return Answer(no_choice=NoChoice.NO_BASELINE)
    chosen = tuple(_chosen_split(case, scope) for scope in case.scopes if scope in case.choice)
    splits = any(map(is_split, case.arms))
    no_choice = None if chosen else NoChoice.NO_VAL if splits else NoChoice.NO_SPLITS
    arm = case.arm(*CROSS_STITCH)
    if not arm:
        return Answer(chosen, no_choice)
    comparisons = (_against_rivals(case, scope, arm) for scope in case.scopes)
    return Answer(chosen, no_choice, tuple(one for one in comparisons if one.rivals), _cost_ratios(case, arm))


def _chosen_split(case: Case, scope: str) -> ChosenSplit:
    row = case.choice[scope]
    splits = sum(map(is_split, case.arms))
    changes = case.changes[case.changes["task"] == scope]
    plain, wide = (
        next((found for found in records(table) if found["arm"] == row["arm"]), None)
        for table in (intervals(changes), familywise(changes))
    )
    found = None
    if plain is not None and wide is not None:
        found = Difference(
            plain["mean"],
            plain["shown_low"],
            plain["shown_high"],
            wide["low"],
            wide["high"],
            math.nan,
            int(plain["n"]),
            int(wide["comparisons"]),
        )
    return ChosenSplit(scope, row["arm"], splits, row["val_change"], found)


def _against_rivals(case: Case, scope: str, arm: str) -> Comparison:
    rivals = [rival for rival in RIVALS if rival in case.arms]
    if scope in case.choice:
        rivals.append(case.choice[scope]["arm"])
    found = {rival: case.difference(scope, arm, rival, len(rivals)) for rival in rivals}
    return Comparison(scope, arm, {rival: one for rival, one in found.items() if one})


def _cost_ratios(case: Case, arm: str) -> tuple[CostRatio, ...]:
    """How large an arm is beside the others, and how much training went into it, parents included."""
    costs = case.costs
    if arm not in costs.index:
        return ()
    names = dict.fromkeys([*(row["arm"] for row in case.choice.values()), *RIVALS])
    others = [other for other in names if other in costs.index and other != arm]
    found = []
    for cost in COSTS:
        ratios = {other: float(costs.loc[arm, cost] / costs.loc[other, cost]) for other in others}
        found.append(CostRatio(cost, arm, {other: ratio for other, ratio in ratios.items() if ratio > 0}))
    return tuple(one for one in found if one.ratios)


def resolution(case: Case) -> Resolution | None:
    """What the seeds can and cannot show, and what half of that would take; None where nothing can be compared."""
    if case.changes.empty:
        return None
    least: dict[str, float] = {}
    half: dict[str, int] = {}
    for scope in case.scopes if case.seeds >= FEWEST_SEEDS else []:
        row = next(row for row in records(intervals(case.changes[case.changes["task"] == scope])))
        smallest = detectable(row["noise"], row["freedom"], case.seeds, POWER)
        if smallest > 0:  # NaN where noise cannot be estimated
            least[scope] = smallest
            pooled = 1 + round(row["freedom"] / (case.seeds - 1))  # arms; those whose own noise is larger are not in it
            half[scope] = seeds_for(smallest / 2, row["noise"], arms=pooled, power=POWER)
    return Resolution(case.seeds, least, half)


def gaps(case: Case) -> Gaps:
    """What was not compared: arms that are missing, have fewer seeds, failed or were blocked."""
    expected = [arm.name for arm in standard_arms(per_channel=True) if arm.name not in HIDDEN_ARMS]
    failed = {str(failure["arm"]) for failure in case.failures}
    missing = tuple(arm for arm in expected if not case.arm(arm) and arm not in failed)
    seeds_of: dict[tuple[str, str, str, str], list[str]] = {}
    for failure in case.failures:
        what = str(failure["arm"]), str(failure["task"]), str(failure["status"]), reason_of(failure)
        seeds_of.setdefault(what, []).append(str(failure["seed"]))
    counts = case.changes.groupby("arm", sort=False)["seed"].nunique(dropna=False)
    return Gaps(
        missing,
        tuple(FailedArm(*what, tuple(seeds)) for what, seeds in seeds_of.items()),
        case.seeds,
        {str(arm): int(n) for arm, n in counts.items() if n < case.seeds},
    )
