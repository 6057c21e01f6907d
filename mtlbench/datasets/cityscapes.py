"""Cityscapes (Cordts et al. 2016) from its official files: 19 classes and the disparity of its two cameras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from mtlbench.datasets._cityscapes_classes import CLASSES, CLASSES_BY_ID, SKY
from mtlbench.datasets._dense_files import IGNORED, REPLACE, Wrong, read_pixels
from mtlbench.datasets._dense_reader import DenseReader, Frame
from mtlbench.datasets._problems import Problem
from mtlbench.errors import UserError

FOLDERS = {"train": "train", "test": "val"}  # {subset: theirs}: their test has no public labels
IMAGES, LABELS, DISPARITIES = "leftImg8bit", "gtFine", "disparity"
FULL = (1024, 2048)  # pixels
IDS = 34  # label numbers there are, from 0
TO_CLASS = np.full(256, IGNORED, np.uint8)
TO_CLASS[list(CLASSES_BY_ID)] = range(len(CLASSES))


class Cityscapes(DenseReader):
    """`leftImg8bit`, `gtFine` (`_labelIds.png`), `disparity` of train and val, for the tasks `semseg` and `disparity`.

    Disparity is (p - 1) / 256 pixels of the full width for p > 0, at any size; p = 0 is invalid, and so is the sky
    (ours: some have 0 there). Their val is our test, since their test has no labels; `val` is carved out of train,
    about `val_fraction` of its images (ours; 0 trains on all), in blocks of ten neighbours. Images are kept with a
    height of `height` pixels (averaged; labels take the nearest pixel), 512 as Lin et al. 2024 (MTMamba); 14 GB, and a
    quarter of it at 256. `broken` says what becomes of images with missing or broken files: `refuse` stops, `leave-out`
    goes on without them. Raises UserError for missing folders and wrong options.
    """

    name = "cityscapes"
    published = {"train": 2975, "test": 500}
    version = 1
    classes: Mapping[str, tuple[str, ...]] = {"semseg": CLASSES, "disparity": ()}

    def __init__(
        self,
        root: str | Path | None = None,
        val_fraction: float = 0.1,
        height: int = 512,
        broken: str = "refuse",
    ) -> None:
        super().__init__(root, val_fraction, broken, f"{IMAGES}, {LABELS} and {DISPARITIES}")
        if not 16 <= height <= FULL[0]:
            raise UserError(f"cityscapes: height is {height}; give 16 to {FULL[0]} pixels")
        for folder in (IMAGES, LABELS, DISPARITIES):
            if not (self.root / folder).is_dir():
                raise UserError(f"cityscapes: no {self.root / folder}; unpack all three archives into one folder")
        self.height = height
        self.options = (height,)

    def find(self) -> tuple[list[Frame], list[Problem]]:
        """The images of all cities, sorted."""
        frames, problems = list[Frame](), list[Problem]()
        for subset, folder in FOLDERS.items():
            found = sorted((self.root / IMAGES / folder).glob(f"*/*_{IMAGES}.png"))
            if not found:
                text = f"{self.root / IMAGES / folder} has no folder of a city with images; unpack the archive there"
                problems.append(Problem(text))
            for path in found:
                stem, city = path.name.removesuffix(f"_{IMAGES}.png"), path.parent.name
                paths = {
                    "image": path,
                    "semseg": self.root / LABELS / folder / city / f"{stem}_{LABELS}_labelIds.png",
                    "disparity": self.root / DISPARITIES / folder / city / f"{stem}_{DISPARITIES}.png",
                }
                frames.append(Frame(subset, stem, paths))
        return frames, problems

    def read(self, frame: Frame) -> dict[str, np.ndarray]:
        """`image` and both labels, small. Raises Wrong."""
        image = read_pixels(frame.paths["image"], "RGB")
        ids, disparity = (read_pixels(frame.paths[task]) for task in self.classes)
        for task, pixels in (("semseg", ids), ("disparity", disparity)):
            if pixels.shape != image.shape[:2]:
                raise Wrong(frame.paths[task], f"has the shape {pixels.shape}, its image {image.shape[:2]}; {REPLACE}")
        if ids.max() >= IDS:
            kind = "label maps are no maps of label numbers (_labelIds.png)"
            raise Wrong(frame.paths["semseg"], f"has the label {ids.max()}, the last is {IDS - 1}; {REPLACE}", kind)
        if disparity.max() < IDS:
            kind = "disparities have no 16 bits"
            raise Wrong(
                frame.paths["disparity"], f"has no number above {disparity.max()}: not 16 bits; {REPLACE}", kind
            )
        pixels = np.where((disparity > 0) & (ids != SKY), (disparity - 1.0) / 256, 0)
        height, width = self.height, round(self.height * image.shape[1] / image.shape[0])
        rows, columns = (
            ((np.arange(small) + 0.5) * full / small).astype(np.intp)
            for small, full in zip((height, width), image.shape[:2], strict=True)
        )
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return {
            "image": np.array(small),
            "semseg": TO_CLASS[ids][rows[:, None], columns],
            "disparity": pixels[rows[:, None], columns].astype(np.float32),
        }
