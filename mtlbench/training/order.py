"""Which images a training batch has: a function of the seed and the iteration alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from mtlbench.contracts import Subset
from mtlbench.spec import derive_seed

BLOCK = 4096  # positions whose groups are found together


@dataclass(frozen=True)
class Order:
    """Of a train subset of `count` images. With `groups` (numbers of images, each once) the images come from the groups
    in turn, each as often as its share says, as evenly as whole numbers allow."""

    count: int
    groups: tuple[tuple[int, ...], ...] = ()
    shares: tuple[float, ...] = ()  # sum to 1

    def images(self, seed: int, iteration: int, number: int) -> list[int]:
        """The images of a batch of that number; every epoch, of a group too, is a fresh permutation."""
        positions = range(iteration * number, (iteration + 1) * number)
        return [self._at(seed, position) for position in positions]

    def _at(self, seed: int, position: int) -> int:
        if not self.groups:
            return int(_permute(seed, position // self.count, self.count)[position % self.count])
        groups, ranks, _ = _take_turns(self.shares, position // BLOCK)
        group, rank = int(groups[position % BLOCK]), int(ranks[position % BLOCK])
        own = self.groups[group]
        return own[int(_permute(seed, rank // len(own), len(own), group)[rank % len(own)])]


def order_of(subset: Subset, tasks: Sequence[str], balance: float) -> Order:
    """The order for images that some of the tasks are labelled on (Ours).

    Images that the same tasks are labelled on are a group, and its share is the power 1 - `balance` of its size: 0 =
    every image equally often, 1 = every group. With images of its own for each task that is proportional and equal
    sampling, and between them sampling by a temperature of 1 / (1 - `balance`). Within a group all images are drawn
    equally often, so that the mean loss of each task is without bias where a task has one group. With a balance above 0
    images without any label are not drawn. Reads every sample once.
    """
    if balance <= 0:
        return Order(len(subset))
    labelled: dict[tuple[str, ...], list[int]] = {}
    for number in range(len(subset)):
        found = subset[number].labels
        labelled.setdefault(tuple(task for task in tasks if task in found), []).append(number)
    groups = tuple(tuple(own) for names, own in sorted(labelled.items()) if names)
    weights = [len(own) ** (1 - balance) for own in groups]
    return Order(len(subset), groups, tuple(weight / sum(weights) for weight in weights))


@lru_cache(maxsize=32)
def _permute(seed: int, epoch: int, count: int, group: int | None = None) -> np.ndarray:
    labels = (epoch,) if group is None else (epoch, group)
    return np.random.default_rng(derive_seed(seed, "order", *labels)).permutation(count)


@cache
def _take_turns(shares: tuple[float, ...], block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the positions of a block the group, and how many of that group came before; how many of each had come by its
    end. A position's group is the one that is furthest behind its share."""
    count = np.zeros(len(shares), np.int64) if block == 0 else _take_turns(shares, block - 1)[2].copy()
    wanted, groups, ranks = np.array(shares), np.zeros(BLOCK, np.int64), np.zeros(BLOCK, np.int64)
    for place in range(BLOCK):
        group = int((wanted * (block * BLOCK + place + 1) - count).argmax())
        groups[place], ranks[place] = group, count[group]
        count[group] += 1
    return groups, ranks, count
