"""The trade-off between tasks: arms at several weightings of the losses, the Pareto front, its hypervolume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


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
    return _volume(above[(above > 0).all(axis=1)])


def _volume(points: np.ndarray) -> float:
    """Of points with positive coordinates above 0."""
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    heights = np.unique(points[:, -1])  # ascending
    total, below = 0.0, 0.0
    for height in heights:
        total += (height - below) * _volume(points[points[:, -1] >= height][:, :-1])
        below = height
    return total


def hypervolumes(changes: pd.DataFrame) -> pd.DataFrame:
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
