"""Who works on a pair and a data set: a lock that dies with its process, and a board that tells how far the run is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path

from msgspec.structs import replace

from mtlbench.errors import UserError
from mtlbench.store.shapes import Run
from mtlbench.system.files import blame_disk, claim, is_regular, text_of, write
from mtlbench.system.schema import Misshapen, decode, encode

LOCK_SECONDS = 1.0  # another reader of the lock holds it for some microseconds


class Board:
    """Where a run that works on a pair and a data set tells how far it is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".running.json"
        self.run = Run(os.getpid(), socket.gethostname(), time.time())
        self._next = 0.0
        self._keys: set[str] | None = None

    def note(self, running: Mapping[str, float], seconds_left: float | None) -> None:
        """Tell {key: finished fraction} of what is running; at once where a trial came or went, else once a second."""
        now = time.monotonic()
        if now < self._next and set(running) == self._keys:
            return
        self._next, self._keys = now + 1.0, set(running)
        news = replace(self.run, updated=time.time(), running=dict(running), seconds_left=seconds_left)
        with contextlib.suppress(OSError):  # a full disk is for those to tell who write results
            write(self.path, encode(news))


def run_of(folder: Path) -> Run | None:
    """The living run that holds <root>/<pair>/<dataset>; None where there is none."""
    if not is_regular(folder / ".lock"):
        return None
    try:
        with open(folder / ".lock", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                holder = _run_in(file.read())
    except OSError:
        return None
    with contextlib.suppress(OSError, ValueError, Misshapen):
        news = decode(text_of(folder / ".running.json"), Run)
        return news if news.process == holder.process else holder  # else: of a run that was killed
    return holder


def _run_in(text: str) -> Run:
    """What the lock says of who holds it; nothing where a stranger has written it."""
    try:
        return decode(text, Run)
    except Misshapen:
        return Run()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[FileIO]:
    """Hold <root>/<pair>/<dataset> alone, through the file that comes. Raises UserError while a run works there, and
    StoreBroken."""
    with blame_disk(folder):
        file = FileIO(claim(folder / ".lock"), "a")
    with file:
        _take(file.fileno(), folder)
        yield file


def _take(handle: int, folder: Path) -> None:
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > until:
                run = run_of(folder) or Run()
                raise UserError(
                    f"another run (process {run.process or '?'}) is working in {folder}, on {run.host} since "
                    f"{run.since}; wait for it, or use another folder with --results"
                ) from error
        except OSError as error:
            raise UserError(
                f"{folder} cannot be locked: {error.strerror}; use another folder with --results"
            ) from error
        time.sleep(0.05)
