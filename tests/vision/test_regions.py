"""Boxes against hand-worked cases and slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from mtlbench.contracts import Sample
from mtlbench.vision import regions


def random_boxes(rng: np.random.Generator, count: int, size: float = 64) -> np.ndarray:
    corner = rng.uniform(0, size - 12, (count, 2))
    side = rng.uniform(6, 40, (count, 2))
    return np.concatenate([corner, np.minimum(corner + side, size)], axis=1).astype(np.float32)


# ---------------------------------------------------------------------------------------------------- geometry
def test_iou_worked_by_hand() -> None:
    a = np.array([[0, 0, 2, 2]], dtype=np.float32)
    b = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 1, 2], [5, 5, 5, 5]], dtype=np.float32)
    np.testing.assert_allclose(regions.iou(a, b), [[1 / 7, 1, 0, 1 / 2, 0]], rtol=1e-6)


def test_iou_agrees_with_torchvision() -> None:
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 30), random_boxes(rng, 20)
    expected = box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(regions.iou(a, b), expected, atol=1e-6)


def test_offsets_worked_by_hand() -> None:
    region = np.array([[10, 10, 20, 30]], dtype=np.float32)
    box = np.array([[12, 10, 32, 20]], dtype=np.float32)
    # centre (15, 20) -> (22, 15), size (10, 20) -> (20, 10)
    np.testing.assert_allclose(regions.encode(region, box), [[0.7, -0.25, np.log(2), -np.log(2)]], rtol=1e-6)


def test_decode_inverts_encode() -> None:
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 100), random_boxes(rng, 100)
    np.testing.assert_allclose(regions.decode(a, regions.encode(a, b)), b, atol=1e-4)


def test_decode_cannot_overflow_and_clip_stays_inside() -> None:
    region = np.array([[10, 10, 20, 30]], dtype=np.float32)
    huge = regions.decode(region, np.array([[0, 0, 1000, 1000]], dtype=np.float32))
    assert np.isfinite(huge).all()
    assert regions.clip(huge, height=40, width=50).tolist() == [[0, 0, 50, 40]]


def test_match_without_boxes_is_nothing() -> None:
    best, overlap = regions.match(random_boxes(np.random.default_rng(0), 3), np.zeros((0, 4), np.float32))
    assert best.tolist() == [-1, -1, -1] and overlap.tolist() == [0, 0, 0]


def test_best_in_group_agrees_with_a_loop() -> None:
    rng = np.random.default_rng(2)
    boxes, truth = random_boxes(rng, 200), random_boxes(rng, 40)
    groups, truth_groups = rng.integers(0, 12, 200), rng.integers(0, 12, 40)
    groups[:5] = 99  # nothing there
    best, overlap = regions.best_in_group(boxes, groups, truth, truth_groups)
    for i in range(200):
        same = np.flatnonzero(truth_groups == groups[i])
        if not len(same):
            assert best[i] == -1 and overlap[i] == 0
            continue
        values = regions.iou(boxes[i : i + 1], truth[same])[0]
        assert best[i] == same[values.argmax()]
        assert overlap[i] == pytest.approx(values.max())


# ---------------------------------------------------------------------------------------------------- training
def sample_with(boxes: np.ndarray, proposals: np.ndarray, difficult: np.ndarray | None = None) -> Sample:
    return Sample(np.zeros((64, 64, 3), np.uint8), {}, boxes=boxes, difficult=difficult, proposals=proposals)


def test_sampled_regions_follow_fast_rcnn() -> None:
    rng = np.random.default_rng(3)
    quotas = set()
    for _ in range(100):
        boxes = random_boxes(rng, int(rng.integers(1, 6)))
        jittered = np.repeat(boxes, 10, axis=0) + rng.normal(0, 4, (10 * len(boxes), 4)).astype(np.float32)
        proposals = np.concatenate([random_boxes(rng, 200), jittered.astype(np.float32)])
        chosen, matched = regions.sample_regions(sample_with(boxes, proposals), 64, rng)
        assert len(chosen) == len(matched) == 64
        foreground = matched >= 0
        quotas.add(int(foreground.sum()))
        overlaps = regions.iou(chosen, boxes)
        assert (overlaps[foreground, matched[foreground]] >= 0.5).all()
        assert (overlaps[foreground, matched[foreground]] == overlaps[foreground].max(axis=1)).all()
        assert (overlaps[~foreground].max(axis=1) < 0.5).all()
        assert len(np.unique(chosen, axis=0)) == 64  # nothing twice
    assert max(quotas) == 16


def slow_overlap(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


@pytest.mark.parametrize("fill", [False, True])
def test_sampling_agrees_with_a_loop_over_the_candidates(fill: bool) -> None:
    rng = np.random.default_rng(10)
    short = 0
    for trial in range(60):
        boxes = random_boxes(rng, int(rng.integers(1, 4)))
        near = np.repeat(boxes, 4, axis=0) + rng.normal(0, 3, (4 * len(boxes), 4))
        proposals = np.concatenate([random_boxes(rng, 30), near]).astype(np.float32)
        difficult = rng.random(len(boxes)) < 0.3
        foreground, background, spare = {}, set(), set()
        for box in (*proposals, *boxes):
            overlaps = [slow_overlap(box, one) for one in boxes]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= 0.5:
                if not difficult[best]:
                    foreground[tuple(box)] = best
            elif overlaps[best] >= 0.1:
                background.add(tuple(box))
            else:
                spare.add(tuple(box))
        count = 24 if trial % 2 else 25  # a quarter of 25 is 6.25
        chosen, matched = regions.sample_regions(sample_with(boxes, proposals, difficult), count, rng, fill)
        rows = [tuple(row) for row in chosen]
        objects = min(6, len(foreground))
        assert len(set(rows)) == len(rows)
        assert all(foreground[row] == best for row, best in zip(rows[:objects], matched, strict=False))
        assert (matched[objects:] == -1).all()
        first = min(count - objects, len(background))
        assert set(rows[objects : objects + first]) <= background
        rest = min(count - objects - first, len(spare)) if fill else 0
        assert len(rows) == objects + first + rest and set(rows[objects + first :]) <= spare
        short += len(rows) < count
    assert (short == 0) == fill


def test_every_candidate_of_a_kind_is_drawn_equally_often() -> None:
    boxes = np.array([[0, 0, 10, 10]], dtype=np.float32)
    objects = np.array([[0, 0, 10, 10 + k] for k in range(1, 8)], dtype=np.float32)  # and the box: 8 of foreground
    low = np.array([[0, 0, 10, 30 + k] for k in range(12)], dtype=np.float32)  # 12 of background
    sample = sample_with(boxes, np.concatenate([objects, low]))
    drawn: dict[tuple[float, ...], int] = {}
    rng = np.random.default_rng(0)
    for _ in range(3000):
        for row in regions.sample_regions(sample, 8, rng)[0]:
            drawn[tuple(row)] = drawn.get(tuple(row), 0) + 1
    # 2 of 8, 6 of 12; 5 standard deviations of a binomial
    for row, times in drawn.items():
        share = 2 / 8 if row[3] < 20 else 6 / 12
        assert abs(times - 3000 * share) < 5 * (3000 * share * (1 - share)) ** 0.5
    assert len(drawn) == 20


@pytest.mark.parametrize(("count", "expected"), [(64, 16), (2, 0), (6, 2), (8, 2), (10, 2), (11, 3)])
def test_a_quarter_is_rounded_as_numpy_does(count: int, expected: int) -> None:
    assert expected == np.round(0.25 * count)
    boxes = np.array([[0, 0, 10, 10]], dtype=np.float32)
    proposals = np.array([[0, 0, 10, 10 + 0.1 * k] for k in range(40)], dtype=np.float32)
    matched = regions.sample_regions(sample_with(boxes, proposals), count, np.random.default_rng(0))[1]
    assert (matched >= 0).sum() == expected


def test_annotated_boxes_are_candidates() -> None:
    boxes = np.array([[0, 0, 10, 10]], dtype=np.float32)
    proposals = np.array([[40, 40, 60, 60]], dtype=np.float32)
    chosen, matched = regions.sample_regions(sample_with(boxes, proposals), 8, np.random.default_rng(0))
    assert chosen.tolist() == [[0, 0, 10, 10], [40, 40, 60, 60]] and matched.tolist() == [0, -1]


def test_background_without_filling_has_an_overlap_in_its_range() -> None:
    boxes = np.array([[0, 0, 10, 10]], dtype=np.float32)
    # IoU 1/2: foreground; just below, 1/10: background; just below that, 0: neither
    heights = [20, 20.1, 100, 101]
    proposals = np.array([[0, 0, 10, h] for h in heights] + [[30, 30, 40, 40]], dtype=np.float32)
    sample = sample_with(boxes, proposals)
    chosen, matched = regions.sample_regions(sample, 64, np.random.default_rng(0), fill=False)
    assert sorted(zip(chosen[:, 3].round(1).tolist(), matched.tolist(), strict=True)) == [
        (10, 0),
        (20, 0),
        (pytest.approx(20.1, abs=0.05), -1),
        (100, -1),
    ]
    filled, matched = regions.sample_regions(sample, 64, np.random.default_rng(0))
    assert len(filled) == 6 and (matched >= 0).sum() == 2
    empty = sample_with(boxes[:0], proposals, np.zeros(0, bool))
    chosen, matched = regions.sample_regions(empty, 64, np.random.default_rng(0), fill=False)
    assert chosen.shape == (0, 4) and len(matched) == 0


def test_background_comes_from_its_overlap_range_and_is_filled_up_from_below() -> None:
    boxes = np.array([[0, 0, 10, 10]], dtype=np.float32)
    near = np.array([[0, 0, 10, 10 * k] for k in (3, 4, 5)], dtype=np.float32)  # IoU 1/3, 1/4, 1/5
    far = np.array([[30, 30, 40, 40], [40, 40, 50, 50], [0, 0, 10, 200]], dtype=np.float32)  # IoU 0, 0, 1/20
    sample = sample_with(boxes, np.concatenate([far, near]))
    for seed in range(10):
        chosen, matched = regions.sample_regions(sample, 4, np.random.default_rng(seed))
        assert matched.tolist() == [0, -1, -1, -1]
        assert sorted(chosen[1:, 3].tolist()) == [30, 40, 50]
        chosen, _ = regions.sample_regions(sample, 5, np.random.default_rng(seed))
        assert sorted(chosen[1:4, 3].tolist()) == [30, 40, 50]
        assert chosen[4].tolist() in far.tolist()


def test_difficult_objects_are_neither_foreground_nor_background() -> None:
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], dtype=np.float32)
    proposals = np.array([[0, 0, 10, 11], [20, 20, 40, 41], [50, 50, 60, 60]], dtype=np.float32)
    sample = sample_with(boxes, proposals, np.array([True, False]))
    chosen, matched = regions.sample_regions(sample, 16, np.random.default_rng(0))
    assert sorted(matched.tolist()) == [-1, 1, 1]
    assert [0, 0, 10, 10] not in chosen.tolist() and [0, 0, 10, 11] not in chosen.tolist()
    # an overlap below .5 with a difficult object is background as with any other
    beside = sample_with(boxes, np.array([[0, 0, 10, 30]], dtype=np.float32), np.array([True, False]))
    chosen, matched = regions.sample_regions(beside, 16, np.random.default_rng(0), fill=False)
    assert chosen.tolist() == [[20, 20, 40, 40], [0, 0, 10, 30]] and matched.tolist() == [1, -1]


def test_an_image_without_objects_gives_background_alone() -> None:
    rng = np.random.default_rng(0)
    sample = sample_with(np.zeros((0, 4), np.float32), random_boxes(rng, 10), np.zeros(0, bool))
    chosen, matched = regions.sample_regions(sample, 8, rng)
    assert len(chosen) == 8 and (matched == -1).all()


def test_the_same_generator_gives_the_same_regions() -> None:
    rng = np.random.default_rng(4)
    sample = sample_with(random_boxes(rng, 4), random_boxes(rng, 128))
    first = regions.sample_regions(sample, 64, np.random.default_rng([1, 2]))
    second = regions.sample_regions(sample, 64, np.random.default_rng([1, 2]))
    other = regions.sample_regions(sample, 64, np.random.default_rng([1, 3]))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])


# ---------------------------------------------------------------------------------------------------- evaluation
def test_strongest_keeps_the_highest_of_each_column_and_the_earlier_of_equals() -> None:
    scores = np.array([[0.1, 0.5], [0.9, 0.5], [0.3, 0.5]])
    rows, columns = regions.select_strongest(scores, limit=2)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(1, 0), (2, 0), (0, 1), (1, 1)]


def slow_suppression(found: regions.Detections, images: int, per_image: int, overlap: float) -> list[int]:
    """Rows that remain, by plain loops."""
    allowed: list[int] = []
    for category in set(found.category.tolist()):
        rows = [i for i in range(len(found.score)) if found.category[i] == category]
        allowed += sorted(rows, key=lambda i: (-found.score[i], i))[: per_image * images]
    kept: list[int] = []
    for i in sorted(allowed, key=lambda i: (-found.score[i], i)):
        rivals = [k for k in kept if found.image[k] == found.image[i] and found.category[k] == found.category[i]]
        if all(regions.iou(found.box[i : i + 1], found.box[k : k + 1])[0, 0] <= overlap for k in rivals):
            kept.append(i)
    return sorted(kept)


@pytest.mark.parametrize("ties", [False, True])
def test_suppression_agrees_with_plain_loops(ties: bool) -> None:
    rng = np.random.default_rng(5)
    count, images = 600, 5
    score = rng.integers(0, 20, count) / 20 if ties else rng.random(count)
    found = regions.Detections(
        np.sort(rng.integers(0, images, count)), rng.integers(0, 4, count), score.astype("f4"), random_boxes(rng, count)
    )
    kept = regions.per_class_nms(found, images, per_image=20)
    expected = slow_suppression(found, images, 20, 0.3)
    assert 50 < len(expected) < 400
    for got, column in zip(kept, found, strict=True):
        np.testing.assert_array_equal(got, column[expected])


def test_the_class_limit_is_over_the_subset_not_by_image() -> None:
    boxes = np.array([[10 * i, 0, 10 * i + 9, 9] for i in range(6)], dtype=np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1], dtype=np.float32)
    found = regions.Detections(np.array([0, 0, 0, 0, 1, 1]), np.zeros(6, int), scores, boxes)
    kept = regions.per_class_nms(found, images=2, per_image=2)
    assert kept.image.tolist() == [0, 0, 0, 0]  # the second image's boxes are weaker than all four of the first


def test_no_detections_at_all() -> None:
    assert len(regions.per_class_nms(regions.join([]), 0).score) == 0
    assert len(regions.per_class_nms(regions.join([]), 3).score) == 0
