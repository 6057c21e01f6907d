"""A store and results of made-up trials in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mtlbench.spec import Options, Plugin, Recipe, Trial
from mtlbench.store.sealing import seals_of, write_own
from mtlbench.store.shapes import Failure, FailureKind
from mtlbench.store.store import Store

TRIAL = Trial(
    pair="p",
    arm="one-task",
    seed=3,
    recipe_name="smoke",
    tasks=(Plugin("colour"),),
    form="fcn",
    dataset=Plugin("d"),
    data_root="",
    fingerprint="f",
    backbone=Plugin("b", {"width": 0.5}),
    scheme=Plugin("s"),
    recipe=Recipe("", {}, 0, images=4, lr=0.1),
    iterations=8,
    first=0,
    net_seed=3,
    average=False,
    parents=(),
    setting="abc",
    family="baseline",
)


JOINT = dataclasses.replace(
    TRIAL, arm="split", tasks=(Plugin("colour"), Plugin("size")), scheme=Plugin("split"), family="split"
)


ARCHITECTURE = [{"stage": "conv1", "groups": [["colour"]], "unit": False}]


def result(**changes: Any) -> Options:
    metrics = {"acc": {"unit": "%", "higher_is_better": True, "headline": True}}
    return {
        "files": {},
        "backbone": "b(width=0.5)",
        "architecture": ARCHITECTURE,
        "counts": {},
        "environment": {},
        "scores": [["colour", "val", "acc", "", 40.0], ["colour", "test", "acc", "red", 50.0]],
        "metrics": {"colour": metrics},
        "cost": {"parameters": 7, "seconds": 2.5, "seconds_with_parents": 4.5},
        "finished": "2026-01-02T03:04:05",
        **changes,
    }


def write_made(folder: Path, key: str, made: Options) -> None:
    """A result.json as anybody may write it, sound or not, with the seals of the files beside it."""
    write_own(folder / "result.json", key, {**made, "files": seals_of(folder)})


def finish(store: Store, trial: Trial = TRIAL, **changes: Any) -> Path:
    folder = store.begin(trial)
    write_own(folder / "result.json", trial.key, result(**changes))
    return folder


RED = Failure(FailureKind.ERROR, "ValueError", "too red")
CHILD = dataclasses.replace(JOINT, arm="stitch", parents=(TRIAL.key,))


def other(seed: int) -> Trial:
    return dataclasses.replace(TRIAL, seed=seed, net_seed=seed)
