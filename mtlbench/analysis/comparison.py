"""What two arms are to each other on one setting's results, as numbers and in words.

Changes are of headlines on test against one-task with the same seed, in %, up is better. "Beats" and "loses to" stand
where the interval that allows for all comparisons of its kind excludes 0, "within noise of" where the plain 95 %
interval covers 0, "ahead of" and "behind" in between (Ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from mtlbench.analysis.choice import best_split
from mtlbench.analysis.costs import compute_matched
from mtlbench.analysis.frame import IDENTITY, records, relative_change
from mtlbench.analysis.inference import beats, half_width
from mtlbench.analysis.selection import failures_of, newest, one_name_each
from mtlbench.arm_names import BASELINE, HIDDEN_ARMS
from mtlbench.contracts import Results

PAIR = ""  # the scope that is the mean over the pair's tasks, named as in `choice.best_split`
CROSS_STITCH = ("cross-stitch", "cross-stitch-from-one-task", "cross-stitch-alpha-0.9-0.1")  # one network, three names
RIVALS = (BASELINE, "one-task-longer", "ensemble", "mtl-shared")  # of cross-stitch, beside the best Split
CONFIDENCE = 0.95
BEATS, AHEAD, NOISE, BEHIND, LOSES = "beats", "is ahead of", "is within noise of", "is behind", "loses to"
RELATIONS = (BEATS, AHEAD, NOISE, BEHIND, LOSES)


@dataclass(frozen=True)
class Difference:
    """One arm minus another in one scope, mean over the seeds that both have; bounds are NaN below 3 seeds.

    `wide` bounds allow for the `comparisons` that are made at once.
    """

    mean: float
    low: float
    high: float
    wide_low: float
    wide_high: float
    probability: float
    seeds: int
    comparisons: int = 1

    @property
    def relation(self) -> str:
        """How the first arm stands to the second, one of RELATIONS; "" without an interval."""
        if math.isnan(self.low):
            return ""
        if self.low <= 0 <= self.high:
            return NOISE
        if self.wide_low > 0 or self.wide_high < 0:
            return BEATS if self.mean > 0 else LOSES
        return AHEAD if self.mean > 0 else BEHIND


@dataclass(frozen=True)
class Case:
    """What is judged: the rows of one pair, dataset, backbone, recipe and setting, and the failures that go with it."""

    frame: pd.DataFrame
    failures: Sequence[Mapping[str, Any]]
    note: str  # which results these are, and what was left out
    parents: Mapping[str, Sequence[str]]  # {key of a trial: keys of its parents}

    @cached_property
    def pair(self) -> str:
        return self.pick["pair"]

    @cached_property
    def pick(self) -> dict[str, str]:
        """What a table or figure is asked for to show the same results."""
        return {name: str(self.frame[name].iloc[0]) for name in IDENTITY}

    @cached_property
    def names(self) -> dict[str, str]:
        """`stats.one_name_each`."""
        return one_name_each(self.frame)

    @cached_property
    def unique(self) -> pd.DataFrame:
        """The rows without second names and hidden arms."""
        keep = self.frame["arm"].map(self.names) == self.frame["arm"]
        return self.frame[keep & ~self.frame["arm"].isin(HIDDEN_ARMS)]

    @cached_property
    def changes(self) -> pd.DataFrame:
        """`stats.relative_change` of the headlines, and for several tasks their mean as the scope PAIR."""
        changes = relative_change(self.unique).dropna(subset=["change"])
        tasks = list(dict.fromkeys(changes["task"]))
        if len(tasks) < 2:
            return changes
        means = changes.groupby(["arm", "seed"], sort=False)["change"].agg(["mean", "count"]).reset_index()
        means = means[means["count"] == len(tasks)].rename(columns={"mean": "change"}).drop(columns="count")
        return pd.concat([changes, means.assign(task=PAIR, metric="mean over tasks")], ignore_index=True)

    @cached_property
    def scopes(self) -> list[str]:
        """The pair, then its tasks; only the task where there is one."""
        tasks = list(dict.fromkeys(self.changes["task"]))
        return sorted(tasks, key=lambda task: task != PAIR)

    @cached_property
    def choice(self) -> dict[str, dict[str, Any]]:
        """{scope: row of `choice.best_split`}."""
        return {row["task"]: row for row in records(best_split(self.unique)) if row["task"] in self.scopes}

    @cached_property
    def costs(self) -> pd.DataFrame:
        """`stats.compute_matched` by arm; empty where no costs are known."""
        known = (self.frame["subset"] == "cost").any()
        return compute_matched(self.frame, self.parents).set_index("arm") if known else pd.DataFrame()

    @cached_property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(self.changes["arm"]))

    @cached_property
    def seeds(self) -> int:
        """How many the baseline has."""
        return int(self.changes.loc[self.changes["arm"] == BASELINE, "seed"].nunique(dropna=False))

    def arm(self, *names: str) -> str | None:
        """The first of the names that has numbers, as it is called in `changes`."""
        return next((self.names[name] for name in names if self.names.get(name) in self.arms), None)

    def difference(self, scope: str, arm: str, other: str, comparisons: int = 1) -> Difference | None:
        """`arm` minus `other`, None where they share no seed; wide bounds after Bonferroni for `comparisons`."""
        changes = self.changes[self.changes["task"] == scope]
        found = records(beats(changes, arm, other, CONFIDENCE))
        if not found:
            return None
        (row,) = found
        wide, plain = (half_width(1.0, row["freedom"], 1 - (1 - CONFIDENCE) / times) for times in (comparisons, 1))
        half = wide / plain * (row["high"] - row["mean"])
        return Difference(
            row["mean"],
            row["low"],
            row["high"],
            row["mean"] - half,
            row["mean"] + half,
            row["probability"],
            int(row["n"]),
            comparisons,
        )


def case_of(
    results: Results,
    pair: str | None = None,
    dataset: str | None = None,
    recipe: str | None = None,
    backbone: str | None = None,
) -> Case:
    """The newest results, or those asked for. Raises UserError where there are none."""
    frame, note = newest(results.frame, pair, dataset, recipe, backbone)
    parents = {trial["key"]: trial["parents"] for trial in results.provenance_of(frame)}
    return Case(frame, failures_of(frame, results.failures), note, parents)
