"""Made-up studies with a grid of loss weights, whose right points are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtlbench.arm_names import BASELINE
from mtlbench.plan.tuning import weight_lattice
from mtlbench.text import write_factors
from tests.support.arms import with_facts
from tests.support.synthetic_results import METRICS

TWO, THREE = ("detection", "attributes"), ("detection", "attributes", "semseg")
BEND = 10.0  # %: what a task loses whose weight goes to 0


def names_of(arm: str, tasks: Sequence[str], levels: int) -> dict[str, dict[str, float]]:
    """{name of the arm at a weighting: the factors}, the plain arm first."""
    points = [point for point in weight_lattice(tasks, levels) if set(point.values()) != {1.0}]
    named = {f"{arm}~{':'.join(f'{factor:.3g}' for factor in point.values())}": dict(point) for point in points}
    return {arm: {}, **named}


def grid_frame(
    gains: Mapping[str, float | Sequence[float]],
    tasks: Sequence[str] = TWO,
    levels: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    noise: float = 0.0,
    common: float = 0.7,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """One row a headline on val and test: {arm: its gains in % for the tasks}, which it has at twice the usual weight;
    at w times the usual one BEND (1 - w / 2) ** 2 less. `common`: the share of a run's noise (standard deviation, %)
    that val and test have in common."""
    rng = rng or np.random.default_rng(0)
    shared: dict[str, Any] = {"pair": "det_attr", "dataset": "rooms", "backbone": "caffenet", "recipe": "quick"}
    shared |= {"category": "", "headline": True, "finished": "2026-01-02T03:04:05", "setting": "a1"}
    rows = []
    for arm in (BASELINE, *gains):
        grid = {arm: {}} if arm == BASELINE else names_of(arm, tasks, levels)
        own = np.broadcast_to(np.asarray(gains.get(arm, 0.0), float), len(tasks))
        for name, factors in grid.items():
            for seed in seeds:
                for task, gain in zip(tasks, own, strict=True):
                    metric, mean, unit, higher = METRICS[task][0]
                    less = BEND * (1 - factors.get(task, 1.0) / 2) ** 2 if arm != BASELINE else 0.0
                    both, alone = rng.normal(0, 1, 2)
                    key = f"{name}/{task if arm == BASELINE else 'all'}/{seed}"
                    about = {"arm": name, "seed": seed, "task": task, "metric": metric, "unit": unit, "key": key}
                    about |= {"weighting": write_factors(factors), "roots": key, "higher_is_better": higher}
                    for subset, own_noise in (("val", common * both + (1 - common**2) ** 0.5 * alone), ("test", both)):
                        percent = gain - less + noise * own_noise
                        value = mean * (1 + (percent if higher else -percent) / 100)
                        rows.append({**shared, **about, "subset": subset, "value": value})
    frame = pd.DataFrame(rows)
    return with_facts(frame.drop(columns="weighting")).assign(weighting=frame["weighting"])
