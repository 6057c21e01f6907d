"""Files with a value for each pixel, as arrays: classes, normals, amounts, images; what is wrong with one is a line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError
from mtlbench.system.given import pointer_at, pointer_in, read_text
from mtlbench.system.images import open_image
from mtlbench.text import one_line

IGNORED = 255
SHORTEST = 0.5  # length of a normal from bytes below which it is none
LONGEST_PART = 1.1  # of a normal's x, y and z: more is another encoding
REPLACE = "replace it by the original file"
# What Pillow and numpy raise for files that are not what they should be.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError, Image.DecompressionBombError)


class Wrong(Exception):
    """Something is wrong with a file: `what`, and `kind` that says it of many, as a plural."""

    def __init__(
        self, path: Path, what: str, kind: str = "files cannot be used; replace them by the original files"
    ) -> None:
        super().__init__(path, what, kind)
        self.path, self.what, self.kind = path, what, kind


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises Wrong where there is none, or a pointer of git for it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        if pointer := pointer_at(path):
            raise Wrong(path, f"is {pointer}", f"files are each {pointer}") from error
        if isinstance(error, FileNotFoundError):
            raise Wrong(path, "is missing; copy it there", "files are missing; copy them there") from error
        raise Wrong(path, f"cannot be read ({error.strerror}); {REPLACE}") from error
    if pointer := pointer_in(content):
        raise Wrong(path, f"is {pointer}", f"files are each {pointer}")
    return content


def read_array(path: Path) -> np.ndarray:
    """The numbers in an .npy file; a last axis of length 1 is left out. Raises Wrong."""
    content = read_bytes(path)
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
    except UNREADABLE as error:
        raise Wrong(path, f"cannot be read ({explain(error)}); {REPLACE}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "uif" or found.ndim not in (2, 3):
        raise Wrong(path, f"is no array of numbers `H W` or `H W C`; {REPLACE}")
    return found[..., 0] if found.shape[2:] == (1,) else found


def read_pixels(path: Path, mode: str = "") -> np.ndarray:
    """The pixels of an image file, as they are (of a palette its indices), or turned into a mode of Pillow. Raises
    Wrong."""
    content = read_bytes(path)
    try:
        with open_image(content) as image:
            return np.array(image.convert(mode) if mode else image)
    except UNREADABLE as error:
        raise Wrong(path, f"cannot be read ({explain(error)}); {REPLACE}") from error


def explain(error: BaseException) -> str:
    """What an error says, in a line; what it is where it says nothing."""
    return one_line(error, 200) or type(error).__name__


def as_image(path: Path, values: np.ndarray) -> np.ndarray:
    """`H W 3` uint8 RGB of numbers from 0 to 1, or of bytes. Raises Wrong."""
    if values.ndim != 3 or values.shape[2] != 3:
        raise Wrong(path, f"has the shape {values.shape}, not H W 3; {REPLACE}")
    if values.dtype == np.uint8:
        return values
    if not np.isfinite(values).all() or values.min() < -0.5 or values.max() > 1.5:  # resizing may leave [0, 1] a little
        raise Wrong(path, "has values that are not from 0 to 1: another encoding", "images are not from 0 to 1")
    pixels: np.ndarray = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    return pixels


def as_classes(path: Path, values: np.ndarray, count: int, void: int, first: int = 0) -> np.ndarray:
    """`H W` uint8 from 0, 255 ignored, of whole numbers `void` and `first` .. `first + count - 1`. Raises Wrong."""
    if values.ndim != 2:
        raise Wrong(path, f"has the shape {values.shape}, not H W; {REPLACE}")
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    known = (whole == void) | ((whole >= first) & (whole < first + count))
    if not ((whole == values) & known).all():
        odd = values[~((whole == values) & known)][0]
        kind = f"label maps have classes other than {first} to {first + count - 1} and {void} for none"
        raise Wrong(path, f"has the class {odd:g}; there are {first} to {first + count - 1}, and {void} for none", kind)
    classes: np.ndarray = np.where(whole == void, IGNORED, whole - first).astype(np.uint8)
    return classes


def as_normals(path: Path, values: np.ndarray) -> np.ndarray:
    """`H W 3` float32 of length 1, zeros where invalid (all three parts are 0). Raises Wrong."""
    if values.ndim != 3 or values.shape[2] != 3:
        raise Wrong(path, f"has the shape {values.shape}, not H W 3; {REPLACE}")
    if not np.isfinite(values).all() or np.abs(values).max() > LONGEST_PART:
        raise Wrong(path, "has numbers beyond -1 to 1: another encoding", "normals are not from -1 to 1")
    length = np.linalg.norm(values, axis=2, keepdims=True)
    unit: np.ndarray = np.divide(values, length, out=np.zeros(values.shape), where=length > 0).astype(np.float32)
    return unit


def from_bytes(path: Path, pixels: np.ndarray) -> np.ndarray:
    """`H W 3` float32 of length 1 from bytes 127.5 + 127.5 n; zeros where the three are nearly alike and in the middle,
    which no normal is. Raises Wrong."""
    values = pixels / 127.5 - 1
    values[np.linalg.norm(values, axis=2) < SHORTEST] = 0
    return as_normals(path, values)


def as_amounts(path: Path, values: np.ndarray, most: float, what: str) -> np.ndarray:
    """`H W` float32, 0 where invalid, of numbers from 0 to `most`; `what` says what they are. Raises Wrong."""
    if values.ndim != 2:
        raise Wrong(path, f"has the shape {values.shape}, not H W or H W 1; {REPLACE}")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > most:
        kind = f"files are not {what} from 0 to {most:g}: another encoding"
        raise Wrong(path, f"is not {what} from 0 to {most:g}: another encoding", kind)
    return values.astype(np.float32)


def read_list(path: Path) -> tuple[list[str], list[Problem]]:
    """The names in a list, one a line, each once, and what is wrong with it."""
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        return [], [Problem(f"{path} is missing or cannot be read ({error.strerror}); copy it there")]
    except UserError as error:
        return [], [Problem(str(error))]
    names = dict.fromkeys(line.strip() for line in lines if line.strip())
    wrong = [name for name in names if Path(name).name != name or name in (".", "..")]
    problems = [Problem(f"{path}: {name!r} is no name of an image; correct the line") for name in wrong]
    found = [name for name in names if name not in wrong]
    return found, problems if found or problems else [Problem(f"{path} is empty; copy the original list there")]
