"""What changes against one-task show: intervals of contrasts between arms, many at once, power.

Model (Ours): change = arm + seed + noise, for one task and metric, with normal noise of a size of its own for every
arm, independent between arms that share no weights. Arms that start from the same networks (kin) may move together in
any way. `changes` are `frame.relative_change`'s, in % of one-task; the baseline's rows (all 0) belong to them. The
paper has one run a number and no intervals. How often these intervals cover: `tests/stress/simulate.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from scipy.special import nctdtr, stdtrit

from mtlbench.analysis.frame import FEWEST_SEEDS, whole_task
from mtlbench.arm_names import BASELINE
from mtlbench.text import list_in_words

CONFIDENCE = 0.95
OWN_CONFIDENCE = 0.99  # of a contrast's own interval, at most, where many are looked at
FEWEST_REFERENCES = 2  # other arms that tell a seed's effect from an arm's own noise
FEWEST_POOLED = 3
INTERVAL_COLUMNS = ["task", "metric", "arm", "mean", "n", "low", "high", "error", "freedom", "paired"]


def mean_interval(values: pd.Series, confidence: float = 0.95) -> tuple[float, float, float, int]:
    """Mean over seeds, low and high of mean -+ t(n - 1) * sd / sqrt(n), and n; NaN limits below 3 seeds."""
    kept = values.dropna()
    n, mean = len(kept), float(kept.mean())
    if n < FEWEST_SEEDS:
        return mean, float("nan"), float("nan"), n
    half = float(stdtrit(n - 1, (1 + confidence) / 2) * kept.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half, n


Number = TypeVar("Number", float, pd.Series)


def half_width(error: Number, freedom: Number, confidence: float = CONFIDENCE) -> Number:
    """Half the width of a t interval: the quantile for `freedom` times the standard error."""
    half: Number = stdtrit(freedom, (1 + confidence) / 2) * error
    return half


def standard_error(a: np.ndarray, b: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The standard error of the mean of a - b over seeds, and its degrees of freedom.

    a, b: `... seeds`; others: `... arms seeds`, arms that share no weights with each other, with a or with b. What a
    seed does to all arms is taken out with the others' mean; the noise of a and of b is then the variance about that
    mean, less the noise of the mean itself (the others' residual of arm + seed, over their number), but at least half
    of what was measured. The two variances have seeds - 1 degrees of freedom each and are put together as Welch (1947)
    does. With fewer than FEWEST_REFERENCES others it is the paired t interval's. Ours.
    """
    seeds = a.shape[-1]
    if others.shape[-2] < FEWEST_REFERENCES:
        return np.std(a - b, axis=-1, ddof=1) / math.sqrt(seeds), np.full(a.shape[:-1], seeds - 1.0)
    centre, number = others.mean(axis=-2), others.shape[-2]
    of_centre = _residual_variance(others) / number
    measured = [np.var(arm - centre, axis=-1, ddof=1) for arm in (a, b)]
    first, second = (np.maximum(variance - of_centre, variance / 2) for variance in measured)
    spread = np.maximum(first**2 + second**2, np.finfo(float).tiny)
    freedom = (seeds - 1) * np.maximum((first + second) ** 2 / spread, 1.0)
    return np.sqrt((first + second) / seeds), freedom


def _residual_variance(arms: np.ndarray) -> np.ndarray:
    """Of one run, from what arm + seed leave of `... arms seeds`, with (arms - 1)(seeds - 1) degrees of freedom."""
    number, seeds = arms.shape[-2:]
    centre = arms.mean(axis=-2)
    left = arms - arms.mean(axis=-1, keepdims=True) - (centre - centre.mean(axis=-1, keepdims=True))[..., None, :]
    return np.asarray((left**2).sum(axis=(-2, -1)) / ((number - 1) * (seeds - 1)))


def pooled_error(
    a: np.ndarray, b: np.ndarray, pool: np.ndarray, a_inside: bool, b_inside: bool
) -> tuple[np.ndarray, np.ndarray]:
    """As `standard_error`, with one noise for the arms of a pool (`... arms seeds`), which has a, b or both in it.

    Both inside: the residual of arm + seed, with (arms - 1)(seeds - 1) degrees of freedom. One inside: a - b is a minus
    the pool's mean, with that noise, and the pool's mean minus b, whose variance is measured with seeds - 1 degrees of
    freedom; put together as Satterthwaite (1946) does. Ours.
    """
    number, seeds = pool.shape[-2:]
    centre, noise = pool.mean(axis=-2), _residual_variance(pool)
    freedom = (number - 1) * (seeds - 1)
    if a_inside and b_inside:
        return np.sqrt(2 * noise / seeds), np.full(noise.shape, float(freedom))
    outside = np.var((b if a_inside else a) - centre, axis=-1, ddof=1)
    inside = noise * (1 - 1 / number)
    spread = np.maximum(inside**2 / freedom + outside**2 / (seeds - 1), np.finfo(float).tiny)
    return np.sqrt((inside + outside) / seeds), np.maximum((inside + outside) ** 2 / spread, seeds - 1.0)


class Contrast(NamedTuple):
    """One arm minus another: the mean over the seeds that both have (%), its standard error and degrees of freedom (NaN
    without an interval), the same with the noise of arms in a pool, the number of seeds, and whether the error is that
    of the paired differences alone."""

    mean: float
    error: float
    freedom: float
    pooled_error: float
    pooled_freedom: float
    seeds: int
    paired: bool

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Low and high of this contrast alone."""
        half = half_width(self.error, self.freedom, confidence)
        return self.mean - half, self.mean + half

    def simultaneous(self, comparisons: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Low and high, so wide that `comparisons` such intervals cover at once in `confidence` of cases.

        Bonferroni's on the pooled error, and never narrower than the interval of the contrast alone at OWN_CONFIDENCE:
        few seeds know the noise of one arm too badly for small probabilities, and a pool knows it well where its arms
        are alike, which the other interval guards. How often this says of equal arms that they differ was simulated
        (`tests/stress/simulate.py`). Ours.
        """
        level = 1 - (1 - confidence) / comparisons
        pooled = half_width(self.pooled_error, self.pooled_freedom, level)
        half = max(pooled, half_width(self.error, self.freedom, min(level, OWN_CONFIDENCE)))
        return self.mean - half, self.mean + half


def make_paired_contrast(mean: float, high: float, seeds: int) -> Contrast:
    """The contrast whose t interval over seeds (`mean_interval`) ends at `high`; NaN without one."""
    known = not math.isnan(high)
    error, freedom = ((high - mean) / half_width(1.0, seeds - 1), seeds - 1) if known else (math.nan, math.nan)
    return Contrast(mean, error, freedom, error, freedom, int(seeds), True)


class Runs:
    """The changes of one task and metric, by arm and seed, and which arms are kin.

    Column `roots` of `changes` (keys of the trials without parents that a trial descends from, parted by spaces) says
    who is kin; without it nobody is. A network with several names (`key`) counts once. The `baseline` is in no pool:
    its noise is in every change.
    """

    def __init__(self, changes: pd.DataFrame, baseline: str = BASELINE) -> None:
        self._changes = changes.dropna(subset=["change"])
        self._baseline = baseline
        cells = self._changes.pivot(index="arm", columns="seed", values="change")
        self._values = cells.to_numpy(float)
        self._place = {str(arm): place for place, arm in enumerate(cells.index)}

    @cached_property
    def arms(self) -> list[str]:
        """The arms, in the order of their rows."""
        return list(dict.fromkeys(map(str, self._changes["arm"])))

    @cached_property
    def twins(self) -> dict[str, str]:
        """{arm: the arm it is counted as}: a network with several names has the same trials under each."""
        return _find_twins(self._changes)

    @cached_property
    def _roots(self) -> dict[str, frozenset[str]]:
        """{arm: where its networks come from}."""
        found: dict[str, frozenset[str]] = {arm: frozenset() for arm in self.arms}
        if "roots" in self._changes:
            for arm, texts in self._changes.groupby("arm", sort=False)["roots"]:
                found[str(arm)] = frozenset(" ".join(map(str, texts.dropna())).split())
        return found

    def are_kin(self, arm: str, other: str) -> bool:
        """Whether networks of the two arms descend from one network, or one from the other."""
        return bool(self._roots[arm] & self._roots[other])

    @cached_property
    def _loners(self) -> list[str]:
        """The arms that are nobody's kin, each network once."""
        firsts = list(dict.fromkeys(self.twins.values()))
        return [arm for arm in firsts if not any(self.are_kin(arm, other) for other in firsts if other != arm)]

    def contrast(self, arm: str, other: str) -> Contrast | None:
        """`arm` minus `other`, None where they share no seed.

        The error is `standard_error`'s with the arms that are nobody's kin and have all these seeds; among kin, and
        with too few such arms, the paired t interval's. The pool is of those arms. No interval below 3 seeds, nor of
        arms that are the same.
        """
        if arm not in self._place or other not in self._place:
            return None
        a, b = self._values[self._place[arm]], self._values[self._place[other]]
        common = ~np.isnan(a) & ~np.isnan(b)
        a, b = a[common], b[common]
        if not len(a):
            return None
        mean, seeds = float((a - b).mean()), len(a)
        if seeds < FEWEST_SEEDS or not (a - b).any():
            return Contrast(mean, math.nan, math.nan, math.nan, math.nan, seeds, False)
        kin = self.are_kin(arm, other)
        rows = {name: self._values[self._place[name]][common] for name in ([] if kin else self._loners)}
        rows = {name: row for name, row in rows.items() if not np.isnan(row).any()}
        pair = self.twins[arm], self.twins[other]
        others = np.array([row for name, row in rows.items() if name not in pair]).reshape(-1, seeds)
        error, freedom = map(float, standard_error(a, b, others))
        pool = [name for name in rows if name != self._baseline]
        inside = pair[0] in pool, pair[1] in pool
        wide, wide_freedom = error, freedom
        if any(inside) and len(pool) >= FEWEST_POOLED:
            wide, wide_freedom = map(float, pooled_error(a, b, np.array([rows[name] for name in pool]), *inside))
        return Contrast(mean, error, freedom, wide, wide_freedom, seeds, len(others) < FEWEST_REFERENCES)


def _find_twins(changes: pd.DataFrame) -> dict[str, str]:
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


def compute_intervals(changes: pd.DataFrame, confidence: float = CONFIDENCE, baseline: str = BASELINE) -> pd.DataFrame:
    """Mean change per task, metric and arm against the baseline with its confidence interval, in %.

    Columns task, metric, arm, mean, n (seeds), low, high, error (standard), freedom, paired: `Runs.contrast`, each arm
    for itself. NaN below 3 seeds and for the baseline itself (or an arm that equals it exactly). Ours.
    """
    rows = []
    for task, metric, table in _list_tables(changes):
        runs = Runs(table, baseline)
        for arm in runs.arms:
            if found := runs.contrast(arm, baseline):
                low, high = found.interval(confidence)
                row = (task, metric, arm, found.mean, found.seeds, low, high, found.error, found.freedom, found.paired)
                rows.append(row)
    return pd.DataFrame(rows, columns=INTERVAL_COLUMNS)


def describe_intervals(found: pd.DataFrame, mark: str = "") -> str:
    """Which intervals these rows of `compute_intervals` have, as a clause; "" where there are none. With a `mark`, the
    paired ones are said to have it."""
    known = found.dropna(subset=["low"])
    if known.empty:
        return ""
    paired = list(dict.fromkeys(known.loc[known["paired"].astype(bool), "arm"]))
    freedom = known.loc[~known["paired"].astype(bool), "freedom"]
    marked = f"{mark} " if mark else ""
    if freedom.empty:
        return f"{marked}paired t intervals over seeds"
    low, high = f"{freedom.min():.0f}", f"{freedom.max():.0f}"
    text = (
        f"each arm for itself, on its own noise and {BASELINE}'s about the mean of the arms that share no weights"
        f" (Welch; {low if low == high else f'{low} to {high}'} degrees of freedom)"
    )
    return text + (f"; {marked}for {list_in_words(paired)} the paired t interval" if paired else "")


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


def _list_tables(changes: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Task, metric and the changes that are numbers."""
    groups = changes.dropna(subset=["change"]).groupby(["task", "metric"], sort=False)
    return [(table["task"].iloc[0], table["metric"].iloc[0], table) for _, table in groups]


def power_of(difference: float, noise: float, freedom: float, n: int, confidence: float = 0.95) -> float:
    """The probability that the interval of two arms' difference, n seeds each, excludes 0 (noncentral t).

    `difference` and `noise` (of a single run) in the same unit; the noise is known with `freedom`.
    """
    limit, shift = half_width(1.0, freedom, confidence), abs(difference) / (noise * math.sqrt(2 / n))
    return float(1 - nctdtr(freedom, shift, limit) + nctdtr(freedom, shift, -limit))


def find_detectable(noise: float, freedom: float, n: int, power: float = 0.8, confidence: float = 0.95) -> float:
    """The smallest true difference that n seeds show with this power, in the unit of `noise` (of a single run); NaN
    below 3 seeds or without freedom."""
    if n < FEWEST_SEEDS or freedom < 1 or math.isnan(noise):
        return math.nan
    return noise * _find_crossing(lambda difference: power_of(difference, 1.0, freedom, n, confidence), power)


def seeds_for(
    difference: float,
    noise: float,
    freedom_per_seed: float = 1.0,
    power: float = 0.8,
    confidence: float = CONFIDENCE,
    most: int = 10_000,
) -> int:
    """How many seeds (3 or more) show a true difference between two arms with this power; at most `most`.

    n seeds know the noise with freedom_per_seed (n - 1) degrees of freedom: 1 for the paired t interval, up to 2 for
    Welch's. Raises ValueError for no difference.
    """
    if not difference:
        raise ValueError("no number of seeds shows a difference of 0")

    def enough(n: int) -> bool:
        return power_of(difference, noise, freedom_per_seed * (n - 1), n, confidence) >= power if noise else True

    low, high = FEWEST_SEEDS - 1, FEWEST_SEEDS
    while not enough(high) and high < most:
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _find_crossing(rising: Callable[[float], float], level: float) -> float:
    """Where a function that rises from 0 on reaches the level."""
    low, high = 0.0, 1.0
    while rising(high) < level:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return high
