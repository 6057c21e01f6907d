"""From samples to batches: which images, in which scale, mirrored or not, with which regions, on which device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlbench.contracts import Batch, Sample, Task
from mtlbench.spec import derive_seed
from mtlbench.training.loader import Resident, to_device
from mtlbench.training.samples import Maps, Scaled, View, augmented, draw, maps_of
from mtlbench.vision.regions import encode, match, sample_regions


def training_batch(
    subset: Scaled,
    tasks: dict[str, Task],
    view: View,
    seed: int,
    iteration: int,
    images: int,
    resident: Resident | None = None,
) -> Batch:
    """The batch of one iteration, augmented; the same for every arm of a seed.

    With `resident`, images and label maps come from there, and everything is on its device.
    """
    rng = np.random.default_rng(derive_seed(seed, "batch", iteration))
    drawn = draw(view, seed, iteration, images, len(subset), rng)
    samples = [cache(partial(augmented, subset, tasks, one)) for one in drawn]  # made once, and only where needed
    if resident is None:
        maps = [maps_of(sample(), view) for sample in samples]
    else:
        maps = [resident.maps(one, sample, view) for one, sample in zip(drawn, samples, strict=True)]
    if view.form != "roi":
        batch = OF_FORM[view.form](maps, view)
    else:
        chosen = [sample_regions(sample(), view.regions, rng, fill=view.fill_background) for sample in samples]
        batch = roi_batch(maps, [sample() for sample in samples], [c[0] for c in chosen], [c[1] for c in chosen], view)
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
    if view.form != "roi":
        return replace(OF_FORM[view.form](maps, view), samples=list(samples))
    regions, matched = [], []
    for sample in samples:
        assert sample.boxes is not None and sample.proposals is not None
        best, overlap = match(sample.proposals, sample.boxes)
        own = np.where(overlap >= 0.5, best, -1)
        regions.append(np.concatenate([sample.proposals, sample.boxes]))
        matched.append(np.concatenate([own, np.arange(len(sample.boxes))]))
    return replace(roi_batch(maps, samples, regions, matched, view), samples=list(samples))


def stacked(maps: Sequence[Tensor], fill: float) -> Tensor:
    """Maps of one kind as a batch, padded with `fill` at the bottom and on the right to the largest."""
    if all(one.shape == maps[0].shape for one in maps):
        return torch.stack(list(maps))
    size = [max(one.shape[axis] for one in maps) for axis in range(maps[0].ndim)]
    batch = maps[0].new_full((len(maps), *size), fill)
    for row, one in zip(batch, maps, strict=True):
        row[tuple(slice(length) for length in one.shape)] = one
    return batch


def fcn_batch(maps: Sequence[Maps], view: View) -> Batch:
    """Images and label maps; padding is the mean in images, 255 in class maps and zero in others."""
    images = stacked([one["image"] for one in maps], 0.0)
    labels, masks = {}, {}
    for task in view.tasks:
        masks[task] = torch.tensor([task in one for one in maps])
        example = next((one[task] for one in maps if task in one), None)
        if example is not None:
            fill = 255 if example.dtype == torch.uint8 else 0
            labels[task] = stacked(
                [
                    one[task] if task in one else example.new_full((*one["image"].shape[1:], *example.shape[2:]), fill)
                    for one in maps
                ],
                fill,
            )
    return Batch(images, labels, masks)


def image_batch(maps: Sequence[Maps], view: View) -> Batch:
    """Images and a label of each; of one that has none it is 255 where labels are uint8, else 0, and its mask False."""
    images = stacked([one["image"] for one in maps], 0.0)
    labels, masks = {}, {}
    for task in view.tasks:
        masks[task] = torch.tensor([task in one for one in maps])
        example = next((one[task] for one in maps if task in one), None)
        if example is not None:
            missing = torch.full_like(example, 255 if example.dtype == torch.uint8 else 0)
            labels[task] = torch.stack([one.get(task, missing) for one in maps])
    sizes = [one["image"].shape[1:] for one in maps]
    padded = any(size != sizes[0] for size in sizes)
    return Batch(images, labels, masks, sizes=torch.tensor(sizes, dtype=torch.float32) if padded else None)


OF_FORM = {"fcn": fcn_batch, "image": image_batch}  # those without regions


def roi_batch(
    maps: Sequence[Maps],
    samples: Sequence[Sample],
    regions: Sequence[np.ndarray],
    matched: Sequence[np.ndarray],
    view: View,
) -> Batch:
    """Regions of all images one below the other, with the rows of the objects that they are matched to (-1 = none)."""
    rows = np.concatenate([np.column_stack([np.full(len(r), i), r]).astype(np.float32) for i, r in enumerate(regions)])
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
        stacked([one["image"] for one in maps], 0.0),
        labels,
        masks,
        [],
        torch.from_numpy(rows),
        torch.from_numpy(foreground),
        torch.from_numpy(targets),
    )


def parts(batch: Batch, images: int) -> list[Batch]:
    """A training batch cut into pieces of that many images, the last may have fewer; 0 = in one piece."""
    count = len(batch.images)
    if not images or images >= count:
        return [batch]
    return [_part(batch, start, min(start + images, count)) for start in range(0, count, images)]


def _part(batch: Batch, start: int, stop: int) -> Batch:
    rows: slice | Tensor = slice(start, stop)
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
        "labels": {name: label[rows] for name, label in batch.labels.items()},
        "masks": {name: mask[rows] for name, mask in batch.masks.items()},
    }
    return replace(batch, **changes)
