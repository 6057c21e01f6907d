"""Where NYU-v2's files lie and what is wrong with them: folders of images, or the official labelled .mat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io

from mtlbench.datasets._nyu_normals import find_valid
from mtlbench.datasets._nyu_survey import is_counted_from_zero
from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError
from mtlbench.system.given import find_alike, find_picture, pointer_at, pointer_in, read_text
from mtlbench.system.images import open_image

FRAMES, CLASSES, RAW_CLASSES = 1449, 40, 894  # of the labelled data set; 894 are mapped to 40 (Gupta et al. 2013)
IGNORED = 255
ENDINGS = {"image": (".jpg", ".jpeg", ".png"), "seg40": (".png",), "normal": (".png",), "depth": (".png",)}
LISTS = ("train", "test")
LABELLED, SPLITS, MAPPING, INTRINSICS = (
    "nyu_depth_v2_labeled.mat",
    "splits.mat",
    "classMapping40.mat",
    "intrinsics.txt",
)
FOCAL, CENTRE = (518.858, 519.470), (325.582, 253.736)  # the toolbox's camera_params.m; centre counted from 1
HEIGHT, WIDTH = 480, 640  # of the images that these are for
# Rows and columns (counted from 0) onto which the depth camera's picture falls: the toolbox's get_projection_mask.m.
# The depth beyond them is made up by its in-painting.
TOP, BOTTOM, LEFT, RIGHT = 44, 471, 40, 601
REPLACE = "replace it by the original file"


class Frame(NamedTuple):
    """An image: the official list that it is in (`train` or `test`) and its number, 1..1449."""

    official: str
    number: int


class Camera(NamedTuple):
    """Focal lengths (x, y) and centre (column, row; 0 = centre of pixel 0), in pixels."""

    focal: tuple[float, float]
    centre: tuple[float, float]


@dataclass
class Content:
    """What the files of a frame hold, a hash of them, and what is wrong with them (then arrays may be missing)."""

    frame: Frame
    problems: list[Problem] = field(default_factory=list)
    image: np.ndarray | None = None  # H W 3 uint8, RGB
    classes: np.ndarray | None = None  # H W uint8, 0..39, 255 ignored
    normal: np.ndarray | None = None  # H W 3 uint8, v = 127.5 + 127.5 n, axes as in the file
    depth: np.ndarray | None = None  # H W float32, metres, 0 where not measured; only where it is read
    largest_label: int = 0  # of a .mat, before the 894 labels become 40
    seen: Any = field(default_factory=hashlib.sha256)  # of all that was read

    def add(self, where: object, what: str, kind: str) -> None:
        """Something is wrong; `kind` says it of many frames, as a plural."""
        name = f"{self.frame.number:05d}"
        self.problems.append(Problem(f"{where}{what}", name, kind, f"{self.frame.official} {name}"))

    def check(self, where: str) -> None:
        """Compare sizes and look for maps without a single valid pixel."""
        parts = {"image": self.image, "classes": self.classes, "normals": self.normal, "depth": self.depth}
        sizes = {name: part.shape[:2] for name, part in parts.items() if part is not None}
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{name} {width} x {height}" for name, (height, width) in sizes.items())
            self.add(where, f": sizes differ: {said}; take files of one size", "frames have files of several sizes")
        if self.normal is not None and not find_valid(self.normal).any():
            self.add(where, f": not one valid normal; {REPLACE}", f"frames have not one valid normal; {REPLACE}")
        if self.depth is not None and not (self.depth > 0).any():
            self.add(where, f": no depth is measured; {REPLACE}", f"frames have no measured depth; {REPLACE}")


@dataclass(frozen=True)
class Folders:
    """`{image,seg40,normal or depth}/{train,test}/NNNNN.*`, listed in train.txt and test.txt."""

    root: Path
    derived: bool  # normals from depth
    with_depth: bool = field(default=False, repr=False)  # it is read as labels; no part of the stamp without it

    @property
    def reads_depth(self) -> bool:
        """Whether frames come with their depth."""
        return self.derived or self.with_depth

    def lists(self) -> tuple[dict[str, list[int]], list[Problem]]:
        """Frames of each list as they are there, and what is wrong with the lines."""
        found: dict[str, list[int]] = {}
        problems: list[Problem] = []
        for name in LISTS:
            path, numbers = self.root / f"{name}.txt", list[int]()
            try:
                lines = _text(path).split("\n")
            except UserError as error:
                lines, problems = [], [*problems, Problem(str(error))]
            for line, text in enumerate(lines, start=1):
                if not text.strip():
                    continue
                if text.strip().isdecimal() and 1 <= int(text) <= FRAMES:
                    numbers.append(int(text))
                else:
                    what = f"no frame 00001 to 0{FRAMES}"
                    whole = f"{path}:{line}: {text.strip()!r} is {what}; correct the line"
                    kind = f"lines of {path.name} name {what}; correct them"
                    problems.append(Problem(whole, text.strip(), kind, repr(text.strip())))
            found[name] = list(dict.fromkeys(numbers))
        return found, problems

    def problems(self) -> list[Problem]:
        """What is wrong with files that are not a frame's."""
        checks: list[Callable[[], object]] = [partial(read_splits, self.root), partial(class_names, self.root)]
        checks += [partial(read_camera, self.root, HEIGHT, WIDTH)] if self.derived else []
        return _failures(checks)

    def paths(self, frames: Iterable[Frame]) -> list[Path]:
        """All files that the samples come from, whether they are there or not."""
        folders = ["image", "seg40", *(["depth"] * self.reads_depth), *(["normal"] * (not self.derived))]
        own = [self.root / name for name in ("train.txt", "test.txt", SPLITS, MAPPING, INTRINSICS)]
        return own + [self._file(folder, frame) for frame in frames for folder in folders]

    def content(self, frame: Frame) -> Content:
        """Read a frame."""
        found = Content(frame)
        found.image = self._pixels(found, "image", "RGB")
        labels = self._pixels(found, "seg40", None)
        if labels is not None:
            if labels.ndim != 2 or labels.min() < 0 or labels.max() > CLASSES:
                what = f"not one channel of 0 (unlabelled) and 1..{CLASSES}; take the {CLASSES}-class labels"
                if labels.ndim == 2 and labels.max() == IGNORED:
                    what += ", and where theirs are 0..39 with void 255, add 1 to make void 0"
                found.add(self._file("seg40", frame), f": {what}", f"label maps are {what}")
            else:
                found.classes = labels.astype(np.uint8) - np.uint8(1)  # 0 wraps round to 255
        if self.reads_depth:
            stored, what = self._pixels(found, "depth", None), f"not one channel of millimetres in 16 bits; {REPLACE}"
            if stored is not None and (stored.ndim != 2 or stored.dtype.itemsize == 1):
                found.add(self._file("depth", frame), f": {what}", f"depth maps are {what}")
            elif stored is not None:
                found.depth = cut_to_camera(stored.astype(np.float32) / np.float32(1000))
        if not self.derived:
            found.normal = self._pixels(found, "normal", "RGB")
        found.check(str(self._file("depth" if self.derived else "normal", frame)))
        return found

    def depth(self, frame: Frame) -> np.ndarray:
        """The depth alone, `H W` float32 in metres, of a frame whose `content` has it."""
        with open_image(self._file("depth", frame).read_bytes()) as image:
            return cut_to_camera(np.array(image).astype(np.float32) / np.float32(1000))

    def _file(self, folder: str, frame: Frame) -> Path:
        return find_picture(self.root / folder / frame.official, f"{frame.number:05d}", ENDINGS[folder])

    def _pixels(self, found: Content, folder: str, mode: str | None) -> np.ndarray | None:
        missing = f"listed in {found.frame.official}.txt but missing from {folder}; copy {{}} there or delete {{}}"
        return _read_pixels(found, self._file(folder, found.frame), mode, missing)


@dataclass(frozen=True)
class Official:
    """`nyu_depth_v2_labeled.mat`, splits.mat and classMapping40.mat as they are published.

    Normals come from `normal/[{train,test}/]NNNNN.png` where there is such a folder, else from the depth.
    """

    root: Path
    derived: bool
    with_depth: bool = field(default=False, repr=False)

    @property
    def reads_depth(self) -> bool:
        """Whether frames come with their depth."""
        return self.derived or self.with_depth

    def lists(self) -> tuple[dict[str, list[int]], list[Problem]]:
        """Frames of the official lists, and those that the file has not got."""
        if self.problems():
            return {name: [] for name in LISTS}, []
        found, count, where = read_splits(self.root), self._shapes()["images"][0], self.root / SPLITS
        lost = [(name, number) for name in LISTS for number in sorted(found[name]) if not 1 <= number <= count]
        what = f"not among the {count} of {LABELLED}; take both originals"
        problems = [
            Problem(
                f"{where}: {name} frame {n:05d} is {what}", f"{n:05d}", f"frames of {SPLITS} are {what}", f"{n:05d}"
            )
            for name, n in lost
        ]
        here = {name: sorted(number for number in found[name] if 1 <= number <= count) for name in LISTS}
        return here, problems

    def problems(self) -> list[Problem]:
        """What is wrong with the whole of a file."""
        checks: list[Callable[[], object]] = [self._shapes]
        checks += [partial(load_mat, self.root / SPLITS, f"{name}Ndxs") for name in LISTS]
        checks += [partial(_read_mapping, self.root), partial(class_names, self.root)]
        checks += [partial(read_camera, self.root, HEIGHT, WIDTH)] if self.derived else []
        return _failures(checks)

    def paths(self, frames: Iterable[Frame]) -> list[Path]:
        """All files that the samples come from, whether they are there or not."""
        own = [self.root / name for name in (LABELLED, SPLITS, MAPPING, INTRINSICS)]
        return own + ([] if self.derived else [self._file(frame) for frame in frames])

    def content(self, frame: Frame) -> Content:
        """Read a frame."""
        found, where = Content(frame), f"{self.root / LABELLED}: frame {frame.number:05d}"
        names = ["images", "labels"] + (["depths"] if self.reads_depth else [])
        try:
            arrays = {name: self._array(name, frame) for name in names}
        except (OSError, RuntimeError, KeyError, ValueError):
            found.add(where, f" cannot be read; {REPLACE}", f"frames of {LABELLED} cannot be read; {REPLACE}")
            return found
        for array in arrays.values():
            found.seen.update(np.ascontiguousarray(array))
        found.image = np.ascontiguousarray(arrays["images"])
        classes = np.concatenate([[0], _read_mapping(self.root)]).astype(np.uint8) - np.uint8(1)  # 0 wraps round to 255
        found.seen.update(classes)
        found.largest_label = int(arrays["labels"].max())
        if found.largest_label >= len(classes):
            what = f"must be 0..{RAW_CLASSES}; {REPLACE}"
            found.add(where, f": label {found.largest_label}, {what}", f"frames have labels that {what}")
        else:
            found.classes = classes[arrays["labels"]]
        if not self.derived:
            missing = f"missing; copy {{}} there, or take {self.root / 'normal'} away for normals from depth"
            found.normal = _read_pixels(found, self._file(frame), "RGB", missing)
        if self.reads_depth and not np.isfinite(arrays["depths"]).all():
            found.add(where, f": depth is NaN or infinite; {REPLACE}", f"frames have NaN or infinite depth; {REPLACE}")
        elif self.reads_depth:
            found.depth = cut_to_camera(arrays["depths"].astype(np.float32))
        found.check(where)
        return found

    def depth(self, frame: Frame) -> np.ndarray:
        """The depth alone, `H W` float32 in metres, of a frame whose `content` has it."""
        return cut_to_camera(self._array("depths", frame).astype(np.float32))

    def _array(self, name: str, frame: Frame) -> np.ndarray:
        """MATLAB's array with its axes in their order: `H W` or `H W 3`."""
        import h5py

        with h5py.File(self.root / LABELLED, "r") as file:
            return np.asarray(file[name][frame.number - 1]).T

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        import h5py

        path, names = self.root / LABELLED, ["images", "labels", "depths"]
        try:
            with h5py.File(path, "r") as file:
                if any(not _is_inside(file, name) for name in names if name in file.keys()):
                    raise UserError(f"{path} takes its arrays from other files; {REPLACE}")
                shapes = {name: tuple(file[name].shape) for name in names if name in file}
        except (OSError, RuntimeError, AttributeError) as error:
            raise UserError(f"{path} is not a readable HDF5 file; {REPLACE}") from error
        for name in names if self.reads_depth else names[:2]:
            if name not in shapes:
                raise UserError(f"{path} has no variable {name}; {REPLACE}")
        count, colours, width, height = (*shapes["images"], 0, 0, 0, 0)[:4]
        want = dict.fromkeys(shapes, (count, width, height)) | {"images": (count, 3, width, height)}
        if shapes != want or colours != 3:
            said = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())
            raise UserError(f"{path}: arrays do not fit each other: {said}; {REPLACE}")
        return shapes

    def _file(self, frame: Frame) -> Path:
        stem, folder = f"{frame.number:05d}", self.root / "normal"
        beside = find_picture(folder / frame.official, stem, ENDINGS["normal"])
        return beside if beside.exists() else find_picture(folder, stem, ENDINGS["normal"])


def read_splits(root: Path) -> dict[str, set[int]]:
    """The official train and test frames from splits.mat; empty where that is missing. Raises UserError."""
    path = root / SPLITS
    if not path.exists():
        return {}
    found = {name: {int(frame) for frame in load_mat(path, f"{name}Ndxs")} for name in LISTS}
    if is_counted_from_zero(found):
        raise UserError(f"{path} counts frames from 0, and they are 1..{FRAMES}; add 1 to trainNdxs and testNdxs")
    return found


def read_camera(root: Path, height: int, width: int) -> Camera:
    """The camera of intrinsics.txt (lines `fx 518.858`, fy, cx, cy; centre counted from 1), where that is missing the
    toolbox's, scaled to the images. Raises UserError."""
    path = root / INTRINSICS
    if not path.exists():
        across, down = width / WIDTH, height / HEIGHT
        centre = ((CENTRE[0] - 0.5) * across - 0.5, (CENTRE[1] - 0.5) * down - 0.5)
        return Camera((FOCAL[0] * across, FOCAL[1] * down), centre)
    words = [line.split() for line in _text(path).split("\n") if line.strip() and not line.startswith("#")]
    try:
        values = {name: float(value) for name, value in words}
        return Camera((values["fx"], values["fy"]), (values["cx"] - 1, values["cy"] - 1))
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: not the four lines `fx NUMBER`, fy, cx, cy; correct or delete it") from error


def load_mat(path: Path, name: str) -> np.ndarray:
    """A variable of a MATLAB file, flattened. Raises UserError where it is not there."""
    if not path.is_file():
        raise UserError(f"{path} is missing; copy it there")
    try:
        found = scipy.io.loadmat(path, variable_names=[name])
    except Exception as error:  # scipy raises whatever it stumbles over in a broken file
        raise UserError(f"{path} is not a readable MATLAB file; {REPLACE}") from error
    if name not in found:
        raise UserError(f"{path} has no variable {name}; {REPLACE}")
    return np.asarray(found[name]).ravel()


def class_names(root: Path) -> tuple[str, ...]:
    """The names of the 40 classes from classMapping40.mat; empty where that is missing. Raises UserError."""
    path = root / MAPPING
    if not path.exists():
        return ()
    names = tuple(str(np.asarray(entry).item()) for entry in load_mat(path, "className"))
    if len(names) != CLASSES:
        raise UserError(f"{path}: {len(names)} class names, must be {CLASSES}; take the original file")
    return names


def cut_to_camera(depth: np.ndarray) -> np.ndarray:
    """The depth `H W`, zero outside the depth camera's picture."""
    height, width = depth.shape
    rows = slice(round(TOP * height / HEIGHT), round(BOTTOM * height / HEIGHT))
    columns = slice(round(LEFT * width / WIDTH), round(RIGHT * width / WIDTH))
    result = np.zeros_like(depth)
    result[rows, columns] = depth[rows, columns]
    return result


def _read_pixels(found: Content, path: Path, mode: str | None, missing: str) -> np.ndarray | None:
    """The pixels of a file, in a PIL mode or as stored; None adds a problem. `missing` has places for `it` and `its
    line`."""
    if not path.exists():
        pointer, others = pointer_at(path), find_alike(path.parent, path.stem)
        there = f" ({' and '.join(others)} there is not taken for it)" if others and not pointer else ""
        what = pointer or missing.format("it", "its line") + there
        found.add(path, f" is {what}", f"files are {pointer or missing.format('them', 'their lines') + there}")
        return None
    try:
        content = path.read_bytes()
        found.seen.update(len(content).to_bytes(8) + content)
        if pointer := pointer_in(content):
            found.add(path, f" is {pointer}", f"files of {path.parent.parent.name} are each {pointer}")
            return None
        with open_image(content) as image:
            return np.array(image.convert(mode) if mode else image)
    except Exception:  # decoders raise whatever they stumble over in a broken file
        what = f"not a readable image; {REPLACE}"
        found.add(path, f" is {what}", f"files of {path.parent.parent.name} are {what}")
        return None


def _is_inside(file: Any, name: str) -> bool:
    """Whether an array of an open HDF5 file lies in it; the format can take it from any other file."""
    import h5py

    return isinstance(file.get(name, getlink=True), h5py.HardLink) and not (
        getattr(file[name], "external", None) or getattr(file[name], "is_virtual", False)
    )


def _read_mapping(root: Path) -> np.ndarray:
    """Class 1..40 of each of the 894 labels."""
    mapping = load_mat(root / MAPPING, "mapClass")
    if len(mapping) != RAW_CLASSES or mapping.min() < 0 or mapping.max() > CLASSES:
        raise UserError(f"{root / MAPPING}: mapClass is not {RAW_CLASSES} of 1..{CLASSES}; take the original file")
    return mapping


def _failures(checks: Iterable[Callable[[], object]]) -> list[Problem]:
    problems = []
    for check in checks:
        try:
            check()
        except UserError as error:
            problems.append(Problem(str(error)))
    return list(dict.fromkeys(problems))


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
