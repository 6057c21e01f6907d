"""Trials of the smoke recipe, trained and interrupted."""

from __future__ import annotations

import csv
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtlbench.execution.local import run_local
from mtlbench.execution.queue import Queue, Resources
from mtlbench.spec import Trial
from mtlbench.store.sealing import read_result
from mtlbench.store.store import Store
from mtlbench.training.trial import Errand, run_trial

OFTEN = Errand(torch.device("cpu"), resume_every=0.0)


NEVER = Errand(torch.device("cpu"))


def same(one: Path, two: Path) -> None:
    assert set(os.listdir(one)) == set(os.listdir(two))
    assert read_result(one / "result.json").scores == read_result(two / "result.json").scores
    for name in {"curve.csv", "alphas.csv"} & set(os.listdir(one)):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    if (one / "weights.pt").exists():
        states = [torch.load(folder / "weights.pt", weights_only=True) for folder in (one, two)]
        assert all(map(torch.equal, states[0].values(), states[1].values()))
    with np.load(one / "predictions.npz") as a, np.load(two / "predictions.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in a.files)


CPU = torch.device("cpu")


HERE = Errand(CPU)


class Silent:
    """A watcher that only remembers errors."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def note_start(self, trial: Trial) -> None: ...
    def note_progress(self, trial: Trial, fraction: float) -> None: ...
    def again(self, trial: Trial, why: str) -> None: ...
    def say(self, line: str) -> None: ...

    def note_end(self, trial: Trial, error: str) -> None:
        if error:
            self.errors.append(error)


@dataclass
class Study:
    """Finished trials in a store."""

    trials: list[Trial]
    store: Store

    def of(self, arm: str) -> list[Trial]:
        return [trial for trial in self.trials if trial.arm == arm]

    def folder(self, trial: Trial) -> Path:
        return self.store.folder(trial)

    def scores(self, trial: Trial) -> list[Any]:
        return read_result(self.folder(trial) / "result.json").scores

    def rows(self, trial: Trial, name: str) -> list[dict[str, str]]:
        with open(self.folder(trial) / name, newline="") as file:
            return list(csv.DictReader(file))

    def again(self, trial: Trial, folder: Path, **changes: Any) -> list[Any]:
        """The scores of a changed trial that starts from the same parents."""
        other = dataclasses.replace(trial, **changes)
        parents = {key: self.store.folder(trial).parent / key for key in other.parents}
        for _ in run_trial(other, folder, parents, HERE):
            pass
        return read_result(folder / "result.json").scores


def finish(trials: list[Trial], store: Store) -> Study:
    watcher = Silent()
    run_local(Queue(trials, (), lambda trial: 1.0), store, watcher, Resources())
    assert watcher.errors == [], watcher.errors
    return Study(trials, store)
