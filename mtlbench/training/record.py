"""What training leaves beside weights: curves, alphas, times; and the file from which it goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlbench.nets.network import MultiTaskNet
from mtlbench.spec import Options
from mtlbench.system.files import blame_disk, replace_file

Row = dict[str, Any]


@dataclass
class Record:
    """What training leaves besides weights; seconds are CPU seconds of this process inside steps and evaluation, and
    seconds of wall time between the start of a training step and its end, and waiting for its batch."""

    curve: list[Row] = field(default_factory=list)
    alphas: list[Row] = field(default_factory=list)
    conflicts: list[Row] = field(default_factory=list)
    step_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    training_seconds: float = 0.0
    wait_seconds: float = 0.0
    earlier_seconds: float = 0.0  # wall time before the resume file that this training went on from

    @contextlib.contextmanager
    def step_clock(self) -> Iterator[None]:
        """Add the CPU time spent inside to `step_seconds`."""
        start = time.process_time()
        yield
        self.step_seconds += time.process_time() - start

    @contextlib.contextmanager
    def evaluation_clock(self) -> Iterator[None]:
        """Add the CPU time spent inside to `evaluation_seconds`."""
        start = time.process_time()
        yield
        self.evaluation_seconds += time.process_time() - start


@dataclass
class ResumeFile:
    """Where training keeps what it needs to go on bit for bit after an interrupt, and how many seconds lie between.

    A training that is shorter than `every` never writes one. A file that cannot be read, or is of a trial with another
    `key`, is ignored.
    """

    path: Path
    every: float
    key: str = ""

    def save(self, state: Options) -> None:
        """Replace the file."""
        with blame_disk(self.path.parent), replace_file(self.path) as temporary, open(temporary, "wb") as file:
            torch.save({**state, "key": self.key}, file)

    def load(self) -> Options | None:
        """What was saved last, on the CPU, or None."""
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            return state if state["key"] == self.key else None
        except Exception:  # truncated or foreign: torch raises what it likes
            return None


def alpha_means(net: MultiTaskNet, iteration: int) -> list[Row]:
    """One row per stage, receiver and giver: the mean over channels, as `channel` -1."""
    return [
        _alpha_row(net, iteration, stage, (r, g), -1, float(alpha[r, g].mean()))
        for stage, alpha in net.alphas().items()
        for r, g in _mixed_pairs(alpha)
    ]


def alphas_by_channel(net: MultiTaskNet, iteration: int) -> list[Row]:
    """Every unit of a finished network."""
    return [
        _alpha_row(net, iteration, stage, (r, g), channel, value)
        for stage, alpha in net.alphas().items()
        for r, g in _mixed_pairs(alpha)
        for channel, value in enumerate(alpha[r, g].tolist())
    ]


def _mixed_pairs(alpha: Tensor) -> list[tuple[int, int]]:
    """Receivers and givers: without tasks of different forms where these have parted."""
    return [(r, g) for r in range(len(alpha)) for g in range(len(alpha)) if not alpha[r, g].isnan().any()]


def _alpha_row(
    net: MultiTaskNet, iteration: int, stage: str, tasks: tuple[int, int], channel: int, value: float
) -> Row:
    receiver, giver = (net.tasks[i] for i in tasks)
    return {
        "iteration": iteration,
        "stage": stage,
        "receiver": receiver,
        "giver": giver,
        "channel": channel,
        "alpha": value,
    }
