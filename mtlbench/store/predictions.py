"""predictions.npz of a trial: what its tasks kept of their predictions on the first test images, for `show` to draw.

One array a task and image, named `{task}.{number}`: what `Task.keep` made.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mtlbench.errors import UserError
from mtlbench.system.files import UNSOUND, is_regular, replace_file

SHOWN = 8  # test images whose predictions are kept
FILE = "predictions.npz"
MOST_BYTES = 1 << 30  # unpacked: far more than any task keeps of 8 images
UNREADABLE = (*UNSOUND, OSError, EOFError, MemoryError, NotImplementedError, RuntimeError, BadZipFile, zlib.error)


def write(path: Path, kept: Mapping[str, Sequence[np.ndarray]]) -> None:
    """{task: an array an image} as one compressed file, whole or not at all."""
    arrays: dict[str, Any] = {f"{name}.{i}": array for name, own in kept.items() for i, array in enumerate(own)}
    with replace_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read(path: Path) -> dict[str, list[np.ndarray]]:
    """{task: an array an image}, as written. Raises UserError for a missing, damaged or foreign file."""
    try:
        if not is_regular(path):
            raise OSError
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            if sum(member.file_size for member in file.zip.infolist()) > MOST_BYTES:
                raise ValueError
            arrays = {name: file[name] for name in file.files}
        numbers: dict[str, set[int]] = {}
        for name in arrays:
            task, _, number = name.rpartition(".")
            numbers.setdefault(task, set()).add(int(number))
        return {task: [arrays[f"{task}.{i}"] for i in range(len(own))] for task, own in numbers.items()}
    except UNREADABLE as error:
        what = "damaged" if is_regular(path) else "missing"
        raise UserError(f"{path} is {what}; type mtlbench run ... --force ARM to train that arm anew") from error
