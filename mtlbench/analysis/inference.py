"""What changes against one-task show: intervals, families of them, power.

Model (Ours): change = arm + seed + noise, for one task and metric, with normal noise of one size for all arms, checked
arm by arm. `changes` are `stats.relative_change`'s, in % of one-task; the baseline's rows (all 0) belong to them. The
paper has one run a number and no intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy.special import fdtrc, gammaincinv, nctdtr, ndtr, stdtr, stdtrit

from mtlbench.analysis.frame import FEWEST_SEEDS, whole_task
from mtlbench.arm_names import BASELINE


def mean_interval(values: pd.Series, confidence: float = 0.95) -> tuple[float, float, float, int]:
    """Mean over seeds, low and high of mean -+ t(n - 1) * sd / sqrt(n), and n; NaN limits below 3 seeds."""
    kept = values.dropna()
    n, mean = len(kept), float(kept.mean())
    if n < FEWEST_SEEDS:
        return mean, float("nan"), float("nan"), n
    half = float(stdtrit(n - 1, (1 + confidence) / 2) * kept.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half, n


Number = TypeVar("Number", float, pd.Series)
CHECK = 0.01  # chance that any of several equally noisy arms is left out of the pool


class Pool(NamedTuple):
    """Standard deviation of a single run (%), its degrees of freedom, and the arms whose own noise is larger."""

    noise: float
    freedom: int
    noisy: frozenset[str]


def pooled_residual(changes: pd.DataFrame, check: float = CHECK) -> Pool:
    """The residual of change ~ arm + seed for one task and metric, over the arms that pass the check (Ours).

    Least squares on all cells, the baseline's included: s^2 = RSS / (cells - rank), for a complete table
    (arms - 1)(seeds - 1) degrees of freedom. Since the seed effect absorbs what the baseline's own noise does to all
    arms of a seed, s estimates the noise of a single run (to first order in the baseline's relative noise) and not of a
    difference, although the baseline's change is identically 0. NaN without degrees of freedom. Networks with two names
    count once. Check: what an arm adds to the residual, over the residual without it, is F distributed under one noise
    level, whatever is missing; the arm with the smallest probability goes where that is below `check` / arms
    (Bonferroni), until none does. Only an excess counts: a chance small sd of few seeds is what pooling is there to
    mend.
    """
    twins = _twins(changes)
    table = changes[changes["arm"].isin(set(twins.values()))]
    arms, names = pd.factorize(table["arm"])
    seeds, _ = pd.factorize(table["seed"], use_na_sentinel=False)
    values = table["change"].to_numpy(float)
    noise, freedom, noisy = _pool_of_one(arms.tobytes(), seeds.tobytes(), values.tobytes(), check)
    excess = {names[place] for place in noisy}
    return Pool(noise, freedom, frozenset(arm for arm, first in twins.items() if first in excess))


@lru_cache(maxsize=256)
def _pool_of_one(arms: bytes, seeds: bytes, values: bytes, check: float) -> tuple[float, int, tuple[int, ...]]:
    """`pool` of one table, which a report asks for again and again; the arrays as bytes, so that they can be looked up.
    Noise, freedom, numbers of the noisy arms."""
    table = np.frombuffer(values, float)[:, None]
    noise, freedom, noisy = pool(np.frombuffer(arms, np.intp), np.frombuffer(seeds, np.intp), table, check)
    return float(noise[0]), int(freedom[0]), tuple(np.flatnonzero(noisy[:, 0]).tolist())


def pool(
    arms: np.ndarray, seeds: np.ndarray, values: np.ndarray, check: float = CHECK
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`pooled_residual` of many tables with the same cells: noise, freedom (each per table), noisy (arm x table).

    `arms` (numbered from 0) and `seeds` say what each row of `values` (cells x tables) is.
    """
    levels = np.unique(arms)
    design = np.hstack([arms[:, None] == levels, seeds[:, None] == np.unique(seeds)]).astype(float)
    residual = np.eye(len(arms)) - design @ np.linalg.pinv(design)
    left = residual @ values
    total, freedom = (left**2).sum(axis=0), round(np.trace(residual))
    tiny = 1e-20 * (values**2).sum(axis=0) + np.finfo(float).tiny  # rounding
    chance = np.ones((len(levels), values.shape[1]))
    for place, arm in enumerate(levels):
        rows = arms == arm
        block = residual[np.ix_(rows, rows)]
        inverse = np.linalg.pinv(block, rcond=1e-9, hermitian=True)
        own = np.einsum("ik,ij,jk->k", left[rows], inverse, left[rows])
        own_freedom = round(np.trace(block @ inverse))
        rest_freedom = freedom - own_freedom
        if own_freedom and rest_freedom:
            excess = np.where(own > tiny, own / own_freedom, 0) / (np.maximum(total - own, tiny) / rest_freedom)
            chance[place] = fdtrc(own_freedom, rest_freedom, excess)
    noise = np.sqrt(total / freedom) if freedom else np.full(values.shape[1], np.nan)
    freedoms = np.full(values.shape[1], freedom)
    noisy = np.zeros((int(levels.max()) + 1, values.shape[1]), bool)
    worst = np.where(chance.min(axis=0) < check / len(levels), chance.argmin(axis=0), -1)
    for place in set(worst.tolist()) - {-1}:
        tables, rows = worst == place, arms != levels[place]
        noise[tables], freedoms[tables], others = pool(arms[rows], seeds[rows], values[np.ix_(rows, tables)], check)
        noisy[: len(others), tables] = others
        noisy[levels[place], tables] = True
    return noise, freedoms, noisy


def _twins(changes: pd.DataFrame) -> dict[str, str]:
    """{arm: the arm it is counted as}: a network with several names has the same trials under each.

    Changes without `key` (means over tasks, say) are the same where they are equal.
    """
    marks = changes["change"].astype(object)
    if "key" in changes:
        marks = changes["key"].where(changes["key"].notna(), marks)
    cells: dict[str, set[tuple[str, object]]] = {}
    for arm, seed, mark in zip(changes["arm"].tolist(), changes["seed"].tolist(), marks.tolist(), strict=True):
        cells.setdefault(str(arm), set()).add((str(seed), mark))
    firsts: dict[str, str] = {}
    for arm in sorted(cells, key=lambda arm: -len(cells[arm])):
        counted = dict.fromkeys(firsts.values())
        firsts[arm] = next((first for first in counted if cells[arm] <= cells[first]), arm)
    return firsts


def half_width(error: Number, freedom: Number, confidence: float = 0.95) -> Number:
    """Half the width of a t interval: the quantile for `freedom` times the standard error."""
    return stdtrit(freedom, (1 + confidence) / 2) * error


def intervals(changes: pd.DataFrame, confidence: float = 0.95, check: float = CHECK) -> pd.DataFrame:
    """Mean change per task, metric and arm with its confidence interval, in %; not corrected for many comparisons.

    Columns task, metric, arm, mean, n (seeds), low, high, low_single, high_single, shown_low, shown_high, flagged,
    noise (s), freedom (of s). Pooled (low, high): mean -+ t(freedom) * s * sqrt(2 / n), s of `pooled_residual`.
    Single: mean -+ t(n - 1) * sd(changes of the arm) / sqrt(n), the paired t interval, which needs no common noise.
    Shown: pooled, but single where flagged, that is where the arm is noisier than the pool; where the baseline is,
    every arm is flagged, for its noise is in every change. Among 12 arms the check finds one of 3 times the others'
    noise in 31, 60 and 91 % of all tables at 3, 5 and 10 seeds, and its shown interval covers in 79, 87 and 94 % (if it
    is the baseline, those of all arms in 80, 87 and 94 %); Single covers in 95 %. NaN below 3 seeds and for the
    baseline itself (or an arm that equals it exactly). Ours.
    """
    rows = []
    for task, metric, table in _tables(changes):
        found = pooled_residual(table, check)
        flagged = _flagged(table, found)
        for arm, values in table.groupby("arm", sort=False)["change"]:
            n, mean = len(values), values.mean()
            half = half_single = math.nan
            if n >= FEWEST_SEEDS and values.any():  # all zeros: against itself
                error, error_single = found.noise * math.sqrt(2 / n), values.std(ddof=1) / math.sqrt(n)
                half = half_width(error, found.freedom, confidence) if found.freedom else math.nan
                half_single = half_width(error_single, n - 1, confidence)
            shown = half_single if arm in flagged else half
            rows.append(
                (
                    task,
                    metric,
                    arm,
                    mean,
                    n,
                    mean - half,
                    mean + half,
                    mean - half_single,
                    mean + half_single,
                    mean - shown,
                    mean + shown,
                    arm in flagged,
                    found.noise,
                    found.freedom,
                )
            )
    columns = [
        "task",
        "metric",
        "arm",
        "mean",
        "n",
        "low",
        "high",
        "low_single",
        "high_single",
        "shown_low",
        "shown_high",
        "flagged",
        "noise",
        "freedom",
    ]
    return pd.DataFrame(rows, columns=columns)


def familywise(changes: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Simultaneous intervals of all arms of a task and metric against the baseline: all cover in `confidence` of cases.

    Columns task, metric, arm, mean, n, low, high, comparisons, flagged, significant (the interval excludes 0). Dunnett
    (1955): differences to one control with a common s have the multivariate t distribution with correlation 1/2; here s
    and its freedom are `pooled_residual`'s, which `scipy.stats.dunnett` cannot take (it pools within unpaired groups).
    Where cells are missing the correlations are below 1/2 and differ: 0 is a safe bound (Sidak 1967). Flagged arms have
    Sidak's bound with their own sd. A fifth of 1 - confidence pays for false alarms of the check, so that equally noisy
    arms are covered at least as often as said. The family is one task and metric; arms with an interval count, twins
    once.
    """
    rows = []
    check = (1 - confidence) / 5
    inner = confidence + check
    for task, metric, table in _tables(changes):
        plain = intervals(table, confidence, check).set_index("arm")
        compared = [arm for arm in plain.index if not math.isnan(plain["low_single"][arm])]
        twins = _twins(table)
        number = len({twins[arm] for arm in compared})
        complete = len(set(plain.loc[compared, "n"])) == 1 and plain["n"].max() == table["seed"].nunique(dropna=False)
        for arm, row in plain.iterrows():
            freedom, n = int(row["freedom"]), int(row["n"])
            half = math.nan
            if arm in compared and row["flagged"]:
                sd = float(table.loc[table["arm"] == arm, "change"].std(ddof=1))
                half = half_width(sd / math.sqrt(n), n - 1, inner ** (1 / number))
            elif arm in compared and freedom:
                correlation = 0.5 if complete else 0.0
                half = critical(number, freedom, inner, correlation) * row["noise"] * math.sqrt(2 / n)
            mean = row["mean"]
            rows.append(
                (task, metric, arm, mean, n, mean - half, mean + half, number, row["flagged"], bool(abs(mean) > half))
            )
    columns = ["task", "metric", "arm", "mean", "n", "low", "high", "comparisons", "flagged", "significant"]
    return pd.DataFrame(rows, columns=columns)


@lru_cache(maxsize=256)
def critical(comparisons: int, freedom: int, confidence: float = 0.95, correlation: float = 0.5) -> float:
    """What the largest of |t_1| .. |t_k| stays below with probability `confidence` (Dunnett 1955).

    The t have a common s with `freedom` degrees of freedom and one correlation: given s and what they have in common
    they are independent, so the probability is a double integral; Gauss quadrature, good to 4 digits.
    """
    common, weight = np.polynomial.hermite_e.hermegauss(64)
    quantile, share = np.polynomial.legendre.leggauss(96)
    spread = np.sqrt(2 / freedom * gammaincinv(freedom / 2, (quantile + 1) / 2))  # of s / sigma
    shift, scale = math.sqrt(correlation) * common[:, None], math.sqrt(1 - correlation)

    def covers(limit: float) -> float:
        inside = ndtr((shift + limit * spread) / scale) - ndtr((shift - limit * spread) / scale)
        return float(weight / weight.sum() @ inside**comparisons @ share / 2)

    return _crossing(covers, confidence)


def beats(changes: pd.DataFrame, a: str, b: str, confidence: float = 0.95) -> pd.DataFrame:
    """Arm a minus arm b on the seeds that both have, per task and metric, in % of the baseline.

    Columns task, metric, a, b, mean, n, low, high, probability (that a is truly better), flagged, noise, freedom.
    mean -+ t(freedom) * s * sqrt(2 / n) with s of `pooled_residual`, or the paired t interval of the two arms alone
    where one of them is noisier than the pool (flagged). The probability is the posterior one under a flat prior, where
    the true difference is t distributed about the mean with the same s and freedom (Box and Tiao 1973). Rows
    without a common seed are left out; no interval and probability below 3. Ours.
    """
    rows = []
    for task, metric, table in _tables(changes):
        cells = table[table["arm"].isin((a, b))].pivot(index="seed", columns="arm", values="change")
        if a not in cells or b not in cells or cells.dropna().empty:
            continue
        differences = (cells[a] - cells[b]).dropna()
        n, mean = len(differences), float(differences.mean())
        found = pooled_residual(table)
        flagged = bool(found.noisy & {a, b})
        freedom, error = found.freedom, found.noise * math.sqrt(2 / n)
        if flagged:
            freedom, error = n - 1, float(differences.std(ddof=1)) / math.sqrt(n)
        half = probability = math.nan
        if n >= FEWEST_SEEDS and freedom and differences.any():
            half = half_width(error, freedom, confidence)
            probability = float(stdtr(freedom, mean / error)) if error > 0 else float(mean > 0)
        rows.append(
            (
                task,
                metric,
                a,
                b,
                mean,
                n,
                mean - half,
                mean + half,
                probability,
                flagged,
                error * math.sqrt(n / 2),
                freedom,
            )
        )
    columns = ["task", "metric", "a", "b", "mean", "n", "low", "high", "probability", "flagged", "noise", "freedom"]
    return pd.DataFrame(rows, columns=columns)


def noise_band(frame: pd.DataFrame, confidence: float = 0.95, subset: str = "test") -> pd.DataFrame:
    """How well the baseline's own headline is known from its seeds, per task, in % of its mean.

    Columns task, metric, n, mean (in the metric's unit), sd (of a single run, %), half_width: the half-width of the
    unpaired t interval of the baseline's mean over its n seeds, t(n - 1) * sd / sqrt(n); NaN below 3 seeds. Ours: the
    mean of n runs and not a single run, so that the band compares with markers that are means of n runs.
    """
    rows = whole_task(frame, subset)
    rows = rows[rows["headline"].astype(bool) & (rows["arm"] == BASELINE)]
    found = []
    for (task, metric), values in rows.groupby(["task", "metric"], sort=False)["value"]:
        n, mean = len(values), values.mean()
        sd = 100 * values.std(ddof=1) / abs(mean) if n > 1 and mean else math.nan
        half = half_width(sd / math.sqrt(n), n - 1, confidence) if n >= FEWEST_SEEDS else math.nan
        found.append((task, metric, n, mean, sd, half))
    return pd.DataFrame(found, columns=["task", "metric", "n", "mean", "sd", "half_width"])


def _tables(changes: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Task, metric and the changes that are numbers."""
    groups = changes.dropna(subset=["change"]).groupby(["task", "metric"], sort=False)
    return [(table["task"].iloc[0], table["metric"].iloc[0], table) for _, table in groups]


def _flagged(table: pd.DataFrame, found: Pool) -> frozenset[str]:
    """The arms whose change is noisier than the pool says: all of them where the baseline itself is."""
    nonzero = table.groupby("arm", sort=False)["change"].any()
    baseline_noisy = any(not nonzero[arm] for arm in found.noisy)
    return frozenset(map(str, nonzero.index)) if baseline_noisy else found.noisy


def power_of(difference: float, noise: float, freedom: int, n: int, confidence: float = 0.95) -> float:
    """The probability that the interval of two arms' difference, n seeds each, excludes 0 (noncentral t).

    `difference` and `noise` (of a single run) in the same unit, the pooled residual's s with `freedom`.
    """
    limit, shift = half_width(1.0, freedom, confidence), abs(difference) / (noise * math.sqrt(2 / n))
    return float(1 - nctdtr(freedom, shift, limit) + nctdtr(freedom, shift, -limit))


def detectable(noise: float, freedom: int, n: int, power: float = 0.8, confidence: float = 0.95) -> float:
    """The smallest true difference that n seeds show with this power, in the unit of `noise` (of a single run); NaN
    below 3 seeds or without freedom."""
    if n < FEWEST_SEEDS or freedom < 1 or math.isnan(noise):
        return math.nan
    return noise * _crossing(lambda difference: power_of(difference, 1.0, freedom, n, confidence), power)


def seeds_for(
    difference: float, noise: float, arms: int = 2, power: float = 0.8, confidence: float = 0.95, most: int = 10_000
) -> int:
    """How many seeds (3 or more) show a true difference between two of `arms` arms with this power; at most `most`.

    The pool's degrees of freedom grow with the seeds, (arms - 1)(seeds - 1). Raises ValueError for no difference.
    """
    if not difference:
        raise ValueError("no number of seeds shows a difference of 0")

    def enough(n: int) -> bool:
        return power_of(difference, noise, (arms - 1) * (n - 1), n, confidence) >= power if noise else True

    low, high = FEWEST_SEEDS - 1, FEWEST_SEEDS
    while not enough(high) and high < most:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _crossing(rising: Callable[[float], float], level: float) -> float:
    """Where a function that rises from 0 on reaches the level."""
    low, high = 0.0, 1.0
    while rising(high) < level:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return high
