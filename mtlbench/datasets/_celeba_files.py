"""The official files of CelebA: where they are, and what its two lists say of every image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError
from mtlbench.system.given import read_text

SUBSETS = ("train", "val", "test")  # numbers 0, 1, 2 of the list
COPY = "docs/data.md says where it is had"


@dataclass(frozen=True)
class Folders:
    """The files below `root`: all beside each other, or in Anno, Eval and Img as they are published."""

    root: Path

    @property
    def attributes(self) -> Path:
        return self._first("list_attr_celeba.txt", "Anno")

    @property
    def partition(self) -> Path:
        return self._first("list_eval_partition.txt", "Eval")

    @property
    def images(self) -> Path:
        return self._first("img_align_celeba", "Img")

    def _first(self, name: str, folder: str) -> Path:
        inside = self.root / folder / name
        return inside if inside.exists() else self.root / name


@dataclass
class Lists:
    """What the lists say, and what is wrong with them."""

    attribute_names: tuple[str, ...] = ()
    values: dict[str, np.ndarray] = field(default_factory=dict)  # by image: 0 or 1 an attribute, uint8
    subsets: dict[str, str] = field(default_factory=dict)  # by image, in the order of the list
    problems: list[Problem] = field(default_factory=list)


def read_lists(folders: Folders) -> Lists:
    """Both lists; whatever is wrong becomes a problem, a missing folder of images too."""
    found = Lists()
    _read_attributes(folders.attributes, found)
    _read_partition(folders.partition, found)
    if not folders.images.is_dir():
        found.problems.append(Problem(f"{folders.images} is missing; {COPY}"))
    if not any(problem.image is None for problem in found.problems):
        for name in found.subsets.keys() ^ found.values.keys():
            has, lacks = folders.partition.name, folders.attributes.name
            if name in found.values:
                has, lacks = lacks, has
            text = f"{name} is in {has} but not in {lacks}; take a complete copy of both"
            found.problems.append(Problem(text, name, "images are in one list alone; take complete copies", name))
    return found


def _read_attributes(path: Path, found: Lists) -> None:
    """How many images there are, the names of the attributes, then a line an image with -1 or 1 for each."""
    lines = list(_read_lines(path, found.problems))
    if len(lines) < 3 or not lines[0][1].isdigit():
        if lines:
            what = "does not begin with the number of images and the names of the attributes"
            found.problems.append(Problem(f"{path} {what}; take the official file (a text, no CSV)"))
        return
    found.attribute_names = tuple(lines[1][1].split())
    for number, line in lines[2:]:
        name, *cells = line.split()
        values = np.array([cell == "1" for cell in cells], np.uint8)
        if len(cells) != len(found.attribute_names) or not {*cells} <= {"1", "-1"}:
            what = f"has not one -1 or 1 for each of the {len(found.attribute_names)} attributes"
            _wrong_line(path, number, name, what, found)
        found.values[name] = values
    if (count := int(lines[0][1])) != len(found.values):
        text = f"{path} says that it has {count} images, and has {len(found.values)}; it is cut off or changed"
        found.problems.append(Problem(f"{text}: {COPY}"))


def _read_partition(path: Path, found: Lists) -> None:
    """A line an image: its name, and 0, 1 or 2 for train, val and test."""
    for number, line in _read_lines(path, found.problems):
        name, *cells = line.split()
        if len(cells) != 1 or cells[0] not in ("0", "1", "2"):
            _wrong_line(path, number, name, "has not one 0, 1 or 2 after the image's name", found)
            cells = ["0"]
        found.subsets[name] = SUBSETS[int(cells[0])]


def _wrong_line(path: Path, number: int, name: str, what: str, found: Lists) -> None:
    where = f"{path}:{number}"
    kind = f"lines of {path.name} are wrong: the first {what}; correct them"
    found.problems.append(Problem(f"{where}: {name} {what}; correct it", name, kind, where))


def _read_lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, str]]:
    """The lines of a list that are not empty, counted from 1."""
    try:
        text = read_text(path)
    except OSError as error:
        problems.append(Problem(f"{path} is missing or cannot be read ({error.strerror}); {COPY}"))
        return
    except UserError as error:
        problems.append(Problem(str(error)))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()
