"""What VOC's annotations are made of: names of classes, and boxes as the files say them."""

from __future__ import annotations

import math
import re

CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow "
    "diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor".split()
)
# How other data sets call VOC's classes, in small letters and without spaces.
SYNONYMS = {
    "airplane": "aeroplane",
    "plane": "aeroplane",
    "bike": "bicycle",
    "motorcycle": "motorbike",
    "couch": "sofa",
    "table": "diningtable",
    "plant": "pottedplant",
    "houseplant": "pottedplant",
    "tv": "tvmonitor",
    "television": "tvmonitor",
    "monitor": "tvmonitor",
    "human": "person",
    "pedestrian": "person",
    "ship": "boat",
    "automobile": "car",
}


class Wrong(Exception):
    """What is wrong with a line or an object, and the same of many; becomes a Problem."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


def category_of(name: str) -> int:
    if name in CLASSES:
        return CLASSES.index(name)
    meant = guess_class(name)
    hint = f"; VOC calls it {meant}" if meant else ""
    raise Wrong(f"{name!r} is none of VOC's 20 classes{hint}", f"objects are of no class of VOC, {name!r}{hint}")


def guess_class(name: str) -> str:
    """The class of VOC that another name means: `tv monitor`, `motorcycle`, `Airplane`; empty where none is known."""
    plain = re.sub(r"[\W_]", "", name).lower()
    return SYNONYMS.get(plain) or (plain if plain in CLASSES else "")


def edges_of(corners: list[str]) -> tuple[float, float, float, float]:
    """Continuous edges of a box given by its first and last pixels, counted from 1."""
    try:
        x1, y1, x2, y2 = (float(corner) for corner in corners)
        if not all(map(math.isfinite, (x1, y1, x2, y2))):
            raise ValueError
    except ValueError as error:
        raise Wrong(f"box {' '.join(corners)!r} is not four numbers", "boxes are not four numbers") from error
    if not (1 <= x1 <= x2 and 1 <= y1 <= y2):
        raise Wrong(f"box {' '.join(corners)} is empty or starts below 1", "boxes are empty or start below 1")
    return x1 - 1, y1 - 1, x2, y2


def as_written(box: tuple[float, float, float, float]) -> str:
    """A box as the files say it."""
    return f"{box[0] + 1:g} {box[1] + 1:g} {box[2]:g} {box[3]:g}"
