"""A made-up results frame with known effects, for the tests of stats, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tests.support.arms import make_failure, with_facts

SPLITS = ("split-conv2", "split-conv3", "split-conv4", "split-conv5", "split-fc6", "split-fc7", "split-fc8")
OTHERS = ("ensemble", "one-task-longer", "mtl-shared", "cross-stitch")
ARMS = ("one-task", *SPLITS, *OTHERS)
STAGES = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5", "fc6", "fc7")
STITCHED = ("pool1", "pool2", "pool5", "fc6", "fc7")
METRICS = {  # task -> metric, mean of one-task, unit, higher is better; the first is the headline
    "detection": [("mAP", 42.0, "%", True), ("classes", 10.0, "", True)],
    "attributes": [("mAP", 51.0, "%", True), ("attributes", 17.0, "", True)],
    "semseg": [("mIoU", 38.0, "%", True), ("pixacc", 71.0, "%", True), ("fwIoU", 57.0, "%", True)],
    "normals": [
        ("mean", 24.0, "degrees", False),
        ("median", 17.0, "degrees", False),
        ("within_11.25", 33.0, "%", True),
        ("within_22.5", 60.0, "%", True),
        ("within_30", 72.0, "%", True),
    ],
}
TASKS = {"det_attr": ("detection", "attributes"), "semseg_sn": ("normals", "semseg")}
EFFECTS = {
    "split-conv2": 0.5,
    "split-conv3": 2.5,
    "split-conv4": 3.0,
    "split-conv5": 1.0,
    "split-fc6": -0.5,
    "split-fc7": -2.0,
    "split-fc8": -3.5,
    "ensemble": 2.5,
    "one-task-longer": 0.8,
    "mtl-shared": -5.0,
    "cross-stitch": 3.5,
}


@cache
def draw(*seed: int) -> float:
    """A number from the standard normal distribution; always the same for a seed."""
    return np.random.default_rng(seed).normal()


def results_frame(
    pair: str = "det_attr",
    seeds: Sequence[int] = (0, 1, 2),
    arms: Sequence[str] = ARMS,
    noise: float = 1.2,
    effects: Mapping[str, float] = EFFECTS,
    dataset: str = "rooms",
    backbone: str = "caffenet",
    recipe: str = "quick",
    finished: str = "2026-01-02T03:04:05",
    setting: str = "a1",
) -> pd.DataFrame:
    """One row a number: one-task * (1 +- (effect + the seed's noise + noise) %), minus where lower is better."""
    rows: list[tuple[Any, ...]] = []
    for arm in (*arms, "ensemble-member"):
        for seed in seeds:
            separate = arm.startswith(("one-task", "ensemble"))
            trials = [(task,) for task in TASKS[pair]] if separate else [TASKS[pair]]
            for tasks in trials:
                key = f"{arm}/{'+'.join(tasks)}/{seed}"
                head = (pair, dataset, backbone, recipe, arm, seed, key)
                for task in tasks:
                    for place, (metric, mean, unit, higher) in enumerate(METRICS[task]):
                        shared = noise * draw(seed, place, len(task))
                        for subset in ("train", "val", "test", "chance"):
                            own = noise * draw(seed, place, *map(ord, arm + task + subset[:1]))
                            gain = effects.get(arm, 0.0) * (-0.7 if task in ("detection", "normals") else 1.0)
                            percent = 0.0 if not unit else gain + shared + own
                            value = mean * (1 + (percent if higher else -percent) / 100)
                            if subset == "chance":
                                value = mean / 4 if higher else mean * 2
                            rows.append(
                                (*head, task, subset, metric, place == 0, "", value, unit, higher, finished, setting)
                            )
                    if unit == "%":
                        rows.append((*head, task, "test", "AP", False, "chair", 33.0, "%", True, finished, setting))
                copies = len(tasks) * (2 if arm == "ensemble" else 1)
                costs = {
                    "parameters": 1.5e6 * copies,
                    "flops": 2.5e8 * copies,
                    "seconds": 20.0 + seed,
                    "seconds_with_parents": 40.0 + seed,
                    "image_visits": 2.4e4,
                    "iterations": 1500,
                }
                task = tasks[0] if len(tasks) == 1 else ""
                for metric, value in costs.items():
                    rows.append((*head, task, "cost", metric, False, "", value, "", False, finished, setting))
    columns = (
        "pair dataset backbone recipe arm seed key task subset metric headline category value unit"
        " higher_is_better finished setting"
    ).split()
    return with_facts(pd.DataFrame(rows, columns=columns))


def architecture(arm: str, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """Groups and units per stage, as the store's results carry them."""
    order = [*STAGES, "fc8"]
    apart = order.index(arm.split("-")[1]) if arm.startswith("split-") else 0
    return [
        {
            "stage": stage,
            "groups": [list(tasks)] if place < apart else [[task] for task in tasks],
            "unit": (arm == "cross-stitch" and stage in STITCHED) or (arm == "mtl-shared" and stage == "fc7"),
        }
        for place, stage in enumerate(STAGES)
    ]


@dataclass
class FakeResults:
    """What figures and tables take: a frame, architectures, failures; nothing is known of counts and single trials."""

    frame: pd.DataFrame
    architectures: dict[str, list[dict[str, Any]]]
    failures: list[dict[str, Any]] = field(default_factory=list)
    states: ClassVar[list[Any]] = []

    def __post_init__(self) -> None:
        self.frame, self.failures = with_facts(self.frame), [make_failure(**one) for one in self.failures]

    def architectures_of(self, frame: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
        return self.architectures

    def counts_of(self, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
        return {}

    def provenance_of(self, frame: pd.DataFrame) -> list[dict[str, Any]]:
        return []


def fake_results(pair: str = "det_attr", tasks: Sequence[str] | None = None, **options: Any) -> FakeResults:
    """`results_frame` with the architectures of its arms."""
    frame = results_frame(pair, **options)
    arms = [arm for arm in frame["arm"].unique() if arm != "ensemble-member"]
    return FakeResults(frame, {arm: architecture(arm, tasks or TASKS[pair]) for arm in arms})


def table_of(values: dict[str, list[float]], higher: bool = True, subset: str = "test") -> pd.DataFrame:
    """A frame of one task from {arm: value per seed}."""
    frame = results_frame(seeds=(0,), arms=("one-task",)).query("subset == 'test' and task == 'detection' and headline")
    same = {**frame.iloc[0], "subset": subset, "higher_is_better": higher}
    rows = [(arm, seed, value) for arm, cells in values.items() for seed, value in enumerate(cells)]
    own = pd.DataFrame(rows, columns=["arm", "seed", "value"]).dropna(ignore_index=True)
    own["key"] = own["arm"] + own["seed"].astype(str)
    return with_facts(pd.DataFrame(same | dict(own), columns=list(same)))
