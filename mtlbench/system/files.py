"""Files that are either there whole or not at all, and what it means when a folder can no longer be written."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtlbench.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Want of space, quota, permission or a healthy disk, or something else where a folder should be.
BROKEN = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EEXIST,
    errno.ENOTDIR,
}
TORCH_WRITER = "inline_container"  # torch.save tells of a full disk with a RuntimeError from this file of its
CHUNK_BYTES = 1 << 20
# What data of the wrong shape raises when it is taken for what it should be.
UNSOUND = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)


class StoreBroken(UserError):
    """The results folder cannot be written: the run must stop, no trial is to blame."""


@contextlib.contextmanager
def blame_disk(folder: Path) -> Iterator[None]:
    """Around writes into `folder` alone. Raises StoreBroken where space, quota, permission or the disk fails."""
    try:
        yield
    except OSError as error:
        if error.errno not in BROKEN:
            raise
        raise _make_broken(folder, error.strerror) from error
    except RuntimeError as error:
        if TORCH_WRITER not in str(error):
            raise
        why = error.__context__
        raise _make_broken(folder, why.strerror if isinstance(why, OSError) else "no space left") from error


def _make_broken(folder: Path, reason: str | None) -> StoreBroken:
    return StoreBroken(
        f"cannot write to {folder}: {reason}; finished trials are kept; make room, or use another folder with "
        "--results, and type the same command"
    )


def is_regular(path: Path | str) -> bool:
    """Whether a file is there, and no link, which may lead anywhere, nor a pipe, which would be waited for."""
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


def text_of(path: Path | str, errors: str = "strict") -> str:
    """The text (UTF-8) of a file that may be a stranger's. Raises OSError for what is no regular file in a real folder,
    ValueError for what is no text."""
    if os.path.islink(os.path.dirname(path)):
        raise OSError(f"{path} is in no folder")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)  # a pipe would be waited for
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(f"{path} is not a file")
        content = chunk = os.read(handle, about.st_size + 1)
        while len(chunk) > about.st_size:  # it grows
            content += (chunk := os.read(handle, about.st_size + 1))
    finally:
        os.close(handle)
    return content.decode(errors=errors)


def claim(path: Path) -> Path:
    """The path of a results folder that is about to be written: a link or pipe there goes, not what it leads to."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            path.unlink()
    return path


def write(path: Path, text: str) -> None:
    """Write a file that is either there whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_text(text)


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows with equal columns; nothing is written for none."""
    if not rows:
        return
    with replace_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_picture(path: Path, canvas: Figure, dpi: int) -> None:
    """Write a figure in the format of the path's suffix (PNG without one), whole or not at all. Raises UserError."""
    try:
        with replace_file(path) as temporary:
            canvas.savefig(temporary, format=path.suffix[1:] or "png", dpi=dpi)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {path}: {error}; give another file with --out FILE.png") from error


class Seal(NamedTuple):
    """What a file is known by: result.json notes those of the files beside it."""

    size: int  # bytes
    digest: str  # SHA-256


def seal(path: Path) -> Seal:
    """A file's size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return Seal(size, digest.hexdigest())
