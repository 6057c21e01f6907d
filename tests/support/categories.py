"""Made-up results with a number for each category, as Figures 5 and 6 draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mtlbench.figures.figure5 import Figure5
from tests.support.drawings import draw
from tests.support.synthetic_results import results_frame

Values = Mapping[str, Mapping[int, Mapping[str, float]]]  # arm -> seed -> category -> value


@dataclass
class Categories:
    """What the figures take of the store: a frame with rows per category, label counts, failures."""

    frame: pd.DataFrame
    counts: dict[str, dict[str, int]]
    failures: list[dict[str, Any]] = field(default_factory=list)
    states: Sequence[Any] = ()

    def provenance_of(self, frame: pd.DataFrame) -> list[dict[str, Any]]:
        return []

    def counts_of(self, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
        return self.counts


def measure(values: Values, counts: Mapping[str, int], task: str = "attributes", **options: Any) -> Categories:
    """Results with the given values per category on test, and others on val and for ensemble members."""
    pair, metric = ("det_attr", "AP") if task == "attributes" else ("semseg_sn", "IoU")
    seeds = sorted({seed for of_arm in values.values() for seed in of_arm})
    frame = results_frame(pair, seeds=seeds, arms=tuple(values), **options)
    frame = frame[frame["category"] == ""]
    rows = []
    for row in frame[(frame["task"] == task) & frame["headline"]].to_dict("records"):
        for category, value in values.get(row["arm"], {}).get(row["seed"], {}).items():
            value += 0.0 if row["subset"] == "test" else 50.0
            rows.append({**row, "metric": metric, "headline": False, "category": category, "value": value})
    return Categories(pd.concat([frame, pd.DataFrame(rows)], ignore_index=True), {task: dict(counts)})


def make_up(names: Sequence[str], seeds: Sequence[int] = (0, 1, 2), **options: Any) -> Categories:
    """Gains that fall with the label count, and noise."""
    rng = np.random.default_rng(0)
    counts = {name: int(12 * 1.2**place) for place, name in enumerate(names)}
    values: dict[str, dict[int, dict[str, float]]] = {"one-task": {}, "cross-stitch": {}}
    for seed in seeds:
        base = {name: 30 + rng.normal(0, 8) for name in names}
        values["one-task"][seed] = base
        values["cross-stitch"][seed] = {
            name: base[name] + 4 - 4 * place / len(names) + rng.normal(0, 2) for place, name in enumerate(names)
        }
    return measure(values, counts, **options)


def constant(names: Sequence[str], seeds: Sequence[int], gain: Any) -> Values:
    """one-task at 20 + seed, cross-stitch `gain(place, seed)` above it."""
    return {
        "one-task": {seed: dict.fromkeys(names, 20.0 + seed) for seed in seeds},
        "cross-stitch": {seed: {n: 20.0 + seed + gain(i, seed) for i, n in enumerate(names)} for seed in seeds},
    }


drawn = partial(draw, Figure5())
