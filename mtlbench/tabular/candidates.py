"""What is searched: the architectures of a table that only share or do not share layers, with their courses of training
and what these cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from mtlbench.errors import UserError
from mtlbench.spec import Family
from mtlbench.tabular.benchmark import WORK, Benchmark

SEARCHED = (Family.BASELINE, Family.SPLIT, Family.TREE)
FEWEST = 3
Depths = dict[str, int]


@dataclass(frozen=True)
class Course:
    """How one arm's training with one seed went. `shares`: of its training at each point, the last 1. `changes`: mean
    change on val in %, on its first images but the last one, which is on all of val after training."""

    shares: tuple[float, ...]
    changes: tuple[float, ...]


@dataclass(frozen=True)
class Space:
    """What a search may train. `depths`: {arm: {"a+b": for how many of the places where the table's architectures part
    tasks a and b go together}}, in order of sharing. `courses`: of every arm by seed; `works`: FLOPs of an arm's whole
    training, mean over seeds; `truths`: mean change on test in %, mean over seeds."""

    depths: dict[str, Depths]
    courses: dict[int, dict[str, Course]]
    works: dict[str, float]
    truths: dict[str, float]

    @property
    def brute_force(self) -> float:
        """What it costs to train every arm once, in FLOPs."""
        return sum(self.works.values())

    @property
    def points(self) -> int:
        """How many points of training there are."""
        return min(len(course.shares) for by_arm in self.courses.values() for course in by_arm.values())

    def bounds(self) -> Mapping[str, tuple[int, int]]:
        """{"a+b": lowest and highest depth}."""
        first = next(iter(self.depths.values()))
        return {
            name: (min(d[name] for d in self.depths.values()), max(d[name] for d in self.depths.values()))
            for name in first
        }

    def nearest(self, wanted: Depths) -> str:
        """The arm whose depths differ least from these; of several the one that shares less."""
        return min(self.depths, key=lambda arm: sum(abs(self.depths[arm][name] - wanted[name]) for name in wanted))


def make_space(benchmark: Benchmark) -> Space:
    """The space of a table: its one-task networks, Splits and trees that every seed has. Raises UserError for fewer
    than FEWEST."""
    arms = [
        arm
        for arm, known in benchmark.architectures.items()
        if known.family in SEARCHED and not known.variant_of and known.stages
    ]
    courses = {seed: {arm: _course(benchmark, arm, seed) for arm in arms} for seed in benchmark.seeds}
    works = {arm: work for arm in arms if (work := benchmark.look_up(arm, metric=WORK))}
    whole = [arm for arm in works if all(by_arm[arm] for by_arm in courses.values())]
    if len(whole) < FEWEST:
        raise UserError(
            f"a search needs {FEWEST} or more of one-task, Splits and trees that are finished with every seed, there"
            f" are {len(whole)}; type: mtlbench run --pair {benchmark.about.pair} --all-splits"
        )
    depths = _rank({arm: count_shared(benchmark, arm) for arm in whole})
    whole = sorted(whole, key=lambda arm: sum(depths[arm].values()))
    return Space(
        {arm: depths[arm] for arm in whole},
        {seed: {arm: found for arm in whole if (found := by_arm[arm])} for seed, by_arm in courses.items()},
        {arm: works[arm] for arm in whole},
        {arm: benchmark.query(arm) for arm in whole},
    )


def _course(benchmark: Benchmark, arm: str, seed: int) -> Course | None:
    """None where a number is missing."""
    during = benchmark.iterations[arm]
    measured = [benchmark.look_up(arm, seed=seed, iteration=at, subset="val") for at in (*during[:-1], None)]
    changes = tuple(change for change in measured if change is not None)
    if len(changes) < len(measured) or benchmark.look_up(arm, seed=seed) is None:
        return None
    return Course(tuple(at / during[-1] for at in during) or (1.0,), changes)


def shares(groups: Sequence[Sequence[str]], one: str, other: str) -> bool:
    """Whether two tasks are in one of the groups."""
    return any(one in group and other in group for group in groups)


def count_shared(benchmark: Benchmark, arm: str) -> Depths:
    """{"a+b": how many stages the two tasks share}."""
    return {
        f"{one}+{other}": sum(shares(stage.groups, one, other) for stage in benchmark.architectures[arm].stages)
        for one, other in combinations(benchmark.tasks, 2)
    }


def _rank(depths: dict[str, Depths]) -> dict[str, Depths]:
    """Depths counted in the places where any two tasks part, which are the same for all tasks: pooling layers between
    two of them are no choice."""
    places = sorted({depth for by_tasks in depths.values() for depth in by_tasks.values()})
    return {arm: {name: places.index(depth) for name, depth in own.items()} for arm, own in depths.items()}
