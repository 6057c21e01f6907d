"""From samples to batches: which images, in which scale, mirrored or not, with which regions, on which device."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mtlbench.plugins import Batch, Sample, Subset, Task
from mtlbench.regions import encode, match, sample_regions
from mtlbench.spec import derive_seed

CACHE_BYTES = 2 << 30  # of scaled samples that a process keeps
LOADERS = 4  # at most, of a trial (Ours)
T = TypeVar("T")
# Of one sample: its normalised "image" `3 H W` and, in form `fcn`, the label map `H W ...` of each task it has.
Maps = dict[str, Tensor]


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
    fill_background: bool
    chunk: int  # images that pass the network at a time, 0 = a batch
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool


class Scaled:
    """A subset in the scale of the recipe, kept in memory once seen; safe to read from several threads."""

    def __init__(self, subset: Subset, short_side: int, long_side: int) -> None:
        self.subset, self.short_side, self.long_side = subset, short_side, long_side
        self._kept: dict[tuple[int, tuple[str, ...]], Sample] = {}  # no tasks: as it is, else mirrored for them
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.subset)

    def __getitem__(self, index: int) -> Sample:
        return self._once((index, ()), lambda: scale(self.subset[index], self.short_side, self.long_side))

    def mirrored(self, index: int, tasks: dict[str, Task]) -> Sample:
        """The sample with left and right exchanged, the labels of these tasks too."""
        return self._once((index, tuple(tasks)), lambda: mirrored(self[index], tasks))

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
    image = torch.from_numpy(np.array(sample.image, order="C")).permute(2, 0, 1)[None]  # a copy: it may be read-only
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


class Drawn(NamedTuple):
    """One image of a training batch and how it is augmented; `colour` = brightness, contrast, saturation."""

    number: int  # in the subset
    flipped: bool
    colour: np.ndarray | None


def draw(view: View, seed: int, iteration: int, images: int, count: int, rng: np.random.Generator) -> list[Drawn]:
    """The images of a training batch out of `count`."""
    drawn = []
    for index in indices(seed, iteration, images, count):
        flipped = bool(view.mirror and rng.random() < 0.5)
        drawn.append(Drawn(index, flipped, colour_factors(view.colour, rng) if view.colour else None))
    return drawn


def augmented(subset: Scaled, tasks: dict[str, Task], drawn: Drawn) -> Sample:
    """The sample as it was drawn."""
    sample = subset.mirrored(drawn.number, tasks) if drawn.flipped else subset[drawn.number]
    return sample if drawn.colour is None else replace(sample, image=recoloured(sample.image, drawn.colour))


def training_batch(
    subset: Scaled, tasks: dict[str, Task], view: View, seed: int, iteration: int, images: int,
    resident: Resident | None = None,
) -> Batch:  # fmt: skip
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
    if view.form == "fcn":
        batch = fcn_batch(maps, view)
    else:
        chosen = [sample_regions(sample(), view.regions, rng, fill=view.fill_background) for sample in samples]
        batch = roi_batch(maps, [sample() for sample in samples], [c[0] for c in chosen], [c[1] for c in chosen], view)
    return batch if resident is None else to_device(batch, resident.device)


def evaluation_batch(samples: Sequence[Sample], view: View) -> Batch:
    """The samples as they are; form `roi`: all proposals, then all annotated boxes of each image."""
    maps = [maps_of(sample, view) for sample in samples]
    if view.form == "fcn":
        return replace(fcn_batch(maps, view), samples=list(samples))
    regions, matched = [], []
    for sample in samples:
        assert sample.boxes is not None and sample.proposals is not None
        best, overlap = match(sample.proposals, sample.boxes)
        own = np.where(overlap >= 0.5, best, -1)
        regions.append(np.concatenate([sample.proposals, sample.boxes]))
        matched.append(np.concatenate([own, np.arange(len(sample.boxes))]))
    return replace(roi_batch(maps, samples, regions, matched, view), samples=list(samples))


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


def colour_factors(strength: float, rng: np.random.Generator) -> np.ndarray:
    """Factors of brightness, contrast and saturation within `strength` of 1."""
    return rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)


def recoloured(image: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Brightness, contrast and saturation changed by factors (Ours; the paper says "colour augmentation")."""
    brightness, contrast, saturation = factors
    x = image.astype(np.float32) * brightness
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * saturation
    x = (x - grey.mean()) * contrast + grey.mean()
    return np.clip(x, 0, 255).astype(np.uint8)


def normalised(image: np.ndarray, view: View) -> Tensor:
    """`H W 3` uint8 -> `3 H W` in the channel order and scale of the backbone."""
    planes = image.transpose(2, 0, 1)[:: -1 if view.bgr else 1].astype(np.float32, order="C")
    planes -= np.array(view.mean, dtype=np.float32)[:, None, None]
    planes /= np.array(view.std, dtype=np.float32)[:, None, None]
    return torch.from_numpy(planes)


def maps_of(sample: Sample, view: View) -> Maps:
    """The normalised image and, in form `fcn`, the label maps of one sample."""
    maps = {"image": normalised(sample.image, view)}
    if view.form == "fcn":
        given = {task: sample.labels[task] for task in view.tasks if task in sample.labels}
        maps |= {task: torch.from_numpy(np.array(label, order="C")) for task, label in given.items()}
    return maps


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
            labels[task] = stacked([
                one[task] if task in one else example.new_full((*one["image"].shape[1:], *example.shape[2:]), fill)
                for one in maps
            ], fill)  # fmt: skip
    return Batch(images, labels, masks)


def roi_batch(
    maps: Sequence[Maps], samples: Sequence[Sample], regions: Sequence[np.ndarray], matched: Sequence[np.ndarray],
    view: View,
) -> Batch:  # fmt: skip
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
        stacked([one["image"] for one in maps], 0.0), labels, masks, [],
        torch.from_numpy(rows), torch.from_numpy(foreground), torch.from_numpy(targets),
    )  # fmt: skip


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
        changes |= {"regions": batch.regions[rows] - shift, "foreground": batch.foreground[rows],
                    "targets": batch.targets[rows]}  # fmt: skip
    changes |= {"labels": {name: label[rows] for name, label in batch.labels.items()},
                "masks": {name: mask[rows] for name, mask in batch.masks.items()}}  # fmt: skip
    return replace(batch, **changes)


# ---------------------------------------------------------------------------------------------------- devices
class Resident:
    """Maps of single samples, plain and mirrored, that stay on a device once made, as long as they fit into a budget.

    One serves all trials of a process that see the same images in the same scale. Recoloured ones are never the same
    again and do not stay. Safe to use from several threads.
    """

    def __init__(self, device: torch.device, budget: int) -> None:
        self.device, self.budget = device, budget  # bytes
        self.bytes = 0
        self._kept: dict[tuple[int, bool], dict[str, Tensor | None]] = {}  # None: not labelled
        self._lock = threading.Lock()

    def maps(self, drawn: Drawn, sample: Callable[[], Sample], view: View) -> Maps:
        """The maps of a drawn sample, on the device; `sample` makes it where one is missing."""
        names = ("image", *view.tasks) if view.form == "fcn" else ("image",)
        kept = self._kept.get(drawn[:2], {}) if drawn.colour is None else {}
        if not all(name in kept for name in names):
            made = {name: moved(one, self.device) for name, one in maps_of(sample(), view).items()}
            if drawn.colour is None:
                self._keep(drawn, {name: made.get(name) for name in names})
            return made
        return {name: one for name in names if (one := kept[name]) is not None}

    def _keep(self, drawn: Drawn, made: dict[str, Tensor | None]) -> None:
        with self._lock:
            kept = self._kept.get(drawn[:2], {})
            new = {name: one for name, one in made.items() if name not in kept}
            size = sum(one.nbytes for one in new.values() if one is not None)
            if self.bytes + size <= self.budget:
                self._kept[drawn[:2]] = kept | new  # replaced as a whole: another thread may be reading the old one
                self.bytes += size


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a copy to a GPU goes through pinned memory and does not wait."""
    if tensor.device.type == device.type:
        return tensor
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's tensors on the device."""
    changes: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = moved(value, device)
        elif isinstance(value, dict):
            changes[field.name] = {name: moved(tensor, device) for name, tensor in value.items()}
    return replace(batch, **changes)


# ---------------------------------------------------------------------------------------------------- ahead of time
def ahead(make: Callable[[int], T], start: int, stop: int, workers: int) -> Generator[T]:
    """make(start) .. make(stop - 1) in order, up to 2 x `workers` of them made in advance by as many threads.

    With no workers each is made when it is asked for. An exception comes out at its place. Closing the generator waits
    for what is being made and leaves no thread.
    """
    if not workers:
        yield from map(make, range(start, stop))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
        waiting = deque(pool.submit(make, i) for i in range(start, min(stop, start + 2 * workers)))
        following = start + len(waiting)
        try:
            while waiting:
                item = waiting.popleft().result()
                if following < stop:
                    waiting.append(pool.submit(make, following))
                    following += 1
                yield item
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def loader_workers(cores: float, threads: int) -> int:
    """Threads that make batches ahead: what a trial's cores leave beside its `threads` of training, 0 to 4 (Ours)."""
    return max(0, min(LOADERS, int(cores + 1e-6) - threads))
