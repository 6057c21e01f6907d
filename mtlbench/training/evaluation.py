"""Scoring a network on a subset."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from mtlbench.contracts import Meter, Sample, Task
from mtlbench.nets.network import MultiTaskNet
from mtlbench.training.batches import evaluation_batches
from mtlbench.training.loader import to_device
from mtlbench.training.samples import Scaled, View

EVALUATION_IMAGES = 16  # of one size, at a time, unless the recipe says fewer


T = TypeVar("T")


class Diverged(Exception):
    """The loss is not a number or has grown beyond all bounds; `details` say more than fits into a line."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message, details)
        self.message, self.details = message, details

    def __str__(self) -> str:
        return f"{self.message}; {self.details}" if self.details else self.message


def average_predictions(predictions: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The ensemble's prediction: the mean of its members'."""
    return {name: torch.stack([p[name] for p in predictions]).mean(0) for name in predictions[0]}


@torch.inference_mode()
def evaluate(
    nets: list[MultiTaskNet],
    tasks: dict[str, Task],
    subset: Scaled | Sequence[Sample],
    view: View,
    count: int,
) -> Generator[None, None, dict[str, Meter]]:
    """Each task's meter, filled over the first `count` samples, of one network or of an ensemble.

    Yields after every batch, and returns the meters. Raises Diverged.
    """
    for net in nets:
        net.eval()
    device = next(nets[0].parameters()).device
    meters = {name: task.meter() for name, task in tasks.items()}
    for batch in evaluation_batches(subset, view, count, view.chunk or EVALUATION_IMAGES):
        on_device = to_device(batch, device)
        outputs = [net(on_device.images, on_device.regions, on_device.sizes) for net in nets]
        for name, task in tasks.items():
            prediction = average_predictions([task.predict(output[name], on_device) for output in outputs])
            if not all(bool(value.isfinite().all()) for value in prediction.values()):
                raise Diverged(f"predictions of {name} are no numbers")
            if name in batch.labels:
                meters[name].add({k: v.cpu() for k, v in prediction.items()}, batch)
        yield
    return meters


def finish(steps: Generator[object, None, T]) -> T:
    """What a generator returns, run to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
