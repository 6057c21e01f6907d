"""A task under a name of its own: columns `age` and `weight` are two tasks of the kind `regression`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from mtlbench.contracts import Batch, Meter, Sample, Score, Subset

OF_BATCH = ("loss", "count", "predict", "keep", "boxes")  # methods whose last argument is a batch
T = TypeVar("T")


class Named:
    """The task `kind`, to which labels of `name` are its own; all that it has, this has."""

    def __init__(self, task: Any, name: str, kind: str) -> None:
        self._task, self._name, self._kind = task, name, kind

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._task, attribute)
        if attribute in OF_BATCH:
            return lambda *given: value(*given[:-1], batch_as(given[-1], self._name, self._kind))
        if attribute == "draw":
            return lambda axes, sample, kept: value(axes, sample_as(sample, self._name, self._kind), kept)
        return value

    def meter(self) -> NamedMeter:
        """An empty meter of the task."""
        return NamedMeter(self._task.meter(), self._name, self._kind)


def rename_task(task: Any, name: str, kind: str) -> Any:
    """The task `kind` as a task `name`."""
    return Named(task, name, kind)


class NamedMeter:
    """A meter of the task `kind` that is given batches of the task `name`."""

    def __init__(self, meter: Meter, name: str, kind: str) -> None:
        self.meter, self.name, self.kind = meter, name, kind

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add a batch."""
        self.meter.add(prediction, batch_as(batch, self.name, self.kind))

    def scores(self) -> list[Score]:
        """Its scores."""
        return self.meter.scores()

    def chance(self) -> list[Score]:
        """Its scores of who knows nothing."""
        return self.meter.chance()


class NamedSubset:
    """A subset whose labels of `name` are those of `kind`, for `Task.fit`."""

    def __init__(self, subset: Subset, name: str, kind: str) -> None:
        self.subset, self.name, self.kind = subset, name, kind

    def __len__(self) -> int:
        return len(self.subset)

    def __getitem__(self, index: int) -> Sample:
        return sample_as(self.subset[index], self.name, self.kind)


def batch_as(batch: Batch, name: str, kind: str) -> Batch:
    """The batch with labels of this one task alone, under the name of its kind."""
    samples = [sample_as(sample, name, kind) for sample in batch.samples]
    labels, masks = of_one(batch.labels, name, kind), of_one(batch.masks, name, kind)
    return replace(batch, labels=labels, masks=masks, samples=samples)


def sample_as(sample: Sample, name: str, kind: str) -> Sample:
    """The sample with the label of this one task alone, under the name of its kind."""
    labels: dict[str, np.ndarray] = of_one(sample.labels, name, kind)
    return replace(sample, labels=labels)


def of_one(values: Mapping[str, T], name: str, kind: str) -> dict[str, T]:
    """{kind: the value of `name`}, if there is one."""
    return {kind: values[name]} if name in values else {}
