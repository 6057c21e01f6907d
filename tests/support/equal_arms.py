"""Studies of arms that are all equal: whatever a report says of a difference between them is false."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tests.support.arms import with_facts
from tests.support.synthetic_results import ARMS, METRICS, TASKS
from tests.support.worlds import World

KIN = ("one-task-longer", "ensemble", "cross-stitch")  # of one-task
RUN_SD = 2.0  # % of the metric


@dataclass(frozen=True)
class Noise:
    """How runs vary: `baseline` times RUN_SD for one-task; `kin`: KIN are one-task's run and a noise of their own, so
    that they correlate by `correlation`; `wild`: one Split has three times the noise; `common`: the share of a run's
    standard deviation that val and test have in common; `declared`: whether parents tell who is kin."""

    seeds: int
    kin: bool = False
    baseline: float = 1.0
    wild: bool = False
    correlation: float = 0.95
    common: float = 0.7
    declared: bool = True

    def label(self) -> str:
        """`n = 3, kin, one-task x 2`."""
        parts = [f"n = {self.seeds}", "kin" if self.kin else "independent", f"one-task x {self.baseline:g}"]
        parts += ["one Split x 3"] if self.wild else []
        return ", ".join([*parts, "undeclared"] if self.kin and not self.declared else parts)


def runs(rng: np.random.Generator, noise: Noise, studies: int) -> np.ndarray:
    """Runs about 0 in % (`studies arms seeds`, arms as in ARMS) with a noise of the seed that all arms share."""
    own = rng.normal(size=(studies, len(ARMS), noise.seeds))
    own[:, 0] *= noise.baseline
    if noise.kin:
        spread = noise.baseline * np.sqrt(1 / noise.correlation**2 - 1)
        for arm in KIN:
            own[:, ARMS.index(arm)] = own[:, 0] + spread * own[:, ARMS.index(arm)]
    if noise.wild:
        own[:, ARMS.index("split-conv4")] *= 3
    return RUN_SD * (own + rng.normal(size=(studies, 1, noise.seeds)))


def study_runs(rng: np.random.Generator, noise: Noise, studies: int, tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Runs on val and on test (`task studies arms seeds`)."""
    test, other = (np.stack([runs(rng, noise, studies) for _ in range(tasks)]) for _ in range(2))
    return noise.common * test + np.sqrt(1 - noise.common**2) * other, test


def roots(noise: Noise) -> dict[str, str]:
    """{arm: what its network of a task and seed descends from}, without the task and seed."""
    return {arm: "one-task" if noise.kin and noise.declared and arm in KIN else arm for arm in ARMS}


class EqualWorld(World):
    """A world without alphas, so that only arms are compared."""

    @property
    def alphas(self) -> pd.DataFrame:
        return pd.DataFrame(columns=["arm", "family", "seed", "key"])


def equal_studies(rng: np.random.Generator, noise: Noise, studies: int, pair: str = "det_attr") -> Iterable[EqualWorld]:
    """As many studies of the pair with headlines on val and test."""
    template = _template(noise, pair)
    changes = np.stack(study_runs(rng, noise, studies, len(TASKS[pair])))  # subset task study arm seed
    sign = np.where(template["higher_is_better"], 1.0, -1.0)
    for study in np.moveaxis(changes, 2, 0):
        yield EqualWorld(template.assign(value=template["value"] * (1 + sign * study.ravel() / 100)))


def _template(noise: Noise, pair: str) -> pd.DataFrame:
    """The frame of a study: a row for every subset, task, arm and seed, in this order, with one-task's mean."""
    where = roots(noise)
    shared: dict[str, Any] = {"pair": pair, "dataset": "rooms", "backbone": "caffenet", "recipe": "quick"}
    shared |= {"category": "", "headline": True, "finished": "2026-01-02T03:04:05", "setting": "a1"}
    rows = []
    for subset in ("val", "test"):
        for task in TASKS[pair]:
            metric, mean, unit, higher = METRICS[task][0]
            about = {"subset": subset, "task": task, "metric": metric, "unit": unit, "higher_is_better": higher}
            rows += [
                shared
                | about
                | {"arm": arm, "seed": seed, "key": f"{arm}/{task}/{seed}", "roots": f"{where[arm]}/{task}/{seed}"}
                | {"value": mean}
                for arm in ARMS
                for seed in range(noise.seeds)
            ]
    return with_facts(pd.DataFrame(rows))
