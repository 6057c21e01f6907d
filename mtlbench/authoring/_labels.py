"""Made-up images and labels of every kind that a task may read, and a task on them, for the check of tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlbench.authoring.check import place
from mtlbench.contracts import Batch, Sample
from mtlbench.errors import UserError
from mtlbench.spec import Options
from mtlbench.training.batches import evaluation_batch
from mtlbench.training.evaluation import average_predictions
from mtlbench.training.samples import View

CATEGORIES = ("red", "round", "large", "old")
SIZES = ((24, 32), (24, 32), (20, 28), (24, 32))  # of the images; the last has no label
SIZE = 64  # of images with boxes
Maker = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _some_of(rng: np.random.Generator, values: np.ndarray, none: float) -> np.ndarray:
    """The values, one in ten not labelled."""
    values[rng.random(values.shape[:2]) < 0.1] = none
    return values


def _numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(1, 30, shape).astype(np.float32)


def _classes(rng: np.random.Generator, shape: tuple[int, ...], count: int) -> np.ndarray:
    return rng.integers(0, count, shape).astype(np.uint8)


def _directions(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Unit vectors, most of them towards the camera."""
    vectors = rng.normal(size=(*shape, 3)) * [1, 1, 0.5] + [0, 0, 1]
    unit: np.ndarray = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return unit


DENSE: dict[str, Maker] = {
    "numbers `H W` float32, 0 = none": lambda rng, shape: _some_of(rng, _numbers(rng, shape), 0),
    "classes `H W` uint8, 255 = none": lambda rng, shape: _some_of(rng, _classes(rng, shape, len(CATEGORIES)), 255),
    "yes or no `H W` uint8, 255 = none": lambda rng, shape: _some_of(rng, _classes(rng, shape, 2), 255),
    "unit vectors `H W 3` float32, 0 0 0 = none": lambda rng, shape: _some_of(rng, _directions(rng, shape), 0),
}
BOXES: dict[str, Maker] = {
    "a class for each box, int": lambda rng, shape: _classes(rng, shape, len(CATEGORIES)).astype(np.int64),
    "yes or no for each box and category, uint8": lambda rng, shape: _classes(rng, (*shape, len(CATEGORIES)), 2),
    "a number for each box, float32": lambda rng, shape: _numbers(rng, shape),
}


WHOLE: dict[str, Maker] = {
    "a class for each image, int": lambda rng, shape: _classes(rng, shape, len(CATEGORIES)).astype(np.int64),
    "yes or no for each image and category, uint8": lambda rng, shape: _classes(rng, (*shape, len(CATEGORIES)), 2),
    "a number for each image, float32": lambda rng, shape: _numbers(rng, shape),
}
LABELS = {"fcn": DENSE, "roi": BOXES, "image": WHOLE}  # by form


class Images:
    """A few random images, the last without a label; a Subset."""

    def __init__(self, name: str, form: str, label: Maker) -> None:
        rng = np.random.default_rng(0)
        makers: dict[str, Callable[..., Sample]] = {
            "fcn": self._dense,
            "roi": self._with_boxes,
            "image": self._whole,
        }
        make = makers[form]
        self._samples = [make(rng, name, label, *size) for size in SIZES]
        self._samples[-1] = replace(self._samples[-1], labels={})

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    @staticmethod
    def _dense(rng: np.random.Generator, name: str, label: Maker, height: int, width: int) -> Sample:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Sample(image, {name: label(rng, (height, width))})

    @staticmethod
    def _whole(rng: np.random.Generator, name: str, label: Maker, height: int, width: int) -> Sample:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Sample(image, {name: np.asarray(label(rng, ()))})

    @staticmethod
    def _with_boxes(rng: np.random.Generator, name: str, label: Maker, *_: int) -> Sample:
        corner = rng.uniform(0, 30, (6, 2)).astype(np.float32)
        boxes = np.concatenate([corner, corner + 24], axis=1)
        near = np.tile(boxes, (4, 1)) + rng.uniform(-2, 2, (24, 4)).astype(np.float32)
        far = rng.uniform(0, 30, (20, 2)).astype(np.float32)
        proposals = np.concatenate([near.clip(0, SIZE), np.concatenate([far, far + 12], axis=1)])
        image = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        return Sample(image, {name: label(rng, (len(boxes),))}, boxes, np.zeros(len(boxes), bool), proposals)


@dataclass
class Case:
    """A task's class, its options, and labels of one kind."""

    cls: Any
    options: Options
    label: Maker

    @property
    def name(self) -> str:
        """The task's: that of its class in lower case, `SurfaceNormals` -> `surface_normals`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.cls.__name__).lower()

    @property
    def form(self) -> str:
        form: str = self.cls.form
        return form

    @cached_property
    def images(self) -> Images:
        return Images(self.name, self.form, self.label)

    @cached_property
    def facts(self) -> Any:
        """What `fit` finds, as another process would read it."""
        return json.loads(json.dumps(self.cls.fit(CATEGORIES, self.images), allow_nan=False))

    @cached_property
    def task(self) -> Any:
        return self.cls(categories=CATEGORIES, facts=self.facts, **self.options)

    def batch(self, *numbers: int) -> Batch:
        """These images as in an evaluation."""
        view = View({self.name: self.form}, 0, 0, False, 0.0, 16, True, 0, (100.0,) * 3, (60.0,) * 3, False)
        return evaluation_batch([self.images[number] for number in numbers], view)

    def output(self, batch: Batch, seed: int = 0) -> Tensor:
        """Random scores, as the head would give them at full resolution."""
        rows = batch.images if batch.regions is None else batch.regions
        assert rows is not None
        like = torch.zeros(1, 8, 2, 2) if self.form == "fcn" else torch.zeros(1, 8)
        width = self.task.head(8)(like).shape[1]
        shape = (len(rows), width, *batch.images.shape[2:]) if self.form == "fcn" else (len(rows), width)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()

    def average_outputs(self, batch: Batch, *outputs: Tensor) -> dict[str, Tensor]:
        """What goes to the meter: the mean of the networks' predictions."""
        with torch.no_grad():
            return average_predictions([self.task.predict(output.detach(), batch) for output in outputs])

    def headline(self, scores: Any) -> float:
        """The mean of the headline in a list of scores. Raises UserError where it is not there once."""
        asked = (self.task.headline, "")
        found: list[float] = [score.value for score in scores if (score.metric, score.category) == asked]
        if len(found) != 1:
            raise UserError(
                f"has {len(found)} scores of the headline {self.task.headline!r} for the task as a whole "
                '(category ""); there must be one'
            )
        return found[0]

    def at(self, method: str) -> str:
        """Where a method of the task stands."""
        return place(getattr(self.cls, method, None))
