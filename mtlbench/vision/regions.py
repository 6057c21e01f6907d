"""Boxes `x1 y1 x2 y2` with continuous edges: overlap, offsets, sampling for training, suppression for evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch

from mtlbench.contracts import Sample

FOREGROUND_IOU = 0.5  # Fast R-CNN, Section 2.3, as the next two
BACKGROUND_IOU = (0.1, 0.5)  # from, to below
FOREGROUND_FRACTION = 0.25  # of an image's regions, at most
MAX_LOG_SCALE = float(np.log(1000 / 16))  # a decoded side grows at most 62.5 times, so that exp cannot overflow (ours)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union `N M` of the boxes `N 4` and `M 4`; 0 where both are empty.

    >>> iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])).round(2).tolist()
    [[1.0, 0.33, 0.0]]
    """
    return paired_iou(a[:, None], b[None])


def paired_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union `...` of boxes `... 4` and `... 4` that stand at the same place (or broadcast)."""
    ax1, ay1, ax2, ay2 = a[..., 0], a[..., 1], a[..., 2], a[..., 3]
    bx1, by1, bx2, by2 = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    width = np.maximum(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0)
    height = np.maximum(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0)
    shared = width * height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    iou: np.ndarray = shared / np.maximum(union, 1e-9)
    return iou


def encode(regions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Offsets dx dy dw dh `N 4` that turn each region `N 4` into its box `N 4` (Girshick et al. 2014, appendix C)."""
    size = regions[:, 2:] - regions[:, :2]
    goal = boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - regions[:, :2] - regions[:, 2:]) / 2 / size
    return np.concatenate([shift, np.log(goal / size)], axis=1).astype(np.float32)


def decode(regions: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The boxes `N 4` that offsets dx dy dw dh `N 4` make of regions `N 4`; the inverse of `encode`."""
    size = regions[:, 2:] - regions[:, :2]
    centre = (regions[:, :2] + regions[:, 2:]) / 2 + offsets[:, :2] * size
    half = np.exp(np.minimum(offsets[:, 2:], MAX_LOG_SCALE)) * size / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def clip(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes `N 4` cut to an image of that size in pixels."""
    inside: np.ndarray = np.clip(boxes, 0, np.array([width, height, width, height], dtype=boxes.dtype))
    return inside


def match(proposals: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box of `N 4` that each proposal of `P 4` overlaps most, and their IoU: `P` and `P`; -1 and 0 if N = 0."""
    if not len(boxes):
        return np.full(len(proposals), -1), np.zeros(len(proposals), dtype=np.float32)
    overlaps = iou(proposals, boxes)
    best = overlaps.argmax(axis=1)
    return best, overlaps[np.arange(len(best)), best]


def best_in_group(
    boxes: np.ndarray, groups: np.ndarray, truth: np.ndarray, truth_groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`match` of very many boxes `N 4` to the truth `M 4` with the same group number (image and class): index, IoU."""
    order = np.argsort(truth_groups, kind="stable")
    ordered = truth_groups[order]
    start = np.searchsorted(ordered, groups, side="left")
    count = np.searchsorted(ordered, groups, side="right") - start
    best = np.full(len(boxes), -1)
    best_overlap = np.zeros(len(boxes))
    for k in range(int(count.max(initial=0))):
        rows = np.flatnonzero(count > k)
        candidate = order[start[rows] + k]
        overlap = paired_iou(boxes[rows], truth[candidate])
        better = (overlap > best_overlap[rows]) | (best[rows] < 0)
        best[rows[better]], best_overlap[rows[better]] = candidate[better], overlap[better]
    return best, best_overlap


class Candidates(NamedTuple):
    """What an image's training regions are drawn from: its proposals, then its annotated boxes."""

    box: np.ndarray  # N 4 float32
    best: np.ndarray  # N int, the annotated box that overlaps it most, -1 = there is none
    overlap: np.ndarray  # N, its IoU
    is_object: np.ndarray  # N bool, may be foreground


def match_candidates(sample: Sample) -> Candidates:
    """The candidates of an image, matched to its annotated boxes; kept as long as the sample is.

    As in the released Fast R-CNN (`roidb.py`, `pascal_voc.py`): annotated boxes are candidates, too; foreground is an
    IoU of .5 or more. Ours: a region whose best box is difficult is not foreground, nor is it background from IoU .5
    on (the released code trains on difficult objects as on all others).
    """
    found = _candidates.get(sample)
    if found is not None:
        return found
    truth = _boxes(sample.boxes)
    box = np.concatenate([_boxes(sample.proposals), truth])
    best, overlap = match(box, truth)
    is_object = overlap >= FOREGROUND_IOU
    if sample.difficult is not None and len(truth):
        is_object &= ~sample.difficult[best]
    found = _candidates[sample] = Candidates(box, best, overlap, is_object)
    return found


_candidates: WeakKeyDictionary[Sample, Candidates] = WeakKeyDictionary()


def sample_regions(
    sample: Sample, count: int, rng: np.random.Generator, fill: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` regions `n 4` of an image and the index `n` of the object that each shows, -1 = background.

    Fast R-CNN, Section 2.3 and `minibatch.py` of the released code: at most a quarter of the regions, rounded, are
    foreground (first in the list), the others' highest overlap lies in [.1, .5); no candidate is drawn twice; an image
    with too few of either gives fewer regions. With `fill` (ours) regions that overlap less make up the number.
    """
    box, best, overlap, is_object = match_candidates(sample)
    foreground = rng.permutation(np.flatnonzero(is_object))[: round(FOREGROUND_FRACTION * count)]
    wanted = count - len(foreground)
    low, high = BACKGROUND_IOU
    background = rng.permutation(np.flatnonzero((overlap >= low) & (overlap < high)))[:wanted]
    if fill and len(background) < wanted:
        spare = rng.permutation(np.flatnonzero(overlap < low))[: wanted - len(background)]
        background = np.concatenate([background, spare])
    chosen = np.concatenate([foreground, background])
    matched = best[chosen]
    matched[len(foreground) :] = -1
    return box[chosen], matched


def _boxes(boxes: np.ndarray | None) -> np.ndarray:
    return np.zeros((0, 4), dtype=np.float32) if boxes is None else boxes


class Detections(NamedTuple):
    """Boxes that were found in a subset; one row a box."""

    image: np.ndarray  # N int64, index in the subset
    category: np.ndarray  # N int64, without background
    score: np.ndarray  # N float32
    box: np.ndarray  # N 4 float32

    def take(self, rows: np.ndarray) -> Detections:
        """The detections at these rows (indices or bool)."""
        return Detections(*(column[rows] for column in self))


def join(parts: Sequence[Detections]) -> Detections:
    """All detections of several images in one list."""
    if not parts:
        return Detections(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
    return Detections(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def select_strongest(scores: np.ndarray, limit: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the `limit` highest scores in each column of `P C` (Fast R-CNN keeps 100 before suppression).

    Equal scores: the earlier row first.
    """
    rows = np.argsort(-scores, axis=0, kind="stable")[:limit]
    columns = np.broadcast_to(np.arange(scores.shape[1]), rows.shape)
    return rows.T.ravel(), columns.T.ravel()


def per_class_nms(found: Detections, images: int, per_image: int = 40, overlap: float = 0.3) -> Detections:
    """What remains of the `strongest` boxes of all `images` of a subset.

    Per class the `per_image` x `images` highest scores stay, then those that overlap a higher one of their class and
    image by more than `overlap` go (test protocol of the first released Fast R-CNN; no fixed score cut). Ours: equal
    scores go by the earlier row, and the number that stays is exact. Order is kept.

    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], np.float32)
    >>> scores = np.array([0.8, 0.9, 0.1], np.float32)
    >>> per_class_nms(Detections(np.zeros(3, int), np.zeros(3, int), scores, boxes), images=1).box[:, 3].tolist()
    [9.0, 30.0]
    """
    from torchvision.ops import batched_nms  # takes a second or two

    by_score = np.lexsort((-found.score, found.category))
    categories = found.category[by_score]
    rank = np.arange(len(categories)) - np.searchsorted(categories, categories)
    found = found.take(np.sort(by_score[rank < per_image * images]))
    by_image = np.argsort(found.image, kind="stable")
    # float64: `batched_nms` shifts classes apart, which would cost float32 digits
    boxes = torch.from_numpy(found.box[by_image].astype(np.float64))
    scores = torch.from_numpy(found.score[by_image].astype(np.float64))
    classes = torch.from_numpy(found.category[by_image])
    edges = np.searchsorted(found.image[by_image], np.arange(images + 1))
    kept = [
        batched_nms(boxes[start:end], scores[start:end], classes[start:end], overlap).numpy() + start
        for start, end in itertools.pairwise(edges)
    ]
    return found.take(np.sort(by_image[np.concatenate(kept)])) if kept else found
