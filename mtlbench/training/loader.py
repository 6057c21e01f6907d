"""Batches made ahead, and moved to the device."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from mtlbench.contracts import Batch, Sample
from mtlbench.training.samples import Drawn, Maps, View, maps_of, whole_labels

LOADERS = 4  # at most, of a trial (Ours)
T = TypeVar("T")


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
        names = ("image", *whole_labels(view))
        kept = self._kept.get(drawn[:2], {}) if drawn.colour is None else {}
        if not all(name in kept for name in names):
            made = {name: move(one, self.device) for name, one in maps_of(sample(), view).items()}
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


def move(tensor: Tensor, device: torch.device) -> Tensor:
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
            changes[field.name] = move(value, device)
        elif isinstance(value, dict):
            changes[field.name] = {name: move(tensor, device) for name, tensor in value.items()}
    return replace(batch, **changes)


def make_ahead(make: Callable[[int], T], start: int, stop: int, workers: int) -> Generator[T]:
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
