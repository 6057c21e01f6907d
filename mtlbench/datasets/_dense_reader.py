"""What readers of images with label maps have in common: packing, subsets, looking at every file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtlbench.contracts import Count, Sample, Survey
from mtlbench.datasets._dense_files import IGNORED, Wrong
from mtlbench.datasets._prepared import Prepared, Writer, prepare, stamp_of
from mtlbench.datasets._problems import BROKEN, Problem, lines_of, refuse
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.system.cache import cache_root
from mtlbench.system.machine import cores
from mtlbench.system.parallel import read_ahead

SUBSETS = ("train", "val", "test")
AT_ONCE = 4  # frames in memory per processor core
BLOCK = 10  # neighbours in the list that go to val together, at most: they may show one scene (ours)
CODED = 32_767  # normals are kept as whole numbers of 16 bits: to 0.002 degrees
VECTORS = "normals"  # the task whose labels are kept so


class Frame(NamedTuple):
    """An image: where it belongs (`train` or `test`), its name, and its files by what they hold."""

    subset: str
    name: str
    paths: Mapping[str, Path]


@dataclass
class Content:
    """What the files of a frame hold: `image` `H W 3` uint8 and the labels it has, or what is wrong."""

    frame: Frame
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    digest: str = ""


def carve(names: Sequence[str], fraction: float) -> set[str]:
    """The names that become val: blocks of neighbours in the list, lowest hashes first, as many as fit (Ours).

    >>> sorted(carve([str(i) for i in range(100)], 0.2))[:3]
    ['50', '51', '52']
    """
    wanted, val = round(fraction * len(names)), set[str]()
    size = max(1, min(BLOCK, wanted))
    blocks = [names[start : start + size] for start in range(0, len(names), size)]
    for block in sorted(blocks, key=lambda block: hashlib.sha256(block[0].encode()).digest()):
        if len(val) + len(block) <= wanted:
            val.update(block)
    return val


class DenseReader:
    """A data set of form `fcn` from files, each of which is read once and packed.

    A reader has `name`, `version`, `find()` (the frames, and what is wrong with the lists and folders) and
    `read(frame)` (the image and the labels that it has, in the samples' encoding, or Wrong), and gives `published`
    ({subset: images}) and `classes` ({task: names of its classes}, in which tasks without classes have none).
    """

    name = ""
    version = 1
    published: Mapping[str, int] = {}
    classes: Mapping[str, tuple[str, ...]] = {}
    options: tuple[object, ...] = ()  # those that change what is packed

    def __init__(self, root: str | Path | None, val_fraction: float, broken: str, holds: str) -> None:
        if root is None:
            raise UserError(f"{self.name} needs its files: --data-root DIR, where DIR holds {holds}")
        if not 0 <= val_fraction < 1:
            raise UserError(f"{self.name}: val_fraction is {val_fraction}; give a number from 0 to below 1")
        if broken not in BROKEN:
            raise UserError(f"{self.name}: broken is {broken!r}, must be {' or '.join(BROKEN)}")
        self.root, self.val_fraction, self.broken = Path(root).expanduser().resolve(), val_fraction, broken
        self._opened: Prepared | None = None

    def find(self) -> tuple[list[Frame], list[Problem]]:
        """The frames in order, train before test, and problems of no single frame."""
        raise NotImplementedError

    def read(self, frame: Frame) -> dict[str, np.ndarray]:
        """`image` and the labels that the frame has. Raises Wrong."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ contract
    @property
    def tasks(self) -> tuple[str, ...]:
        """Those that there are labels for."""
        return tuple(self.classes)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Read and pack all files, unless that is done. Raises UserError where one is broken and `broken` is
        "refuse"."""
        frames, problems = self.find()
        self._refuse(problems)
        what = (self.version, self.options, self.classes)
        stamp = stamp_of(self.root, {path for frame in frames for path in frame.paths.values()}, what)
        seen = hashlib.sha256(repr((str(self.root), what)).encode()).hexdigest()[:12]
        store = prepare(cache_root() / f"{self.name}-{seen}", stamp, lambda writer: self._build(writer, frames, say))
        self._refuse([Problem(*one) for one in store.about["problems"]])
        if left_out := len(frames) - len(store.about["frames"]):
            say(f"{self.name}: {left_out} of {len(frames)} images are left out; `{self._command}` lists them")
        self._opened = store
        rows = self._rows
        for subset in ("train", "test"):
            if not rows[subset]:
                raise UserError(f"{self.name}: no whole image of {subset} is left in {self.root}; copy its files there")

    def verify(self, say: Callable[[str], None]) -> Survey:
        """Look at every file."""
        frames, problems = self.find()
        whole: list[Frame] = []
        pixels, labelled = 0, dict.fromkeys(self.classes, 0)
        for content in self._look(frames, say):
            problems += content.problems
            if content.problems:
                continue
            whole.append(content.frame)
            pixels += content.arrays["image"][..., 0].size
            for task in self.classes:
                labelled[task] += self._count_labelled(task, content.arrays.get(task))
        names = {subset: [one.name for one in whole if one.subset == subset] for subset in ("train", "test")}
        counts = [Count(f"{subset} images", len(own), self.published.get(subset)) for subset, own in names.items()]
        counts.append(Count("val images, carved from train", len(carve(names["train"], self.val_fraction))))
        counts += [
            Count(f"labelled pixels of {task} (%)", round(100 * n / max(pixels, 1))) for task, n in labelled.items()
        ]
        return Survey(tuple(counts), lines_of(problems))

    def fingerprint(self) -> str:
        """Hash of the classes, the subsets, and what the images' files hold."""
        frames = self._store.about["frames"]
        seen = hashlib.sha256(repr((self.version, dict(self.classes))).encode())
        for subset, rows in self._rows.items():
            seen.update(repr((subset, [frames[row] for row in rows])).encode())
        return seen.hexdigest()[:16]

    def subset(self, name: str) -> DenseSubset:
        """`train`, `val` or `test`. Raises UserError for another name, and before `prepare`."""
        if name not in SUBSETS:
            raise make_unknown("subset", name, SUBSETS)
        return DenseSubset(self._store, self._rows[name], self.tasks)

    def categories(self, task: str) -> tuple[str, ...]:
        """Names of the task's classes. Raises UserError for another task."""
        if task not in self.classes:
            raise make_unknown(f"task of {self.name}", task, self.tasks)
        return self.classes[task]

    def counts(self, task: str) -> tuple[int, ...]:
        """Labelled pixels of each class in `train`."""
        total = np.zeros(len(self.categories(task)), np.int64)
        for row in self._rows["train"] if len(total) else ():
            total += self._store.array(f"{task}-pixels", row)
        return tuple(int(count) for count in total)

    # ------------------------------------------------------------------------------------------------ preparing
    @property
    def _store(self) -> Prepared:
        if self._opened is None:
            raise UserError(
                f"{self.name} is not prepared; type mtlbench data prepare {self.name} --data-root {self.root}"
            )
        return self._opened

    @property
    def _command(self) -> str:
        return f"mtlbench data verify {self.name} --data-root {self.root}"

    @property
    def _rows(self) -> dict[str, list[int]]:
        """Which packed frames each subset has."""
        frames = self._store.about["frames"]
        val = carve([name for subset, name, _ in frames if subset == "train"], self.val_fraction)
        rows: dict[str, list[int]] = {name: [] for name in SUBSETS}
        for row, (subset, name, _) in enumerate(frames):
            rows["val" if subset == "train" and name in val else subset].append(row)
        return rows

    def _refuse(self, problems: Sequence[Problem]) -> None:
        """Raises UserError where `broken` does not allow them."""
        refuse(problems, self.broken, self._command)

    def _look(self, frames: Sequence[Frame], say: Callable[[str], None]) -> Iterator[Content]:
        """The content of all frames in order, read ahead by threads."""
        return read_ahead(frames, self._content, f"{self.name}: {{}} of {{}} images read", say, AT_ONCE * cores())

    def _content(self, frame: Frame) -> Content:
        """What a frame's files hold, compared in size, with a hash of it all."""
        found = Content(frame)
        try:
            found.arrays = self.read(frame)
            height, width = found.arrays["image"].shape[:2]
            for task, label in found.arrays.items():
                if label.shape[:2] != (height, width):
                    what = (
                        f"is {label.shape[1]} x {label.shape[0]}, its image {width} x {height}; take files of one size"
                    )
                    raise Wrong(frame.paths[task], what, "label maps are not as large as their images")
        except Wrong as wrong:
            found.problems.append(Problem(f"{wrong.path} {wrong.what}", frame.name, wrong.kind, str(wrong.path)))
            return found
        seen = hashlib.sha256()
        for task, label in sorted(found.arrays.items()):
            seen.update(repr((task, label.shape)).encode() + np.ascontiguousarray(label).tobytes())
        found.digest = seen.hexdigest()[:32]
        return found

    def _build(self, writer: Writer, frames: Sequence[Frame], say: Callable[[str], None]) -> dict[str, Any]:
        """Pack the whole frames; a label that one lacks is an empty array."""
        whole, problems = [], list[Problem]()
        for content in self._look(frames, say):
            problems += content.problems
            if content.problems:
                continue
            writer.add("image", content.arrays["image"])
            for task, names in self.classes.items():
                label = content.arrays.get(task)
                label = np.zeros(0) if label is None else label
                if names:
                    writer.add(
                        f"{task}-pixels", np.bincount(label.astype(np.uint8).ravel(), minlength=256)[: len(names)]
                    )
                    writer.add(task, label.astype(np.uint8))
                else:
                    vectors = task == VECTORS
                    writer.add(task, np.rint(CODED * label).astype(np.int16) if vectors else label.astype(np.float32))
            whole.append([content.frame.subset, content.frame.name, content.digest])
        if self.broken == "refuse":
            self._refuse(problems)
        return {"frames": whole, "problems": problems}

    def _count_labelled(self, task: str, label: np.ndarray | None) -> int:
        """Pixels with a label."""
        if label is None:
            return 0
        found = label != IGNORED if self.classes[task] else label.any(axis=2) if label.ndim == 3 else label > 0
        return int(np.count_nonzero(found))


class DenseSubset:
    """The samples of one subset, from the memory map; images and classes are read-only."""

    def __init__(self, store: Prepared, rows: Sequence[int], tasks: Sequence[str]) -> None:
        self._store, self._rows, self._tasks = store, rows, tasks

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        found = {task: self._store.array(task, row) for task in self._tasks}
        labels = {task: label / np.float32(CODED) if task == VECTORS else label for task, label in found.items()}
        return Sample(self._store.array("image", row), {task: label for task, label in labels.items() if label.size})
