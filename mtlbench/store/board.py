"""Who works on a pair and a data set: a lock that dies with its process, and a board that tells how far the run is."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.spec import Options
from mtlbench.system.files import UNSOUND, is_regular, own, text_of, write, writing

LOCK_SECONDS = 1.0  # another reader of the lock holds it for some microseconds


class Board:
    """Where a run that works on a pair and a data set tells how far it is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".running.json"
        self.run = {"process": os.getpid(), "host": socket.gethostname(), "started": time.time()}
        self._next = 0.0
        self._keys: set[str] | None = None

    def note(self, running: Mapping[str, float], seconds_left: float | None) -> None:
        """Tell {key: finished fraction} of what is running; at once where a trial came or went, else once a second."""
        now = time.monotonic()
        if now < self._next and running.keys() == self._keys:
            return
        self._next, self._keys = now + 1.0, set(running)
        news = {**self.run, "updated": time.time(), "running": dict(running), "seconds_left": seconds_left}
        with contextlib.suppress(OSError):  # a full disk is for those to tell who write results
            write(self.path, json.dumps(news) + "\n")


@dataclass(frozen=True)
class Run:
    """A run that is working on a pair and a data set, as its files tell: times in seconds since 1970."""

    process: int = 0
    host: str = "?"
    started: float = 0.0
    running: tuple[tuple[str, float], ...] = ()  # keys with the finished fraction
    seconds_left: float | None = None

    def __str__(self) -> str:
        return f"process {self.process or '?'} on {self.host} since {self.since}"

    @property
    def since(self) -> str:
        """When it started, in local time."""
        with contextlib.suppress(*UNSOUND, OSError):
            if self.started:
                return datetime.datetime.fromtimestamp(self.started).strftime("%Y-%m-%d %H:%M")  # noqa: DTZ006 (local)
        return "?"


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
                about = _parsed(file.read())
    except OSError:
        return None
    with contextlib.suppress(OSError):
        news = _parsed(text_of(folder / ".running.json", "replace"))
        about = news if news.get("process") == about.get("process") else about  # else: of a run that was killed
    try:
        left = about.get("seconds_left")
        running = tuple((key, float(fraction)) for key, fraction in about.get("running", {}).items())
        return Run(
            int(about["process"]),
            str(about["host"]),
            float(about["started"]),
            running,
            None if left is None else float(left),
        )
    except UNSOUND:
        return Run()


def _parsed(text: str) -> Options:
    """A JSON object; an empty one where the text is anything else."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    return {}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[FileIO]:
    """Hold <root>/<pair>/<dataset> alone, through the file that comes. Raises UserError while a run works there, and
    StoreBroken."""
    with writing(folder):
        file = FileIO(own(folder / ".lock"), "a")
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
