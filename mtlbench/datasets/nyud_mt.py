"""NYUD-MT: NYU-v2 with 40 classes, in the archives of Vandenhende et al. 2021 and of those who changed it to .png."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mtlbench.datasets._dense_files import (
    as_amounts,
    as_classes,
    as_image,
    as_normals,
    from_bytes,
    read_array,
    read_list,
    read_pixels,
)
from mtlbench.datasets._dense_reader import DenseReader, Frame
from mtlbench.datasets._nyu_classes import CLASSES
from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError

LISTS = {"train": "train", "test": "val"}  # {subset: their list}: what they call val everyone tests on
FOLDERS = {  # {what: folder and endings, the first there is counts}
    "image": ("images", (".jpg", ".png")),
    "semseg": ("segmentation", (".png",)),
    "normals": ("normals", (".npy", ".png")),
    "depth": ("depth", (".npy",)),
}
FURTHEST = 100.0  # metres


class NyudMt(DenseReader):
    """`images`, `segmentation`, `normals`, `depth` with a file for each name in `gt_sets/train.txt` and `val.txt`, for
    the tasks `semseg`, `normals` and `depth`; edges are not read.

    Both archives: images as .jpg and normals as .npy, or both as .png (2 v / 255 - 1). Classes are 1 to 40, 0 is void;
    depth is in metres, normals have length 1, 0 and 0 0 0 (in bytes: nearly) are invalid. Their val, on which the field
    tests, is our test; `val` is carved out of train, about `val_fraction` of its images (ours; 0 trains on all), in
    blocks of ten neighbours of the list. `broken` says what becomes of images with missing or broken files: `refuse`
    stops, `leave-out` goes on without them. Raises UserError for missing folders and wrong options.
    """

    name = "nyud_mt"
    version = 1
    published = {"train": 795, "test": 654}
    classes: Mapping[str, tuple[str, ...]] = {"semseg": CLASSES, "normals": (), "depth": ()}

    def __init__(self, root: str | Path | None = None, val_fraction: float = 0.1, broken: str = "refuse") -> None:
        super().__init__(root, val_fraction, broken, "gt_sets, images, segmentation, normals and depth")
        if not (self.root / "gt_sets").is_dir():
            raise UserError(f"nyud_mt: no {self.root / 'gt_sets'}; give --data-root the folder NYUD_MT that holds it")

    def find(self) -> tuple[list[Frame], list[Problem]]:
        """The images of both lists in their order."""
        frames, problems = list[Frame](), list[Problem]()
        endings = {what: self._ending(what) for what in FOLDERS}
        for subset, name in LISTS.items():
            listed, wrong = read_list(self.root / "gt_sets" / f"{name}.txt")
            problems += wrong
            for one in listed:
                paths = {what: self.root / FOLDERS[what][0] / f"{one}{ending}" for what, ending in endings.items()}
                frames.append(Frame(subset, one, paths))
        return frames, problems

    def _ending(self, what: str) -> str:
        """That of the files in a folder, the usual one where there are none."""
        folder, endings = FOLDERS[what]
        return next((one for one in endings if any((self.root / folder).glob(f"*{one}"))), endings[0])

    def read(self, frame: Frame) -> dict[str, np.ndarray]:
        """`image` and all labels. Raises Wrong."""
        paths = frame.paths
        normals = paths["normals"]
        of_bytes = normals.suffix == ".png"
        vectors = (
            from_bytes(normals, read_pixels(normals, "RGB")) if of_bytes else as_normals(normals, read_array(normals))
        )
        return {
            "image": as_image(paths["image"], read_pixels(paths["image"], "RGB")),
            "semseg": as_classes(paths["semseg"], read_pixels(paths["semseg"]), len(CLASSES), void=0, first=1),
            "normals": vectors,
            "depth": as_amounts(paths["depth"], read_array(paths["depth"]), FURTHEST, "depth in metres"),
        }
