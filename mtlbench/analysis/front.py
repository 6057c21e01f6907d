"""The trade-off between tasks: arms at several weightings of the losses, the Pareto front, its hypervolume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mtlbench.plan.tuning import weight_lattice

DIRECTIONS = 5  # a task's share of the interest, from .1 to .9 where there are two


def find_front(gains: np.ndarray) -> np.ndarray:
    """Which points (`N T`, more is better) no other point beats: none is as good in every column and better in one."""
    as_good = np.all(gains[None, :, :] >= gains[:, None, :], axis=2)
    better = np.any(gains[None, :, :] > gains[:, None, :], axis=2)
    return np.asarray(~np.any(as_good & better, axis=1))


def measure_hypervolume(gains: np.ndarray, reference: np.ndarray | Sequence[float]) -> float:
    """The volume that points (`N T`, more is better) dominate above the reference; points beyond it count as 0.

    Zitzler and Thiele 1999. By slicing along the last column (Ours): exact, and quick for the few tasks that there are.

    >>> measure_hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), (0.0, 0.0))
    3.0
    """
    above = np.asarray(gains, float) - np.asarray(reference, float)
    return float(_measure_volume(above[(above > 0).all(axis=1)]))


def _measure_volume(points: np.ndarray) -> float:
    """Of points with positive coordinates above 0."""
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    heights = np.unique(points[:, -1])  # ascending
    total, below = 0.0, 0.0
    for height in heights:
        total += (height - below) * _measure_volume(points[points[:, -1] >= height][:, :-1])
        below = height
    return total


def compute_hypervolumes(changes: pd.DataFrame) -> pd.DataFrame:
    """What each arm reaches for both (all) tasks at once, seed by seed.

    changes: arm (without its weighting), weighting, seed, task, change (%, up is better). The reference is, per task,
    the worst change of any arm, weighting and seed, so that every point counts and all arms and seeds are measured
    alike (Ours). Columns arm, seed, points (weightings that have all tasks), volume (in %^T). Seeds that lack a
    weighting which the arm has elsewhere are left out: fewer points would mean less volume.
    """
    points = changes.pivot_table(index=["arm", "weighting", "seed"], columns="task", values="change").dropna()
    reference = points.min().to_numpy() if len(points) else np.zeros(changes["task"].nunique())
    rows = []
    for arm, own in points.groupby(level="arm"):
        most = own.index.unique("weighting").size
        for seed, table in own.groupby(level="seed"):
            if len(table) == most:
                rows.append((arm, seed, most, measure_hypervolume(table.to_numpy(), reference)))
    return pd.DataFrame(rows, columns=["arm", "seed", "points", "volume"])


def compute_advantages(
    val: pd.DataFrame, test: pd.DataFrame, arms: Sequence[str], rivals: Sequence[str]
) -> pd.DataFrame:
    """Whether arms reach trade-offs that the rivals, all together, do not: seed by seed, in % of one-task.

    val, test: changes as `compute_hypervolumes` takes them. For each of DIRECTIONS weights of the tasks the arm's
    weighting and the rivals' best arm and weighting are chosen on val, by the mean over seeds of the weighted change;
    their difference on test, averaged over the directions, is the arm's advantage in that seed. Rivals choose among
    more networks, so that chance favours them: equal arms come out a little behind, not ahead (Ours). Columns arm,
    seed, advantage; no rows where val lacks a task.
    """
    tasks = sorted(test["task"].unique())
    if not {*tasks} <= {*val["task"]}:
        return pd.DataFrame(columns=["arm", "seed", "advantage"])
    weights = np.array([[point[task] for task in tasks] for point in weight_lattice(tasks, DIRECTIONS)]) / len(tasks)
    chosen_on, shown_on = (
        frame.pivot(index=["arm", "weighting", "seed"], columns="task", values="change")[tasks].dropna() @ weights.T
        for frame in (val, test)
    )
    means = chosen_on.groupby(level=["arm", "weighting"]).mean()
    owners, choices = means.index.get_level_values("arm"), means.to_numpy()
    shown = shown_on.unstack("seed").reindex(means.index)
    seeds = shown.columns.unique("seed")
    reached = shown.to_numpy().reshape(len(means), len(weights), len(seeds))
    ways = np.arange(len(weights))

    def best(names: Sequence[str]) -> np.ndarray:
        """On test, a row a direction and a column a seed: what the choice on val reaches."""
        own = np.flatnonzero(owners.isin(list(names)))
        return np.asarray(reached[own[choices[own].argmax(axis=0)], ways])

    rows = []
    present = set(owners)
    if present & set(rivals):
        against = best(rivals)
        for arm in present & set(arms):
            gaps = (best([arm]) - against).mean(axis=0)  # NaN in seeds that lack a direction
            rows += [(arm, seed, gap) for seed, gap in zip(seeds, gaps, strict=True) if not np.isnan(gap)]
    return pd.DataFrame(rows, columns=["arm", "seed", "advantage"]).sort_values(["arm", "seed"], ignore_index=True)
