"""Region tasks: heads, losses, normalisation of targets, and predictions; slow loops and hand-worked cases."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from mtlbench.contracts import Batch, Sample
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.detection import Detection
from mtlbench.vision import regions
from tests.support.scenes import DETECTION, IMAGE, OFFSETS, check_metric_names, region_batch, scene, slow_iou, value


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some of the regions of a batch."""
    assert batch.foreground is not None
    return Batch(
        batch.images,
        {name: label[rows] for name, label in batch.labels.items()},
        {name: mask[rows] for name, mask in batch.masks.items()},
        [],
        None,
        batch.foreground[rows],
        None if batch.targets is None else batch.targets[rows],
    )


def check_that_parts_add_up(task: Any, output: torch.Tensor, batch: Batch) -> None:
    cuts = [slice(0, 3), slice(3, 4), slice(4, None)]
    whole = sum(float(task.loss(output[c], rows_of(batch, c))) * int(task.count(rows_of(batch, c))) for c in cuts)
    total = sum(int(task.count(rows_of(batch, c))) for c in cuts)
    assert total == int(task.count(batch)) and task.count(batch).ndim == 0
    assert any(int(task.count(rows_of(batch, c))) == 0 for c in cuts)
    assert whole / total == pytest.approx(float(task.loss(output, batch)), rel=1e-5)


def test_detection_head_starts_as_in_fast_rcnn() -> None:
    torch.manual_seed(0)
    head = DETECTION.head(2000)
    assert head(torch.randn(5, 2000)).shape == (5, 4 + 12)
    deviations = {name: float(p.detach().std()) for name, p in head.named_parameters() if p.ndim == 2}
    assert deviations["scores.weight"] == pytest.approx(0.01, rel=0.05)
    assert deviations["offsets.weight"] == pytest.approx(0.001, rel=0.05)
    assert all((p == 0).all() for p in head.parameters() if p.ndim == 1)


def test_detection_loss_agrees_with_a_loop() -> None:
    torch.manual_seed(1)
    count = 12
    output = torch.randn(count, 16)
    foreground = torch.rand(count) < 0.5
    masks = torch.rand(count) < 0.8
    masks[3] = False
    label = torch.randint(0, 3, (count,)) * foreground
    targets = torch.randn(count, 4) * 0.3 * foreground[:, None]
    batch = Batch(torch.zeros(1), {"detection": label}, {"detection": masks}, [], None, foreground, targets)
    total = 0.0
    for row in range(count):
        if masks[row]:
            true_class = int(label[row]) + 1 if foreground[row] else 0
            total -= float(output[row, :4].log_softmax(dim=0)[true_class])
            for k in range(4 if foreground[row] else 0):
                c = int(label[row])
                goal = (float(targets[row, k]) - OFFSETS["offset_mean"][c][k]) / OFFSETS["offset_std"][c][k]
                gap = abs(float(output[row, 4 + 4 * int(label[row]) + k]) - goal)
                total += 0.5 * gap * gap if gap < 1 else gap - 0.5
    assert 0 < (foreground & masks).sum() < masks.sum() < count
    assert float(DETECTION.loss(output, batch)) == pytest.approx(total / int(masks.sum()), rel=1e-5)
    check_that_parts_add_up(DETECTION, output, batch)


def test_predicted_offsets_are_in_the_scale_of_the_targets() -> None:
    torch.manual_seed(3)
    output = torch.randn(2, 16)
    batch = Batch(torch.zeros(1), {}, {})
    prediction = DETECTION.predict(output, batch)
    assert prediction["probability"].shape == (2, 4) and prediction["offsets"].shape == (2, 3, 4)
    np.testing.assert_allclose(prediction["probability"].sum(dim=1), 1, rtol=1e-6)
    for row, category, k in np.ndindex(2, 3, 4):
        mean, deviation = OFFSETS["offset_mean"][category][k], OFFSETS["offset_std"][category][k]
        expected = float(output[row, 4 + 4 * category + k]) * deviation + mean
        assert float(prediction["offsets"][row, category, k]) == pytest.approx(expected, abs=1e-6)


def classes_of(facts: dict[str, Any], categories: int = 3) -> dict[str, Any]:
    assert json.loads(json.dumps(facts)) == facts
    assert np.shape(facts["offset_mean"]) == np.shape(facts["offset_std"]) == (categories, 4)
    return facts


def test_offsets_fitted_by_hand() -> None:
    box = np.array([[10, 10, 30, 30], [40, 40, 60, 60]], dtype=np.float32)
    near = box[:1] + np.array([[2, 0, 2, 0], [-2, 0, -2, 0], [0, 4, 0, 4]], dtype=np.float32)
    far = np.array([[0, 50, 5, 60]], dtype=np.float32)
    on_difficult = box[1:] + 1
    sample = Sample(
        IMAGE, {"detection": np.array([0, 1])}, box, np.array([False, True]), np.concatenate([far, near, on_difficult])
    )
    bare = Sample(IMAGE, {}, box, None, near)  # not labelled
    # four regions of the cat an image (its box is one), dx -.1, .1, 0, 0 and dy 0, 0, -.2, 0; dw and dh 0
    facts = classes_of(Detection.fit(("cat", "dog"), [sample, bare] * 13), 2)
    expected_std = [math.sqrt(0.02 / 4), math.sqrt(0.04 / 4 - 0.05**2), 0.01, 0.01]
    for category in range(2):  # the dog is difficult: no dogs, the values of all
        assert facts["offset_mean"][category] == pytest.approx([0, -0.05, 0, 0], abs=1e-6)
        assert facts["offset_std"][category] == pytest.approx(expected_std, abs=1e-6)
    too_few = Detection.fit(("cat", "dog"), [sample] * 12)
    nothing = classes_of(Detection.fit(("cat", "dog"), []), 2)
    assert too_few == nothing == {"offset_mean": [[0] * 4] * 2, "offset_std": [[0.1, 0.1, 0.2, 0.2]] * 2}


def slow_offsets(region: np.ndarray, box: np.ndarray) -> list[float]:
    width, height = region[2] - region[0], region[3] - region[1]
    return [
        ((box[0] + box[2]) / 2 - (region[0] + region[2]) / 2) / width,
        ((box[1] + box[3]) / 2 - (region[1] + region[3]) / 2) / height,
        math.log((box[2] - box[0]) / width),
        math.log((box[3] - box[1]) / height),
    ]


def test_offsets_are_fitted_as_in_the_released_code() -> None:
    """Sums and squares by class over regions and annotated boxes of images and mirrored images (`roidb.py`)."""
    rng = np.random.default_rng(6)
    samples = [scene(rng, int(rng.integers(1, 5)), difficult=i % 4 == 3) for i in range(40)]
    for sample in samples[:38]:  # the last class is rare
        sample.labels["detection"] %= 2
    counts, sums, squares = np.zeros(3), np.zeros((3, 4)), np.zeros((3, 4))
    for sample in samples:
        assert sample.boxes is not None and sample.proposals is not None and sample.difficult is not None
        for mirrored in (False, True):
            boxes = np.concatenate([sample.proposals, sample.boxes]).astype(float).tolist()
            flipped = [[64 - x2, y1, 64 - x1, y2] for x1, y1, x2, y2 in boxes]
            turned = [np.array(box) for box in (flipped if mirrored else boxes)]
            truth = turned[len(sample.proposals) :]
            for region in turned:
                overlaps = [slow_iou(region, box) for box in truth]
                best = int(np.argmax(overlaps))
                if overlaps[best] >= 0.5 and not sample.difficult[best]:
                    offsets = np.array(slow_offsets(region, truth[best]))
                    c = int(sample.labels["detection"][best])
                    counts[c] += 1
                    sums[c] += offsets
                    squares[c] += offsets**2
    assert counts[0] > 200 and counts[1] > 200 and 0 < counts[2] < 100  # 50 regions and their mirror images
    counts[2], sums[2], squares[2] = counts.sum(), sums.sum(axis=0), squares.sum(axis=0)
    mean = sums / counts[:, None]
    facts = classes_of(Detection.fit(("cat", "dog", "cow"), samples))
    np.testing.assert_allclose(facts["offset_mean"], mean, atol=3e-6)
    np.testing.assert_allclose(facts["offset_std"], np.sqrt(squares / counts[:, None] - mean**2), atol=3e-6)
    assert np.ptp(facts["offset_std"], axis=0).max() > 0.001  # classes differ


def test_targets_normalised_by_class_decode_back_to_the_boxes() -> None:
    rng = np.random.default_rng(8)
    sample = scene(rng, 4)
    sample.labels["detection"][:] = [0, 1, 2, 1]
    found, matched = regions.sample_regions(sample, 16, rng)
    objects = np.flatnonzero(matched >= 0)
    assert len(objects) == 4 and sample.boxes is not None
    found, truth = found[objects], sample.boxes[matched[objects]]
    label = torch.from_numpy(sample.labels["detection"][matched[objects]])
    targets = torch.from_numpy(regions.encode(found, truth))
    everything = torch.ones(4, dtype=torch.bool)
    batch = Batch(torch.zeros(1), {"detection": label}, {"detection": everything}, [], None, everything, targets)
    output = torch.zeros(4, 16)
    for row in range(4):
        c = int(label[row])
        output[row, 1 + c] = 50
        for k in range(4):
            place, goal = 4 + 4 * c + k, float(targets[row, k])
            output[row, place] = (goal - OFFSETS["offset_mean"][c][k]) / OFFSETS["offset_std"][c][k]
    assert float(DETECTION.loss(output, batch)) < 1e-6
    offsets = DETECTION.predict(output, batch)["offsets"][torch.arange(4), label].numpy()
    np.testing.assert_allclose(regions.decode(found, offsets), truth, atol=1e-3)


def test_four_numbers_alone_hold_for_all_classes() -> None:
    torch.manual_seed(4)
    one = Detection(("cat", "dog"), {"offset_mean": [0.1, 0, 0, 0.2], "offset_std": [0.1, 0.2, 0.3, 0.4]})
    each = Detection(("cat", "dog"), {"offset_mean": [[0.1, 0, 0, 0.2]] * 2, "offset_std": [[0.1, 0.2, 0.3, 0.4]] * 2})
    output, batch = torch.randn(5, 11), Batch(torch.zeros(1), {}, {})
    assert torch.equal(one.predict(output, batch)["offsets"], each.predict(output, batch)["offsets"])


# ---------------------------------------------------------------------------------------------------- attributes
def test_attribute_loss_is_the_mean_over_attributes_and_labelled_foreground() -> None:
    torch.manual_seed(2)
    task = Attributes(("red", "round", "striped"), {})
    output = torch.randn(8, 3)
    labels = torch.randint(0, 2, (8, 3), dtype=torch.uint8)
    labels[5] = 255
    masks = torch.tensor([True] * 7 + [False])
    foreground = torch.tensor([True, True, True, False, True, True, True, True])
    rows = [0, 1, 2, 4, 6]
    total = 0.0
    for row in rows:
        for a in range(3):
            p = 1 / (1 + math.exp(-float(output[row, a])))
            total -= math.log(p if labels[row, a] else 1 - p) / 3
    batch = Batch(torch.zeros(1), {"attributes": labels}, {"attributes": masks}, [], None, foreground)
    assert float(task.loss(output, batch)) == pytest.approx(total / len(rows), rel=1e-5)
    assert int(task.count(batch)) == len(rows)
    check_that_parts_add_up(task, output, batch)


def test_attribute_meter_ranks_the_annotated_labelled_boxes() -> None:
    task = Attributes(("red", "round", "never"), {})
    boxes = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], dtype=np.float32)
    proposals = np.array([[5, 5, 50, 50]] * 3, dtype=np.float32)
    first = Sample(IMAGE, {"attributes": np.array([[1, 0, 0], [0, 1, 0]], np.uint8)}, boxes, None, proposals)
    second = Sample(IMAGE, {"attributes": np.array([[255, 255, 255], [1, 1, 0]], np.uint8)}, boxes, None, proposals[:1])
    scores = torch.full((5 + 3, 3), 0.99)  # proposals and the unlabelled box (row 6) would come first
    scores[3] = torch.tensor([0.9, 0.8, 0.5])
    scores[4] = torch.tensor([0.8, 0.3, 0.5])
    scores[7] = torch.tensor([0.7, 0.1, 0.5])
    meter = task.meter()
    meter.add({"probability": scores}, region_batch([first, second]))
    # red: right, wrong, right; round: wrong, right, right
    red, round_ = 100 * (6 + 5 * 2 / 3) / 11, 100 * 2 / 3
    result = meter.scores()
    assert value(result, "AP", "red") == pytest.approx(red)
    assert value(result, "AP", "round") == pytest.approx(round_)
    assert value(result, "mAP") == pytest.approx((red + round_) / 2)
    assert value(result, "attributes") == 2  # one has no positive
    assert value(meter.chance(), "base_rate") == pytest.approx(100 * 2 / 3)
    check_metric_names(task, meter)
