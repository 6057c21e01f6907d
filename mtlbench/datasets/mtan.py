"""NYUv2 and Cityscapes as Liu, Johns and Davison 2019 (MTAN) preprocessed them: a small .npy file for each map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mtlbench.datasets._cityscapes_classes import CLASSES as STREET
from mtlbench.datasets._cityscapes_classes import KINDS
from mtlbench.datasets._dense_files import as_amounts, as_classes, as_image, as_normals, read_array
from mtlbench.datasets._dense_reader import DenseReader, Frame
from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown

FOLDERS = {"train": "train", "test": "val"}  # {subset: their folder}: what they call val everyone tests on
ROOM = (  # 13 classes of SceneNet (Handa et al. 2016) in their order
    "bed",
    "books",
    "ceiling",
    "chair",
    "floor",
    "furniture",
    "objects",
    "picture",
    "sofa",
    "table",
    "tv",
    "wall",
    "window",
)
LABELS = {"label": KINDS, "label_7": KINDS, "label_19": STREET}  # of Cityscapes: {folder: classes}
FURTHEST = 100.0  # metres
LARGEST = 1.0  # inverse depth
PUBLISHED = {"rooms": {"train": 795, "test": 654}, "streets": {"train": 2975, "test": 500}}


class Mtan(DenseReader):
    """`{train,val}/{image,label,depth,normal}/0.npy` .. of NYUv2 for the tasks `semseg`, `normals` and `depth`, or
    without `normal` and with `label` or `label_7` of Cityscapes for `semseg` and `disparity`.

    Images are 0 to 1 (kept in 8 bits), classes from 0 with -1 for none, depth in metres, or inverse depth, with 0 for
    invalid, normals of length 1 with 0 0 0 for invalid, in the files' axes. Their val, on which the field tests, is
    our test; `val` is carved out of train, about `val_fraction` of its images (ours; 0 trains on all), in blocks of ten
    neighbours. `labels` names the folder of Cityscapes' labels ("" = the first there is of label_7 and label). `broken`
    says what becomes of images with missing or broken files: `refuse` stops, `leave-out` goes on without them. Raises
    UserError for missing or wrong files and options.
    """

    name = "mtan"
    version = 1

    def __init__(
        self,
        root: str | Path | None = None,
        val_fraction: float = 0.1,
        labels: str = "",
        broken: str = "refuse",
    ) -> None:
        super().__init__(root, val_fraction, broken, "the folders train and val with image, label and depth")
        if not (self.root / "train" / "image").is_dir():
            raise UserError(f"mtan: no {self.root / 'train' / 'image'}; give --data-root the folder with train and val")
        if labels and labels not in LABELS:
            raise make_unknown("folder of labels of mtan", labels, LABELS)
        self.rooms = (self.root / "train" / "normal").is_dir()
        there = [name for name in ("label_7", "label") if (self.root / "train" / name).is_dir()]
        self.labels = "label" if self.rooms else labels or next(iter(there), "label")
        if self.rooms and labels not in ("", "label"):
            raise UserError(f"mtan: NYUv2 (it has {self.root / 'train' / 'normal'}) has no {labels}; leave labels out")
        self.published = PUBLISHED["rooms" if self.rooms else "streets"]
        rooms, streets = {"semseg": ROOM, "normals": (), "depth": ()}, {"semseg": LABELS[self.labels], "disparity": ()}
        self.classes = rooms if self.rooms else streets

    def find(self) -> tuple[list[Frame], list[Problem]]:
        """Images are counted from 0; each has a file of that number in every folder."""
        frames, problems = list[Frame](), list[Problem]()
        folders = {"image": "image", "semseg": self.labels, "depth" if self.rooms else "disparity": "depth"}
        folders |= {"normals": "normal"} if self.rooms else {}
        for subset, folder in FOLDERS.items():
            top = self.root / folder
            problems += [
                Problem(f"{top / one} is missing; copy it there")
                for one in folders.values()
                if not (top / one).is_dir()
            ]
            numbers = sorted(int(path.stem) for path in (top / "image").glob("*.npy") if path.stem.isdecimal())
            if not numbers and (top / "image").is_dir():
                problems.append(Problem(f"{top / 'image'} has no file 0.npy; copy the images there"))
            for number in range(numbers[-1] + 1 if numbers else 0):
                paths = {what: top / place / f"{number}.npy" for what, place in folders.items()}
                frames.append(Frame(subset, f"{folder}/{number}", paths))
        return frames, problems

    def read(self, frame: Frame) -> dict[str, np.ndarray]:
        """`image` and all labels. Raises Wrong."""
        found = {what: read_array(path) for what, path in frame.paths.items()}
        arrays = {
            "image": as_image(frame.paths["image"], found["image"]),
            "semseg": as_classes(frame.paths["semseg"], found["semseg"], len(self.classes["semseg"]), void=-1),
        }
        if not self.rooms:
            path = frame.paths["disparity"]
            return {**arrays, "disparity": as_amounts(path, found["disparity"], LARGEST, "inverse depth")}
        arrays["normals"] = as_normals(frame.paths["normals"], found["normals"])
        arrays["depth"] = as_amounts(frame.paths["depth"], found["depth"], FURTHEST, "depth in metres")
        return arrays
