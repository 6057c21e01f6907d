"""Object proposals by selective search (Uijlings et al. 2013), from pixels alone, kept in one small file per image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtlbench.errors import UserError
from mtlbench.system.images import open_image
from mtlbench.system.parallel import make_missing
from mtlbench.text import one_line

SMALLEST = 4  # pixels of the scaled image: narrower or lower boxes are dropped
NEAR_DUPLICATE = 0.8  # IoU above which a box goes behind all others


def digest(content: bytes) -> str:
    """The name of an image file's proposals: a hash of its bytes."""
    return hashlib.sha256(content).hexdigest()[:32]


def decode(content: bytes) -> np.ndarray:
    """An image file's pixels as `H W 3` uint8 RGB. Raises OSError where it is not an image."""
    return np.array(open_image(content).convert("RGB"))


def propose(image: np.ndarray, size: int, seed: int) -> np.ndarray:
    """All proposals of an RGB image `H W 3` as `P 4` float32 x1 y1 x2 y2, diverse ones first.

    The fast strategy runs on the image scaled down to longest side `size`. Its boxes are a function of the pixels, but
    OpenCV orders them with C rand(), so that the order is thrown away. Ours: boxes in an order drawn with `seed`;
    those that nearly repeat an earlier one come last.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, size / max(height, width))
    small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image[:, :, ::-1], (small_width, small_height), interpolation=cv2.INTER_AREA)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(small)
    search.switchToSelectiveSearchFast()
    found = np.asarray(search.process(), np.int64).reshape(-1, 4)
    found = np.unique(found, axis=0)
    found = found[(found[:, 2] >= SMALLEST) & (found[:, 3] >= SMALLEST)]
    if not len(found):  # an image of one colour
        found = np.array([[0, 0, small_width, small_height]])
    boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    boxes = diverse_first(boxes[np.random.default_rng(seed).permutation(len(boxes))])
    scaled: np.ndarray = (boxes * np.tile([width / small_width, height / small_height], 2)).astype(np.float32)
    return scaled


def diverse_first(boxes: np.ndarray) -> np.ndarray:
    """The boxes `P 4` reordered: one that overlaps an earlier one by more than NEAR_DUPLICATE moves behind the rest."""
    repeats = np.zeros(len(boxes), bool)
    for index in range(len(boxes)):
        if not repeats[index]:
            repeats[index + 1 :] |= overlap(boxes[index : index + 1], boxes[index + 1 :])[0] > NEAR_DUPLICATE
    return np.concatenate([boxes[~repeats], boxes[repeats]])


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of each box in `N 4` with each in `M 4`: `N M`, continuous edges."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    inter = np.clip(np.minimum(first[:, None, 2:], second[None, :, 2:]) - corner, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    iou: np.ndarray = inter / (areas[0][:, None] + areas[1][None, :] - inter)
    return iou


class Work(NamedTuple):
    """An image file, the digest that it had, and the longest side that it is searched at."""

    path: Path
    digest: str
    size: int


def make_proposals(images: Mapping[str, Path], folder: Path, size: int, say: Callable[[str], None]) -> None:
    """Make the proposals of these image files (by digest) that `folder` lacks, one process per core.

    Safe under concurrent calls and after a kill, which loses only the images under way. Raises UserError where a file
    changed meanwhile and where the cache cannot be written.
    """
    todo = {_file(key): Work(path, key, size) for key, path in images.items()}
    make_missing(todo, folder, _make, "selective search", say)


def load(folder: Path, key: str) -> np.ndarray:
    """The stored proposals `P 4` of the image with this digest. Raises UserError where the file is damaged."""
    path = folder / _file(key)
    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
        if found.ndim != 2 or found.shape[1] != 4 or found.dtype != np.float32:
            raise ValueError(f"{found.dtype} {found.shape}")
    except (OSError, ValueError, EOFError) as error:
        why = one_line(error)
        raise UserError(f"{path} is damaged ({why}); delete it and run the same command again") from error
    return found


class Recall(NamedTuple):
    """How many of `objects` the proposals hit, and how many proposals an image had on average."""

    hit: int
    objects: int
    boxes: float

    @property
    def share(self) -> float:
        """From 0 to 1; NaN without objects."""
        return self.hit / self.objects if self.objects else float("nan")


def measure_recall(pairs: Iterable[tuple[np.ndarray, np.ndarray]], iou: float = 0.5) -> Recall:
    """Of images as (annotated boxes `N 4`, proposals `P 4`): an object is hit by any proposal at this IoU or more."""
    hit = objects = boxes = images = 0
    for annotated, proposals in pairs:
        images, boxes, objects = images + 1, boxes + len(proposals), objects + len(annotated)
        if len(annotated) and len(proposals):
            best = overlap(annotated.astype(np.float64), proposals.astype(np.float64)).max(axis=1)
            hit += int((best >= iou).sum())
    return Recall(hit, objects, boxes / max(1, images))


def _file(key: str) -> str:
    return f"{key}.npy"


def _make(work: Work, target: Path) -> None:
    content = work.path.read_bytes()
    if digest(content) != work.digest:
        raise UserError(f"{work.path} was changed while it was being prepared; run the same command again")
    with open(target, "wb") as file:
        np.save(file, propose(decode(content), work.size, seed=int(work.digest, 16)), allow_pickle=False)
