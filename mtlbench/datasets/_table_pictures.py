"""The images of a table: where they are, small, or with what is wrong with them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mtlbench.datasets._problems import Problem
from mtlbench.system.given import find_picture
from mtlbench.system.images import open_image
from mtlbench.text import one_line

NOT_AN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, OverflowError, Image.DecompressionBombError)
LONGEST = 2  # times the short side: of a longer image the short side is smaller (ours)
DEEP = ("I", "F")  # how modes of more than 8 bits begin


class Picture(NamedTuple):
    """An image, or what is wrong with it: `pixels` H W 3 uint8 RGB, `digest` of the file's bytes."""

    name: str
    digest: str = ""
    pixels: np.ndarray | None = None
    wrong: Problem | None = None


def place_of(folder: Path, cell: str) -> Path | None:
    """The file below the folder that a cell names, with or without its ending; None where there is none."""
    given = Path(cell)
    inside = given.relative_to(folder) if given.is_absolute() and given.is_relative_to(folder) else given
    if not cell or inside.is_absolute() or ".." in inside.parts:
        return None
    path = folder / inside
    if path.is_file():
        return path
    found = find_picture(path.parent, path.name)
    return found if found.is_file() else None


def read_picture(folder: Path, name: str, where: str, side: int) -> Picture:
    """Read an image file, turned as viewers turn it, its short side `side` pixels at most; `where` names it."""
    path = place_of(folder, name)
    if path is None:
        text = f"{where}: {name} is not in {folder}; copy it there, or take the line out"
        kind = f"images are not in {folder}; copy them there, or take their lines out"
        return Picture(name, wrong=Problem(text, name, kind, name))
    try:
        content = path.read_bytes()
        with open_image(content) as image:
            if image.mode.startswith(DEEP):
                raise ValueError("it has more than 8 bits a channel")
            image.draft("RGB", (2 * LONGEST * side,) * 2)
            pixels = shrink(ImageOps.exif_transpose(image).convert("RGB"), side)
    except NOT_AN_IMAGE as error:
        why = one_line(error, 200)
        text = f"{where}: {path} cannot be read ({why}); replace it by the original file"
        kind = "images cannot be read; replace them by the original files"
        return Picture(name, wrong=Problem(text, name, kind, name))
    return Picture(name, digest_of(content), pixels)


def shrink(image: Image.Image, side: int) -> np.ndarray:
    """Pixels `H W 3` of an image whose short side is `side` at most, and whose long side twice that."""
    factor = min(1.0, side / min(image.size), LONGEST * side / max(image.size))
    if factor < 1:
        width, height = (max(1, round(edge * factor)) for edge in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image)


def digest_of(content: bytes) -> str:
    """Of a file's bytes, 32 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:32]
