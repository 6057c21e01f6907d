"""What could be known before, or without, training every architecture: how well does it order them?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from mtlbench.analysis.affinity import find_affinities, order_groups
from mtlbench.analysis.frame import IDENTITY, list_records, rows_of_trials
from mtlbench.analysis.inference import mean_interval
from mtlbench.analysis.selection import NEWEST, Selection, select_newest
from mtlbench.contracts import Results
from mtlbench.spec import Family
from mtlbench.tabular.benchmark import Benchmark
from mtlbench.tabular.candidates import Space, make_space, shares
from mtlbench.tabular.export import tabulate

FEWEST = 3  # architectures that an order is made of


@dataclass(frozen=True)
class Proxy:
    """A measure of architectures. rho: mean over seeds of Spearman's rank correlation with the mean change on test;
    low, high: its 95 % t interval over n seeds (NaN below three; n = 0: the measure has no seed). arms: how many
    architectures have it."""

    name: str
    rho: float
    low: float
    high: float
    n: int
    arms: int


@dataclass(frozen=True)
class Proxies:
    """`early`: val during training, by the share of it that is done; `others`: what needs no training of every
    architecture; `note`: which results these are."""

    early: tuple[Proxy, ...]
    others: tuple[Proxy, ...]
    arms: int
    note: str


def find_proxies(results: Results, selection: Selection = NEWEST) -> Proxies:
    """Rank correlations of what the results have with the mean change on test over all seeds, over one-task, Splits
    and trees. Ours. Raises UserError with too few of them."""
    content = tabulate(results, selection)
    benchmark = Benchmark.of(content)
    space = make_space(benchmark)
    frame, note = select_newest(results.frame, selection)
    early = [_correlate_early(space, point) for point in range(space.points)]
    fixed = [
        _correlate(name, {0: _values_of(benchmark, space, metric)}, space.truths, seeded=False)
        for name, metric in (("FLOPs of a forward pass", "flops"), ("parameters", "parameters"))
    ]
    measured = [
        _correlate("cosine of the tasks' gradients", _average_cosines(results, frame, space), space.truths),
        _correlate("alphas of cross-stitch", _average_alphas(results, frame, benchmark, space), space.truths),
        *_correlate_affinities(results, frame, benchmark, space),
    ]
    others = [one for one in (*fixed, *measured) if one]
    return Proxies(tuple(one for one in early if one), tuple(others), len(space.depths), note)


def _correlate_early(space: Space, point: int) -> Proxy | None:
    share = next(iter(next(iter(space.courses.values())).values())).shares[point]
    by_seed = {
        seed: {arm: course.changes[point] for arm, course in courses.items()} for seed, courses in space.courses.items()
    }
    return _correlate(f"val after {100 * share:.0f} % of training", by_seed, space.truths)


def _correlate(
    name: str, by_seed: Mapping[int, Mapping[str, float]], truths: Mapping[str, float], seeded: bool = True
) -> Proxy | None:
    """None where no seed has the measure of FEWEST architectures, or all are equal."""
    found, arms = [], 0
    for measured in by_seed.values():
        shown = [arm for arm in measured if arm in truths and math.isfinite(measured[arm])]
        values, truth = (pd.Series([numbers[arm] for arm in shown]).rank() for numbers in (measured, truths))
        if len(shown) >= FEWEST and values.nunique() > 1 and truth.nunique() > 1:
            found.append(float(values.corr(truth)))  # of ranks: Spearman's
            arms = max(arms, len(shown))
    if not found:
        return None
    mean, low, high, n = mean_interval(pd.Series(found))
    return Proxy(name, mean, max(low, -1.0), min(high, 1.0), n if seeded else 0, arms)


def _values_of(benchmark: Benchmark, space: Space, metric: str) -> dict[str, float]:
    """Of the arms that have it."""
    return {arm: value for arm in space.depths if (value := benchmark.look_up(arm, metric=metric)) is not None}


def _average_cosines(results: Results, frame: pd.DataFrame, space: Space) -> dict[int, dict[str, float]]:
    """{seed: {arm: mean cosine over training and every two tasks}}, of joint arms."""
    rows = rows_of_trials(results.conflicts, frame)
    rows = rows[rows["arm"].isin(space.depths)]
    means = rows.groupby(["seed", "arm"])["cosine"].mean()
    return _by_seed(means)


def _average_alphas(
    results: Results, frame: pd.DataFrame, benchmark: Benchmark, space: Space
) -> dict[int, dict[str, float]]:
    """{seed: {arm: how far it shares where cross-stitch mixes most}}: over units and every two tasks, the alpha that
    one takes from the other in the end, less its mean over units, added where the arm shares the stage and taken off
    where it does not (Ours)."""
    rows = rows_of_trials(results.alphas, frame)
    rows = rows[(rows["family"] == Family.CROSS_STITCH) & (rows["variant_of"] == "") & (rows["channel"] == -1)]
    rows = rows[rows["receiver"] != rows["giver"]]
    if rows.empty:
        return {}
    last = rows[rows["iteration"] == rows.groupby("key")["iteration"].transform("max")]
    last = last.assign(excess=last["alpha"] - last.groupby("key")["alpha"].transform("mean"))
    sharing = {arm: _find_sharing(benchmark, arm) for arm in space.depths}
    found: dict[int, dict[str, float]] = {}
    for seed, own in last.groupby("seed"):
        units = list(zip(own["stage"], own["receiver"], own["giver"], own["excess"], strict=True))
        found[int(str(seed))] = {
            arm: sum(excess if shares(stage, one, other) else -excess for stage, one, other, excess in units)
            for arm, shares in sharing.items()
        }
    return found


def _correlate_affinities(
    results: Results, frame: pd.DataFrame, benchmark: Benchmark, space: Space
) -> list[Proxy | None]:
    """What the networks of every two tasks predict of each architecture (`ArmAffinity.predict`), for each arm that was
    trained for two tasks."""
    found = find_affinities(results, Selection(**{name: str(frame[name].iloc[0]) for name in IDENTITY}))
    proxies = []
    for one in found.found if found else ():
        if not one.groupings or one.arm not in benchmark.architectures:
            continue
        shared = [stage.stage for stage in benchmark.architectures[one.arm].stages if len(stage.groups) == 1]
        by_seed: dict[int, dict[str, float]] = {}
        for arm in space.depths:
            groups = {stage.stage: stage.groups for stage in benchmark.architectures[arm].stages}
            if shared and all(name in groups for name in shared):
                predicted = one.predict([order_groups(groups[name], one.tasks) for name in shared])
                for place, value in enumerate(predicted):
                    by_seed.setdefault(place, {})[arm] = float(value)
        proxies.append(_correlate(f"affinity: {one.arm} of every two tasks", by_seed, space.truths))
    return proxies


def _find_sharing(benchmark: Benchmark, arm: str) -> Callable[[str, str, str], bool]:
    """Whether two tasks share a stage of an arm."""
    groups = {one.stage: one.groups for one in benchmark.architectures[arm].stages}
    return lambda stage, one, other: shares(groups.get(stage, ()), one, other)


def _by_seed(means: pd.Series) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for row in list_records(means.rename("value").reset_index()):
        found.setdefault(int(row["seed"]), {})[str(row["arm"])] = float(row["value"])
    return found
