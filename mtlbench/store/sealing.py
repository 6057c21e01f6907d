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
from typing import Any

from mtlbench.errors import UserError
from mtlbench.spec import FORMAT, Options
from mtlbench.system.files import UNSOUND, is_regular, seal, text_of, write

RESULT = {
    "files": dict,
    "scores": list,
    "metrics": dict,
    "cost": dict,
    "backbone": str,
    "architecture": list,
    "counts": dict,
    "environment": dict,
    "finished": str,
}
SEALED = ("curve.csv", "alphas.csv", "predictions.npz", "weights.pt")  # in result.json, those that the trial made
KEY = re.compile("[0-9a-f]{12}")  # of a trial, and the name of its folder
CHECKSUM = '{{\n "checksum": "{}",'  # what a sealed text begins with: of all that follows
START = len(CHECKSUM.format("")) + 64


class Damaged(UserError):
    """A file of the store that cannot be understood, or is another trial's; training the trial anew replaces it."""


class Outdated(Damaged):
    """A file of an older format."""


def damaged(path: Path | str) -> Damaged:
    """The error for a result that makes no sense."""
    return Damaged(f"{path} is damaged; run the same command again to train it anew")


def outdated(path: Path | str, format_: object) -> Outdated:
    """The error for a file of an older format."""
    return Outdated(f"{path} was written in format {format_}; this mtlbench trains it anew; mtlbench clean removes it")


def sealed(data: Options) -> str:
    """JSON text whose first field is the SHA-256 of all that follows it."""
    rest = json.dumps(data, indent=1, allow_nan=False)[1:] + "\n"
    return CHECKSUM.format(_digest(rest)) + rest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_own(path: Path, key: str, data: Options) -> None:
    """Write a JSON file of the trial `key`, whole or not at all."""
    write(path, sealed({"format": FORMAT, "key": key, **data}))


def write_result(folder: Path, key: str, result: Options) -> None:
    """Write result.json of the trial `key`, with the seals of what it has made in `folder`."""
    files = {name: seal(folder / name) for name in SEALED if is_regular(folder / name)}
    write_own(folder / "result.json", key, {**result, "files": files})


def read_own(path: Path | str) -> Options:
    """A JSON file of the trial whose folder it lies in, without its checksum, format and key.

    Raises OSError or one of UNSOUND where it is not as it was written, Damaged for one of another trial, Outdated for
    an older and UserError for a newer format.
    """
    text = text_of(path)
    data = json.loads(text)
    format_ = data.pop("format")
    if not isinstance(format_, int):
        raise TypeError
    if format_ < FORMAT:
        raise outdated(path, format_)
    if format_ > FORMAT:
        raise UserError(f"{path} was written in format {format_}: upgrade mtlbench")
    if not text.startswith(CHECKSUM.format(_digest(text[START:]))):
        raise ValueError
    del data["checksum"]
    place, key = os.path.basename(os.path.dirname(path)), data.pop("key")
    if key != place and KEY.fullmatch(place):  # other folders are no store's: copies under another name
        raise foreign(path)
    return data


def foreign(path: Path | str) -> Damaged:
    """The error for a file that was copied in, or whose folder was renamed or moved."""
    return Damaged(f"{path} is another trial's; run the same command again to replace it")


def read_result(path: Path | str) -> Options:
    """A parsed result.json. Raises Damaged for one that cannot be read or is another trial's, Outdated for an older
    one, UserError for a newer one."""
    try:
        result = read_own(path)
        if not all(isinstance(result[name], kind) for name, kind in RESULT.items()):
            raise TypeError
        if not all(_is_seal(name, pair) for name, pair in result["files"].items()):
            raise TypeError
        return result
    except (OSError, *UNSOUND) as error:
        raise damaged(path) from error


def _is_seal(name: str, pair: object) -> bool:
    return name in SEALED and isinstance(pair, list) and list(map(type, pair)) == [int, str]


def lost_files(folder: Path, result: Options) -> list[str]:
    """Names of the files that children need and that are missing or have another size."""
    return [
        name for name, (size, _) in result["files"].items() if name == "weights.pt" and _size(folder / name) != size
    ]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size if is_regular(path) else -1
    except OSError:
        return -1


def is_as_sealed(folder: Path, name: str, result: Options) -> bool:
    """Whether a file beside a result is the one that the trial has made."""
    path = folder / name
    with contextlib.suppress(OSError):
        return is_regular(path) and seal(path) == result["files"].get(name)
    return False


def sealed_text(path: str, seal_: list[Any]) -> str:
    """The text of a file that has this seal. Raises OSError or ValueError."""
    text = text_of(path)
    if _digest(text) != seal_[1]:
        raise ValueError
    return text
