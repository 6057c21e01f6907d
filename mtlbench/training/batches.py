"""From samples to batches: which images, in which scale, mirrored or not, with which regions, on which device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtlbench.contracts import Batch, Sample, Task
from mtlbench.spec import derive_seed
from mtlbench.training.loader import Resident, to_device
from mtlbench.training.order import Order
from mtlbench.training.samples import Maps, Scaled, View, augment, draw, maps_of
from mtlbench.vision.regions import encode, match, sample_regions

Labelled = tuple[Tensor | None, Tensor]  # labels of a task (None: there are none), and for which rows they are given


def training_batch(
    subset: Scaled,
    tasks: dict[str, Task],
    view: View,
    seed: int,
    iteration: int,
    images: int,
    resident: Resident | None = None,
    order: Order | None = None,
) -> Batch:
    """The batch of one iteration, augmented; the same for every arm of a seed. Without `order` all images come alike.

    With `resident`, images and label maps come from there, and everything is on its device.
    """
    rng = np.random.default_rng(derive_seed(seed, "batch", iteration))
    drawn = draw(view, seed, iteration, images, order or Order(len(subset)), rng)
    samples = [cache(partial(augment, subset, tasks, one)) for one in drawn]  # made once, and only where needed
    if resident is None:
        maps = [maps_of(sample(), view) for sample in samples]
    else:
        maps = [resident.maps(one, sample, view) for one, sample in zip(drawn, samples, strict=True)]
    found = None
    if view.tasks_of("roi"):
        chosen = [sample_regions(sample(), view.regions, rng, fill=view.fill_background) for sample in samples]
        found = Found([sample() for sample in samples], [one[0] for one in chosen], [one[1] for one in chosen])
    batch = collate(maps, view, found)
    return batch if resident is None else to_device(batch, resident.device)


def evaluation_batches(subset: Scaled | Sequence[Sample], view: View, count: int, at_once: int) -> Iterator[Batch]:
    """The first `count` samples in their order, at most `at_once` a batch, and a batch never has images of two sizes.

    What pads the smaller one would be seen by all pixels and regions near its edge, so that a score would depend on
    which image comes next (Ours).
    """
    for start in range(0, count, at_once):
        samples = [subset[i] for i in range(start, min(count, start + at_once))]
        for _, alike in groupby(samples, key=lambda sample: sample.image.shape):
            yield evaluation_batch(list(alike), view)


def evaluation_batch(samples: Sequence[Sample], view: View) -> Batch:
    """The samples as they are; form `roi`: all proposals, then all annotated boxes of each image."""
    maps = [maps_of(sample, view) for sample in samples]
    if not view.tasks_of("roi"):
        return replace(collate(maps, view), samples=list(samples))
    regions, matched = [], []
    for sample in samples:
        assert sample.boxes is not None and sample.proposals is not None
        best, overlap = match(sample.proposals, sample.boxes)
        own = np.where(overlap >= 0.5, best, -1)
        regions.append(np.concatenate([sample.proposals, sample.boxes]))
        matched.append(np.concatenate([own, np.arange(len(sample.boxes))]))
    return replace(collate(maps, view, Found(samples, regions, matched)), samples=list(samples))


class Found(NamedTuple):
    """Of each image of a batch: its sample, its regions `R 4`, and the rows of the objects `R` that they are matched to
    (-1 = none)."""

    samples: Sequence[Sample]
    regions: Sequence[np.ndarray]
    matched: Sequence[np.ndarray]


def collate(maps: Sequence[Maps], view: View, found: Found | None = None) -> Batch:
    """The batch of some images, with regions where tasks are of form `roi`."""
    labels, masks = dict[str, Tensor](), dict[str, Tensor]()
    for task, form in view.forms.items():
        label, mask = region_labels(task, found) if found and form == "roi" else OF_FORM[form](task, maps)
        masks[task] = mask
        if label is not None:
            labels[task] = label
    batch = Batch(stack([one["image"] for one in maps], 0.0), labels, masks)
    if view.tasks_of("image"):
        sizes = [one["image"].shape[1:] for one in maps]
        padded = any(size != sizes[0] for size in sizes)
        batch = replace(batch, sizes=torch.tensor(sizes, dtype=torch.float32) if padded else None)
    return with_regions(batch, found, view.tasks_of("roi")) if found else batch


def stack(maps: Sequence[Tensor], fill: float) -> Tensor:
    """Maps of one kind as a batch, padded with `fill` at the bottom and on the right to the largest."""
    if all(one.shape == maps[0].shape for one in maps):
        return torch.stack(list(maps))
    size = [max(one.shape[axis] for one in maps) for axis in range(maps[0].ndim)]
    batch = maps[0].new_full((len(maps), *size), fill)
    for row, one in zip(batch, maps, strict=True):
        row[tuple(slice(length) for length in one.shape)] = one
    return batch


def dense_labels(task: str, maps: Sequence[Maps]) -> Labelled:
    """Label maps `B H W ...`; padding is 255 in class maps and zero in others."""
    mask = torch.tensor([task in one for one in maps])
    example = next((one[task] for one in maps if task in one), None)
    if example is None:
        return None, mask
    fill = 255 if example.dtype == torch.uint8 else 0
    return stack(
        [
            one[task] if task in one else example.new_full((*one["image"].shape[1:], *example.shape[2:]), fill)
            for one in maps
        ],
        fill,
    ), mask


def image_labels(task: str, maps: Sequence[Maps]) -> Labelled:
    """A label of each image; of one that has none it is 255 where labels are uint8, else 0."""
    mask = torch.tensor([task in one for one in maps])
    example = next((one[task] for one in maps if task in one), None)
    if example is None:
        return None, mask
    missing = torch.full_like(example, 255 if example.dtype == torch.uint8 else 0)
    return torch.stack([one.get(task, missing) for one in maps]), mask


def region_labels(task: str, found: Found) -> Labelled:
    """The label of the object that each region is matched to, `R ...`, zeros where there is none."""
    rows = sum(map(len, found.regions))
    example = next((sample.labels[task] for sample in found.samples if task in sample.labels), None)
    if example is None:
        return None, torch.zeros(rows, dtype=torch.bool)
    label = np.zeros((rows, *example.shape[1:]), dtype=example.dtype)
    mask = np.zeros(rows, dtype=bool)
    start = 0
    for sample, objects in zip(found.samples, found.matched, strict=True):
        if task in sample.labels:
            mask[start : start + len(objects)] = True
            hit = np.flatnonzero(objects >= 0)
            label[start + hit] = sample.labels[task][objects[hit]]
        start += len(objects)
    return torch.from_numpy(label), torch.from_numpy(mask)


OF_FORM = {"fcn": dense_labels, "image": image_labels}  # those without regions


def with_regions(batch: Batch, found: Found, tasks: Sequence[str]) -> Batch:
    """The batch with the regions of all images one below the other; `tasks` have a label for each."""
    numbered = [np.column_stack([np.full(len(r), i), r]).astype(np.float32) for i, r in enumerate(found.regions)]
    rows = np.concatenate(numbered)
    targets = np.zeros((len(rows), 4), dtype=np.float32)
    start = 0
    for sample, boxes, objects in zip(*found, strict=True):
        hit = np.flatnonzero(objects >= 0)
        if len(hit):
            assert sample.boxes is not None
            targets[start + hit] = encode(boxes[hit], sample.boxes[objects[hit]])
        start += len(boxes)
    return replace(
        batch,
        regions=torch.from_numpy(rows),
        foreground=torch.from_numpy(np.concatenate([objects >= 0 for objects in found.matched])),
        targets=torch.from_numpy(targets),
        of_regions=tuple(tasks),
    )


def cut(batch: Batch, images: int) -> list[Batch]:
    """A training batch cut into pieces of that many images, the last may have fewer; 0 = in one piece."""
    count = len(batch.images)
    if not images or images >= count:
        return [batch]
    return [_part(batch, start, min(start + images, count)) for start in range(0, count, images)]


def _part(batch: Batch, start: int, stop: int) -> Batch:
    whole: slice | Tensor = slice(start, stop)
    rows = whole
    changes: dict[str, Any] = {"images": batch.images[start:stop], "samples": batch.samples[start:stop]}
    if batch.regions is not None:
        assert batch.foreground is not None and batch.targets is not None
        rows = (batch.regions[:, 0] >= start) & (batch.regions[:, 0] < stop)
        shift = batch.regions.new_tensor([start, 0, 0, 0, 0])
        changes |= {
            "regions": batch.regions[rows] - shift,
            "foreground": batch.foreground[rows],
            "targets": batch.targets[rows],
        }
    if batch.sizes is not None:
        changes["sizes"] = batch.sizes[start:stop]
    changes |= {
        "labels": {name: one[rows if name in batch.of_regions else whole] for name, one in batch.labels.items()},
        "masks": {name: one[rows if name in batch.of_regions else whole] for name, one in batch.masks.items()},
    }
    return replace(batch, **changes)
