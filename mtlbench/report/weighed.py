"""Whether a weighting of the tasks is worth more than fixed weights or than another architecture, as data (Ours)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mtlbench.analysis.comparison import PAIR, WEIGHTINGS_SHARE, Case, Difference, difference_of
from mtlbench.analysis.costs import step_costs
from mtlbench.analysis.frame import mean_over_tasks, relative_change
from mtlbench.analysis.inference import Runs
from mtlbench.analysis.selection import select_newest
from mtlbench.arm_names import arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.spec import Purpose

PURPOSES = (Purpose.COMPARED, Purpose.WEIGHTINGS)


@dataclass(frozen=True)
class Weighed:
    """An architecture under the weighting that val chooses of `tried`; differences are on test, of the mean change over
    tasks, in %.

    gain: over the plain sum of the losses at the recipe's weights; over_fixed: over the fixed weights that val chooses
    of `levels` (None without a grid of them). best: the architecture of those with weightings that val chooses at the
    plain sum, other: what it is ahead of this one (None where it is this one). cost: CPU seconds of a step over those
    of the plain sum, None where they are not known.
    """

    arm: str
    weighting: str
    tried: int
    gain: Difference
    levels: int
    over_fixed: Difference | None
    best: str
    other: Difference | None
    cost: float | None

    @property
    def differences(self) -> list[Difference]:
        """Those that there are."""
        return [one for one in (self.gain, self.over_fixed, self.other) if one]


@dataclass(frozen=True)
class Trials:
    """What is compared, {architecture: arms with a weighting that have numbers on val} and {architecture: its plain arm
    and those with other fixed weights of the losses}; val, test: mean changes over tasks, a row an arm and seed."""

    tried: Mapping[str, Sequence[str]]
    fixed: Mapping[str, Sequence[str]]
    val: pd.DataFrame
    test: pd.DataFrame

    @property
    def contrasts(self) -> int:
        """How many there may be, since any weighting may be the one that val chooses: of all weightings with the plain
        sum and fixed weights, and of all architectures with each other."""
        of_weightings = sum(len(own) * (1 + (len(self.fixed[arm]) > 1)) for arm, own in self.tried.items())
        return of_weightings + len(self.tried) * (len(self.tried) - 1)


def find_weighed(case: Case, results: Results) -> tuple[Weighed, ...]:
    """Each architecture of the case that was trained with weightings and has numbers on val, in table order."""
    try:
        frame, _ = select_newest(results.frame, case.selection, PURPOSES)
    except UserError:
        return ()
    if frame["method"].eq("").all():  # as in most studies: changes need not be computed
        return ()
    found = _collect(frame)
    return weigh(found, _ratios(frame, found.tried)) if found.tried else ()


def weigh(trials: Trials, costs: Mapping[str, float]) -> tuple[Weighed, ...]:
    """What val chooses, on test; costs: {arm with a weighting: what its step costs over that of the plain sum}."""
    runs, means = Runs(trials.test), trials.val.groupby("arm")["change"].mean()

    def subtract(one: str, other: str) -> Difference | None:
        found = runs.contrast(one, other) if one != other else None
        return difference_of(found, trials.contrasts, WEIGHTINGS_SHARE) if found else None

    def choose(arms: Iterable[str]) -> str:
        return str(means[list(arms)].idxmax())

    best, weighed = choose(trials.tried), []
    for arm, names in trials.tried.items():
        chosen, weights = choose(names), trials.fixed[arm]
        if gain := subtract(chosen, arm):
            levels = len(weights) if len(weights) > 1 else 0
            over_fixed = subtract(chosen, choose(weights)) if levels else None
            name, cost = chosen.removeprefix(f"{arm}@"), costs.get(chosen)
            weighed.append(Weighed(arm, name, len(names), gain, levels, over_fixed, best, subtract(best, arm), cost))
    return tuple(weighed)


def _collect(frame: pd.DataFrame) -> Trials:
    val, test = (
        mean_over_tasks(relative_change(frame, subset=subset).dropna(subset=["change"]), PAIR)
        for subset in ("val", "test")
    )
    facts = frame.drop_duplicates("arm").set_index("arm")
    facts = facts[facts.index.isin(val["arm"])]  # without numbers on val there is no choice
    weighed = facts[(facts["method"] != "") & (facts["purpose"] == Purpose.COMPARED)]
    at_fixed = facts[(facts["method"] == "") & (facts["purpose"] == Purpose.WEIGHTINGS)]

    def variants(rows: pd.DataFrame, arm: str) -> list[str]:
        return [str(name) for name in rows.index[rows["variant_of"] == arm]]

    arms = [arm for arm in arm_order(weighed["variant_of"]) if arm in facts.index]
    return Trials(
        {arm: variants(weighed, arm) for arm in arms}, {arm: [arm, *variants(at_fixed, arm)] for arm in arms}, val, test
    )


def _ratios(frame: pd.DataFrame, tried: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """{arm with a weighting: what its step costs over that of the plain sum}."""
    places = [(name, arm, name) for arm, names in tried.items() for name in names] + [(arm, arm, "") for arm in tried]
    found = step_costs(frame, pd.DataFrame(places, columns=["arm", "architecture", "weighting"]), "")
    return dict(zip(found["weighting"].tolist(), found["ratio"].tolist(), strict=True))
