"""Made-up results whose right verdict is known."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mtlbench.store.frames import NAMING
from tests.support.arms import make_failure, with_facts
from tests.support.synthetic_results import ARMS, STITCHED, TASKS, architecture, results_frame, table_of

ABLATIONS = (
    *(f"cross-stitch-alpha-{start}" for start in ("0.1-0.9", "0.5-0.5", "0.7-0.3", "0.9-0.1")),
    *(f"cross-stitch-rate-{rate}" for rate in (1, 10, 100, 1000)),
    "cross-stitch-from-one-task",
    "cross-stitch-from-scratch",
    "cross-stitch-after-convolutions",
    "cross-stitch-per-layer",
    "cross-stitch-per-channel",
)


TWINS = (
    "cross-stitch-alpha-0.9-0.1",
    "cross-stitch-rate-100",
    "cross-stitch-from-one-task",
    "cross-stitch-per-channel",
)


CATEGORIES = {"semseg": "IoU", "attributes": "AP", "detection": "AP"}


@dataclass
class World:
    """Results in memory, as complete as a store's."""

    frame: pd.DataFrame
    failures: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    states: ClassVar[list[Any]] = []

    def __post_init__(self) -> None:
        self.frame, self.failures = with_facts(self.frame), [make_failure(**one) for one in self.failures]
        trials = self.frame[self.frame["subset"] != "cost"]
        self.trials = trials.groupby([*NAMING], sort=False)["task"].unique().reset_index()

    @property
    def curves(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                (*(row[name] for name in NAMING), i, task, 3.0 - i / 500, 20.0 + i / 100 + row["seed"])
                for row, i in itertools.product(self.trials.to_dict("records"), range(0, 900, 100))
                for task in row["task"]
            ],
            columns=[*NAMING, "iteration", "task", "train_loss", "val_headline"],
        )

    @property
    def alphas(self) -> pd.DataFrame:
        found: list[tuple[Any, ...]] = []
        for row in self.trials.to_dict("records"):
            if not row["arm"].startswith("cross-stitch"):
                continue
            rng = np.random.default_rng([row["seed"], 3])
            for stage, receiver, giver in itertools.product(STITCHED, row["task"], row["task"]):
                own = 0.9 + 0.1 * (stage == "pool5") if receiver == giver else 0.1
                values = own + rng.normal(0, 0.02, 6)
                head = tuple(row[name] for name in NAMING)
                found += [(*head, i, stage, receiver, giver, -1, values.mean()) for i in (0, 400, 800)]
                found += [(*head, 800, stage, receiver, giver, place, value) for place, value in enumerate(values)]
        return pd.DataFrame(found, columns=[*NAMING, "iteration", "stage", "receiver", "giver", "channel", "alpha"])

    @property
    def conflicts(self) -> pd.DataFrame:
        return pd.DataFrame(columns=[*NAMING, "iteration", "task", "other", "cosine", "norm", "other_norm"])

    def counts_of(self, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
        rows = frame[(frame["category"] != "") & frame["task"].isin(CATEGORIES)]
        return {
            task: {name: 10 * 2**place for place, name in enumerate(sorted(part["category"].unique()))}
            for task, part in rows.groupby("task")
        }

    def provenance_of(self, frame: pd.DataFrame) -> list[dict[str, Any]]:
        return [
            {
                "key": row["key"],
                "arm": row["arm"],
                "seed": row["seed"],
                "tasks": list(row["task"]),
                "fingerprint": "f1f2",
                "data_root": "",
                "recipe": {"lr": 0.05, "images": 4},
                "dataset": "rooms(val=300)",
                "backbone": row["backbone"],
                "has_weights": True,
                "scheme": row["arm"],
                "finished": row["finished"],
                "seconds": 21.0,
                "parents": [
                    f"one-task/{task}/{row['seed']}" for task in row["task"] if row["arm"].startswith("cross-stitch")
                ],
                "environment": {"python": "3.11.7", "torch": "2.9", "device": "cpu", "processor": "x86_64"},
            }
            for row in self.trials[self.trials["key"].isin(frame["key"])].drop_duplicates("key").to_dict("records")
        ]

    def architectures_of(self, frame: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
        tasks = TASKS[frame["pair"].iloc[0]]
        return {arm: architecture(arm, tasks) for arm in frame["arm"].unique()}


def world(
    pair: str = "semseg_sn",
    arms: Sequence[str] = ARMS,
    categories: int = 0,
    failures: Sequence[dict[str, Any]] = (),
    **options: Any,
) -> World:
    """`results_frame`, second names of one network, and categories that gain more the fewer labels they have."""
    frame = results_frame(pair, arms=[arm for arm in arms if arm not in TWINS], **options)
    frame = frame[frame["category"] == ""]
    parts = [frame]
    original = frame[frame["arm"] == "cross-stitch"]
    parts += [original.assign(arm=arm) for arm in arms if arm in TWINS]
    single = frame[frame["headline"] & (frame["subset"] == "test") & frame["task"].isin(CATEGORIES)]
    for place in range(categories):
        gain = single["arm"].str.startswith("cross-stitch") * (6.0 * (categories - place) / categories)
        noise = np.random.default_rng(place).normal(0, 0.3, len(single))
        parts.append(
            single.assign(
                category=f"c{place:02d}",
                headline=False,
                value=30.0 + gain + noise,
                metric=single["task"].map(CATEGORIES),
            )
        )
    return World(pd.concat(parts, ignore_index=True), list(failures))


def exact(test: Mapping[str, list[float]], val: Mapping[str, list[float]] | None = None, higher: bool = True) -> World:
    """One task, detection, with the given values per arm and seed (NaN: no trial)."""
    tables = [table_of(dict(test), higher), table_of(dict(val or test), higher, "val")]
    return World(pd.concat(tables, ignore_index=True))


def find(lines: Sequence[str], *words: str) -> str:
    """The only line with all the words."""
    (line,) = [line for line in lines if all(word in line for word in words)]
    return line
