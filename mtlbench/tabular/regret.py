"""What searches would have cost and found: regret against cost, and what cross-stitch saves of the brute force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtlbench.analysis.frame import FEWEST_SEEDS
from mtlbench.analysis.inference import mean_interval
from mtlbench.arm_names import BASELINE
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.spec import Family
from mtlbench.tabular.benchmark import WORK, Benchmark
from mtlbench.tabular.candidates import Space, make_space
from mtlbench.tabular.replay import METHODS, Step, can_run, replay
from mtlbench.text import list_in_words, write_percent

REPEATS = 20  # searches of each seed's networks, where a search is random
BUDGET = 1.0  # of the brute force
MARKS = (0.125, 0.25, 0.5, 1.0)  # of the brute force: where tables look


@dataclass(frozen=True)
class Fixed:
    """An arm that is trained without any search. cost: with its parents, over the brute force. regret: as of searches.
    difference, low, high: its mean change on test less that of what the brute force with the same seed chooses on val,
    in %, with the paired 95 % t interval over n seeds (NaN below three)."""

    arm: str
    cost: float
    regret: float
    difference: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Regrets:
    """Searches of a table.

    traces: {method: {seed: traces}}. best: the arm with the best mean change on test, of which regret is the distance.
    budget: over the brute force. fixed: one-task and cross-stitch, where the table has them.
    """

    space: Space
    traces: dict[str, dict[int, list[list[Step]]]]
    best: str
    budget: float
    repeats: int
    fixed: tuple[Fixed, ...]

    def at(self, method: str, cost: float) -> pd.DataFrame:
        """Of each search: seed, arm, regret (NaN before the first number) once it has spent `cost`."""
        rows = []
        for seed, traces in self.traces[method].items():
            for trace in traces:
                given = [step.arm for step in trace if step.cost <= cost * (1 + 1e-9)]
                regret = self.regret_of(given[-1]) if given else float("nan")
                rows.append((seed, given[-1] if given else "", regret))
        return pd.DataFrame(rows, columns=["seed", "arm", "regret"])

    def regret_of(self, arm: str) -> float:
        """By how much the arm's mean change on test is below the best one's, in %."""
        return self.space.truths[self.best] - self.space.truths[arm]

    def curve(self, method: str, costs: Sequence[float]) -> pd.DataFrame:
        """Columns cost, mean, low, high: mean over seeds of the mean regret of a seed's searches, and the lowest and
        highest seed; only where every search has a number."""
        at = np.asarray(costs, float)
        seeds = np.array([self._mean_regret(traces, at) for traces in self.traces[method].values()])
        found = {"cost": at, "mean": seeds.mean(0), "low": seeds.min(0), "high": seeds.max(0)}
        return pd.DataFrame(found).dropna(ignore_index=True)

    def _mean_regret(self, traces: list[list[Step]], costs: np.ndarray) -> np.ndarray:
        """Over the searches, NaN at costs where one has no number yet."""
        found = np.full((len(traces), len(costs)), np.nan)
        for row, trace in zip(found, traces, strict=True):
            steps = np.searchsorted([step.cost for step in trace], costs * (1 + 1e-9), side="right")
            regrets = np.array([np.nan, *(self.regret_of(step.arm) for step in trace)])
            row[:] = regrets[steps]
        mean: np.ndarray = found.mean(0)
        return mean


def find_regrets(
    benchmark: Benchmark, methods: Sequence[str] = (), budget: float = BUDGET, repeats: int = REPEATS
) -> Regrets:
    """Replay the methods (() = all that can run here) with every seed's networks. Raises UserError for a method that
    is none or cannot run, and for a table with too little to search."""
    for method in methods:
        if method not in METHODS:
            raise make_unknown("method", method, METHODS)
    if budget <= 0 or repeats < 1:
        raise UserError("a search needs a budget above 0 (1 = that of training every architecture) and a repeat")
    space = make_space(benchmark)
    chosen = [METHODS[name] for name in methods] or [one for one in METHODS.values() if can_run(one)]
    traces = {one.name: replay(space, one, budget, benchmark.seeds, repeats) for one in chosen}
    best = max(space.truths, key=lambda arm: space.truths[arm])
    fixed = tuple(one for arm in _fixed_arms(benchmark) if (one := _fix(benchmark, space, best, arm)))
    return Regrets(space, traces, best, budget, repeats, fixed)


def _fixed_arms(benchmark: Benchmark) -> list[str]:
    """One-task, and the cross-stitch network that is no variant."""
    stitched = [
        arm
        for arm, known in benchmark.architectures.items()
        if known.family == Family.CROSS_STITCH and not known.variant_of
    ]
    return [BASELINE, *stitched[:1]]


def _fix(benchmark: Benchmark, space: Space, best: str, arm: str) -> Fixed | None:
    """None where the arm lacks a number."""
    work = benchmark.look_up(arm, metric=f"{WORK}_with_parents")
    tested = pd.Series([benchmark.look_up(arm, seed=seed) for seed in benchmark.seeds], dtype=float)
    if work is None or tested.isna().any():
        return None
    chosen = [benchmark.query(choose_by_brute_force(space, seed), seed=seed) for seed in benchmark.seeds]
    mean, low, high, n = mean_interval(tested - chosen)
    return Fixed(arm, work / space.brute_force, space.truths[best] - float(tested.mean()), mean, low, high, n)


def choose_by_brute_force(space: Space, seed: int) -> str:
    """The arm that is best on val of one seed's networks, all trained fully."""
    courses = space.courses[seed]
    return max(courses, key=lambda arm: courses[arm].changes[-1])


def describe_saving(regrets: Regrets) -> list[str]:
    """Sentences on what cross-stitch, and one-task, save of the brute force, and what that costs in quality."""
    architectures = len(regrets.space.depths)
    sentences = []
    for one in regrets.fixed:
        what = one.arm if one.arm == BASELINE else f"{one.arm}, with the networks that it starts from,"
        against = write_percent(one.difference, one.low, one.high)
        unsure = "" if one.n >= FEWEST_SEEDS else f" (no interval from {one.n} seeds)"
        cost = f"{what} costs {100 * one.cost:.0f} % of training all {architectures} architectures"
        regret = f"its regret is {write_percent(one.regret, signed=False)}."
        if one.low == one.high == 0:
            sentences.append(f"{cost}, and is what this brute force chooses on val for each seed; {regret}")
        else:
            sentences.append(
                f"{cost}, and its mean change on test differs by {against}{unsure} from that of the architecture which"
                f" this brute force chooses on val, seed by seed; {regret}"
            )
    return sentences


def describe_methods(regrets: Regrets) -> str:
    """Which method is whose."""
    return f"Whose the methods are: {list_in_words([f'{name} - {METHODS[name].whose}' for name in regrets.traces])}."


def describe_measure(regrets: Regrets) -> str:
    """What regret and cost are here."""
    return (
        f"Regret: how far the mean change on test (over tasks and {len(regrets.space.courses)} seeds) of what the"
        f" search would give is below that of {regrets.best}, the best on test, in % of one-task; that one is chosen on"
        " test, so chance alone gives a search some regret. Searches see val of one seed's networks at a time, during"
        " training its first images. Cost: training FLOPs over those of training every architecture once."
    )
