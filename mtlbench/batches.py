"""From samples to batches: which images, in which scale, mirrored or not, with which regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mtlbench.plugins import Batch, Sample, Subset, Task
from mtlbench.regions import encode, match, sample_regions
from mtlbench.spec import derive_seed

CACHE_BYTES = 2 << 30  # of scaled samples that a process keeps


@dataclass(frozen=True)
class View:
    """How samples become batches: the recipe's part and the backbone's input scaling."""

    form: str
    tasks: tuple[str, ...]
    short_side: int
    long_side: int
    mirror: bool
    colour: float
    regions: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool


class Scaled:
    """A subset in the scale of the recipe, kept in memory once seen."""

    def __init__(self, subset: Subset, short_side: int, long_side: int) -> None:
        self.subset, self.short_side, self.long_side = subset, short_side, long_side
        self._kept: dict[int, Sample] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.subset)

    def __getitem__(self, index: int) -> Sample:
        if index in self._kept:
            return self._kept[index]
        sample = scale(self.subset[index], self.short_side, self.long_side)
        size = sample.image.nbytes + sum(label.nbytes for label in sample.labels.values())
        if self._bytes + size <= CACHE_BYTES:
            self._kept[index] = sample
            self._bytes += size
        return sample


def scale(sample: Sample, short_side: int, long_side: int) -> Sample:
    """The sample with its shortest side at `short_side` pixels unless the longest would pass `long_side` (Girshick
    2015); 0 = as it is. Images bilinear, labels nearest, boxes in proportion."""
    height, width = sample.image.shape[:2]
    if not short_side:
        return sample
    factor = min(short_side / min(height, width), long_side / max(height, width) if long_side else np.inf)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    if size == (height, width):
        return sample
    image = torch.from_numpy(np.ascontiguousarray(sample.image)).permute(2, 0, 1)[None]
    image = torch.nn.functional.interpolate(image, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    stretch = np.array([size[1] / width, size[0] / height] * 2, dtype=np.float32)
    labels = sample.labels
    if sample.boxes is None:
        rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.intp)
        columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.intp)
        labels = {task: np.ascontiguousarray(label[rows[:, None], columns]) for task, label in labels.items()}
    return replace(
        sample,
        image=np.ascontiguousarray(image.numpy()),
        labels=labels,
        boxes=None if sample.boxes is None else sample.boxes * stretch,
        proposals=None if sample.proposals is None else sample.proposals * stretch,
    )


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(count)


def indices(seed: int, iteration: int, images: int, count: int) -> list[int]:
    """The images of iteration i: a function of (seed, i) alone; every epoch is a fresh permutation."""
    positions = range(iteration * images, (iteration + 1) * images)
    return [int(_permutation(seed, position // count, count)[position % count]) for position in positions]


def training_batch(subset: Scaled, tasks: dict[str, Task], view: View, seed: int, iteration: int, images: int) -> Batch:
    """The batch of one iteration, augmented; the same for every arm of a seed."""
    rng = np.random.default_rng(derive_seed(seed, "batch", iteration))
    samples = []
    for index in indices(seed, iteration, images, len(subset)):
        sample = subset[index]
        if view.mirror and rng.random() < 0.5:
            sample = mirrored(sample, tasks)
        if view.colour:
            sample = replace(sample, image=recoloured(sample.image, view.colour, rng))
        samples.append(sample)
    if view.form == "fcn":
        return fcn_batch(samples, view)
    chosen = [sample_regions(sample, view.regions, rng) for sample in samples]
    return roi_batch(samples, [c[0] for c in chosen], [c[1] for c in chosen], view)


def evaluation_batch(samples: Sequence[Sample], view: View) -> Batch:
    """The samples as they are; form `roi`: all proposals, then all annotated boxes of each image."""
    if view.form == "fcn":
        return fcn_batch(samples, view)
    regions, matched = [], []
    for sample in samples:
        assert sample.boxes is not None and sample.proposals is not None
        best, overlap = match(sample.proposals, sample.boxes)
        own = np.where(overlap >= 0.5, best, -1)
        regions.append(np.concatenate([sample.proposals, sample.boxes]))
        matched.append(np.concatenate([own, np.arange(len(sample.boxes))]))
    return roi_batch(samples, regions, matched, view)


def mirrored(sample: Sample, tasks: dict[str, Task]) -> Sample:
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


def recoloured(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation changed by up to `strength` (Ours; the paper says "colour augmentation")."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    x = image.astype(np.float32) * brightness
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * saturation
    x = (x - grey.mean()) * contrast + grey.mean()
    return np.clip(x, 0, 255).astype(np.uint8)


def normalised(samples: Sequence[Sample], view: View) -> Tensor:
    """`B 3 H W`: padded to the largest image with the mean, in the channel order and scale of the backbone."""
    height = max(sample.image.shape[0] for sample in samples)
    width = max(sample.image.shape[1] for sample in samples)
    order = (2, 1, 0) if view.bgr else (0, 1, 2)
    images = np.empty((len(samples), height, width, 3), dtype=np.float32)
    images[:] = np.array(view.mean, dtype=np.float32)
    for row, sample in zip(images, samples, strict=True):
        row[: sample.image.shape[0], : sample.image.shape[1]] = sample.image[:, :, order]
    images = (images - np.array(view.mean, dtype=np.float32)) / np.array(view.std, dtype=np.float32)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def fcn_batch(samples: Sequence[Sample], view: View) -> Batch:
    """Images and label maps; padding is 255 in class maps and zero in others."""
    images = normalised(samples, view)
    labels, masks = {}, {}
    for task in view.tasks:
        given = [sample.labels.get(task) for sample in samples]
        masks[task] = torch.tensor([label is not None for label in given])
        example = next((label for label in given if label is not None), None)
        if example is None:
            continue
        fill = 255 if example.dtype == np.uint8 else 0
        stack = np.full((len(samples), *images.shape[-2:], *example.shape[2:]), fill, dtype=example.dtype)
        for row, label in zip(stack, given, strict=True):
            if label is not None:
                row[: label.shape[0], : label.shape[1]] = label
        labels[task] = torch.from_numpy(stack)
    return Batch(images, labels, masks, list(samples))


def roi_batch(
    samples: Sequence[Sample], regions: Sequence[np.ndarray], matched: Sequence[np.ndarray], view: View
) -> Batch:
    """Regions of all images one below the other, with the rows of the objects that they are matched to (-1 = none)."""
    rows = np.concatenate(
        [np.column_stack([np.full(len(r), i), r]).astype(np.float32) for i, r in enumerate(regions)]
    )
    foreground = np.concatenate([m >= 0 for m in matched])
    targets = np.zeros((len(rows), 4), dtype=np.float32)
    start = 0
    for sample, boxes, objects in zip(samples, regions, matched, strict=True):
        hit = np.flatnonzero(objects >= 0)
        if len(hit):
            assert sample.boxes is not None
            targets[start + hit] = encode(boxes[hit], sample.boxes[objects[hit]])
        start += len(boxes)
    labels, masks = {}, {}
    for task in view.tasks:
        example = next((s.labels[task] for s in samples if task in s.labels), None)
        if example is None:
            masks[task] = torch.zeros(len(rows), dtype=torch.bool)
            continue
        label = np.zeros((len(rows), *example.shape[1:]), dtype=example.dtype)
        mask = np.zeros(len(rows), dtype=bool)
        start = 0
        for sample, objects in zip(samples, matched, strict=True):
            if task in sample.labels:
                mask[start : start + len(objects)] = True
                hit = np.flatnonzero(objects >= 0)
                label[start + hit] = sample.labels[task][objects[hit]]
            start += len(objects)
        labels[task], masks[task] = torch.from_numpy(label), torch.from_numpy(mask)
    return Batch(
        normalised(samples, view), labels, masks, list(samples),
        torch.from_numpy(rows), torch.from_numpy(foreground), torch.from_numpy(targets),
    )  # fmt: skip
