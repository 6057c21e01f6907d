"""Small tables of photos, and the photos."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HEADER = ("file", "age", "weight", "kind", "old", "red")


def write_images(folder: Path, count: int, sides: Sequence[tuple[int, int]] = ((40, 30), (30, 40))) -> list[str]:
    """Images 0.png, 1.png ..., of these widths and heights in turn; each has another colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        width, height = sides[number % len(sides)]
        pixels = np.full((height, width, 3), (7 * number) % 256, np.uint8)
        pixels[: height // 2] = (number, 255 - number % 256, 3 * number % 256)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [f"{number}.png" for number in range(count)]


def rows_for(names: Sequence[str]) -> list[list[str]]:
    """A row of HEADER's cells for each image; the second image lacks an age, the third a kind and a tag."""
    rows = []
    for number, name in enumerate(names):
        age, weight = f"{20 + (number * 37) % 60}", f"{50 + (number * 13) % 41}.5"
        rows.append([name, age, weight, "abc"[number % 3], str(number % 2), str(int(number % 5 == 0))])
    rows[1][1] = ""
    rows[2][3] = rows[2][4] = ""
    return rows


def write_table(
    path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER, encoding: str = "utf-8"
) -> Path:
    """A CSV."""
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([header, *rows])
    return path


def photos(folder: Path, count: int = 40) -> tuple[Path, Path]:
    """A table of HEADER's columns and the folder of its images."""
    names = write_images(folder / "photos", count)
    return write_table(folder / "people.csv", rows_for(names)), folder / "photos"
