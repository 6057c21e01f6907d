"""Images and labels as a network takes them: scaled, mirrored, normalised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtlbench.contracts import Sample, Subset, Task
from mtlbench.spec import ONE_FORM
from mtlbench.training.order import Order

CACHE_BYTES = 2 << 30  # of scaled samples that a process keeps
# Of one sample: its normalised "image" `3 H W` and the label of each task it has, but of form `roi`: a map `H W ...` in
# form `fcn`, a number or vector in form `image`.
Maps = dict[str, Tensor]


@dataclass(frozen=True)
class View:
    """How samples become batches: the recipe's part and the backbone's input scaling."""

    forms: Mapping[str, str]  # {task: its form}
    short_side: int
    long_side: int
    mirror: bool
    colour: float
    regions: int
    fill_background: bool
    chunk: int  # images that pass the network at a time, 0 = a batch
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool

    def tasks_of(self, form: str) -> list[str]:
        """Those of a form."""
        return [task for task, its in self.forms.items() if its == form]


class Scaled:
    """A subset in the scale of the recipe, kept in memory once seen; safe to read from several threads.

    Labels are all there until `need` has named some; from then on, those that were named.
    """

    def __init__(self, subset: Subset, short_side: int, long_side: int) -> None:
        self.subset, self.short_side, self.long_side = subset, short_side, long_side
        self._kept: dict[tuple[int, tuple[str, ...]], Sample] = {}  # no tasks: as it is, else mirrored for them
        self._bytes = 0
        self._forms: dict[str, str] = {}  # {task that is needed: its form}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.subset)

    def __getitem__(self, index: int) -> Sample:
        return self._once((index, ()), lambda: scale(self._read(index), self.short_side, self.long_side, self._forms))

    def need(self, forms: Mapping[str, str]) -> None:
        """Labels of these tasks ({task: its form}) are needed, too. Not to be called while others read."""
        if not self._forms.keys() >= forms.keys():
            self._forms |= forms
            self._kept, self._bytes = {}, 0

    def _read(self, index: int) -> Sample:
        sample = self.subset[index]
        if not self._forms:
            return sample
        return replace(sample, labels={task: one for task, one in sample.labels.items() if task in self._forms})

    def mirrored(self, index: int, tasks: dict[str, Task]) -> Sample:
        """The sample with left and right exchanged, the labels of these tasks too."""
        return self._once((index, tuple(tasks)), lambda: mirror(self[index], tasks))

    def _once(self, key: tuple[int, tuple[str, ...]], make: Callable[[], Sample]) -> Sample:
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        sample = make()
        size = sum(label.nbytes for label in sample.labels.values()) + (0 if key[1] else sample.image.nbytes)
        with self._lock:  # two threads may have made the same sample: it counts once
            if key not in self._kept and self._bytes + size <= CACHE_BYTES:
                self._kept[key] = sample
                self._bytes += size
        return sample


def scale(sample: Sample, short_side: int, long_side: int, forms: Mapping[str, str] = ONE_FORM) -> Sample:
    """The sample with its shortest side at `short_side` pixels unless the longest would pass `long_side` (Girshick
    2015); 0 = as it is. Images bilinear, label maps nearest, boxes in proportion. Which labels are maps `forms` says,
    {task: its form}; of others in a sample without boxes those that have two axes."""
    height, width = sample.image.shape[:2]
    if not short_side:
        return sample
    factor = min(short_side / min(height, width), long_side / max(height, width) if long_side else np.inf)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    if size == (height, width):
        return sample
    image = torch.from_numpy(np.array(sample.image, order="C")).permute(2, 0, 1)[None]  # a copy: it may be read-only
    image = torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    stretch = np.array([size[1] / width, size[0] / height] * 2, dtype=np.float32)
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.intp)

    def is_map(task: str, label: np.ndarray) -> bool:
        return forms[task] == "fcn" if task in forms else sample.boxes is None and label.ndim > 1

    labels = {
        task: np.ascontiguousarray(label[rows[:, None], columns]) if is_map(task, label) else label
        for task, label in sample.labels.items()
    }
    return replace(
        sample,
        image=np.ascontiguousarray(image.numpy()),
        labels=labels,
        boxes=None if sample.boxes is None else sample.boxes * stretch,
        proposals=None if sample.proposals is None else sample.proposals * stretch,
    )


class Drawn(NamedTuple):
    """One image of a training batch and how it is augmented; `colour` = brightness, contrast, saturation."""

    number: int  # in the subset
    flipped: bool
    colour: np.ndarray | None


def draw(view: View, seed: int, iteration: int, images: int, order: Order, rng: np.random.Generator) -> list[Drawn]:
    """The images of a training batch."""
    drawn = []
    for index in order.images(seed, iteration, images):
        flipped = bool(view.mirror and rng.random() < 0.5)
        drawn.append(Drawn(index, flipped, colour_factors(view.colour, rng) if view.colour else None))
    return drawn


def augment(subset: Scaled, tasks: dict[str, Task], drawn: Drawn) -> Sample:
    """The sample as it was drawn."""
    sample = subset.mirrored(drawn.number, tasks) if drawn.flipped else subset[drawn.number]
    return sample if drawn.colour is None else replace(sample, image=recolour(sample.image, drawn.colour))


def mirror(sample: Sample, tasks: dict[str, Task]) -> Sample:
    """Left and right exchanged."""
    width = sample.image.shape[1]
    return replace(
        sample,
        image=sample.image[:, ::-1],
        labels={n: tasks[n].mirror(label) if n in tasks else label for n, label in sample.labels.items()},
        boxes=_mirrored_boxes(sample.boxes, width),
        proposals=_mirrored_boxes(sample.proposals, width),
    )


def _mirrored_boxes(boxes: np.ndarray | None, width: int) -> np.ndarray | None:
    if boxes is None:
        return None
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def colour_factors(strength: float, rng: np.random.Generator) -> np.ndarray:
    """Factors of brightness, contrast and saturation within `strength` of 1."""
    return rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)


def recolour(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Brightness, contrast and saturation changed by factors (Ours; the paper says "colour augmentation")."""
    brightness, contrast, saturation = factors
    x = image.astype(np.float32) * brightness
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * saturation
    x = (x - grey.mean()) * contrast + grey.mean()
    pixels: np.ndarray = np.clip(x, 0, 255).astype(np.uint8)
    return pixels


def normalise(image: np.ndarray, view: View) -> Tensor:
    """`H W 3` uint8 -> `3 H W` in the channel order and scale of the backbone."""
    planes = image.transpose(2, 0, 1)[:: -1 if view.bgr else 1].astype(np.float32, order="C")
    planes -= np.array(view.mean, dtype=np.float32)[:, None, None]
    planes /= np.array(view.std, dtype=np.float32)[:, None, None]
    return torch.from_numpy(planes)


def maps_of(sample: Sample, view: View) -> Maps:
    """The normalised image and the labels of one sample, but of tasks of form `roi`."""
    given = {task: sample.labels[task] for task in whole_labels(view) if task in sample.labels}
    labels = {task: torch.from_numpy(np.array(label, order="C")) for task, label in given.items()}
    return {"image": normalise(sample.image, view), **labels}


def whole_labels(view: View) -> list[str]:
    """The tasks whose labels are of whole images or all pixels, not of boxes."""
    return [task for task, form in view.forms.items() if form != "roi"]
