"""What a data set prepared once: lists of arrays in memory-mapped files, sealed, opened without being read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from mtlbench.errors import UserError
from mtlbench.system.cache import build_once

ABOUT = "about.json"
FORMAT = 1  # of these folders


class Prepared:
    """An opened folder: `about` holds what its maker noted, `array(name, i)` the arrays. Made by `prepare`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = json.loads((folder / ABOUT).read_text())
        self.about: dict[str, Any] = found["about"]
        self._lists: dict[str, dict[str, Any]] = found["lists"]
        self._maps = {name: self._map(name) for name in self._lists}
        self._starts = {name: np.cumsum([0, *map(_length, one["shapes"])]) for name, one in self._lists.items()}

    def _map(self, name: str) -> np.ndarray:
        path, kind = self.folder / f"{name}.bin", np.dtype(self._lists[name]["dtype"])
        return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)

    def length(self, name: str) -> int:
        """How many arrays a list has."""
        return len(self._lists[name]["shapes"])

    def array(self, name: str, index: int) -> np.ndarray:
        """One array of a list, read-only; its pages are read when they are looked at."""
        start = self._starts[name]
        flat = self._maps[name][start[index] : start[index + 1]]
        return flat.view(np.ndarray).reshape(self._lists[name]["shapes"][index])

    @property
    def bytes(self) -> int:
        """On the disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def find_damaged(self) -> list[Path]:
        """The files whose content is not what was written (reads everything)."""
        paths = {self.folder / f"{name}.bin": one["sha256"] for name, one in self._lists.items()}
        return [path for path, seal in paths.items() if _sha256(path) != seal]


class Writer:
    """Appends arrays to lists; what was added is there once `close` returned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._hashes: dict[str, Any] = {}
        self._lists: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):  # of a full disk: `add` or `close` has said so
                file.close()

    def add(self, name: str, array: np.ndarray) -> None:
        """Append an array; all of a list have one dtype."""
        if name not in self._lists:
            with _blame_disk(self.folder):
                self._files[name] = open(self.folder / f"{name}.bin", "wb")
            self._hashes[name] = hashlib.sha256()
            self._lists[name] = {"dtype": array.dtype.str, "shapes": []}
        if array.dtype.str != self._lists[name]["dtype"]:
            raise TypeError(f"{name}: {array.dtype.str} after {self._lists[name]['dtype']}")
        content = np.ascontiguousarray(array).tobytes()
        with _blame_disk(self.folder):
            self._files[name].write(content)
        self._hashes[name].update(content)
        self._lists[name]["shapes"].append(list(array.shape))

    def close(self, stamp: str, about: dict[str, Any]) -> None:
        """Seal the lists and write what there is to know."""
        with _blame_disk(self.folder):
            for name, file in self._files.items():
                file.flush()
                os.fsync(file.fileno())
                self._lists[name] |= {"sha256": self._hashes[name].hexdigest(), "bytes": file.tell()}
            found = {"format": FORMAT, "stamp": stamp, "about": about, "lists": self._lists}
            (self.folder / ABOUT).write_text(json.dumps(found))


def prepare(folder: Path, stamp: str, build: Callable[[Writer], dict[str, Any]]) -> Prepared:
    """Open `folder`, made by `build` (adds arrays, returns `about`) unless it is there, whole and of this stamp.

    Safe under concurrent calls and after a kill. Raises UserError where the cache cannot be written.
    """

    def make(scratch: Path) -> None:
        with Writer(scratch) as writer:
            writer.close(stamp, build(writer))

    return Prepared(build_once(folder, make, lambda found: _is_intact(found, stamp)))


def _is_intact(folder: Path, stamp: str) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads((folder / ABOUT).read_text())
        sizes = {name: (folder / f"{name}.bin").stat().st_size for name in found["lists"]}
        return (found["format"], found["stamp"]) == (FORMAT, stamp) and all(
            size == found["lists"][name]["bytes"] for name, size in sizes.items()
        )
    return False


def stamp_of(root: Path, paths: Iterable[Path], *more: object) -> str:
    """A hash that changes when a file below `root` comes, goes or is written (name, size, time), or `more` does."""
    seen = hashlib.sha256(repr((FORMAT, str(root), more)).encode())
    for path in sorted(paths):
        with contextlib.suppress(OSError):  # missing is a state, too
            about = path.stat()
            seen.update(repr((str(path), about.st_size, about.st_mtime_ns)).encode())
    return seen.hexdigest()


@contextlib.contextmanager
def _blame_disk(folder: Path) -> Iterator[None]:
    """Around writes alone: what fails in them is the disk's fault, not that of the files that are read."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to the cache {folder.parent}: {error.strerror}; make room or set MTLBENCH_CACHE=FOLDER"
        ) from error


def _length(shape: list[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
