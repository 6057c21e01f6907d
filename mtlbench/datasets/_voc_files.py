"""The official files of PASCAL VOC 2008 and of aPascal (Farhadi et al. 2009): lists, XML, attribute lines, images.

Whatever is wrong becomes a `Problem`; readers never raise for what a file holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError
from mtlbench.system.given import PICTURES, find_picture, pointer_at, pointer_in, read_text
from mtlbench.vision import proposals as selective_search

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
ATTRIBUTES = 64
SAME_OBJECT = 0.5  # IoU from which an XML box and an attribute line of one class mean one object (ours)
OFFICIAL = {"train": "train", "val": "test"}  # VOC's lists: aPascal's file of the same images
COPY = "give --data-root the folder of a complete copy"
# What Pillow raises for files that are not the images they should be.
NOT_AN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, OverflowError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Thing:
    """One annotated object; `box` has continuous edges, `attributes` is `64` uint8 or None, `where` is file:line."""

    category: int
    box: tuple[float, float, float, float]
    difficult: bool
    attributes: np.ndarray | None
    where: str


@dataclass
class Annotations:
    """What lists, XML and attribute lines say, and what is wrong with them."""

    lists: dict[str, list[str]]  # of VOC's train and val, in their order
    attribute_names: tuple[str, ...] = ()
    lines: dict[str, list[Thing]] = field(default_factory=dict)  # by image
    xml: dict[str, list[Thing]] | None = None  # by listed image; None without Annotations/
    things: dict[str, list[Thing]] = field(default_factory=dict)  # of each listed image: what training sees
    problems: list[Problem] = field(default_factory=list)
    unlisted: int = 0  # images with attribute lines that are in JPEGImages but in no list

    @property
    def names(self) -> list[str]:
        """All listed images, each once."""
        return list(dict.fromkeys(name for names in self.lists.values() for name in names))


class Folders:
    """Where the official files are below `root`. Raises UserError where it is no copy of VOC 2008 with aPascal."""

    def __init__(self, root: Path) -> None:
        beside = [root / "attribute_data"] + ([root.parent / "attribute_data"] if root.name == "VOCdevkit" else [])
        self.root = root
        self.voc = _first([root / "VOCdevkit" / "VOC2008", root / "VOC2008"], "ImageSets/Main")
        self.attribute_data = _first(beside, ".")
        self.attribute_names = self.attribute_data / "attribute_names.txt"
        self.images, self.annotations = self.voc / "JPEGImages", self.voc / "Annotations"

    def list_file(self, official: str) -> Path:
        """VOC's list `train` or `val`."""
        return self.voc / "ImageSets" / "Main" / f"{official}.txt"

    def lines(self, official: str) -> Path:
        """The attribute lines of the images in one of VOC's lists."""
        return self.attribute_data / f"apascal_{OFFICIAL[official]}.txt"

    def image(self, name: str) -> Path:
        """The file of an image, under whatever ending it is there."""
        return find_picture(self.images, name)

    def xml(self, name: str) -> Path:
        """VOC's annotations of an image."""
        return self.annotations / f"{name}.xml"

    def all_files(self) -> list[Path]:
        """Every file that samples are made from, whether it is there or not."""
        problems: list[Problem] = []
        names = [name for official in OFFICIAL for name in read_list(self.list_file(official), problems)]
        xml = map(self.xml, names) if self.annotations.is_dir() else ()
        return [
            self.attribute_names,
            *map(self.list_file, OFFICIAL),
            *map(self.lines, OFFICIAL),
            *map(self.image, names),
            *xml,
        ]


def read_annotations(folders: Folders) -> Annotations:
    """Read everything but the images."""
    problems: list[Problem] = []
    found = Annotations({official: read_list(folders.list_file(official), problems) for official in OFFICIAL})
    found.problems = problems
    both = set(found.lists["val"])
    for name in found.lists["train"]:
        if name in both:
            text = f"{folders.list_file('train')} and val.txt: {name} is in both; take it out of one"
            problems.append(Problem(text, name, "images are in both train.txt and val.txt; take them out of one", name))
    found.attribute_names = read_attribute_names(folders.attribute_names, problems)
    _read_all_lines(folders, found)
    if folders.annotations.is_dir():
        _read_all_xml(folders, found)
    else:
        found.things = {name: found.lines.get(name, []) for name in found.names}
        wrong = {problem.image for problem in problems}
        if None in wrong:  # a file of lines may be gone: one problem, not thousands
            return found
        for name in found.names:
            if not found.things[name] and name not in wrong:
                what = "listed in ImageSets/Main but {} no attribute line, and there are no Annotations; add them, or"
                text = f"{name} is {what.format('has')} take it out of the list"
                kind = f"images are {what.format('have')} take them out of the list"
                problems.append(Problem(text, name, kind, name))
    return found


def _read_all_lines(folders: Folders, found: Annotations) -> None:
    listed, elsewhere, nowhere = set(found.names), set[str](), set[str]()
    for official in OFFICIAL:
        for name, thing in read_lines(folders.lines(official), listed, found.problems):
            if name in listed:
                found.lines.setdefault(name, []).append(thing)
            elif folders.image(name).exists():  # VOC 2009-2012 list 8 images fewer than aPascal has lines for
                elsewhere.add(name)
            elif name not in nowhere:
                nowhere.add(name)
                what = "in no list of ImageSets/Main, nor in JPEGImages; correct or delete"
                text, kind = (
                    f"{thing.where}: {name} is {what} its lines",
                    f"images of attribute lines are {what}",
                )
                found.problems.append(Problem(text, name, f"{kind} the lines", name))
    found.unlisted = len(elsewhere)


def _read_all_xml(folders: Folders, found: Annotations) -> None:
    found.xml = {}
    if found.names and not any(os.path.lexists(folders.xml(name)) for name in found.names):  # links may lead nowhere
        text = f"{folders.annotations} has no XML of a listed image; copy VOC 2008's there, or remove the folder"
        found.problems.append(Problem(text))
        return
    for name in found.names:
        found.xml[name] = read_xml(folders.xml(name), name, found.problems)
        found.things[name] = with_attributes(found.xml[name], found.lines.get(name, []))


def read_list(path: Path, problems: list[Problem]) -> list[str]:
    """The image names of a list, one a line, each once."""
    rows = _text(path, problems).splitlines()
    names = list(dict.fromkeys(row.split()[0] for row in rows if row.strip()))
    files = [name for name in names if Path(name).suffix.lower() in PICTURES]
    if files:
        problems.append(
            Problem(
                f"{path}: {files[0]!r} is the name of a file, as on {len(files)} of {len(names)} lines; write names "
                f"as {Path(files[0]).stem}"
            )
        )
    wrong = [name for name in names if Path(name).name != name and name not in files]
    for name in wrong:
        kind = f"lines of {path.name} are no names of images; correct or delete them"
        text = f"{path}: {name!r} is no name of an image; correct or delete the line"
        problems.append(Problem(text, None, kind, repr(name)))
    unfit = {*files, *wrong}
    return [name for name in names if name not in unfit]


def read_attribute_names(path: Path, problems: list[Problem]) -> tuple[str, ...]:
    """The 64 names, one a line, spaces and slashes included; empty where they are not sound."""
    before = len(problems)
    names = tuple(line.strip() for line in _text(path, problems).splitlines() if line.strip())
    if len(problems) > before:
        return ()
    if len(names) != ATTRIBUTES:
        wrong = f"{len(names)} names, must be {ATTRIBUTES}, one a line"
    elif len(set(names)) != ATTRIBUTES:
        wrong = f"{max(names, key=names.count)!r} is there twice"
    else:
        return names
    problems.append(Problem(f"{path}: {wrong}; take the original file"))
    return ()


def read_lines(path: Path, listed: set[str], problems: list[Problem]) -> list[tuple[str, Thing]]:
    """(image name, object) of each sound line `name class x1 y1 x2 y2 a1 .. a64`.

    A wrong line whose name is not `listed` may mean any image.
    """
    found = []
    for number, line in enumerate(_text(path, problems).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        name, where = fields[0].removesuffix(".jpg"), f"{path}:{number}"
        meant = name if name in listed else None
        try:
            if len(fields) != 6 + ATTRIBUTES:
                meant_is = _meant(fields)
                wrong_length = f"{len(fields)} fields, must be {6 + ATTRIBUTES}{meant_is}"
                raise _Wrong(wrong_length, f"lines have a wrong number of fields{meant_is}")
            bits = fields[6:]
            if wrong := [bit for bit in bits if bit not in ("0", "1")]:
                raise _Wrong(f"attribute value {wrong[0]!r}, must be 0 or 1", "lines have attribute values but 0 and 1")
            category, box = _category(fields[1]), _edges(fields[2:6])
        except _Wrong as error:
            text, kind = f"{where}: {error}; correct or delete the line", f"{error.kind}; correct or delete them"
            problems.append(Problem(text, meant, kind, where))
            continue
        found.append((name, Thing(category, box, False, np.array(bits, np.uint8), where)))
    return found


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
        text = f"{path}: not XML ({_one_line(error)}); replace it by the original file"
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
                raise _Wrong(f"difficult is {difficult!r}, must be 0 or 1", "objects have a difficult but 0 and 1")
            category, box = _category(entry.findtext("name", "").strip()), _edges(corners)
        except _Wrong as error:
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
        text = f"{path} is {'truncated' if cut else 'not a readable image'} ({_one_line(error)})"
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
            f"{thing.where}: box {_pixels(thing.box)} is {seen}; correct it",
            picture.name,
            "boxes are outside their image; correct them",
            thing.where,
        )
        for thing in things
        if thing.box[2] > width or thing.box[3] > height
    ]


class _Wrong(Exception):
    """What is wrong with a line or an object, and the same of many; never leaves this file."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


def _category(name: str) -> int:
    if name in CLASSES:
        return CLASSES.index(name)
    meant = meant_class(name)
    hint = f"; VOC calls it {meant}" if meant else ""
    raise _Wrong(f"{name!r} is none of VOC's 20 classes{hint}", f"objects are of no class of VOC, {name!r}{hint}")


def meant_class(name: str) -> str:
    """The class of VOC that another name means: `tv monitor`, `motorcycle`, `Airplane`; empty where none is known."""
    plain = re.sub(r"[\W_]", "", name).lower()
    return SYNONYMS.get(plain) or (plain if plain in CLASSES else "")


def _meant(fields: list[str]) -> str:
    """`; 'tv monitor' is tvmonitor` for a line of too many fields where a class in two words is why; else empty."""
    words = " ".join(fields[1 : len(fields) - 4 - ATTRIBUTES])
    meant = meant_class(words) if len(fields) > 6 + ATTRIBUTES else ""
    return f"; {words!r} is {meant}" if meant else ""


def _edges(corners: list[str]) -> tuple[float, float, float, float]:
    """Continuous edges of a box given by its first and last pixels, counted from 1."""
    try:
        x1, y1, x2, y2 = (float(corner) for corner in corners)
        if not all(map(math.isfinite, (x1, y1, x2, y2))):
            raise ValueError
    except ValueError as error:
        raise _Wrong(f"box {' '.join(corners)!r} is not four numbers", "boxes are not four numbers") from error
    if not (1 <= x1 <= x2 and 1 <= y1 <= y2):
        raise _Wrong(f"box {' '.join(corners)} is empty or starts below 1", "boxes are empty or start below 1")
    return x1 - 1, y1 - 1, x2, y2


def _pixels(box: tuple[float, float, float, float]) -> str:
    """A box as the files say it."""
    return f"{box[0] + 1:g} {box[1] + 1:g} {box[2]:g} {box[3]:g}"


def _text(path: Path, problems: list[Problem]) -> str:
    try:
        text = read_text(path)
        if not text.strip():
            problems.append(Problem(f"{path} is empty; {COPY}"))
        return text
    except UserError as error:
        problems.append(Problem(str(error)))
    except FileNotFoundError:
        problems.append(Problem(f"{path} is missing; {COPY}"))
    except OSError as error:
        problems.append(Problem(f"{path} cannot be read ({error.strerror}); {COPY}"))
    return ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _first(folders: list[Path], inside: str) -> Path:
    for folder in folders:
        if (folder / inside).exists():
            return folder
    looked = " nor ".join(str(folder / inside) for folder in folders)
    raise UserError(f"voc2008: no {looked}; give --data-root the folder that holds VOCdevkit and attribute_data")


def digest_of(things: list[Thing]) -> str:
    """A short hash of an image's annotations."""
    seen = hashlib.sha256()
    for thing in things:
        row = b"" if thing.attributes is None else thing.attributes.tobytes()
        seen.update(repr((thing.category, thing.box, thing.difficult, row)).encode())
    return seen.hexdigest()[:32]
