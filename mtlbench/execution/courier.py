"""A trial on a machine that has no path to the store: its files travel, the store stays with the driver."""

from __future__ import annotations

import dataclasses
import os
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from mtlbench.plugins import class_of, file_of
from mtlbench.spec import Options, Trial, is_file, short_hash
from mtlbench.store.folders import MADE
from mtlbench.store.sealing import FAILURE, TRACEBACK, write_failure
from mtlbench.store.store import Store
from mtlbench.system.files import StoreBroken, blame_disk, replace_file

CHUNK = 16 << 20  # bytes in one message


class Courier:
    """Runs beside the store and hands out and takes in files, piece by piece.

    What a trial brings is gathered under temporary names and put in place at once, result.json last.
    """

    def __init__(self, root: str, sources: dict[str, str], weights: list[str]) -> None:
        self.store, self.sources, self.files = Store(Path(root)), sources, weights

    def source(self, path: str) -> str:
        """The text of a user's plug-in file that some trial of the run names."""
        return self.sources[path]

    def weights(self, file: str, start: int) -> bytes:
        """Up to CHUNK bytes of a file of pretrained weights that some trial of the run names."""
        if file not in self.files:
            raise ValueError(f"{file!r} is no file of weights of this run")
        return _read_piece(Path(file), start)

    def read(self, trial: Options, key: str, name: str, start: int) -> bytes | None:
        """Up to CHUNK bytes of a file of the trial or of its parent `key`; None where there is no such file."""
        path = self._folder(trial, key) / _check_name(name)
        return _read_piece(path, start) if path.is_file() else None

    def write(self, trial: Options, name: str, start: int, data: bytes) -> None:
        """Take in a piece. Raises StoreBroken."""
        folder = self._folder(trial, "")
        with blame_disk(folder), open(folder / f".{_check_name(name)}.arriving", "r+b" if start else "wb") as file:
            file.seek(start)
            file.write(data)

    def accept(self, trial: Options, names: list[str]) -> None:
        """All pieces of these files are here. Raises StoreBroken."""
        folder = self._folder(trial, "")
        with blame_disk(folder):
            for name in sorted(names, key=lambda name: name == "result.json"):
                os.replace(folder / f".{_check_name(name)}.arriving", folder / name)
            if "result.json" in names:
                (folder / "resume.pt").unlink(missing_ok=True)

    def _folder(self, trial: Options, key: str) -> Path:
        own = Trial.from_json(trial)
        if key and key not in own.parents:
            raise ValueError(f"{key} is no parent of {own.label}")
        return self.store.folder(own).parent / key if key else self.store.folder(own)


def _read_piece(path: Path, start: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(CHUNK)


def _check_name(name: str) -> str:
    if name not in MADE:
        raise ValueError(f"{name!r} is no file of a trial")
    return name


class Remote(Protocol):
    """The Courier, as it is seen from where a trial runs; each call returns or raises what the Courier's does."""

    def source(self, path: str) -> str: ...
    def weights(self, file: str, start: int) -> bytes: ...
    def read(self, trial: Options, key: str, name: str, start: int) -> bytes | None: ...
    def write(self, trial: Options, name: str, start: int, data: bytes) -> None: ...
    def accept(self, trial: Options, names: list[str]) -> None: ...


def run_away(
    trial: Trial, base: Path, remote: Remote, run: Callable[[Trial, Path, dict[str, Path]], Iterator[float]]
) -> Iterator[float]:
    """Run a trial below the folder `base` of this machine and send what it makes; a failure is sent and raised again.

    `run(trial, folder, parents)` does the work. A resume file is sent as soon as it is written.
    """
    from mtlbench.training.failures import failure_of

    plain = trial.to_json()
    folder = base / trial.key
    shutil.rmtree(folder, ignore_errors=True)
    with blame_disk(base):
        folder.mkdir(parents=True)
        parents = {key: folder / "parents" / key for key in trial.parents}
        for key, place in parents.items():
            place.mkdir(parents=True)
            for name in ("result.json", "weights.pt"):
                _fetch(place / name, partial(remote.read, plain, key, name))
        _fetch(folder / "resume.pt", partial(remote.read, plain, "", "resume.pt"))
        trial = with_weights(trial, base, remote)
    resume = folder / "resume.pt"
    seen = _stamp(resume)
    try:
        for fraction in run(with_sources(trial, base, remote.source), folder, parents):
            if resume.exists() and _stamp(resume) != seen:
                seen = _stamp(resume)
                _send(remote, plain, folder, ["resume.pt"])
            if fraction < 1:
                yield fraction
        _send(remote, plain, folder, [name for name in MADE if (folder / name).exists()])
        yield 1.0
    except StoreBroken:
        raise
    except Exception as error:
        with blame_disk(folder):
            write_failure(folder, trial.key, failure_of(error), traceback.format_exc())
        _send(remote, plain, folder, [TRACEBACK, FAILURE])
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stamp(path: Path) -> tuple[int, int] | None:
    found = path.stat() if path.exists() else None
    return found and (found.st_mtime_ns, found.st_ino)


def _fetch(path: Path, read: Callable[[int], bytes | None]) -> None:
    """Nothing is made where there is no such file; whether a file is whole is checked by whoever reads it."""
    start, piece = 0, read(0)
    if piece is None:
        return
    with open(path, "wb") as file:
        while piece:
            file.write(piece)
            start += len(piece)
            piece = read(start) if len(piece) == CHUNK else b""


def _send(remote: Remote, trial: Options, folder: Path, names: list[str]) -> None:
    for name in names:
        for start in range(0, max((folder / name).stat().st_size, 1), CHUNK):  # an empty file travels, too
            remote.write(trial, name, start, _read_piece(folder / name, start))
    remote.accept(trial, names)


def user_sources(trials: Iterable[Trial]) -> dict[str, str]:
    """{absolute path: text} of the users' plug-in files that the trials name."""
    files = {file_of(p.source) for trial in trials for p in trial.plugins.values() if is_file(p.source)}
    return {str(path): path.read_text() for path in files}


def with_weights(trial: Trial, base: Path, remote: Remote) -> Trial:
    """The trial with its pretrained weights at hand: where this machine lacks them, a copy below `base`, which stays
    for the trials that follow."""
    path = Path(trial.weights_file)
    if not trial.weights_file or path.is_file():
        return trial
    copy = base / "weights" / trial.backbone.options["weights"] / path.name
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(copy) as temporary:
            _fetch(temporary, partial(remote.weights, trial.weights_file))
    return dataclasses.replace(trial, weights_file=str(copy))


def with_sources(trial: Trial, base: Path, text_of: Callable[[str], str]) -> Trial:
    """The trial with its user's files at hand: where this machine lacks them, or has others, copies below `base`."""

    def local(source: str) -> str:
        if not is_file(source):
            return source
        path = file_of(source)
        text = text_of(str(path))
        if not path.is_file() or path.read_text() != text:
            path = base / "sources" / short_hash(text) / path.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return f"{path}:{class_of(source)}"

    return trial.map_plugins(lambda kind, plugin: dataclasses.replace(plugin, source=local(plugin.source)))
