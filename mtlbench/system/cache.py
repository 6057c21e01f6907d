"""Where caches live and how one is made exactly once, however many processes start together (POSIX)."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mtlbench.errors import UserError


def cache_root() -> Path:
    """The folder for caches: $MTLBENCH_CACHE, else `mtlbench` in the user's cache folder of the platform."""
    chosen = os.environ.get("MTLBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mtlbench"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "mtlbench"


def build_once(
    folder: Path, build: Callable[[Path], None], intact: Callable[[Path], bool] = lambda folder: True
) -> Path:
    """Make `folder` with `build(temporary folder)` unless it is there and `intact`; a broken one is made anew.

    Processes that come at the same time wait for the first. The lock belongs to the kernel (flock), so that a killed
    process neither blocks the others nor leaves a half-made folder under the final name. Raises UserError where the
    cache cannot be written.
    """
    if folder.is_dir() and intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(folder.parent / f".{folder.name}.lock", "a")
    except OSError as error:
        raise UserError(f"cannot write to the cache {folder.parent}: {error}; set MTLBENCH_CACHE=FOLDER") from error
    with lock:  # closing the file gives the lock back
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir() and intact(folder):
            return folder
        prefix = f".{folder.name}.tmp-"
        for left_over in folder.parent.glob(f"{prefix}*"):  # of processes that died: we hold the lock
            shutil.rmtree(left_over, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            (scratch / "new").mkdir()
            build(scratch / "new")
            if folder.exists():
                os.rename(folder, scratch / "old")  # open memory maps of the old files stay readable
            os.rename(scratch / "new", folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder
