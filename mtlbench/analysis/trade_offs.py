"""What arms give at several weightings of the tasks' losses: points, the Pareto front of all, hypervolumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.frame import relative_change
from mtlbench.analysis.front import compute_advantages, compute_hypervolumes, find_front
from mtlbench.analysis.inference import compute_intervals, mean_interval
from mtlbench.analysis.selection import (
    NEWEST,
    Selection,
    arms_matching,
    match_rows,
    one_name_each,
    select_newest,
    with_purpose,
)
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.errors import UserError
from mtlbench.spec import Purpose
from mtlbench.text import factors_in

LEVELS = 5  # that a command names
PURPOSES = (Purpose.COMPARED, Purpose.WEIGHTINGS)


@dataclass(frozen=True)
class TradeOffs:
    """The arms of one setting that were trained at several weightings, and one-task.

    rows: of the frame, `note` says which. arms: what they are. tasks: the pair's. val,
    test: `frame.relative_change` of the headlines with columns name (of the arm at that weighting), arm (without it)
    and weighting; one-task's are 0. Where val has no numbers its frame is empty.
    """

    rows: pd.DataFrame
    note: str
    arms: Arms
    tasks: tuple[str, ...]
    val: pd.DataFrame
    test: pd.DataFrame

    @property
    def pair(self) -> str:
        return str(self.rows["pair"].iloc[0])

    @cached_property
    def varied(self) -> list[str]:
        """The arms with a grid that have numbers on test, in table order."""
        return [arm for arm in arm_order(self.test["arm"]) if arm != BASELINE]

    @property
    def splits(self) -> list[str]:
        """The Splits among them."""
        return [arm for arm in self.varied if self.arms.is_split(arm)]

    @property
    def others(self) -> list[str]:
        """All but the Splits."""
        return [arm for arm in self.varied if not self.arms.is_split(arm)]

    @cached_property
    def points(self) -> pd.DataFrame:
        """A row an arm, weighting and task, arms in table order, weightings from the first task's least weight on.

        Columns name, arm, weighting, weights (`0.2 : 1.8`), task, metric, mean (change on test, %), n, low, high,
        paired (as `inference.compute_intervals`), front: whether no other mean is as good in every task and better in
        one.
        Weightings that lack a task are left out.
        """
        found = compute_intervals(self.test.assign(arm=self.test["name"])).rename(columns={"arm": "name"})
        known = self.test[["name", "arm", "weighting"]].drop_duplicates("name")
        found = found.merge(known, on="name")
        found = found[found.groupby("name")["task"].transform("nunique") == len(self.tasks)]
        means = found.pivot(index="name", columns="task", values="mean")
        fronts = dict(zip(means.index, find_front(means.to_numpy(float)), strict=True))
        places = {arm: place for place, arm in enumerate(arm_order(found["arm"]))}
        shares = {text: self.shares(text) for text in found["weighting"].unique()}
        found = found.assign(
            front=found["name"].map(fronts),
            weights=[weights_text(self.weights(text)) for text in found["weighting"]],
            place=found["arm"].map(places),
            share=found["weighting"].map(shares),
            task_place=found["task"].map({task: place for place, task in enumerate(self.tasks)}),
        )
        return found.sort_values(["place", "share", "task_place"], kind="stable", ignore_index=True).drop(
            columns=["place", "share", "task_place"]
        )

    def weights(self, weighting: str) -> tuple[float, ...]:
        """The factors on the tasks' weights, in the order of `tasks`."""
        factors = factors_in(weighting)
        return tuple(factors.get(task, 1.0) for task in self.tasks)

    def shares(self, weighting: str) -> tuple[float, ...]:
        """The factors over their sum: what weightings are ordered by."""
        weights = self.weights(weighting)
        return tuple(weight / sum(weights) for weight in weights)

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """`front.compute_hypervolumes` on test, of one-task too."""
        return compute_hypervolumes(self.test)

    @cached_property
    def mean_volumes(self) -> pd.DataFrame:
        """Columns arm, points, mean, low, high (`inference.mean_interval` over seeds: changes are paired with
        one-task's by seed, whose own volume is the same in every seed), n. In table order."""
        rows = []
        for arm in arm_order(self.volumes["arm"]):
            own = self.volumes[self.volumes["arm"] == arm]
            mean, low, high, n = mean_interval(own["volume"])
            if arm == BASELINE:
                low = high = float("nan")
            rows.append((arm, int(own["points"].iloc[0]), mean, low, high, n))
        return pd.DataFrame(rows, columns=["arm", "points", "mean", "low", "high", "n"])

    @cached_property
    def advantages(self) -> pd.DataFrame:
        """`front.compute_advantages` of all other arms over the Splits with a grid."""
        val, test = (frame[frame["arm"] != BASELINE] for frame in (self.val, self.test))
        return compute_advantages(val, test, self.others, self.splits)


def weights_text(weights: tuple[float, ...]) -> str:
    """`0.2 : 1.8`."""
    return " : ".join(f"{weight:.3g}" for weight in weights)


def has_grid(frame: pd.DataFrame) -> bool:
    """Whether any arm was trained at several weightings."""
    return bool((frame["purpose"] == Purpose.WEIGHTINGS).any())


def trade_offs(frame: pd.DataFrame, selection: Selection = NEWEST, globs: Sequence[str] = ()) -> TradeOffs:
    """The newest setting, or that of the selection, in which arms were trained at several weightings (and no other
    arms but one-task); with globs the arms that match one.

    Raises UserError where there is none, for a glob without an arm, and where one-task has no numbers to compare with.
    """
    with_grid = with_purpose(frame, Purpose.WEIGHTINGS)
    if not match_rows(with_grid, selection).any():
        pair = select_newest(frame, selection)[0]["pair"].iloc[0]
        raise UserError(
            f"no arm of {pair} was trained at several weightings of the losses; type: mtlbench run --pair {pair}"
            f" --loss-weight-grid {LEVELS}"
        )
    rows, note = select_newest(with_grid, selection, PURPOSES)
    compared = frame[match_rows(frame, selection) & (frame["purpose"] == Purpose.COMPARED)]
    if len(compared) and compared["finished"].max() > rows["finished"].max():
        note += " Newer results have no grid of loss weights."
    rows = _without_other_names(rows)
    varied = rows["purpose"] == Purpose.WEIGHTINGS
    base = rows["arm"].where(~varied, rows["variant_of"])
    varied_arms = arm_order(base[varied])
    shown = arms_matching(varied_arms, globs, "arm at several weightings of the losses") if globs else varied_arms
    rows = rows[base.isin({*shown, BASELINE})].assign(base=base)
    changes = [_select_changes(rows, subset) for subset in ("val", "test")]
    tasks = tuple(dict.fromkeys(changes[1]["task"]))
    pair = rows["pair"].iloc[0]
    if {*tasks} != _find_tasks(rows):
        raise UserError(f"the trade-off needs {BASELINE} on test in every task; type: mtlbench run --pair {pair}")
    return TradeOffs(rows.drop(columns="base"), note, Arms.of(rows), tasks, *changes)


def _without_other_names(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each network under one name: that of its arm that counts (`selection.one_name_each`)."""
    base = rows["arm"].where(rows["purpose"] != Purpose.WEIGHTINGS, rows["variant_of"])
    names = one_name_each(rows.assign(arm=base))
    return rows[base == base.map(names)]


def _select_changes(rows: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Changes of the headlines with name, arm and weighting."""
    facts = rows.drop_duplicates("arm").set_index("arm")
    changes = relative_change(rows, subset=subset).dropna(subset=["change"])
    names = changes["arm"]
    return changes.assign(name=names, arm=names.map(facts["base"]), weighting=names.map(facts["weighting"]))


def _find_tasks(rows: pd.DataFrame) -> set[str]:
    """The tasks of the pair."""
    weightings = rows.loc[rows["purpose"] == Purpose.WEIGHTINGS, "weighting"]
    return set(factors_in(str(weightings.iloc[0])))
