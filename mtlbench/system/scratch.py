"""Removes what a private Ray session leaves, however the driver ended, kill -9 included.

A small process beside the driver reads from a pipe that the driver holds; when the driver ends, the pipe closes, and
the reaper kills every process of the run and removes the run's scratch folder.
"""

from __future__ import annotations

import contextlib
import fcntl
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


def make_scratch(where: str | Path) -> Path:
    """A new folder `mtl-<process>-<random>` that is held by a lock until this process ends, however it does."""
    folder = Path(tempfile.mkdtemp(prefix=f"mtl-{os.getpid()}-", dir=where))
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)  # children do not inherit it
    return folder


def places() -> list[Path]:
    """Folders that scratch folders may lie in, the one for new ones first."""
    usual = Path(tempfile.gettempdir())
    return [usual] if len(str(usual)) <= LONGEST else [Path("/tmp"), usual]


def dead_scratch() -> list[Path]:
    """This user's scratch folders whose process is dead."""
    return [path for place in places() for path in sorted(place.iterdir()) if _is_dead(path)]


def _is_dead(path: Path) -> bool:
    """Whether nobody holds the folder, and no process of its number is as old as the folder: a number may come again,
    and a folder is held only a moment after it is made."""
    match = SCRATCH.fullmatch(path.name)
    if not match or path.is_symlink() or not path.is_dir():
        return False
    try:
        about = path.stat()
        return about.st_uid == os.getuid() and not _is_held(path) and not _runs(int(match[1]), about.st_mtime)
    except OSError:  # it goes just now
        return False


def _is_held(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _runs(process: int, moment: float) -> bool:
    """Whether a process of this number lives that was there at the moment (seconds since 1970)."""
    try:
        return bool(psutil.Process(process).create_time() <= moment)
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OverflowError):
        return True


def remove_dead() -> list[Path]:
    """Remove the scratch folders of dead runs, with processes that may be left of them; those that are gone now."""
    dead = dead_scratch()
    for folder in dead:
        sweep(str(folder), os.getpid())
    return [folder for folder in dead if not folder.exists()]


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for a private Ray session; at the end of the block or of this process nothing is left of processes that
    were started with `mark` as their environment, or by such ones."""
    scratch = make_scratch(places()[0])
    reaper = subprocess.Popen(
        [sys.executable, "-m", "mtlbench.system.scratch", str(scratch), str(os.getpid())],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield scratch
    finally:
        sweep(str(scratch), os.getpid())  # the reaper may be killed or frozen
        assert reaper.stdin is not None
        reaper.stdin.close()
        reaper.wait()


def mark(scratch: Path) -> dict[str, str]:
    """The environment of processes that end with a run. This process keeps its own: what others start in it, such as a
    tracker its service, has to outlive Ray."""
    return {**os.environ, MARK: str(scratch)}


def find_marked(scratch: str, driver: int) -> list[psutil.Process]:
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


def kill_marked(scratch: str, driver: int) -> None:
    """Kill what is left of the run, frozen processes too."""
    until = time.monotonic() + LONGEST_SWEEP
    while (left := find_marked(scratch, driver)) and time.monotonic() < until:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)


def sweep(scratch: str, driver: int) -> None:
    """Kill what is left of the run and remove its folder."""
    kill_marked(scratch, driver)
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    run, parent = sys.argv[1], int(sys.argv[2])
    if os.fork():  # nobody's child: the driver need not wait for it
        os._exit(0)
    sys.stdin.read()  # ends with the driver
    sweep(run, parent)
