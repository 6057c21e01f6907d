"""Who helps whom: networks of two of the tasks against one-task, and which grouping of all tasks they suggest.

Every network of two says what each of its tasks gains or loses by the other (Standley et al. 2020). What a task would
change in a larger group is predicted as the mean of what it changes with each of the others alone (their higher-order
approximation; Fifty et al. 2021 average theirs likewise), and a grouping as the mean over all tasks, 0 for one that is
alone. The grouping is chosen on val, as Splits are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.comparison import AFFINITY_SHARE, BEATS, LOSES, Difference, difference_of
from mtlbench.analysis.frame import mean_over_tasks, relative_change, whole_task
from mtlbench.analysis.inference import Runs, mean_interval
from mtlbench.analysis.selection import NEWEST, Selection, arms_matching, match_rows, select_newest, with_purpose
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.spec import Purpose

PURPOSES = (Purpose.COMPARED, Purpose.AFFINITY)
MOST_TASKS = 8  # whose groupings are all looked at: 4140
Groups = tuple[tuple[str, ...], ...]
Cell = tuple[str, str]  # a task and its partner


class Network(NamedTuple):
    """A Split or tree of all tasks that parts into the groups at once: the layer where it does ("" where all stay
    together), its mean change over the tasks on test (%), and seeds."""

    arm: str
    at: str
    change: float
    seeds: int


@dataclass(frozen=True)
class Grouping:
    """The tasks in groups, with a network each.

    `val`, `predicted`: the mean change over all tasks against one-task that networks of two predict, in %, on val (NaN
    without) and on test. The wide bounds of `predicted` are those of its effects put together, so that they hold
    for all groupings at once (Ours). `networks`: those of all tasks that have these groups.
    """

    groups: Groups
    val: float
    predicted: Difference
    networks: tuple[Network, ...]

    @property
    def text(self) -> str:
        """`semseg + normals | depth`."""
        return " | ".join(" + ".join(group) for group in self.groups)

    @property
    def is_alone(self) -> bool:
        """Whether every task is alone, as in one-task."""
        return all(len(group) == 1 for group in self.groups)

    @property
    def is_measured(self) -> bool:
        """Whether the networks of its groups were trained: no group has more than two tasks."""
        return all(len(group) < 3 for group in self.groups)


@dataclass(frozen=True)
class ArmAffinity:
    """The networks of every two tasks of one arm.

    effects: {(task, partner): the task's change on test in the network of the two against one-task (%), one of as many
    contrasts as all such networks of the setting make}; what lacks is not in it. groupings: best predicted on
    test first; () where a network lacks or the tasks are more than MOST_TASKS. on_val: {(task, partner): the changes on
    val, a number a seed that has every network of two}.
    """

    arm: str
    tasks: tuple[str, ...]
    effects: Mapping[Cell, Difference]
    groupings: tuple[Grouping, ...]
    on_val: Mapping[Cell, np.ndarray]

    def predict(self, layers: Sequence[Groups]) -> np.ndarray:
        """What the networks of two predict on val of a network with these groups at the layers that this arm shares:
        the mean over the layers of what is predicted of a grouping, a number a seed (Ours)."""
        of_group = _sum_within_groups(self.tasks, self.on_val)
        totals = [sum((of_group[group] for group in groups), np.zeros(1)) / len(self.tasks) for groups in layers]
        return np.asarray(np.mean(totals, axis=0))

    @cached_property
    def suggested(self) -> Grouping | None:
        """The grouping that is best predicted on val, of equals the one with the most groups; None without val."""
        known = [one for one in self.groupings if not math.isnan(one.val)]
        return max(known, key=lambda one: (one.val, len(one.groups)), default=None)

    def leading(self, most: int) -> tuple[Grouping, ...]:
        """So many groupings, the best predicted, with the suggested one, all together and each alone among them."""
        ends = [one for one in self.groupings if one.is_alone or len(one.groups) == 1 or one is self.suggested]
        others = [one for one in self.groupings if one not in ends]
        kept = [*ends, *others[: max(0, most - len(ends))]]
        return tuple(one for one in self.groupings if one in kept)

    @cached_property
    def agreement(self) -> float:
        """Spearman's rank correlation of what is predicted of groupings on test and what networks of all tasks with
        these groups change; NaN below 3 networks."""
        points = [(one.predicted.mean, network.change) for one in self.groupings for network in one.networks]
        ranks = pd.DataFrame(points, columns=["predicted", "change"]).rank()
        return float(ranks["predicted"].corr(ranks["change"])) if len(points) >= 3 else math.nan


@dataclass(frozen=True)
class Affinities:
    """The networks of two tasks of one setting: its rows of the frame (`note` says which), what the arms are, and each
    arm that has some."""

    rows: pd.DataFrame
    note: str
    arms: Arms
    found: tuple[ArmAffinity, ...]

    @property
    def says_difference(self) -> bool:
        """Whether any task is said to gain or lose by another, or the suggested grouping to differ from one-task."""
        said = [effect for one in self.found for effect in one.effects.values()]
        said += [one.suggested.predicted for one in self.found if one.suggested]
        return any(one.relation in (BEATS, LOSES) for one in said)


def find_affinities(results: Results, selection: Selection) -> Affinities | None:
    """What the selection has of networks of two tasks, None without any."""
    if not (results.frame["purpose"] == Purpose.AFFINITY).any():
        return None
    try:
        return affinities(results, selection)
    except UserError:
        return None  # the figure says why


def affinities(results: Results, selection: Selection = NEWEST, globs: Sequence[str] = ()) -> Affinities:
    """The newest setting, or that of the selection, in which arms were trained for two of the tasks; with globs of the
    arms that match one.

    Raises UserError where there is none, for a glob without an arm, and without one-task on test.
    """
    asked = with_purpose(results.frame, Purpose.AFFINITY)
    if not match_rows(asked, selection).any():
        rows, _ = select_newest(results.frame, selection)
        raise UserError(_say_what_lacks(rows))
    rows, note = select_newest(asked, selection, PURPOSES)
    test = relative_change(rows).dropna(subset=["change"])
    pairs = _names_of_pairs(rows)
    if test.empty:
        raise UserError(f"affinity needs {BASELINE} on test; type: mtlbench run --pair {rows['pair'].iloc[0]}")
    study = _Study(
        results,
        rows,
        Arms.of(rows),
        tuple(dict.fromkeys(test["task"])),
        pairs,
        relative_change(rows, subset="val").dropna(subset=["change"]),
        test,
    )
    shown = arms_matching(arm_order(pairs), globs, "arm of two tasks") if globs else arm_order(pairs)
    return Affinities(rows, note, study.arms, tuple(map(study.affinity, shown)))


def _say_what_lacks(rows: pd.DataFrame) -> str:
    pair, tasks = rows["pair"].iloc[0], whole_task(rows, "test")["task"].nunique()
    if tasks == 2:
        return f"affinity is about three and more tasks; {pair} has two, and figure2 shows what they change"
    return f"affinity needs networks of every two tasks; type: mtlbench run --pair {pair} --affinity split-fc8"


def _names_of_pairs(rows: pd.DataFrame) -> dict[str, dict[frozenset[str], str]]:
    """{arm: {two tasks: the name of its networks of these}}."""
    found: dict[str, dict[frozenset[str], str]] = {}
    two = whole_task(rows[rows["purpose"] == Purpose.AFFINITY], "test")
    for (arm, name), own in two.groupby(["variant_of", "arm"], sort=False):
        found.setdefault(str(arm), {})[frozenset(own["task"])] = str(name)
    return found


@dataclass(frozen=True)
class _Study:
    """What is known of a setting: pairs as `_names_of_pairs`; val, test: `frame.relative_change` of the headlines."""

    results: Results
    rows: pd.DataFrame
    arms: Arms
    tasks: tuple[str, ...]
    pairs: Mapping[str, Mapping[frozenset[str], str]]
    val: pd.DataFrame
    test: pd.DataFrame

    @cached_property
    def runs(self) -> dict[str, Runs]:
        """Of each task all arms' changes, for contrasts: the noise is known from all of them."""
        return {task: Runs(self.test[self.test["task"] == task]) for task in self.tasks}

    def affinity(self, arm: str) -> ArmAffinity:
        """What the networks of two tasks of an arm say."""
        effects, contrasts = {}, len(self.pairs) * len(self.tasks) * (len(self.tasks) - 1)
        for task, partner in permutations(self.tasks, 2):
            name = self.pairs[arm].get(frozenset((task, partner)), "")
            if found := self.runs[task].contrast(name, BASELINE):
                effects[task, partner] = difference_of(found, contrasts, AFFINITY_SHARE)
        cells = [cell for cell in permutations(self.tasks, 2) if cell in effects]
        val = self._by_seed(self.val, arm, cells)
        return ArmAffinity(arm, self.tasks, effects, self._groupings(arm, effects, val), val)

    def _groupings(
        self, arm: str, effects: Mapping[Cell, Difference], val: Mapping[Cell, np.ndarray]
    ) -> tuple[Grouping, ...]:
        """All groupings, from the seeds that have every network of two; val: their changes."""
        cells = list(permutations(self.tasks, 2))
        if len(self.tasks) > MOST_TASKS or any(cell not in effects for cell in cells):
            return ()
        test = self._by_seed(self.test, arm, cells)
        bounds = {cell: np.array([one.wide_high - one.mean]) for cell, one in effects.items()}
        of_group = [_sum_within_groups(self.tasks, numbers) for numbers in (val, test, bounds)]
        networks, found = self._networks(arm), []
        for groups in list_groupings(self.tasks):
            on_val, on_test, half = (
                sum((totals[group] for group in groups), np.zeros(1)) / len(self.tasks) for totals in of_group
            )
            mean, low, high, seeds = mean_interval(pd.Series(on_test))
            wide = mean - float(half.item()), mean + float(half.item())
            predicted = Difference(mean, low, high, *wide, seeds, next(iter(effects.values())).comparisons)
            found.append(Grouping(groups, float(on_val.mean()), predicted, tuple(networks.get(groups, ()))))
        return tuple(sorted(found, key=lambda one: -one.predicted.mean))

    def _by_seed(self, changes: pd.DataFrame, arm: str, cells: Sequence[Cell]) -> dict[Cell, np.ndarray]:
        """{cell: the task's changes in the network of the two}, of the seeds that have all; NaN where none has."""
        table = changes.pivot(index="seed", columns=["task", "arm"], values="change")
        columns = [(task, self.pairs[arm][frozenset((task, partner))]) for task, partner in cells]
        whole = table.reindex(columns=columns).dropna()
        values = whole.to_numpy(float) if len(whole) else np.full((1, len(cells)), math.nan)
        return dict(zip(cells, values.T, strict=True))

    def _networks(self, arm: str) -> dict[Groups, list[Network]]:
        """The networks of all tasks by their groups: Splits and trees that have them where the arm shares; the arm."""
        changes = mean_over_tasks(self.test, "")
        means = changes[changes["arm"].isin(self.rows.loc[self.rows["purpose"] == Purpose.COMPARED, "arm"])]
        known = {str(name): (float(own.mean()), len(own)) for name, own in means.groupby("arm")["change"]}
        stages = self.results.architectures_of(self.rows.drop_duplicates(["arm", "key"]))
        found: dict[Groups, list[Network]] = {}
        for other in arm_order(known):
            parted: tuple[Groups, str] | None = ((self.tasks,), "") if other == arm else None
            if (
                other != arm
                and {other, arm} <= stages.keys()
                and (self.arms.is_split(other) or self.arms.is_tree(other))
            ):
                parted = find_grouping(stages[other], stages[arm], self.tasks)
            if parted:
                groups, at = parted
                network = Network(other, at, *known[other])
                found.setdefault(groups, []).append(network)
        return found


def _sum_within_groups(tasks: tuple[str, ...], numbers: Mapping[Cell, np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    """{group: the sum over its tasks of the mean over their partners in it}, for every group of the tasks."""
    nothing = 0.0 * next(iter(numbers.values()))  # NaN where nothing is known

    def of_task(task: str, group: tuple[str, ...]) -> np.ndarray:
        partners = [numbers[task, other] for other in group if other != task]
        return np.mean(partners, axis=0) if partners else nothing

    groups = (group for size in range(1, len(tasks) + 1) for group in combinations(tasks, size))
    return {group: np.sum([of_task(task, group) for task in group], axis=0) for group in groups}


def list_groupings(tasks: tuple[str, ...]) -> Iterator[Groups]:
    """Every grouping of the tasks, each once, groups and tasks in their order.

    >>> list(list_groupings(("a", "b")))
    [(('a',), ('b',)), (('a', 'b'),)]
    """
    if not tasks:
        yield ()
        return
    first = tasks[0]
    for others in list_groupings(tasks[1:]):
        yield ((first,), *others)
        for place, group in enumerate(others):
            yield ((first, *group), *others[:place], *others[place + 1 :])


def find_grouping(
    stages: Sequence[Mapping[str, Any]], arm: Sequence[Mapping[str, Any]], tasks: tuple[str, ...]
) -> tuple[Groups, str] | None:
    """The groups that a network has at the last stage that all tasks of the arm share, and the stage where they begin
    ("" where all stay together); None where it has others before, shares more behind, or the arm shares nothing.

    `stages`, `arm`: `Results.architectures_of` them.
    """
    whole, alone = (tasks,), tuple((task,) for task in tasks)
    shared = [place for place, stage in enumerate(arm) if order_groups(stage["groups"], tasks) == whole]
    found = [order_groups(stage["groups"], tasks) for stage in stages]
    if not shared or len(found) <= shared[-1]:
        return None
    groups, last = found[shared[-1]], shared[-1] + 1
    if any(one not in (whole, groups) for one in found[:last]) or any(one != alone for one in found[last:]):
        return None
    return groups, "" if groups == whole else str(stages[found.index(groups)]["stage"])


def order_groups(groups: Sequence[Sequence[str]], tasks: tuple[str, ...]) -> Groups:
    """Groups, and tasks in them, in the order of the tasks."""
    own = [tuple(task for task in tasks if task in group) for group in groups]
    return tuple(sorted((group for group in own if group), key=lambda group: tasks.index(group[0])))
