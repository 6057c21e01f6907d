"""Which trial a file of the store belongs to, and whether it is as it was written.

Every JSON file in a trial's folder tells its format, the trial's key and a checksum; result.json has the seals of the
files beside it, too. That finds accidents and mix-ups, not a forger, who can write a checksum like everybody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from mtlbench.errors import UserError
from mtlbench.spec import FORMAT, Options
from mtlbench.store.shapes import SEALED, BeforeFormats, Failure, Header, Result
from mtlbench.system.files import Seal, is_regular, seal, text_of, write
from mtlbench.system.schema import Misshapen, as_plain, decode

T = TypeVar("T")

KEY = re.compile("[0-9a-f]{12}")  # of a trial, and the name of its folder
CHECKSUM = '{{\n "checksum": "{}",'  # what a sealed text begins with: of all that follows
START = len(CHECKSUM.format("")) + 64
FAILURE = "failure.json"  # why a trial failed, and its traceback
TRACEBACK = "error.txt"
TRAIN_AGAIN = "run the same command again to train it anew"


class Damaged(UserError):
    """A file of the store that is not what it has to be, or is another trial's; the next run writes it anew.

    `fault` says what is wrong, without where: `is damaged`.
    """

    def __init__(self, path: Path | str, fault: str, mend: str) -> None:
        super().__init__(str(path), fault, mend)  # what it is made of again in another process
        self.fault = fault

    def __str__(self) -> str:
        path, fault, mend = self.args
        return f"{path} {fault}; {mend}"


class Outdated(Damaged):
    """A file of an older format."""


def make_outdated(path: Path | str, format_: object) -> Outdated:
    """The error for a file of an older format."""
    mend = "this mtlbench trains it anew; mtlbench clean removes it"
    return Outdated(path, f"was written in format {format_}", mend)


def seal_text(data: Options) -> str:
    """JSON text whose first field is the SHA-256 of all that follows it."""
    rest = json.dumps(data, indent=1, allow_nan=False)[1:] + "\n"
    return CHECKSUM.format(_digest(rest)) + rest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_own(path: Path, key: str, data: Options) -> None:
    """Write a JSON file of the trial `key`, whole or not at all."""
    write(path, seal_text({"format": FORMAT, "key": key, **data}))


def write_result(folder: Path, key: str, result: Result) -> None:
    """Write result.json of the trial `key`, with the seals of what it has made in `folder`."""
    write_own(folder / "result.json", key, {**as_plain(result), "files": seals_of(folder)})


def write_failure(folder: Path, key: str, failure: Failure, traceback: str) -> None:
    """Write why the trial `key` failed: failure.json, and its traceback (the same in words where there is none).
    Raises OSError."""
    write(folder / TRACEBACK, escape(traceback or f"{failure}\n"))
    about = replace(failure, message=escape(failure.message), traceback=TRACEBACK)
    write_own(folder / FAILURE, key, as_plain(about))


def escape(text: str) -> str:
    """The text with what UTF-8 has no bytes for written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def read_failure(folder: Path) -> Failure:
    """Why a trial failed. Raises Damaged, Outdated, and UserError for a newer format."""
    return read_own(folder / FAILURE, Failure, TRAIN_AGAIN)


def seals_of(folder: Path) -> dict[str, Seal]:
    """The seals of what a trial has made in its folder, by name."""
    return {name: seal(folder / name) for name in SEALED if is_regular(folder / name)}


def read_own(path: Path | str, shape: type[T], mend: str) -> T:
    """A JSON file of the trial whose folder it lies in. `mend` tells the user what to do where it is not sound.

    Raises Damaged where it is missing, not as it was written, not of this shape or another trial's, Outdated for an
    older and UserError for a newer format.
    """
    try:
        text = text_of(path)
    except FileNotFoundError as error:
        raise Damaged(path, "is missing", mend) from error
    except (OSError, ValueError) as error:
        raise Damaged(path, "is damaged", mend) from error
    _check_header(path, text, mend)
    try:
        return decode(text, shape)
    except Misshapen as error:
        raise Damaged(path, "is damaged", mend) from error


def _check_header(path: Path | str, text: str, mend: str) -> None:
    """Raises what read_own raises, for all but the shape."""
    try:
        header = decode(text, Header)
    except Misshapen as error:
        if _is_before_formats(text):
            raise make_outdated(path, "3 or before") from error
        raise Damaged(path, "is damaged", mend) from error
    if header.format < FORMAT:
        raise make_outdated(path, header.format)
    if header.format > FORMAT:
        raise UserError(f"{path} was written in format {header.format}: upgrade mtlbench")
    if not text.startswith(CHECKSUM.format(_digest(text[START:]))):
        raise Damaged(path, "is damaged", mend)
    place = os.path.basename(os.path.dirname(path))
    if header.key != place and KEY.fullmatch(place):  # other folders are no store's: copies under another name
        raise make_foreign(path)


def _is_before_formats(text: str) -> bool:
    with contextlib.suppress(Misshapen):
        decode(text, BeforeFormats)
        return True
    return False


def make_foreign(path: Path | str) -> Damaged:
    """The error for a file that was copied in, or whose folder was renamed or moved."""
    return Damaged(path, "is another trial's", "run the same command again to replace it")


def read_result(path: Path | str) -> Result:
    """A result.json. Raises Damaged for one that cannot be read or is another trial's, Outdated for an older one,
    UserError for a newer one."""
    return read_own(path, Result, TRAIN_AGAIN)


def find_lost(folder: Path, result: Result) -> list[str]:
    """Names of the files that children need and that are missing or have another size."""
    return [
        name for name, sealed_ in result.files.items() if name == "weights.pt" and _size(folder / name) != sealed_.size
    ]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size if is_regular(path) else -1
    except OSError:
        return -1


def is_as_sealed(folder: Path, name: str, result: Result) -> bool:
    """Whether a file beside a result is the one that the trial has made."""
    path = folder / name
    with contextlib.suppress(OSError):
        return is_regular(path) and result.files.get(name) == seal(path)
    return False


def read_sealed(path: str, seal_: Seal) -> str:
    """The text of a file that has this seal. Raises OSError or ValueError."""
    text = text_of(path)
    if _digest(text) != seal_.digest:
        raise ValueError
    return text
