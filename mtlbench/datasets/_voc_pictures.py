"""The images of VOC 2008, whole or with what is wrong with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from mtlbench.datasets._problems import Problem
from mtlbench.datasets._voc_files import Annotations
from mtlbench.datasets._voc_folders import Folders
from mtlbench.datasets._voc_words import as_written
from mtlbench.system.given import pointer_at, pointer_in
from mtlbench.text import one_line
from mtlbench.vision import proposals as selective_search

# What Pillow raises for files that are not the images they should be.
NOT_AN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, OverflowError, Image.DecompressionBombError)


class Picture(NamedTuple):
    """A decoded image file, or what is wrong with it: `pixels` H W 3 uint8 RGB, `digest` of the file's bytes."""

    name: str
    digest: str
    pixels: np.ndarray | None
    wrong: Problem | None = None


def read_picture(folders: Folders, name: str) -> Picture:
    """Read and decode all of an image file."""
    path = folders.image(name)
    try:
        content = path.read_bytes()
        if pointer := pointer_in(content):
            return Picture(name, "", None, Problem(f"{path} is {pointer}", name, f"images are each {pointer}", name))
        return Picture(name, selective_search.digest(content), selective_search.decode(content))
    except FileNotFoundError:
        if pointer := pointer_at(path):
            return Picture(name, "", None, Problem(f"{path} is {pointer}", name, f"images are each {pointer}", name))
        what = "listed in ImageSets/Main but missing; copy"
        text, kind = f"{path} is {what} it there", f"images are {what} them to {folders.images}"
        return Picture(name, "", None, Problem(text, name, kind, name))
    except NOT_AN_IMAGE as error:
        cut = "truncated" in str(error)
        text = f"{path} is {'truncated' if cut else 'not a readable image'} ({one_line(error)})"
        kind = f"images are {'truncated' if cut else 'not readable'}; replace them by the original files"
        return Picture(name, "", None, Problem(f"{text}; replace it by the original file", name, kind, name))


def wrong_in(picture: Picture, found: Annotations) -> list[Problem]:
    """What is wrong with an image, or the objects whose boxes leave it, XML's and those of the attribute lines."""
    if picture.wrong is not None:
        return [picture.wrong]
    assert picture.pixels is not None
    height, width = picture.pixels.shape[:2]
    things = (found.xml or {}).get(picture.name, []) + found.lines.get(picture.name, [])
    seen = f"outside the {width} x {height} image"
    return [
        Problem(
            f"{thing.where}: box {as_written(thing.box)} is {seen}; correct it",
            picture.name,
            "boxes are outside their image; correct them",
            thing.where,
        )
        for thing in things
        if thing.box[2] > width or thing.box[3] > height
    ]
