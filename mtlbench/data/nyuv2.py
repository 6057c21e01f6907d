"""NYU Depth v2 with 40 classes and surface normals, read from folders of images."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from mtlbench.errors import UserError
from mtlbench.plugins import Sample

CLASSES = (  # Gupta et al. 2013, spelt as in classMapping40.mat
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat",
    "clothes", "ceiling", "books", "refridgerator", "television", "paper", "towel", "shower curtain", "box",
    "whiteboard", "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag",
    "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
FLOOR = CLASSES.index("floor")
IGNORED = 255
FOLDERS = {"image": (".jpg", ".png"), "seg40": (".png",), "normal": (".png",)}
FRAMES = 1449  # of the labelled data set

AXIS = {"left": (0, 1), "right": (0, -1), "up": (1, 1), "down": (1, -1), "towards": (2, 1), "in": (2, -1)}
FOCAL = 518.86 / 640  # focal length over image width, from the toolbox's camera_params.m
SHORTEST = 0.5  # length of a decoded vector below which it is no normal ((127, 127, 127) marks invalid pixels)
CHECKED_FRAMES, CHECKED_STEP = 12, 4  # the first frames; every fourth row and column
ENOUGH_FLOOR = 100  # such pixels from which the floor's direction counts
FACING, CLEARLY = 0.9, 0.02  # share of normals that must face the camera; the lead of another convention that matters


class Nyuv2:
    """NYU-v2 for the tasks `semseg` and `normals` (form `fcn`), from `{image,seg40,normal}/{train,test}/NNNNN.*`.

    train.txt and test.txt list the frames. `val` is carved out of train, about `val_fraction` of its frames (ours; 0
    trains on all): whole runs of consecutive official train frames, lowest hashes first, since neighbours show one
    room. `axes` says what red, green and blue of the normal files mean, three of left/right, up/down and towards/in
    (the camera, the scene); samples have x left, y up, z towards the camera. Known sources: `left-up-towards` (most),
    `right-in-up` (multi-task-refinenet). Raises UserError for missing or wrong files and options.
    """

    version = 1
    tasks = ("semseg", "normals")

    def __init__(
        self, root: str | Path | None = None, val_fraction: float = 0.1, axes: str = "left-up-towards"
    ) -> None:
        if not 0 <= val_fraction < 1:
            raise UserError(f"nyuv2: val_fraction is {val_fraction}; give a number from 0 to below 1")
        if axes not in conventions():
            raise UserError(
                f"nyuv2: no axes {axes!r}; say what red, green and blue point to, one each of "
                "left or right, up or down, towards or in, such as left-up-towards or right-in-up"
            )
        if root is None:
            raise UserError("nyuv2 needs its files: --data-root DIR, with image, seg40, normal and train.txt in DIR")
        self.val_fraction, self.axes = val_fraction, axes
        self._root = Path(root).expanduser().resolve()
        for name in ("train.txt", "test.txt", "image", "seg40"):
            if not (self._root / name).exists():
                raise UserError(f"nyuv2: no {self._root / name}; give --data-root the folder that holds it")
        if not (self._root / "normal").is_dir():
            raise UserError(
                f"nyuv2: no normals, looked for {self._root / 'normal'}/{{train,test}}/NNNNN.png; "
                "give --data-root a folder that has them"
            )

    # ------------------------------------------------------------------------------------------------ contract
    def prepare(self, say: Callable[[str], None]) -> None:
        """Check the lists, that every file is there, and that `axes` is what the normals show."""
        official, lists = self._official(), {name: self._listed(name) for name in ("train", "test")}
        for name, frames in lists.items():
            strange = sorted(set(frames) - official[name]) if official else []
            if strange:
                where = self._root / f"{name}.txt"
                raise UserError(f"{where}: frame {strange[0]:05d} is not an official {name} frame; delete its line")
            for frame in frames:
                for folder in FOLDERS:
                    self._path(folder, name, frame)
        if both := set(lists["train"]) & set(lists["test"]):
            raise UserError(f"nyuv2: frame {min(both):05d} is in both train.txt and test.txt; delete one line")
        self._check_axes([("train", frame) for frame in lists["train"][:CHECKED_FRAMES]])

    def fingerprint(self) -> str:
        """Hash of options, subsets, file names and sizes."""
        seen = hashlib.sha256(repr((self.version, self.val_fraction, self.axes, self.categories("semseg"))).encode())
        for subset, frames in self._frames.items():
            for official, frame in frames:
                paths = [self._path(folder, official, frame) for folder in FOLDERS]
                seen.update(repr((subset, frame, [(path.name, path.stat().st_size) for path in paths])).encode())
        return seen.hexdigest()[:16]

    def subset(self, name: str) -> Nyuv2Subset:
        """`train`, `val` or `test`."""
        return Nyuv2Subset(self, self._frames[name])

    def categories(self, task: str) -> tuple[str, ...]:
        """The 40 classes (from classMapping40.mat where it is present); none for `normals`."""
        return self._class_names if task == "semseg" else ()

    def counts(self, task: str) -> tuple[int, ...]:
        """Labelled pixels of each class in `train`; none for `normals`."""
        return self._pixels if task == "semseg" else ()

    # ------------------------------------------------------------------------------------------------ samples
    def sample(self, official: str, frame: int) -> Sample:
        """Frame `frame` of the official subset `train` or `test` at its own size."""
        image = _read(self._path("image", official, frame), "RGB")
        labels = {"semseg": self._classes(official, frame), "normals": self._normals(official, frame, self.axes)}
        for task, label in labels.items():
            if label.shape[:2] != image.shape[:2]:
                path = self._path("image", official, frame)
                raise UserError(f"{path}: {image.shape[:2]} pixels, {task} {label.shape[:2]}; take files of one size")
        return Sample(image=image, labels=labels)

    def _classes(self, official: str, frame: int) -> np.ndarray:
        """`H W` uint8, 0..39, 255 ignored; files have 1..40, 0 unlabelled."""
        path = self._path("seg40", official, frame)
        stored = _read(path, None)
        if stored.ndim != 2 or stored.max() > len(CLASSES):
            raise UserError(f"{path}: not one channel of 0 (unlabelled) and 1..40; take the 40-class labels")
        return (stored.astype(np.uint8) - np.uint8(1)).astype(np.uint8)  # 0 wraps round to 255

    def _normals(self, official: str, frame: int, axes: str) -> np.ndarray:
        """`H W 3` float32, unit length or zero where invalid; x left, y up, z towards the camera."""
        vectors = (_read(self._path("normal", official, frame), "RGB").astype(np.float32) - 127.5) / 127.5
        length = np.linalg.norm(vectors, axis=2, keepdims=True)
        valid = length > SHORTEST
        return turned(np.where(valid, vectors / np.where(valid, length, 1), 0).astype(np.float32), axes)

    def _check_axes(self, frames: list[tuple[str, int]]) -> None:
        """Raise UserError where these frames show another convention than `axes`.

        A surface that is seen faces the camera along its own ray, which also tells left from right; floors point up.
        """
        facing, floors = [], []
        for official, frame in frames:
            stored, classes = self._normals(official, frame, "left-up-towards"), self._classes(official, frame)
            stored, classes = stored[::CHECKED_STEP, ::CHECKED_STEP], classes[::CHECKED_STEP, ::CHECKED_STEP]
            valid = stored.any(axis=2)
            if valid.any():
                facing.append((stored[valid], view_rays(*valid.shape)[valid]))
                floors.append(stored[valid & (classes == FLOOR)])
        if not facing:
            return
        rays = np.concatenate([pair[1] for pair in facing])
        vectors = np.concatenate([pair[0] for pair in facing])
        floor = np.concatenate(floors)
        scores = {}
        for axes in conventions():
            scores[axes] = float(((turned(vectors, axes) * rays).sum(axis=1) < 0).mean())
            if len(floor) >= ENOUGH_FLOOR and turned(floor, axes)[:, 1].mean() < 0.5:
                scores[axes] = 0.0
        best = max(scores, key=lambda axes: scores[axes])
        if scores[best] < FACING:
            raise UserError(
                f"nyuv2: under no order of axes do the normals in {self._root / 'normal'} face the camera and floors "
                "point up; store them as v = 127.5 + 127.5 n"
            )
        if scores[self.axes] < max(FACING, scores[best] - CLEARLY):
            raise UserError(
                f"nyuv2: the normals are not {self.axes} ({scores[self.axes]:.0%} face the camera with floors up, "
                f"{scores[best]:.0%} under another reading); try the option axes={best}"
            )

    # ------------------------------------------------------------------------------------------------ files
    @cached_property
    def _frames(self) -> dict[str, list[tuple[str, int]]]:
        """(official subset, frame) of each subset, in the order of the lists."""
        train = self._listed("train")
        val = carve(train, self._official().get("train", set(train)), self.val_fraction)
        return {
            "train": [("train", frame) for frame in train if frame not in val],
            "val": [("train", frame) for frame in train if frame in val],
            "test": [("test", frame) for frame in self._listed("test")],
        }

    @cached_property
    def _pixels(self) -> tuple[int, ...]:
        total = np.zeros(IGNORED + 1, np.int64)
        for official, frame in self._frames["train"]:
            total += np.bincount(self._classes(official, frame).ravel(), minlength=IGNORED + 1)
        return tuple(int(count) for count in total[: len(CLASSES)])

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        path = self._root / "classMapping40.mat"
        if not path.exists():
            return CLASSES
        names = tuple(str(entry.item()) for entry in _load_mat(path, "className"))
        if len(names) != len(CLASSES):
            raise UserError(f"{path}: {len(names)} class names, must be {len(CLASSES)}; take the original file")
        return names

    def _listed(self, name: str) -> list[int]:
        path = self._root / f"{name}.txt"
        frames = []
        for number, line in enumerate(path.read_text().split("\n"), start=1):
            if line.strip():
                if not line.strip().isdecimal() or not 1 <= int(line) <= FRAMES:
                    raise UserError(f"{path}:{number}: {line.strip()!r} is no frame 00001 to 01449; correct the line")
                frames.append(int(line))
        return list(dict.fromkeys(frames))

    def _official(self) -> dict[str, set[int]]:
        """The official train and test frames from splits.mat; empty where that is missing."""
        path = self._root / "splits.mat"
        if not path.exists():
            return {}
        return {name: {int(frame) for frame in _load_mat(path, f"{name}Ndxs")} for name in ("train", "test")}

    def _path(self, folder: str, official: str, frame: int) -> Path:
        """Where a file is. Raises UserError where it is not."""
        paths = [self._root / folder / official / f"{frame:05d}{ending}" for ending in FOLDERS[folder]]
        for path in paths:
            if path.exists():
                return path
        raise UserError(f"{paths[0]} is listed in {official}.txt but missing; copy it there or delete its line")


class Nyuv2Subset:
    """The samples of one subset, decoded on every access."""

    def __init__(self, data: Nyuv2, frames: list[tuple[str, int]]) -> None:
        self._data, self._frames = data, frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Sample:
        return self._data.sample(*self._frames[index])


# ---------------------------------------------------------------------------------------------------- geometry
def conventions() -> list[str]:
    """All 48 meanings that three channels can have, such as `left-up-towards`."""
    pairs = (("left", "right"), ("up", "down"), ("towards", "in"))
    return ["-".join(words) for order in itertools.permutations(pairs) for words in itertools.product(*order)]


def turned(vectors: np.ndarray, axes: str) -> np.ndarray:
    """Vectors `... 3` in the convention `axes`, brought to x left, y up, z towards the camera."""
    result = np.empty_like(vectors)
    for channel, word in enumerate(axes.split("-")):
        axis, sign = AXIS[word]
        result[..., axis] = sign * vectors[..., channel]
    return result


def view_rays(height: int, width: int) -> np.ndarray:
    """Directions `H W 3` in which NYU's camera looks through the pixels (x left, y up, z towards the camera)."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([width / 2 - columns, height / 2 - rows, np.full_like(rows, -FOCAL * width)], axis=2)


def carve(train: list[int], official: set[int], fraction: float) -> set[int]:
    """The train frames that become val: runs of consecutive `official` frames, as many as fit into the fraction."""
    runs: dict[int, list[int]] = {}
    for frame in sorted(train):
        first = frame
        while first - 1 in official:
            first -= 1
        runs.setdefault(first, []).append(frame)
    wanted, val = round(fraction * len(train)), set[int]()
    for first in sorted(runs, key=lambda first: hashlib.sha256(f"{first:05d}".encode()).digest()):
        if len(val) + len(runs[first]) <= wanted:
            val.update(runs[first])
    return val


# ---------------------------------------------------------------------------------------------------- formats
def _read(path: Path, mode: str | None) -> np.ndarray:
    """The pixels of an image file, in the given PIL mode or as stored. Raises UserError where it is not an image."""
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode) if mode else image)
    except OSError as error:
        raise UserError(f"{path} is not a readable image; replace it by the original file") from error


def _load_mat(path: Path, name: str) -> np.ndarray:
    """A variable of a MATLAB file, flattened. Raises UserError where it is not there."""
    try:
        return scipy.io.loadmat(path, variable_names=[name])[name].ravel()
    except (KeyError, ValueError, OSError, NotImplementedError) as error:
        raise UserError(f"{path} has no readable {name}; take the original file") from error
