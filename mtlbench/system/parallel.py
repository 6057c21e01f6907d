"""Slow work on single images, done once, in parallel, one small file each: a kill loses only what was under way."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from mtlbench.errors import UserError
from mtlbench.system.machine import cores
from mtlbench.text import write_duration

FEW = 4  # images that are not worth starting processes for
SECONDS_BETWEEN_LINES = 3.0  # at first; each pause is LONGER times the one before
LONGER, LONGEST_PAUSE = 1.5, 60.0  # the latter in seconds
AHEAD = 64  # images that are read before the next ones are begun: never many in memory
S = TypeVar("S")
T = TypeVar("T")


class Progress:
    """Lines on how far slow work is, further and further apart; where they go to no terminal, at most one a minute.

    `text` has a place for how many of the `count` are done, and one for the count; `say` takes the lines.
    """

    def __init__(self, count: int, text: str, say: Callable[[str], None]) -> None:
        self.started = self._spoken = time.monotonic()
        self._count, self._text, self._say = count, text, say
        self._pause = SECONDS_BETWEEN_LINES if sys.stdout.isatty() else LONGEST_PAUSE

    def at(self, done: int) -> None:
        """So many are done."""
        now = time.monotonic()
        if now - self._spoken < self._pause or done >= self._count:
            return
        left = (now - self.started) / done * (self._count - done)
        self._say(f"{self._text.format(done, self._count)}, about {write_duration(left)} left")
        self._spoken, self._pause = now, min(self._pause * LONGER, LONGEST_PAUSE)


def read_ahead(
    todo: Sequence[S], read: Callable[[S], T], text: str, say: Callable[[str], None], at_once: int = AHEAD
) -> Iterator[T]:
    """What `read` gives of each in turn, `at_once` at a time on threads, as Pillow decodes outside of the interpreter's
    lock; `text` and `say` as of `Progress`."""
    progress = Progress(len(todo), text, say)
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(todo), at_once):
            yield from pool.map(read, todo[start : start + at_once])
            progress.at(min(start + at_once, len(todo)))


def make_missing(
    todo: Mapping[str, T], folder: Path, make: Callable[[T, Path], None], what: str, say: Callable[[str], None]
) -> None:
    """Make every file of `todo` (name: what `make(one, path)` needs) that `folder` lacks, one process per core.

    `make` and its arguments are pickled. `say` takes progress lines that begin with `what`. Safe under concurrent
    calls: the second waits, then finds the work done. Raises UserError where the cache cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "a")
    except OSError as error:
        raise UserError(f"cannot write to the cache {folder}: {error}; set MTLBENCH_CACHE=FOLDER") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go when the process dies
        for left_over in folder.glob("*.tmp"):  # of processes that were killed: we hold the lock
            left_over.unlink()
        missing = {name: one for name, one in todo.items() if not (folder / name).exists()}
        if len(missing) <= FEW:
            for name, one in missing.items():
                _make(folder / name, one, make)
            return
        workers = min(cores(), len(missing))
        say(f"{what}: {len(missing)} images on {workers} processes")
        # not fork: the caller may hold threads (Ray's, torch's)
        with _start_alike():  # multiprocessing starts a helper here
            pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
        try:
            with _start_alike():
                jobs = [pool.submit(_make, folder / name, one, make) for name, one in missing.items()]
            progress = Progress(len(jobs), f"{what}: {{}} of {{}} images", say)
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                progress.at(done)
        finally:
            pool.shutdown(cancel_futures=True)
        say(f"{what}: done in {time.monotonic() - progress.started:.0f} s")


def _make(path: Path, one: T, make: Callable[[T, Path], None]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    make(one, temporary)
    os.replace(temporary, path)


@contextlib.contextmanager
def _start_alike() -> Iterator[None]:
    """Processes started inside take one thread for linear algebra (on busy cores more threads wait for each other) and
    import nothing from the folder that the command was typed in, which may be a stranger's."""
    ours = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}  # read before any code of ours is
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker() -> None:
    """Set up a worker process: one thread, and an end when the parent is killed (else it would wait for ever)."""
    import cv2

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
