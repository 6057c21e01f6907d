"""What two arms are to each other on one setting's results, as numbers and in words.

Changes are of headlines on test against one-task with the same seed, in %, up is better. "Beats" and "loses to" stand
where the interval that allows for every contrast of its family excludes 0, "within noise of" elsewhere (Ours). The
answer is one family: every Split (val may choose any) against one-task and cross-stitch, and cross-stitch against its
rivals, in every scope. The claims that look at other contrasts are a second, those about alphas a third; each has a
share of the 5 % of reports that may say of equal arms that they differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from mtlbench.analysis.arms import Arms, Kind, without_parents
from mtlbench.analysis.choice import best_split
from mtlbench.analysis.costs import compute_matched
from mtlbench.analysis.frame import IDENTITY, list_records, mean_over_tasks, relative_change
from mtlbench.analysis.inference import CONFIDENCE, Contrast, Runs
from mtlbench.analysis.selection import NEWEST, Selection, failures_of, one_name_each, select_newest
from mtlbench.arm_names import BASELINE
from mtlbench.contracts import Results

PAIR = ""  # the scope that is the mean over the pair's tasks, named as in `choice.best_split`
CROSS_STITCH = ("cross-stitch", "cross-stitch-from-one-task", "cross-stitch-alpha-0.9-0.1")  # one network, three names
RIVALS = (BASELINE, "one-task-longer", "ensemble", "mtl-shared")  # of cross-stitch, beside the best Split
# Of the 5 %. Not all of it is given away: with 3 seeds Satterthwaite's degrees of freedom are too many for the far
# tails that 50 contrasts need. Simulated worst case: 3.9 % of reports on equal arms, 4.7 % with a share of 0.8.
FAMILY_SHARE, CLAIMS_SHARE = 0.5, 0.1
# Of reports on a grid of weightings. One side is ever said, so that half is spent. Simulated on equal arms: 0.1 to
# 0.9 % of studies, 2.3 % where an arm has three times the noise of the only Split (the noisier gains more by choosing).
FRONT_SHARE = 0.4
AFFINITY_SHARE = 0.1  # of reports on pair studies
WEIGHTINGS_SHARE = 0.4  # of reports on weightings of the tasks
BEATS, NOISE, LOSES = "beats", "is within noise of", "loses to"
RELATIONS = (BEATS, NOISE, LOSES)


@dataclass(frozen=True)
class Difference:
    """One arm minus another in one scope (%), mean over the seeds that both have; bounds are NaN below 3 seeds.

    low and high are of this contrast alone; `wide` bounds allow for the `comparisons` of its family.
    """

    mean: float
    low: float
    high: float
    wide_low: float
    wide_high: float
    seeds: int
    comparisons: int = 1

    @property
    def has_interval(self) -> bool:
        """Whether there are bounds."""
        return not math.isnan(self.low)

    @property
    def alone(self) -> bool:
        """Whether only the interval that allows for no other contrast excludes 0."""
        return self.relation == NOISE and (self.low > 0 or self.high < 0)

    @property
    def relation(self) -> str:
        """How the first arm stands to the second, one of RELATIONS; "" without an interval."""
        if not self.has_interval:
            return ""
        return BEATS if self.wide_low > 0 else LOSES if self.wide_high < 0 else NOISE


@dataclass(frozen=True)
class Case:
    """What is judged: the rows of one pair, dataset, backbone, recipe and setting, and the failures that go with it."""

    frame: pd.DataFrame
    failures: Sequence[Mapping[str, Any]]
    note: str  # which results these are, and what was left out
    trials: Sequence[Mapping[str, Any]] = ()  # `Results.provenance_of` the rows

    @cached_property
    def pair(self) -> str:
        return self.pick["pair"]

    @cached_property
    def pick(self) -> dict[str, str]:
        """What a table or figure is asked for to show the same results."""
        return {name: str(self.frame[name].iloc[0]) for name in IDENTITY}

    @property
    def selection(self) -> Selection:
        """The same as one value."""
        return Selection(**self.pick)

    @cached_property
    def kinds(self) -> Arms:
        """What the arms are, those that failed too."""
        failed = {str(one["arm"]): (one["scheme"], one["family"], one["variant_of"]) for one in self.failures}
        return Arms.of(self.frame).add((arm, Kind(*kind)) for arm, kind in failed.items())

    @cached_property
    def names(self) -> dict[str, str]:
        """`stats.one_name_each`."""
        return one_name_each(self.frame)

    @cached_property
    def unique(self) -> pd.DataFrame:
        """The rows without second names and hidden arms."""
        return without_parents(self.frame[self.frame["arm"].map(self.names) == self.frame["arm"]])

    @cached_property
    def changes(self) -> pd.DataFrame:
        """`stats.relative_change` of the headlines, and for several tasks their mean as the scope PAIR."""
        changes = relative_change(self.unique).dropna(subset=["change"])
        if changes["task"].nunique() < 2:
            return changes
        return pd.concat([changes, mean_over_tasks(changes, PAIR)], ignore_index=True)

    @cached_property
    def scopes(self) -> list[str]:
        """The pair, then its tasks; only the task where there is one."""
        tasks = list(dict.fromkeys(self.changes["task"]))
        return sorted(tasks, key=lambda task: task != PAIR)

    @cached_property
    def choice(self) -> dict[str, dict[str, Any]]:
        """{scope: row of `choice.best_split`}."""
        return {row["task"]: row for row in list_records(best_split(self.unique)) if row["task"] in self.scopes}

    @cached_property
    def costs(self) -> pd.DataFrame:
        """`stats.compute_matched` by arm; empty where no costs are known."""
        known = (self.frame["subset"] == "cost").any()
        return (
            compute_matched(self.frame, {one["key"]: one["parents"] for one in self.trials}).set_index("arm")
            if known
            else pd.DataFrame()
        )

    @cached_property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(self.changes["arm"]))

    @cached_property
    def splits(self) -> list[str]:
        """The Splits among the arms."""
        return [arm for arm in self.arms if self.kinds.is_split(arm)]

    @cached_property
    def seeds(self) -> int:
        """How many the baseline has."""
        return int(self.changes.loc[self.changes["arm"] == BASELINE, "seed"].nunique(dropna=False))

    def arm(self, *names: str) -> str | None:
        """The first of these arms of the package that has numbers, as it is called in `changes`; a user's arm of one of
        these names is none of them."""
        ours = [name for name in names if not self.kinds.is_own(name)]
        return next((self.names[name] for name in ours if self.names.get(name) in self.arms), None)

    @cached_property
    def runs(self) -> dict[str, Runs]:
        """The changes of each scope, for contrasts."""
        return {scope: Runs(self.changes[self.changes["task"] == scope]) for scope in self.scopes}

    @cached_property
    def family(self) -> int:
        """How many contrasts the answer makes, over all scopes: any Split may be the one that val chooses."""
        splits = len(self.splits) if self.choice else 0
        rivals = sum(rival in self.arms for rival in RIVALS) + splits if self.arm(*CROSS_STITCH) else 0
        return len(self.scopes) * (splits + rivals)

    def difference(self, scope: str, arm: str, other: str) -> Difference | None:
        """`arm` minus `other` as part of the answer; None where they share no seed."""
        found = self.runs[scope].contrast(arm, other) if scope in self.runs else None
        return difference_of(found, max(self.family, 1), FAMILY_SHARE) if found else None


def difference_of(found: Contrast, comparisons: int, share: float) -> Difference:
    """A contrast as one of a family of `comparisons`, to which `share` of the 5 % goes."""
    wide = found.simultaneous(comparisons, 1 - share * (1 - CONFIDENCE))
    return Difference(found.mean, *found.interval(), *wide, found.seeds, comparisons)


def case_of(
    results: Results,
    selection: Selection = NEWEST,
) -> Case:
    """The newest results, or those asked for. Raises UserError where there are none."""
    frame, note = select_newest(results.frame, selection)
    return Case(frame, failures_of(frame, results.failures), note, results.provenance_of(frame))
