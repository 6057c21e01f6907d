"""Metrics against hand-worked cases, slow reference loops and other libraries."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mtlbench.vision import metrics
from tests.support.normals import unit


# ---------------------------------------------------------------------------------------------------- segmentation
def test_segmentation_metrics_of_a_case_worked_by_hand() -> None:
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])  # 12 pixels, class 2 neither there nor predicted
    assert metrics.pixel_accuracy(confusion) == pytest.approx(100 * 9 / 12)
    np.testing.assert_allclose(metrics.iou_per_class(confusion), [100 * 6 / 9, 100 * 3 / 6, np.nan])
    assert metrics.mean_iou(confusion) == pytest.approx((100 * 6 / 9 + 50) / 2)
    assert metrics.frequency_weighted_iou(confusion) == pytest.approx((8 * 100 * 6 / 9 + 4 * 50) / 12)


def test_a_class_without_truth_pixels_is_left_out_though_it_was_predicted() -> None:
    confusion = np.array([[4, 0, 1], [0, 5, 0], [0, 0, 0]])
    assert np.isnan(metrics.iou_per_class(confusion)[2])
    assert metrics.mean_iou(confusion) == pytest.approx((100 * 4 / 5 + 100) / 2)


def test_segmentation_metrics_agree_with_other_libraries() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    classification = pytest.importorskip("torchmetrics.classification")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 3000)
    guess = np.where(rng.random(3000) < 0.6, truth, rng.integers(0, 5, 3000))
    confusion = np.bincount(truth * 5 + guess, minlength=25).reshape(5, 5)
    assert metrics.pixel_accuracy(confusion) == pytest.approx(100 * sklearn.accuracy_score(truth, guess))
    each = 100 * sklearn.jaccard_score(truth, guess, average=None)
    np.testing.assert_allclose(metrics.iou_per_class(confusion), each)
    weighted = 100 * sklearn.jaccard_score(truth, guess, average="weighted")
    assert metrics.frequency_weighted_iou(confusion) == pytest.approx(weighted)
    macro = classification.MulticlassJaccardIndex(5, average="macro")
    for part in np.split(np.arange(3000), 3):  # counts of the whole set, not a mean over its parts
        macro.update(torch.from_numpy(guess[part]), torch.from_numpy(truth[part]))
    assert metrics.mean_iou(confusion) == pytest.approx(100 * float(macro.compute()), rel=1e-5)


def test_no_pixels_give_nan_and_no_warning() -> None:
    empty = np.zeros((3, 3), dtype=np.int64)
    for metric in (metrics.pixel_accuracy, metrics.mean_iou, metrics.frequency_weighted_iou):
        assert np.isnan(metric(empty))


# ---------------------------------------------------------------------------------------------------- normals


def test_angular_errors_at_known_angles() -> None:
    degrees = np.array([0, 1e-4, 0.01, 11.25, 90, 179.99, 180])
    turned = np.stack([np.sin(np.radians(degrees)), 0 * degrees, np.cos(np.radians(degrees))], axis=1)
    errors = metrics.angular_errors(turned, np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(errors, degrees, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 999, 1000])
def test_angle_scores_agree_with_numpy_on_the_raw_errors(count: int) -> None:
    rng = np.random.default_rng(count)
    a, b = unit(rng.normal(size=(count, 3))), unit(rng.normal(size=(count, 3)))
    errors = np.degrees(np.arccos((a * b).sum(axis=1)))
    half = count // 2  # histograms of two batches add up
    histogram = metrics.angle_histogram(metrics.angular_errors(a[:half], b[:half]))
    histogram += metrics.angle_histogram(metrics.angular_errors(a[half:], b[half:]))
    scores = metrics.angle_scores(histogram, float(errors.sum()))
    assert scores["mean"] == pytest.approx(errors.mean())
    assert scores["median"] == pytest.approx(np.median(errors), abs=0.005)
    for threshold in (11.25, 22.5, 30):
        assert scores[f"within_{threshold:g}"] == pytest.approx(100 * (errors < threshold).mean())


def test_an_error_of_exactly_the_threshold_is_not_within_it() -> None:
    errors = np.array([11.0, 11.25, 22.5, 30.0])
    scores = metrics.angle_scores(metrics.angle_histogram(errors), float(errors.sum()))
    assert [scores[f"within_{t}"] for t in ("11.25", "22.5", "30")] == [25, 50, 75]


def test_no_valid_pixels_give_nan() -> None:
    assert all(np.isnan(v) for v in metrics.angle_scores(metrics.angle_histogram(np.zeros(0)), 0.0).values())


# ---------------------------------------------------------------------------------------------------- ranking
def slow_average_precision(scores: list[float], positives: list[bool], total: int) -> float:
    """The 11-point rule word for word, in exact fractions."""
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    points = []
    found = 0
    for rank, index in enumerate(ranked, start=1):
        found += positives[index]
        points.append((Fraction(found, total), Fraction(found, rank)))
    best = [max((p for r, p in points if r >= Fraction(k, 10)), default=Fraction(0)) for k in range(11)]
    return float(100 * sum(best) / 11)


def test_average_precision_worked_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7])
    # precision 1 up to recall .5 (6 points), 2/3 from there on (5 points)
    expected = 100 * (6 + 5 * 2 / 3) / 11
    assert metrics.average_precision_11point(scores, np.array([True, False, True])) == pytest.approx(expected)
    assert metrics.average_precision_11point(scores, np.array([True, True, True])) == pytest.approx(100)
    assert metrics.average_precision_11point(scores, np.array([False] * 3), total=4) == 0
    assert np.isnan(metrics.average_precision_11point(scores, np.array([False] * 3)))


def test_one_lucky_first_hit_gives_nine_percent() -> None:
    scores = -np.arange(500.0)
    assert metrics.average_precision_11point(scores, scores == 0, total=100) == pytest.approx(100 / 11)


def test_three_of_ten_found_reach_recall_three_tenths() -> None:
    # 3 / 10 < 0.1 * 3 in floating point
    assert metrics.average_precision_11point(-np.arange(3.0), np.ones(3, bool), total=10) == pytest.approx(400 / 11)


def test_average_precision_agrees_with_the_slow_rule() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 40))
        scores = rng.integers(0, 12, count) / 12  # with ties
        positives = rng.random(count) < rng.random()
        total = int(positives.sum() + rng.integers(0, 5)) or 1
        expected = slow_average_precision(scores.tolist(), positives.tolist(), total)
        assert metrics.average_precision_11point(scores, positives, total) == pytest.approx(expected)


def test_average_precision_agrees_with_the_curve_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    positives = rng.random(300) < 0.3
    scores = rng.random(300) + 0.3 * positives
    precision, recall, _ = sklearn.precision_recall_curve(positives, scores)
    precision, recall = precision[:-1], recall[:-1]  # the last point (recall 0, precision 1) is no point of the ranking
    expected = np.mean([precision[recall >= k / 10 - 1e-9].max() for k in range(11)])
    assert metrics.average_precision_11point(scores, positives) == pytest.approx(100 * expected)


def test_equal_scores_rank_in_the_order_of_the_list() -> None:
    tied = np.full(2, 0.5)
    assert metrics.average_precision_11point(tied, np.array([True, False])) == pytest.approx(100)
    assert metrics.average_precision_11point(tied, np.array([False, True])) == pytest.approx(50)


# ---------------------------------------------------------------------------------------------------- detection
def test_matching_rules_one_by_one() -> None:
    scores = np.array([0.5, 0.9, 0.8, 0.7, 0.6])
    objects = np.array([0, 0, 1, 2, -1])
    overlaps = np.array([0.9, 0.5, 0.49, 0.8, 0.0])
    difficult = np.array([False, False, True])
    claimed = metrics.assign_claims(objects, overlaps, difficult)
    # .5 is enough, .49 is not, the difficult object counts neither way
    assert claimed.tolist() == [0, 0, -1, -2, -1]
    # object 0 goes to the better score, though the other one overlaps more
    assert metrics.true_positives(scores, claimed).tolist() == [False, True, False, False, False]
    # ranks: hit, miss, (ignored), miss, extra; 2 objects to find
    assert metrics.detection_average_precision(scores, claimed, total=2) == pytest.approx(100 * 6 / 11)


def slow_detection_average_precision(
    scores: np.ndarray, overlaps: np.ndarray, difficult: np.ndarray, threshold: float = 0.5
) -> float:
    """The evaluation loop of the VOC development kit; `overlaps` `detection object`, 0 in another image."""
    taken = [False] * len(difficult)
    hits: list[bool] = []
    for detection in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        best = max(range(len(difficult)), key=lambda j: overlaps[detection, j])
        if overlaps[detection, best] < threshold:
            hits.append(False)
        elif difficult[best]:
            continue
        else:
            hits.append(not taken[best])
            taken[best] = True
    return slow_average_precision([-float(i) for i in range(len(hits))], hits, int((~difficult).sum()))


def test_detection_average_precision_agrees_with_the_loop_of_the_development_kit() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        detections, count = int(rng.integers(1, 40)), int(rng.integers(1, 8))
        overlaps = rng.random((detections, count)) * (rng.random((detections, count)) < 0.5)
        scores = rng.integers(0, 10, detections) / 10
        difficult = rng.random(count) < 0.3
        difficult[0] = False
        claimed = metrics.assign_claims(overlaps.argmax(axis=1), overlaps.max(axis=1), difficult)
        expected = slow_detection_average_precision(scores, overlaps, difficult)
        result = metrics.detection_average_precision(scores, claimed, int((~difficult).sum()))
        assert result == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------------- chance
def test_shuffled_average_precision_is_that_of_permuted_scores() -> None:
    rng = np.random.default_rng(3)
    claimed = np.where(rng.random(60) < 0.4, rng.integers(0, 9, 60), -1)  # several claims of one object
    claimed[:5] = -2
    fast = np.concatenate([metrics.shuffled_average_precision(claimed, 12, rng) for _ in range(40)])
    slow = [metrics.detection_average_precision(rng.permutation(60).astype(float), claimed, 12) for _ in range(800)]
    error = np.std(slow) * np.sqrt(2 / 800)
    assert abs(fast.mean() - np.mean(slow)) < 4 * error
    assert np.percentile(fast, 95) == pytest.approx(np.percentile(slow, 95), abs=8 * error)


def test_shuffling_changes_nothing_where_all_are_positive_or_none() -> None:
    rng = np.random.default_rng(0)
    assert metrics.shuffled_average_precision(np.arange(7), 7, rng).tolist() == pytest.approx([100.0] * 20)
    assert metrics.shuffled_average_precision(np.full(7, -1), 7, rng).tolist() == [0.0] * 20


def test_chance_is_the_95th_percentile_of_the_mean_and_of_each() -> None:
    first, second = np.arange(21.0), np.arange(21.0)[::-1]
    mean, each = metrics.chance_level([first, second])
    assert mean == pytest.approx(10)
    assert each.tolist() == pytest.approx([19, 19])
    assert np.isnan(metrics.chance_level([])[0])
