"""A small VOC 2008 + aPascal in its official files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mtlbench.contracts import Survey
from mtlbench.datasets._voc_folders import ATTRIBUTES
from mtlbench.datasets.voc2008 import Voc2008
from tests.support.places import REAL_DATA

TRAIN, TEST = [f"2008_{n:06d}" for n in (2, 3, 7, 8, 9)], ["2008_000021", "2008_000023"]


BITS = {"dog": [5, 9], "person": [5, 17, 63]}  # positive attributes


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """Coloured rectangles with noise."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(0, 256, 3))
    for _ in range(4):
        y, x = rng.integers(0, height - 24), rng.integers(0, width - 24)
        image[y : y + rng.integers(12, 24), x : x + rng.integers(12, 24)] = rng.integers(0, 256, 3)
    return np.clip(image + rng.integers(-4, 5, image.shape), 0, 255).astype(np.uint8)


def line(name: str, category: str, *box: int) -> str:
    bits = ["1" if number in BITS[category] else "0" for number in range(ATTRIBUTES)]
    return " ".join([f"{name}.jpg", category, *map(str, box), *bits])


def write(root: Path) -> Path:
    """A small copy without XML: a dog and a person on every image."""
    voc, lines = root / "VOCdevkit" / "VOC2008", root / "attribute_data"
    for folder in (voc / "ImageSets" / "Main", voc / "JPEGImages", lines):
        folder.mkdir(parents=True)
    for seed, name in enumerate(TRAIN + TEST):
        Image.fromarray(picture(seed)).save(voc / "JPEGImages" / f"{name}.jpg")
    for official, theirs, names in (("train", "train", TRAIN), ("val", "test", TEST)):
        (voc / "ImageSets" / "Main" / f"{official}.txt").write_text("\n".join(names) + "\n")
        text = "".join(line(n, "dog", 1, 1, 1, 1) + "\n" + line(n, "person", 11, 6, 80, 60) + "\n" for n in names)
        (lines / f"apascal_{theirs}.txt").write_text(text)
    (lines / "attribute_names.txt").write_text("".join(f"Furn. Seat/Leg {n}\n" for n in range(ATTRIBUTES)))
    return root


def add_xml(root: Path) -> None:
    """XML boxes: the person (a pixel off), a difficult dog that no line knows, a cat where a line has a dog."""
    folder = root / "VOCdevkit" / "VOC2008" / "Annotations"
    folder.mkdir()
    entries = [("person", 0, (10, 6, 80, 60)), ("dog", 1, (30, 30, 50, 50)), ("cat", 0, (1, 1, 1, 1))]
    text = "<annotation>"
    for category, difficult, box in entries:
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        text += f"<object><name>{category}</name><difficult>{difficult}</difficult><occluded>1</occluded>{part}"
        text += f"<bndbox>{corners}</bndbox></object>"
    for name in TRAIN + TEST:
        (folder / f"{name}.xml").write_text(text + "</annotation>")


def ready(root: Path, **options: float | str) -> Voc2008:
    data = Voc2008(root, **options)
    data.prepare(lambda text: None)
    return data


def image_file(root: Path, name: str) -> Path:
    return root / "VOCdevkit" / "VOC2008" / "JPEGImages" / f"{name}.jpg"


REAL = REAL_DATA / "voc2008"


def survey(root: Path) -> Survey:
    return Voc2008(root).verify(lambda text: None)
