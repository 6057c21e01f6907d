"""Heads, losses, predictions and meters of the built-in tasks against slow loops and hand-worked cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from mtlbench import regions
from mtlbench.errors import UserError
from mtlbench.plugins import Batch, Sample, Score
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.detection import Detection
from mtlbench.tasks.normals import Normals
from mtlbench.tasks.semseg import Semseg

IMAGE = np.zeros((64, 64, 3), dtype=np.uint8)
OFFSETS = {"offset_mean": [0.1, -0.1, 0.05, 0.0], "offset_std": [0.1, 0.2, 0.3, 0.4]}


def value(scores: Sequence[Score], metric: str, category: str = "") -> float:
    found = [score.value for score in scores if (score.metric, score.category) == (metric, category)]
    assert len(found) == 1
    return found[0]


def dense_batch(task: str, labels: torch.Tensor, masks: list[bool] | None = None) -> Batch:
    mask = torch.tensor([True] * len(labels) if masks is None else masks)
    return Batch(torch.zeros(len(labels), 3, *labels.shape[1:3]), {task: labels}, {task: mask})


def check_metric_names(task: Any, meter: Any) -> None:
    names = {score.metric for score in [*meter.scores(), *meter.chance()]}
    assert names == set(task.metrics) and task.headline in names


# ---------------------------------------------------------------------------------------------------- semseg
SEMSEG = Semseg(("wall", "floor", "chair"), {})


def test_dense_scores_start_at_zero() -> None:
    for task, channels in ((SEMSEG, 3), (normals_task(), 20)):
        output = task.head(8)(torch.randn(2, 8, 5, 4))
        assert output.shape == (2, channels, 5, 4) and (output == 0).all()


def test_semseg_loss_is_the_mean_over_labelled_pixels() -> None:
    torch.manual_seed(0)
    output = torch.randn(3, 3, 4, 5, requires_grad=True)
    labels = torch.randint(0, 3, (3, 4, 5), dtype=torch.uint8)
    labels[0, :2] = 255
    batch = dense_batch("semseg", labels, [True, True, False])
    scores = output.detach()
    terms = [
        math.log(sum(math.exp(v) for v in scores[b, :, y, x])) - float(scores[b, int(labels[b, y, x]), y, x])
        for b, y, x in np.ndindex(2, 4, 5)
        if labels[b, y, x] != 255
    ]
    assert len(terms) == 30
    loss = SEMSEG.loss(output, batch)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(sum(terms) / 30, rel=1e-5)
    assert output.grad is not None and (output.grad[2] == 0).all() and (output.grad[0, :, :2] == 0).all()
    zero_scores = torch.zeros(3, 3, 4, 5)
    assert float(SEMSEG.loss(zero_scores, batch)) == pytest.approx(math.log(3))


def test_semseg_meter_counts_over_the_subset_and_ignores_padding() -> None:
    meter = SEMSEG.meter()
    guess = torch.tensor([[[0, 0], [1, 1]], [[0, 1], [2, 2]], [[2, 2], [2, 2]]])
    truth = torch.tensor([[[0, 1], [1, 1]], [[0, 1], [255, 255]], [[0, 0], [0, 0]]], dtype=torch.uint8)
    probability = torch.nn.functional.one_hot(guess, 3).permute(0, 3, 1, 2).float()
    meter.add({"probability": probability[:1]}, dense_batch("semseg", truth[:1]))
    meter.add({"probability": probability[1:]}, dense_batch("semseg", truth[1:], [True, False]))
    # pixels (truth, guess): wall 2 right, floor 3 right, one floor called wall
    scores = meter.scores()
    assert value(scores, "pixacc") == pytest.approx(100 * 5 / 6)
    assert value(scores, "IoU", "wall") == pytest.approx(100 * 2 / 3)
    assert value(scores, "IoU", "floor") == pytest.approx(100 * 3 / 4)
    assert value(scores, "mIoU") == pytest.approx((200 / 3 + 75) / 2)
    assert "chair" not in {score.category for score in scores}  # no truth
    chance = meter.chance()  # the best constant is floor, 4 of 6 pixels
    assert value(chance, "pixacc") == pytest.approx(100 * 4 / 6)
    assert value(chance, "mIoU") == pytest.approx(100 * 4 / 6 / 2)
    assert value(chance, "fwIoU") == pytest.approx(100 * (4 / 6) ** 2)
    assert value(chance, "IoU", "wall") == pytest.approx(100 * 2 / 6)
    check_metric_names(SEMSEG, meter)


def test_mirrored_labels() -> None:
    label = np.array([[0, 1, 2], [3, 4, 255]], dtype=np.uint8)
    assert Semseg.mirror(label).tolist() == [[2, 1, 0], [255, 4, 3]]
    normal = np.array([[[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]], dtype=np.float32)
    mirrored = Normals.mirror(normal)
    np.testing.assert_array_equal(mirrored, [[[0, 0, 0], [0, 1, 0], [np.float32(-0.6), 0, np.float32(0.8)]]])
    assert mirrored.dtype == np.float32
    rows = np.array([3, 1])
    assert Detection.mirror(rows) is rows and Attributes.mirror(rows) is rows


# ---------------------------------------------------------------------------------------------------- normals
def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def facing(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random unit vectors that face the camera."""
    vectors = rng.normal(size=(*shape, 3))
    vectors[..., 2] = np.abs(vectors[..., 2])
    return unit(vectors).astype(np.float32)


def normals_task() -> Normals:
    train = [Sample(IMAGE, {"normals": facing(np.random.default_rng(i), 40, 40)}) for i in range(8)]
    return Normals((), Normals.fit((), train))  # type: ignore[arg-type]


def test_normals_loss_is_cross_entropy_on_the_nearest_code() -> None:
    task = normals_task()
    labels = torch.from_numpy(facing(np.random.default_rng(1), 2, 4, 5))
    labels[0, 0] = 0  # invalid
    output = torch.randn(2, 20, 4, 5, generator=torch.Generator().manual_seed(0))
    terms = []
    for b, y, x in np.ndindex(2, 4, 5):
        if labels[b, y, x].any():
            angles = [math.acos(min(1.0, float(code @ labels[b, y, x]))) for code in task.codebook.codes]
            terms.append(-float(output[b, :, y, x].log_softmax(dim=0)[int(np.argmin(angles))]))
    assert len(terms) == 35
    assert float(task.loss(output, dense_batch("normals", labels))) == pytest.approx(np.mean(terms), rel=1e-5)
    first_only = dense_batch("normals", labels, [True, False])
    assert float(task.loss(output, first_only)) == pytest.approx(np.mean(terms[:15]), rel=1e-5)


def test_normals_meter_ignores_invalid_pixels_and_unlabelled_images() -> None:
    task = normals_task()
    rng = np.random.default_rng(2)
    labels = torch.from_numpy(facing(rng, 3, 6, 6))
    labels[0, :, 3:] = 0
    probability = torch.randn(3, 20, 6, 6, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    meter = task.meter()
    meter.add({"probability": probability[:1]}, dense_batch("normals", labels[:1]))
    meter.add({"probability": probability[1:]}, dense_batch("normals", labels[1:], [True, False]))
    decoded = task.decode(probability.permute(0, 2, 3, 1).reshape(-1, 20)).reshape(3, 6, 6, 3).double()
    errors = torch.rad2deg((decoded * labels).sum(dim=-1).clamp(-1, 1).arccos())
    seen = torch.cat([errors[0, :, :3].flatten(), errors[1].flatten()]).numpy()
    scores = meter.scores()
    assert value(scores, "mean") == pytest.approx(seen.mean(), rel=1e-5)
    assert value(scores, "median") == pytest.approx(np.median(seen), abs=0.005)
    assert value(scores, "within_30") == pytest.approx(100 * (seen < 30).mean())
    check_metric_names(task, meter)


def test_best_constant_normal() -> None:
    task = normals_task()
    # 60 % of the pixels face the camera, 40 % are a floor: facing the camera is 36 degrees off in the mean
    labels = torch.zeros(1, 10, 10, 3)
    labels[:, :6, :, 2] = 1
    labels[:, 6:, :, 1] = 1
    meter = task.meter()
    meter.add({"probability": torch.full((1, 20, 10, 10), 0.05)}, dense_batch("normals", labels))
    chance = meter.chance()
    assert value(chance, "mean") == pytest.approx(36, abs=0.1)
    assert value(chance, "median") == pytest.approx(0, abs=0.005)
    assert value(chance, "within_11.25") == pytest.approx(60)


# ---------------------------------------------------------------------------------------------------- detection
DETECTION = Detection(("cat", "dog", "cow"), OFFSETS)


def region_batch(samples: list[Sample]) -> Batch:
    """The regions of an evaluation: each image's proposals, then its annotated boxes."""
    rows = []
    for i, sample in enumerate(samples):
        assert sample.proposals is not None and sample.boxes is not None
        boxes = np.concatenate([sample.proposals, sample.boxes])
        rows.append(np.concatenate([np.full((len(boxes), 1), i), boxes], axis=1))
    return Batch(torch.zeros(len(samples), 3, 64, 64), {}, {}, samples, torch.from_numpy(np.concatenate(rows)).float())


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
    label = torch.randint(0, 3, (count,)) * foreground
    targets = torch.randn(count, 4) * 0.3 * foreground[:, None]
    batch = Batch(torch.zeros(1), {"detection": label}, {"detection": masks}, [], None, foreground, targets)
    total = 0.0
    for row in range(count):
        if masks[row]:
            true_class = int(label[row]) + 1 if foreground[row] else 0
            total -= float(output[row, :4].log_softmax(dim=0)[true_class])
            for k in range(4 if foreground[row] else 0):
                goal = (float(targets[row, k]) - OFFSETS["offset_mean"][k]) / OFFSETS["offset_std"][k]
                gap = abs(float(output[row, 4 + 4 * int(label[row]) + k]) - goal)
                total += 0.5 * gap * gap if gap < 1 else gap - 0.5
    assert 0 < (foreground & masks).sum() < masks.sum() < count
    assert float(DETECTION.loss(output, batch)) == pytest.approx(total / int(masks.sum()), rel=1e-5)


@pytest.mark.parametrize("task", [SEMSEG, normals_task(), DETECTION, Attributes(("red", "round"), {})], ids=str)
def test_nothing_labelled_gives_zero_with_a_gradient(task: Any) -> None:
    name = type(task).__name__.lower()
    channels = {"semseg": 3, "normals": 20, "detection": 16, "attributes": 2}[name]
    output = torch.randn(4, channels, *((5, 5) if task.form == "fcn" else ()), requires_grad=True)
    shape = {"semseg": (4, 5, 5), "normals": (4, 5, 5, 3), "detection": (4,), "attributes": (4, 2)}[name]
    foreground = torch.ones(4, dtype=torch.bool)
    masks = {name: torch.zeros(4, dtype=torch.bool)}
    batch = Batch(torch.zeros(4), {name: torch.ones(shape)}, masks, [], None, foreground, torch.zeros(4, 4))
    loss = task.loss(output, batch)
    loss.backward()
    assert float(loss.detach()) == 0 and output.grad is not None and (output.grad == 0).all()


def test_predicted_offsets_are_in_the_scale_of_the_targets() -> None:
    torch.manual_seed(3)
    output = torch.randn(2, 16)
    batch = Batch(torch.zeros(1), {}, {})
    prediction = DETECTION.predict(output, batch)
    assert prediction["probability"].shape == (2, 4) and prediction["offsets"].shape == (2, 3, 4)
    np.testing.assert_allclose(prediction["probability"].sum(dim=1), 1, rtol=1e-6)
    for row, category, k in np.ndindex(2, 3, 4):
        expected = float(output[row, 4 + 4 * category + k]) * OFFSETS["offset_std"][k] + OFFSETS["offset_mean"][k]
        assert float(prediction["offsets"][row, category, k]) == pytest.approx(expected, abs=1e-6)


def test_offsets_are_fitted_on_overlapping_proposals() -> None:
    box = np.array([[10, 10, 30, 30], [40, 40, 60, 60]], dtype=np.float32)
    near = box[:1] + np.array([[2, 0, 2, 0], [-2, 0, -2, 0], [0, 4, 0, 4]], dtype=np.float32)
    far = np.array([[0, 50, 5, 60]], dtype=np.float32)
    on_difficult = box[1:] + 1
    sample = Sample(
        IMAGE,
        {"detection": np.array([0, 1])},
        box,
        np.array([False, True]),
        np.concatenate([far, near, on_difficult]),
    )
    facts = Detection.fit(("cat", "dog"), [sample])  # type: ignore[arg-type]
    dx, dy = [-0.1, 0.1, 0], [0, 0, -0.2]
    assert facts["offset_mean"] == pytest.approx([np.mean(dx), np.mean(dy), 0, 0], abs=1e-6)
    assert facts["offset_std"] == pytest.approx([np.std(dx), np.std(dy), 0.01, 0.01], abs=1e-6)
    nothing = Detection.fit(("cat", "dog"), [])  # type: ignore[arg-type]
    assert nothing == {"offset_mean": [0, 0, 0, 0], "offset_std": [0.1, 0.1, 0.2, 0.2]}


def scene(rng: np.random.Generator, objects: int, difficult: bool = False, width: int = 64) -> Sample:
    """Objects in a row without overlap, and proposals near and far from them."""
    corner = np.stack([np.arange(objects) * 16.0, rng.uniform(0, 40, objects)], axis=1)
    boxes = np.concatenate([corner, corner + rng.uniform(10, 14, (objects, 2))], axis=1).astype(np.float32)
    spread = np.repeat(boxes, 4, axis=0) + rng.normal(0, 1.5, (4 * objects, 4)).astype(np.float32)
    image = np.zeros((64, width, 3), dtype=np.uint8)
    labels: dict[str, np.ndarray] = {
        "detection": rng.integers(0, 3, objects),
        "attributes": rng.integers(0, 2, (objects, 2)).astype(np.uint8),
    }
    return Sample(image, labels, boxes, np.full(objects, difficult), regions.clip(spread.astype("f4"), 64, width))


def knowing_output(samples: list[Sample]) -> torch.Tensor:
    """The output of a network that knows every region's best object."""
    mean, deviation = np.array(OFFSETS["offset_mean"]), np.array(OFFSETS["offset_std"])
    rows = []
    for sample in samples:
        assert sample.proposals is not None and sample.boxes is not None
        boxes = np.concatenate([sample.proposals, sample.boxes])
        best, overlap = regions.match(boxes, sample.boxes)
        output = np.zeros((len(boxes), 16), dtype=np.float32)
        label = sample.labels["detection"][best]
        index = np.arange(len(boxes))
        output[index, 1 + label] = 5 + 5 * overlap
        offsets = output[:, 4:].reshape(-1, 3, 4)  # a view
        offsets[index, label] = (regions.encode(boxes, sample.boxes[best]) - mean) / deviation
        rows.append(output)
    return torch.from_numpy(np.concatenate(rows))


def test_a_network_that_knows_everything_reaches_100_percent() -> None:
    rng = np.random.default_rng(0)
    samples = [scene(rng, int(rng.integers(1, 5)), difficult=i % 5 == 0) for i in range(30)]
    meter = DETECTION.meter()
    for start in range(0, 30, 4):
        batch = region_batch(samples[start : start + 4])
        meter.add(DETECTION.predict(knowing_output(samples[start : start + 4]), batch), batch)
    scores = meter.scores()
    assert value(scores, "mAP") == pytest.approx(100)
    assert value(scores, "classes") == 3
    assert value(meter.chance(), "mAP") < 60
    check_metric_names(DETECTION, meter)


def test_annotated_boxes_are_no_detections_and_images_count_once() -> None:
    sample = scene(np.random.default_rng(1), 3)
    assert sample.boxes is not None and sample.proposals is not None
    far = np.array([[0, 60, 4, 64]], dtype=np.float32)
    unseen = Sample(sample.image, {"detection": np.array([0, 0, 1])}, sample.boxes, sample.difficult, far)
    meter = DETECTION.meter()
    batch = region_batch([unseen])
    meter.add(DETECTION.predict(knowing_output([unseen])[:, :4].repeat(1, 4) * 0, batch), batch)
    # the one proposal shows nothing; class 2 has no object here
    assert value(meter.scores(), "mAP") == 0 and value(meter.scores(), "classes") == 2


def test_detections_are_cut_to_their_own_image() -> None:
    # 40 pixels wide in a batch padded to 64: the box that reaches beyond the edge overlaps by .5 only when cut
    box = np.array([[30, 10, 40, 30]], dtype=np.float32)
    proposal = np.array([[25, 10, 40, 30]], dtype=np.float32)
    sample = Sample(np.zeros((64, 40, 3), np.uint8), {"detection": np.array([0])}, box, np.array([False]), proposal)
    plain = Detection(("cat",), {"offset_mean": [0.0] * 4, "offset_std": [1.0] * 4})
    batch = region_batch([sample])
    output = torch.zeros(2, 2 + 4)
    output[0, 4] = math.log(45 / 15)  # three times as wide: 10 .. 55, cut to 10 .. 40
    output[0, 2] = 10 / 15  # centre from 32.5 to 42.5: 20 .. 65, cut to 20 .. 40 = IoU .5
    meter = plain.meter()
    meter.add(plain.predict(output, batch), batch)
    assert value(meter.scores(), "AP", "cat") == pytest.approx(100)


def test_images_without_a_task_are_left_out_of_its_meters() -> None:
    rng = np.random.default_rng(2)
    samples = [scene(rng, 3), scene(rng, 2), scene(rng, 4)]
    bare = Sample(IMAGE, {}, samples[1].boxes, samples[1].difficult, samples[1].proposals)
    attributes = Attributes(("red", "round"), {})
    results = []
    for used in ([samples[0], bare, samples[2]], [samples[0], samples[2]]):
        batch = region_batch(used)
        with_labels = [samples[1] if sample is bare else sample for sample in used]
        detections, answers = DETECTION.meter(), attributes.meter()
        detections.add(DETECTION.predict(knowing_output(with_labels), batch), batch)
        scores = batch.regions[:, 1:3] if batch.regions is not None else torch.zeros(0)
        answers.add(attributes.predict(scores - 20, batch), batch)
        results.append([*detections.scores(), *answers.scores()])
    assert results[0] == results[1]


# ---------------------------------------------------------------------------------------------------- attributes
def test_attribute_loss_is_the_mean_over_attributes_and_labelled_foreground() -> None:
    torch.manual_seed(2)
    task = Attributes(("red", "round", "striped"), {})
    output = torch.randn(8, 3)
    labels = torch.randint(0, 2, (8, 3), dtype=torch.uint8)
    labels[5] = 255
    masks = torch.tensor([True] * 7 + [False])
    foreground = torch.tensor([True, True, False, True, False, True, True, True])
    rows = [0, 1, 3, 6]
    total = 0.0
    for row in rows:
        for a in range(3):
            p = 1 / (1 + math.exp(-float(output[row, a])))
            total -= math.log(p if labels[row, a] else 1 - p) / 3
    batch = Batch(torch.zeros(1), {"attributes": labels}, {"attributes": masks}, [], None, foreground)
    assert float(task.loss(output, batch)) == pytest.approx(total / len(rows), rel=1e-5)


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


def test_empty_meters_give_nan_not_errors() -> None:
    for task in (SEMSEG, normals_task(), DETECTION, Attributes(("red",), {})):
        meter = task.meter()
        assert math.isnan(value(meter.scores(), task.headline))
        assert all(math.isnan(score.value) or score.value == 0 for score in meter.chance())
