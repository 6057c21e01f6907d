"""Removes what a private Ray session leaves, however the driver ended, kill -9 included.

A small process beside the driver reads from a pipe that the driver holds; when the driver ends, the pipe closes, and
the reaper kills every process of the run and removes the run's scratch folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

MARK = "MTLBENCH_RUN"  # environment variable of all processes of a run; its value is the scratch folder
SCRATCH = re.compile(r"mtl-(\d+)-.+")  # names of scratch folders: mtl-<process>-<random>
LONGEST_SWEEP = 10.0  # seconds
LONGEST = 24  # of the folder that it lies in: its own name takes 20, Ray adds some 60, a socket's path has at most 107


def scratch_name() -> str:
    """How the names of this process's scratch folders begin; `owner_of` tells whose they are."""
    return f"mtl-{os.getpid()}-"


def owner_of(name: str) -> int | None:
    """The process whose scratch folder has this name; None where it is no such name."""
    match = SCRATCH.fullmatch(name)
    return int(match[1]) if match else None


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for a private Ray session; at the end of the block or of this process nothing of the run is left."""
    where = tempfile.gettempdir() if len(tempfile.gettempdir()) <= LONGEST else "/tmp"
    scratch = tempfile.mkdtemp(prefix=scratch_name(), dir=where)
    reaper = subprocess.Popen(
        [sys.executable, "-m", "mtlbench.system.scratch", scratch, str(os.getpid())],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    before = os.environ.get(MARK)
    os.environ[MARK] = scratch
    try:
        yield Path(scratch)
    finally:
        if before is None:
            del os.environ[MARK]
        else:
            os.environ[MARK] = before
        assert reaper.stdin is not None and reaper.stdout is not None
        reaper.stdin.close()
        reaper.stdout.read()  # until it is done, at most LONGEST_SWEEP
        reaper.stdout.close()
        reaper.wait()


def marked(scratch: str, driver: int) -> list[psutil.Process]:
    """Living processes that were started in the run: they have its mark in their environment, or, where a process has
    written its title over that, a file open below the scratch folder (every process of Ray has its log)."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid in (os.getpid(), driver) or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == scratch or any(
                file.path.startswith(f"{scratch}/") for file in process.open_files()
            ):
                found.append(process)
    return found


def sweep(scratch: str, driver: int) -> None:
    """Kill what is left of the run and remove its folder."""
    until = time.monotonic() + LONGEST_SWEEP
    while (left := marked(scratch, driver)) and time.monotonic() < until:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    run, parent = sys.argv[1], int(sys.argv[2])
    if os.fork():  # nobody's child: the driver need not wait for it
        os._exit(0)
    sys.stdin.read()  # ends with the driver
    sweep(run, parent)
    os.close(1)  # tells the driver, should it live
    end = time.monotonic() + LONGEST_SWEEP
    while psutil.pid_exists(parent) and time.monotonic() < end:
        time.sleep(0.02)
    shutil.rmtree(run, ignore_errors=True)  # an interrupted start of Ray may have gone on until now
