"""The embedded data set: rendered rooms with labels for all built-in tasks, made on first use ("Ours")."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from mtlbench.contracts import Count, Sample, Survey
from mtlbench.datasets._rooms.objects import ATTRIBUTES, CLASSES
from mtlbench.datasets._rooms.render import IGNORED, Rendered, render
from mtlbench.datasets._rooms.scene import FLOOR, LABELS, Scene, make_scene
from mtlbench.datasets._rooms.whole import FLOOR_SEEN, FLOORS, floor_of, light_of
from mtlbench.datasets._rooms.windows import choose_windows
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.spec import Options
from mtlbench.system.cache import build_once, cache_root
from mtlbench.system.machine import cores

VERSION = 1
SUBSETS = ("train", "val", "test")
CHUNK = 40  # scenes between two notes of progress
AT_ONCE = 4  # scenes rendered together: the fastest of 1, 2, 4, 8
FRAMES = {"image": np.uint8, "semseg": np.uint8, "normals": np.float16, "depth": np.float16}  # one row per scene
OBJECTS = ("boxes", "classes", "attributes", "difficult")  # one row per object
WHOLE = ("floor", "light")  # one number per scene
BOXES_FOR_WINDOWS = 6000


class RoomsSubset:
    """The scenes of one subset, read from memory-mapped arrays; what a sample takes from them is read-only."""

    def __init__(self, folder: Path, whole: Path, name: str) -> None:
        def load(part: str, mapped: bool, folder: Path = folder) -> np.ndarray:
            mode: Literal["r"] | None = "r" if mapped else None
            array: np.ndarray = np.load(folder / f"{name}-{part}.npy", mmap_mode=mode, allow_pickle=False)
            array = array.view(np.ndarray)
            array.setflags(write=False)
            return array

        self._frames = {part: load(part, True) for part in FRAMES}
        self._objects = {part: load(part, False) for part in OBJECTS}
        self._first = load("first", False)
        self._windows = np.load(folder / "windows.npy", allow_pickle=False)
        self._windows.setflags(write=False)
        self._floor, self._light = (load(part, False, whole) for part in WHOLE)

    def __len__(self) -> int:
        return len(self._first) - 1

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        own = slice(self._first[index], self._first[index + 1])
        labels = {
            "semseg": self._frames["semseg"][index],
            "normals": self._frames["normals"][index].astype(np.float32),
            "detection": self._objects["classes"][own],
            "attributes": self._objects["attributes"][own],
            "depth": self._frames["depth"][index].astype(np.float32),
            "objects": np.array(own.stop - own.start, np.float32),
            "light": self._light[index, ...],
        }
        if self._sees_floor(index):
            labels["floor"] = self._floor[index, ...]
        return Sample(
            image=self._frames["image"][index],
            labels=labels,
            boxes=self._objects["boxes"][own],
            difficult=self._objects["difficult"][own],
            proposals=self._windows,
        )

    def _sees_floor(self, index: int) -> bool:
        return bool((self._frames["semseg"][index] == FLOOR).mean() >= FLOOR_SEEN)

    def counts(self, task: str) -> tuple[int, ...]:
        """How often each category is labelled: pixels, objects, positive attributes or images."""
        if task == "semseg":
            found = np.bincount(self._frames["semseg"].reshape(-1), minlength=IGNORED + 1)[: len(LABELS)]
        elif task == "detection":
            found = np.bincount(self._objects["classes"], minlength=len(CLASSES))
        elif task == "attributes":
            found = self._objects["attributes"].sum(0, dtype=np.int64)
        elif task == "floor":
            seen = [self._sees_floor(index) for index in range(len(self))]
            found = np.bincount(self._floor[seen], minlength=len(FLOORS))
        else:
            found = np.zeros(0, np.int64)
        return tuple(int(count) for count in found)


class Rooms:
    """Rendered indoor scenes: labels, unit normals (x left, y up, z towards the camera), boxes, classes, attributes,
    and depth (metres along the view axis, 0 where invalid: just where `semseg` is 255). Of whole images: what the
    `floor` is of (a class), the number of `objects` with a box, and the `light`, in metres ahead of the camera.

    `root` is not used; `size` is the side of an image in pixels; `train`, `val` and `test` are numbers of scenes;
    `proposals` is the number of windows an image: the same for all images, chosen once on the boxes of train. Scene k
    of a subset depends on the version, the subset's name and k alone.
    """

    version = VERSION
    tasks = ("semseg", "normals", "detection", "attributes", "depth", "floor", "objects", "light")

    def __init__(
        self,
        root: str | Path | None = None,
        size: int = 64,
        train: int = 2400,
        val: int = 400,
        test: int = 600,
        proposals: int = 128,
    ) -> None:
        for option, value in (("size", size), ("train", train), ("val", val), ("test", test), ("proposals", proposals)):
            if value < 1:
                raise UserError(f"rooms needs {option} >= 1, not {value}")
        self.size = size
        self.lengths = dict(zip(SUBSETS, (train, val, test), strict=True))
        self.proposals = proposals

    @property
    def folder(self) -> Path:
        """Where the arrays are cached."""
        numbers = "-".join(str(count) for count in (*self.lengths.values(), self.proposals))
        return cache_root() / f"rooms-v{VERSION}-{self.size}-{numbers}"

    @property
    def whole_folder(self) -> Path:
        """Where the labels of whole images are: apart, since the fingerprint is older than they are."""
        return cache_root() / f"rooms-v{VERSION}-whole-{'-'.join(map(str, self.lengths.values()))}"

    @staticmethod
    def pretrained(backbone: str, form: str) -> tuple[Path, Options] | None:
        """The trunk of the small CaffeNets of recipe quick (pretraining/rooms.py); inputs as from scratch. Forms
        `image` and `mixed` have the geometry of form `roi`, and its trunk."""
        trunk = "fcn" if form == "fcn" else "roi"
        path = Path(__file__).parent / "_rooms" / "pretrained" / f"{backbone}-{trunk}.npz"
        return (path, {"scaled": True}) if path.is_file() else None

    def prepare(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Render all scenes into the cache unless they are there; safe to call from many processes at once."""
        for place, build in self._builders(say).items():
            build_once(place, build, _is_intact)

    def fingerprint(self) -> str:
        """Hash over the checksums of all arrays, from whose scenes the labels of whole images follow."""
        self.prepare()
        listed = json.loads((self.folder / "files.json").read_text())
        lines = "".join(f"{name} {entry['sha256']}\n" for name, entry in sorted(listed.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def verify(self, say: Callable[[str], None]) -> Survey:
        """Read every cached file, and make the cache anew where one is not what was written."""
        self.prepare(say)
        wrong = []
        for place, build in self._builders(lambda line: None).items():
            if changed := _find_changed(place):
                wrong += [place / name for name in changed]
                build_once(place, build, lambda folder: _is_intact(folder) and not _find_changed(folder))
        return Survey(
            tuple(Count(f"{name} images", length) for name, length in self.lengths.items()),
            tuple(f"{path} was not what had been written; all was made anew" for path in wrong),
        )

    def subset(self, name: str) -> RoomsSubset:
        """`train`, `val` or `test`. Raises UserError for another name."""
        if name not in SUBSETS:
            raise make_unknown("subset", name, SUBSETS)
        self.prepare()
        return RoomsSubset(self.folder, self.whole_folder, name)

    def categories(self, task: str) -> tuple[str, ...]:
        """Plain words, in label order; none for what is measured. Raises UserError for a task without labels here."""
        names = {"semseg": LABELS, "detection": CLASSES, "attributes": ATTRIBUTES, "floor": tuple(FLOORS.values())}
        if task not in self.tasks:
            raise make_unknown("task of rooms", task, self.tasks)
        return names.get(task, ())

    def counts(self, task: str) -> tuple[int, ...]:
        """Pixels, objects, positive attributes or images of each category in train."""
        return self.subset("train").counts(task) if self.categories(task) else ()

    def _builders(self, say: Callable[[str], None]) -> dict[Path, Callable[[Path], None]]:
        """What makes each folder of the cache."""
        return {self.folder: lambda folder: self._build(folder, say), self.whole_folder: self._label_wholes}

    def _label_wholes(self, folder: Path) -> None:
        for name, length in self.lengths.items():
            made = [make_scene(_seeds(name, index)[0]) for index in range(length)]
            _save(folder / f"{name}-floor.npy", np.array([floor_of(scene) for scene in made]))
            _save(folder / f"{name}-light.npy", np.array([light_of(scene) for scene in made], np.float32))
        _seal(folder)

    def _build(self, folder: Path, say: Callable[[str], None]) -> None:
        for name, length in self.lengths.items():
            for part, kind in FRAMES.items():
                shape = (length, self.size, self.size) + ((3,) if part in ("image", "normals") else ())
                np.lib.format.open_memmap(folder / f"{name}-{part}.npy", mode="w+", dtype=kind, shape=shape).flush()
        self._render_everything(folder, say)
        for name, length in self.lengths.items():
            self._join_objects(folder, name, length)
        boxes = np.load(folder / "train-boxes.npy", allow_pickle=False)[:BOXES_FOR_WINDOWS]
        _save(folder / "windows.npy", choose_windows(boxes, self.size, self.proposals))
        _seal(folder)

    def _render_everything(self, folder: Path, say: Callable[[str], None]) -> None:
        """Renders with one process per core; each writes its own chunks, this one too.

        The children are plain child processes: `multiprocessing` would run the user's main script again, and that would
        wait for the lock that we hold.
        """
        chunks = list(_list_chunks(self.lengths))
        processes = min(cores(), 1 + len(chunks) // 8)
        call = "import json, sys; from mtlbench.datasets import rooms; rooms.render_share(**json.loads(sys.argv[1]))"
        package = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        share = {
            "folder": str(folder),
            "size": self.size,
            "lengths": self.lengths,
            "of": processes,
            "parent": os.getpid(),
        }
        children = [
            subprocess.Popen(
                [sys.executable, "-P", "-c", call, json.dumps(share | {"which": which})],
                env=os.environ | {"PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
            )
            for which in range(1, processes)
        ]
        start, total = time.monotonic(), sum(self.lengths.values())

        def report() -> None:
            done = min(total, CHUNK * len(list(folder.glob("*.npz"))))
            left = (time.monotonic() - start) * (total - done) / max(done, 1)
            say(f"rooms: rendered {done} of {total} scenes, about {left:.0f} s left")

        try:
            render_share(str(folder), self.size, self.lengths, processes, 0, report)
            for which, child in enumerate(children, 1):
                if child.wait() != 0:  # the chunks that it had no time or memory for
                    render_share(str(folder), self.size, self.lengths, processes, which, report)
        finally:
            for child in children:
                child.kill()
                child.wait()

    @staticmethod
    def _join_objects(folder: Path, name: str, length: int) -> None:
        numbers: list[np.ndarray] = []
        columns: dict[str, list[np.ndarray]] = {part: [] for part in OBJECTS}
        for start in range(0, length, CHUNK):
            path = folder / f"{name}-{start}.npz"
            with np.load(path, allow_pickle=False) as chunk:
                numbers.append(chunk["numbers"])
                for part in OBJECTS:
                    columns[part].append(chunk[part])
            path.unlink()
        for part in OBJECTS:
            _save(folder / f"{name}-{part}.npy", np.concatenate(columns[part]))
        _save(folder / f"{name}-first.npy", np.concatenate([[0], np.cumsum(np.concatenate(numbers))]).astype(np.int64))


def render_scenes(subset: str, start: int, stop: int, size: int) -> Iterator[Rendered]:
    """Scenes start .. stop - 1 of a subset, rendered at `size` pixels a side."""
    return (rendered for _, rendered in described_scenes(subset, start, stop, size))


def described_scenes(subset: str, start: int, stop: int, size: int) -> Iterator[tuple[Scene, Rendered]]:
    """The same, each with what it was rendered from."""
    for first in range(start, stop, AT_ONCE):
        seeds = [_seeds(subset, index) for index in range(first, min(first + AT_ONCE, stop))]
        made = [make_scene(seed) for seed, _ in seeds]
        yield from zip(made, render(made, [noise for _, noise in seeds], size), strict=True)


def _seeds(subset: str, index: int) -> tuple[int, int]:
    """Of a scene and of its sensor's noise."""
    digest = hashlib.sha256(f"rooms/{VERSION}/{subset}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def render_share(
    folder: str,
    size: int,
    lengths: dict[str, int],
    of: int,
    which: int,
    report: Callable[[], None] = lambda: None,
    parent: int | None = None,
) -> None:
    """Renders every `of`-th chunk, from chunk `which` on, that has not been rendered, into the arrays in `folder`.

    Stops when the process `parent` is no longer this one's parent: nobody is left to use what is made.
    """
    spoken = time.monotonic()
    for name, start in list(_list_chunks(lengths))[which::of]:
        target = Path(folder) / f"{name}-{start}.npz"
        if target.exists():
            continue
        if parent is not None and os.getppid() != parent:
            return
        stop = min(start + CHUNK, lengths[name])
        made = list(render_scenes(name, start, stop, size))
        for part in FRAMES:
            array = np.lib.format.open_memmap(Path(folder) / f"{name}-{part}.npy", mode="r+")
            array[start:stop] = np.stack([getattr(rendered, part) for rendered in made])
            array.flush()
        objects = {part: np.concatenate([getattr(rendered, part) for rendered in made]) for part in OBJECTS}
        scratch = target.with_suffix(".part")
        objects["numbers"] = np.array([len(rendered.boxes) for rendered in made])
        with open(scratch, "wb") as file:
            np.savez(file, allow_pickle=False, **objects)
        os.replace(scratch, target)
        if time.monotonic() - spoken > 2:
            spoken = time.monotonic()
            report()


def _list_chunks(lengths: dict[str, int]) -> Iterator[tuple[str, int]]:
    for name, length in lengths.items():
        for start in range(0, length, CHUNK):
            yield name, start


def _save(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=False)


def _seal(folder: Path) -> None:
    """Write down the sizes and checksums of all arrays."""
    arrays = sorted(folder.glob("*.npy"))
    listed = {path.name: {"bytes": path.stat().st_size, "sha256": _checksum(path)} for path in arrays}
    (folder / "files.json").write_text(json.dumps(listed, indent=1))


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_changed(folder: Path) -> list[str]:
    """Names of files whose content is not what was written."""
    listed = json.loads((folder / "files.json").read_text())
    return [name for name, entry in sorted(listed.items()) if _checksum(folder / name) != entry["sha256"]]


def _is_intact(folder: Path) -> bool:
    """Whether all files are there in their full length (their content is `verify`'s business)."""
    try:
        listed = json.loads((folder / "files.json").read_text())
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in listed.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
