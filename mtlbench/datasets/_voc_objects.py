"""The annotated objects of VOC 2008 and aPascal: XML, attribute lines, and which of them are one."""

from __future__ import annotations

import contextlib
import hashlib
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtlbench.datasets._problems import Problem
from mtlbench.datasets._voc_folders import ATTRIBUTES, text_in
from mtlbench.datasets._voc_words import Wrong, category_of, edges_of, guess_class
from mtlbench.system.given import pointer_at, pointer_in
from mtlbench.text import one_line
from mtlbench.vision import proposals as selective_search

SAME_OBJECT = 0.5  # IoU from which an XML box and an attribute line of one class mean one object (ours)


@dataclass(frozen=True)
class Thing:
    """One annotated object; `box` has continuous edges, `attributes` is `64` uint8 or None, `where` is file:line."""

    category: int
    box: tuple[float, float, float, float]
    difficult: bool
    attributes: np.ndarray | None
    where: str


def read_lines(path: Path, listed: set[str], problems: list[Problem]) -> list[tuple[str, Thing]]:
    """(image name, object) of each sound line `name class x1 y1 x2 y2 a1 .. a64`.

    A wrong line whose name is not `listed` may mean any image.
    """
    found = []
    for number, line in enumerate(text_in(path, problems).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        name, where = fields[0].removesuffix(".jpg"), f"{path}:{number}"
        meant = name if name in listed else None
        try:
            if len(fields) != 6 + ATTRIBUTES:
                meant_is = _suggest_class(fields)
                wrong_length = f"{len(fields)} fields, must be {6 + ATTRIBUTES}{meant_is}"
                raise Wrong(wrong_length, f"lines have a wrong number of fields{meant_is}")
            bits = fields[6:]
            if wrong := [bit for bit in bits if bit not in ("0", "1")]:
                raise Wrong(f"attribute value {wrong[0]!r}, must be 0 or 1", "lines have attribute values but 0 and 1")
            category, box = category_of(fields[1]), edges_of(fields[2:6])
        except Wrong as error:
            text, kind = f"{where}: {error}; correct or delete the line", f"{error.kind}; correct or delete them"
            problems.append(Problem(text, meant, kind, where))
            continue
        found.append((name, Thing(category, box, False, np.array(bits, np.uint8), where)))
    return found


def _suggest_class(fields: list[str]) -> str:
    """`; 'tv monitor' is tvmonitor` for a line of too many fields where a class in two words is why; else empty."""
    words = " ".join(fields[1 : len(fields) - 4 - ATTRIBUTES])
    meant = guess_class(words) if len(fields) > 6 + ATTRIBUTES else ""
    return f"; {words!r} is {meant}" if meant else ""


def read_xml(path: Path, name: str, problems: list[Problem]) -> list[Thing]:
    """The sound objects of one VOC annotation file; parts of persons are left out."""
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
    except FileNotFoundError:
        if pointer := pointer_at(path):
            problems.append(_pointer_problem(path, name, pointer))
            return []
        way_on = "copy all of VOC 2008's Annotations, or remove that folder"
        text, kind = f"{path} is missing; {way_on}", f"files of Annotations are missing; {way_on}"
        problems.append(Problem(text, name, kind, path.name))
        return []
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        with contextlib.suppress(OSError):
            if pointer := pointer_in(path.read_bytes()):
                problems.append(_pointer_problem(path, name, pointer))
                return []
        text = f"{path}: not XML ({one_line(error)}); replace it by the original file"
        kind = "files of Annotations are not XML; replace them by the original files"
        problems.append(Problem(text, name, kind, path.name))
        return []
    if not objects:
        kind = "files of Annotations have no objects; replace them by the original files"
        problems.append(Problem(f"{path}: no objects; replace it by the original file", name, kind, path.name))
    found = []
    for number, entry in enumerate(objects, start=1):
        where = f"{path}, object {number}"
        corners = [entry.findtext(f"bndbox/{corner}", "").strip() for corner in ("xmin", "ymin", "xmax", "ymax")]
        difficult = entry.findtext("difficult", "0").strip()
        try:
            if difficult not in ("0", "1"):
                raise Wrong(f"difficult is {difficult!r}, must be 0 or 1", "objects have a difficult but 0 and 1")
            category, box = category_of(entry.findtext("name", "").strip()), edges_of(corners)
        except Wrong as error:
            text = f"{where}: {error}; correct it or replace the file by the original"
            kind = f"{error.kind}; correct them or replace the files by the originals"
            problems.append(Problem(text, name, kind, f"{path.name}, object {number}"))
            continue
        found.append(Thing(category, box, difficult == "1", None, where))
    return found


def _pointer_problem(path: Path, name: str, pointer: str) -> Problem:
    return Problem(f"{path} is {pointer}", name, f"files of Annotations are each {pointer}", path.name)


def with_attributes(things: list[Thing], lines: list[Thing]) -> list[Thing]:
    """The XML objects, each with the attributes of the line of its class whose box overlaps it most, one to one."""
    if not things or not lines:
        return things
    overlap = selective_search.overlap(np.array([t.box for t in things]), np.array([t.box for t in lines]))
    same_class = np.array([[thing.category == line.category for line in lines] for thing in things])
    overlap = np.where(same_class, overlap, 0.0)
    matched = list(things)
    while overlap.max() >= SAME_OBJECT:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        thing = things[row]
        matched[row] = Thing(thing.category, thing.box, thing.difficult, lines[column].attributes, thing.where)
        overlap[row, :] = overlap[:, column] = 0.0
    return matched


def digest_of(things: list[Thing]) -> str:
    """A short hash of an image's annotations."""
    seen = hashlib.sha256()
    for thing in things:
        row = b"" if thing.attributes is None else thing.attributes.tobytes()
        seen.update(repr((thing.category, thing.box, thing.difficult, row)).encode())
    return seen.hexdigest()[:32]
