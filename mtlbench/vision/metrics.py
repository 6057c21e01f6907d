"""Metrics as pure functions on counts and arrays; every share is in percent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ANGLE_BINS_PER_DEGREE = 200  # thresholds of `angle_scores` fall on bin edges, medians are exact to 0.005 degrees
ANGLE_THRESHOLDS = (11.25, 22.5, 30.0)  # degrees; Table 5
PERMUTATIONS = 20  # of the scores, for what chance gives (ours)


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Share of labelled pixels with the right class, from counts `truth prediction` (Long et al. 2015)."""
    return 100.0 * _ratio(float(np.trace(confusion)), float(confusion.sum()))


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, from counts `truth prediction`; NaN for classes without truth pixels.

    >>> iou_per_class(np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]])).round(1).tolist()
    [60.0, 71.4, nan]
    """
    truth = confusion.sum(axis=1)
    hits = np.diagonal(confusion)
    union = truth + confusion.sum(axis=0) - hits
    return np.where(truth > 0, 100.0 * hits / np.maximum(union, 1), np.nan)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean of `iou_per_class` over the classes that have truth pixels in the subset.

    Ours: FCN's released code averages where the union is not empty, so that the set of classes depends on the
    prediction; both agree as soon as every predicted class occurs in the truth.
    """
    values = iou_per_class(confusion)
    return mean_over(values[~np.isnan(values)])


def frequency_weighted_iou(confusion: np.ndarray) -> float:
    """Mean of `iou_per_class` weighted by the truth pixels of each class (Long et al. 2015)."""
    truth = confusion.sum(axis=1)
    return _ratio(float(np.nansum(truth * iou_per_class(confusion))), float(truth.sum()))


def angular_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Angles in degrees between unit vectors `... 3`, accurate at both ends (Kahan's half-angle formula).

    >>> angular_errors(np.eye(3), np.array([[0.0, 1.0, 0.0]])).tolist()
    [90.0, 0.0, 90.0]
    """
    difference = np.linalg.norm(predicted - truth, axis=-1)
    total = np.linalg.norm(predicted + truth, axis=-1)
    degrees: np.ndarray = np.degrees(2.0 * np.arctan2(difference, total))
    return degrees


def angle_histogram(errors: np.ndarray) -> np.ndarray:
    """Counts of angles (degrees, 0 to 180) in bins of 0.005 degrees; histograms of several calls may be added."""
    bins = np.minimum((errors.ravel() * ANGLE_BINS_PER_DEGREE).astype(np.int64), 180 * ANGLE_BINS_PER_DEGREE - 1)
    return np.bincount(bins, minlength=180 * ANGLE_BINS_PER_DEGREE)


def angle_scores(histogram: np.ndarray, error_sum: float) -> dict[str, float]:
    """`mean`, `median` (degrees), `within_T` (% below T degrees) from `angle_histogram` and the sum of the errors."""
    count = int(histogram.sum())
    cumulative = np.cumsum(histogram)
    names = ["mean", "median", *(f"within_{threshold:g}" for threshold in ANGLE_THRESHOLDS)]
    if count == 0:
        return dict.fromkeys(names, float("nan"))
    # the median of an even number of values is the mean of the two middle ones, as in numpy
    middle = np.searchsorted(cumulative, [(count - 1) // 2, count // 2], side="right")
    median = float(middle.mean() + 0.5) / ANGLE_BINS_PER_DEGREE
    within = [100.0 * cumulative[round(t * ANGLE_BINS_PER_DEGREE) - 1] / count for t in ANGLE_THRESHOLDS]
    return dict(zip(names, [error_sum / count, median, *map(float, within)], strict=True))


def average_precision_11point(scores: np.ndarray, positives: np.ndarray, total: int | None = None) -> float:
    """Mean over recalls 0, .1, .. 1 of the best precision at that recall or a higher one (VOC 2007-2009), in percent.

    `scores` `N`, `positives` `N` bool, `total` = number of positives that could be found (default: those in the list);
    NaN where there are none. Equal scores rank in the order of the list (stable sort).
    """
    total = int(np.count_nonzero(positives)) if total is None else total
    order = np.argsort(-scores, kind="stable")
    return _precision_at_ranks(np.flatnonzero(positives[order]), total)


def assign_claims(
    objects: np.ndarray, overlaps: np.ndarray, difficult: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """Which object each detection of a class claims: its index, -1 = none, -2 = a difficult one (counts neither way).

    `objects` `N` and `overlaps` `N` = the best object of the same image and class and its IoU, `difficult` by object.
    A detection claims its best object alone, also when that one is taken (VOC development kit).
    """
    claimed = np.where(overlaps >= threshold, objects, -1)
    if difficult.size:
        claimed[(claimed >= 0) & difficult[claimed]] = -2
    return claimed


def true_positives(scores: np.ndarray, claimed: np.ndarray) -> np.ndarray:
    """`N` bool: the best-scored claim of each object; further claims are false positives (VOC).

    Equal scores rank in the order of the list (stable sort).
    """
    order = np.argsort(-scores, kind="stable")
    order = order[claimed[order] >= 0]
    result = np.zeros(len(scores), dtype=bool)
    result[order[np.unique(claimed[order], return_index=True)[1]]] = True
    return result


def detection_average_precision(scores: np.ndarray, claimed: np.ndarray, total: int) -> float:
    """11-point AP of one class in percent from `assign_claims`; `total` = its objects that are not difficult."""
    counted = claimed != -2
    scores, claimed = scores[counted], claimed[counted]
    return average_precision_11point(scores, true_positives(scores, claimed), total)


def shuffled_average_precision(claimed: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """`PERMUTATIONS` 11-point APs in percent of the same list with its scores permuted: what chance gives.

    `claimed` as `assign_claims` returns it (of a labelled list without detections: its own index where positive, else
    -1).
    """
    claimed = claimed[claimed != -2]
    held = claimed[claimed >= 0]
    result = np.empty(PERMUTATIONS)
    for i in range(PERMUTATIONS):
        ranks = rng.permutation(len(claimed))[: len(held)]
        order = np.argsort(ranks)
        first = np.sort(np.unique(held[order], return_index=True)[1])  # one match per object
        result[i] = _precision_at_ranks(ranks[order][first], total)
    return result


def chance_level(shuffled: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
    """95th percentile over permutations: of the mean over categories, and of each category.

    A percentile because one lucky first hit already gives 9 % in the 11-point AP.
    """
    if not shuffled:
        return float("nan"), np.zeros(0)
    table = np.stack(shuffled)
    return float(np.percentile(table.mean(axis=0), 95)), np.percentile(table, 95, axis=1)


def mean_over(values: Sequence[float] | np.ndarray) -> float:
    """Mean, NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")


def _precision_at_ranks(ranks: np.ndarray, total: int) -> float:
    """11-point AP in percent of true positives at the sorted 0-based `ranks`."""
    if total == 0:
        return float("nan")
    if not len(ranks):
        return 0.0
    found = np.arange(1, len(ranks) + 1)
    best_from_here = np.maximum.accumulate((found / (ranks + 1))[::-1])[::-1]
    # whole numbers, not recall >= 0.3 in floating point: 3 of 10 found must reach recall .3
    needed = np.maximum(-(-np.arange(11) * total // 10), 1)
    reached = needed[needed <= len(ranks)]
    return float(100.0 * best_from_here[reached - 1].sum() / 11)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
