"""What is searched: the architectures of a table that only share or do not share layers, with their courses of training
and what these cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from mtlbench.errors import UserError
from mtlbench.spec import Family
from mtlbench.tabular.benchmark import Benchmark
from mtlbench.tabular.content import CHANGE

SEARCHED = (Family.BASELINE, Family.SPLIT, Family.TREE)
FEWEST = 3
WORK = "training_flops"
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
    whole = [arm for arm in arms if all(by_arm[arm] for by_arm in courses.values()) and _work(benchmark, arm)]
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
        {arm: _work(benchmark, arm) for arm in whole},
        {arm: benchmark.query(arm) for arm in whole},
    )


def _course(benchmark: Benchmark, arm: str, seed: int) -> Course | None:
    """None where a number is missing."""
    during = benchmark.iterations[arm]
    try:
        changes = [benchmark.query(arm, seed=seed, iteration=at, subset="val") for at in during[:-1]]
        changes.append(benchmark.query(arm, seed=seed, metric=CHANGE, subset="val"))
        benchmark.query(arm, seed=seed)
    except UserError:
        return None
    return Course(tuple(at / during[-1] for at in during) or (1.0,), tuple(changes))


def _work(benchmark: Benchmark, arm: str) -> float:
    """0 where it is not known."""
    try:
        return benchmark.query(arm, metric=WORK)
    except UserError:
        return 0.0


def count_shared(benchmark: Benchmark, arm: str) -> Depths:
    """{"a+b": how many stages the two tasks share}."""
    return {
        f"{one}+{other}": sum(
            any(one in group and other in group for group in stage.groups)
            for stage in benchmark.architectures[arm].stages
        )
        for one, other in combinations(benchmark.tasks, 2)
    }


def _rank(depths: dict[str, Depths]) -> dict[str, Depths]:
    """Depths counted in the places where any two tasks part, which are the same for all tasks: pooling layers between
    two of them are no choice."""
    places = sorted({depth for by_tasks in depths.values() for depth in by_tasks.values()})
    return {arm: {name: places.index(depth) for name, depth in own.items()} for arm, own in depths.items()}
