"""Region tasks: heads, losses, normalisation, predictions, meters, pictures; slow loops and hand-worked cases."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mtlbench import regions
from mtlbench.plugins import Batch, Sample, Score
from mtlbench.tasks.attributes import COLUMNS, RIGHT, WRONG, Attributes, flow
from mtlbench.tasks.detection import Detection, class_colour, label_place

IMAGE = np.zeros((64, 64, 3), dtype=np.uint8)
OFFSETS = {
    "offset_mean": [[0.0, -0.1, 0.05, 0.0], [0.02, 0.0, -0.1, 0.1], [0.0, 0.03, 0.0, 0.2]],
    "offset_std": [[0.1, 0.2, 0.3, 0.4], [0.15, 0.1, 0.2, 0.25], [0.05, 0.1, 0.35, 0.2]],
}


def value(scores: Sequence[Score], metric: str, category: str = "") -> float:
    found = [score.value for score in scores if (score.metric, score.category) == (metric, category)]
    assert len(found) == 1
    return found[0]


def check_metric_names(task: Any, meter: Any) -> None:
    names = {score.metric for score in [*meter.scores(), *meter.chance()]}
    assert names == set(task.metrics) and task.headline in names


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Some of the regions of a batch."""
    assert batch.foreground is not None
    return Batch(
        batch.images, {name: label[rows] for name, label in batch.labels.items()},
        {name: mask[rows] for name, mask in batch.masks.items()}, [], None, batch.foreground[rows],
        None if batch.targets is None else batch.targets[rows],
    )  # fmt: skip


def check_that_parts_add_up(task: Any, output: torch.Tensor, batch: Batch) -> None:
    cuts = [slice(0, 3), slice(3, 4), slice(4, None)]
    whole = sum(float(task.loss(output[c], rows_of(batch, c))) * int(task.count(rows_of(batch, c))) for c in cuts)
    total = sum(int(task.count(rows_of(batch, c))) for c in cuts)
    assert total == int(task.count(batch)) and task.count(batch).ndim == 0
    assert any(int(task.count(rows_of(batch, c))) == 0 for c in cuts)
    assert whole / total == pytest.approx(float(task.loss(output, batch)), rel=1e-5)


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
    facts = classes_of(Detection.fit(("cat", "dog"), [sample, bare] * 13), 2)  # type: ignore[arg-type]
    expected_std = [math.sqrt(0.02 / 4), math.sqrt(0.04 / 4 - 0.05**2), 0.01, 0.01]
    for category in range(2):  # the dog is difficult: no dogs, the values of all
        assert facts["offset_mean"][category] == pytest.approx([0, -0.05, 0, 0], abs=1e-6)
        assert facts["offset_std"][category] == pytest.approx(expected_std, abs=1e-6)
    too_few = Detection.fit(("cat", "dog"), [sample] * 12)  # type: ignore[arg-type]
    nothing = classes_of(Detection.fit(("cat", "dog"), []), 2)  # type: ignore[arg-type]
    assert too_few == nothing == {"offset_mean": [[0] * 4] * 2, "offset_std": [[0.1, 0.1, 0.2, 0.2]] * 2}


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


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
    facts = classes_of(Detection.fit(("cat", "dog", "cow"), samples))  # type: ignore[arg-type]
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
        offsets[index, label] = (regions.encode(boxes, sample.boxes[best]) - mean[label]) / deviation[label]
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
    plain = Detection(("cat",), {"offset_mean": [[0.0] * 4], "offset_std": [[1.0] * 4]})
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


def test_two_images_worked_by_hand() -> None:
    plain = Detection(("cat", "dog"), {"offset_mean": [[0.0] * 4] * 2, "offset_std": [[1.0] * 4] * 2})
    first = Sample(
        IMAGE, {"detection": np.array([0, 0])},
        np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32), np.array([False, True]),
        # upper .6 of the cat: hit; its lower half: overlaps the other by .1 alone, so stays, but the cat is taken;
        # the difficult cat: counts neither way
        np.array([[0, 0, 10, 6], [0, 5, 10, 10], [20, 20, 40, 40]], np.float32),
    )  # fmt: skip
    second = Sample(
        IMAGE, {"detection": np.array([0])}, np.array([[0, 0, 20, 20]], np.float32), np.array([False]),
        # hit; overlaps it by .95: goes; nothing there: miss
        np.array([[0, 0, 20, 20], [0, 0, 20, 19], [40, 40, 60, 60]], np.float32),
    )  # fmt: skip
    cat = [0.9, 0.8, 0.85, 0.99, 0.99] + [0.7, 0.69, 0.75, 0.99]  # annotated boxes last of each image: no detections
    probability = torch.tensor([[1 - p, p, 0.0] for p in cat])
    meter = plain.meter()
    meter.add({"probability": probability, "offsets": torch.zeros(9, 2, 4)}, region_batch([first, second]))
    # hit .9, taken .8, miss .75, hit .7: precision 1 up to recall .5, then 2 of 4
    assert value(meter.scores(), "AP", "cat") == pytest.approx(100 * (6 * 1 + 5 * 0.5) / 11)
    assert value(meter.scores(), "classes") == 1


@pytest.mark.parametrize(("images", "rank", "expected"), [(1, 40, 100 / 40), (1, 41, 0), (4, 100, 1), (4, 101, 0)])
def test_100_boxes_of_an_image_count_and_40_an_image_on_average(images: int, rank: int, expected: float) -> None:
    """One object, found by the box of that rank; the other images have one box each, with the lowest scores."""
    corner = 5.0 * np.stack(np.divmod(np.arange(144), 12), axis=1)
    cells = np.concatenate([corner, corner + 4], axis=1).astype(np.float32)
    truth = {"detection": np.zeros(1, int)}
    first = Sample(IMAGE, truth, cells[rank - 1 : rank], np.zeros(1, bool), cells)
    other = Sample(IMAGE, {"detection": np.zeros(0, int)}, cells[:0], np.zeros(0, bool), cells[:1])
    cat = torch.cat([0.9 - torch.arange(145) / 1000, torch.full((images - 1,), 0.01)])
    prediction = {"probability": torch.stack([1 - cat, cat], dim=1), "offsets": torch.zeros(len(cat), 1, 4)}
    meter = Detection(("cat",), {"offset_mean": [[0.0] * 4], "offset_std": [[1.0] * 4]}).meter()
    meter.add(prediction, region_batch([first, *[other] * (images - 1)]))
    assert value(meter.scores(), "AP", "cat") == pytest.approx(expected)


def slow_mean_average_precision(images: list[tuple[np.ndarray, np.ndarray, Sample]], classes: int) -> float:
    """The released test protocol and the development kit's evaluation in loops; scores `P C`, boxes `P C 4`."""
    values = []
    for c in range(classes):
        listed = []
        for number, (scores, boxes, _) in enumerate(images):
            order = sorted(range(len(scores)), key=lambda i: -scores[i, c])[:100]  # noqa: B023
            listed += [(float(scores[i, c]), number, boxes[i, c]) for i in order]
        listed = sorted(listed, key=lambda entry: -entry[0])[: 40 * len(images)]
        kept: list[tuple[float, int, np.ndarray]] = []
        hits: list[bool] = []
        for entry in listed:
            if all(entry[1] != other[1] or slow_iou(entry[2], other[2]) <= 0.3 for other in kept):
                kept.append(entry)
        taken: set[tuple[int, int]] = set()
        for _, number, box in kept:
            truth, difficult, label = images[number][2].boxes, images[number][2].difficult, images[number][2].labels
            assert truth is not None and difficult is not None
            overlaps = [slow_iou(box, one) * (own == c) for one, own in zip(truth, label["detection"], strict=True)]
            best = int(np.argmax(overlaps))
            if overlaps[best] < 0.5:
                hits.append(False)
            elif not difficult[best]:
                hits.append((number, best) not in taken)
                taken.add((number, best))
        total = sum(int((s.labels["detection"][~np.asarray(s.difficult)] == c).sum()) for _, _, s in images)
        if total:
            curve = [(sum(hits[: n + 1]) / total, sum(hits[: n + 1]) / (n + 1)) for n in range(len(hits))]
            points = [max((p for r, p in curve if r >= k / 10 - 1e-9), default=0.0) for k in range(11)]
            values.append(100 * sum(points) / 11)
    return float(np.mean(values))


@pytest.mark.parametrize("seed", range(3))
def test_mean_average_precision_agrees_with_loops_over_the_whole_protocol(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, meter = [], DETECTION.meter()
    for _ in range(6):
        sample = scene(rng, 4)
        assert sample.difficult is not None and sample.boxes is not None
        sample.difficult[:] = rng.random(4) < 0.25
        corner = rng.uniform(0, 50, (110, 2))
        clutter = np.concatenate([corner, corner + rng.uniform(4, 14, (110, 2))], axis=1)
        near = np.repeat(sample.boxes, 6, axis=0) + rng.normal(0, 2, (24, 4))
        sample = Sample(IMAGE, sample.labels, sample.boxes, sample.difficult,
                        np.concatenate([clutter, near]).astype(np.float32))  # fmt: skip
        assert sample.proposals is not None and sample.boxes is not None
        batch = region_batch([sample])
        prediction = DETECTION.predict(
            torch.from_numpy(rng.normal(0, 0.5, (138, 16)).astype(np.float32)) + 0.4 * knowing_output([sample]), batch
        )
        meter.add(prediction, batch)
        offsets = prediction["offsets"][:134].numpy()
        boxes = [np.clip(regions.decode(sample.proposals, offsets[:, c]), 0, 64) for c in range(3)]
        images.append((prediction["probability"][:134, 1:].numpy(), np.stack(boxes, axis=1), sample))
    expected = slow_mean_average_precision(images, 3)
    assert 10 < expected < 95
    assert value(meter.scores(), "mAP") == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------------- its pictures
def blank_axes() -> Any:
    figure = Figure(figsize=(4, 4))
    FigureCanvasAgg(figure)
    return figure.subplots()


def test_the_best_detections_of_an_image_are_kept() -> None:
    rng = np.random.default_rng(9)
    corner = rng.uniform(0, 50, (150, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 30, (150, 2))], axis=1).astype(np.float32)
    sample = Sample(IMAGE, {}, boxes[:2], np.zeros(2, bool), boxes[2:])
    batch = region_batch([sample])
    prediction = DETECTION.predict(torch.from_numpy(rng.normal(0, 1, (150, 16)).astype(np.float32)), batch)
    kept = DETECTION.keep(prediction, batch)
    assert kept.shape == (20, 6) and kept.dtype == np.float32
    expected: list[list[float]] = []
    probability, offsets = prediction["probability"].numpy()[:148, 1:], prediction["offsets"].numpy()[:148]
    for flat in np.argsort(-probability, axis=None):
        row, c = divmod(int(flat), 3)
        box = np.clip(regions.decode(boxes[2 + row : 3 + row], offsets[row : row + 1, c])[0], 0, 64)
        if all(c != other[0] or slow_iou(box, np.array(other[2:])) <= 0.3 for other in expected):
            expected.append([c, probability[row, c], *box])
    np.testing.assert_allclose(kept, expected[:20], rtol=1e-5)
    nothing = DETECTION.keep({"probability": torch.ones(2, 4) / 4, "offsets": torch.zeros(2, 3, 4)},
                             region_batch([Sample(IMAGE, {}, boxes[:2], None, boxes[:0])]))  # fmt: skip
    assert nothing.shape == (0, 6)
    DETECTION.draw(blank_axes(), sample, nothing)


def test_the_picture_of_the_truth_has_every_box_and_dashes_for_difficult_ones() -> None:
    sample = scene(np.random.default_rng(0), 4)
    assert sample.difficult is not None and sample.boxes is not None
    sample.difficult[1] = True
    axes = blank_axes()
    DETECTION.draw(axes, sample, None)
    axes.figure.canvas.draw()
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--", "-", "-"]
    for line, box, label in zip(axes.lines, sample.boxes, sample.labels["detection"], strict=True):
        x, y = line.get_xdata(), line.get_ydata()
        assert [min(x), min(y), max(x), max(y)] == box.tolist() and line.get_color() == class_colour(label)
    assert np.array_equal(axes.images[0].get_array(), sample.image)
    bare = blank_axes()
    DETECTION.draw(bare, Sample(IMAGE, {}), None)
    assert not bare.lines and len(bare.images) == 1
    assert len({class_colour(c) for c in range(20)}) == 20


def test_the_picture_of_detections_has_the_best_of_them() -> None:
    kept = np.array([[c % 3, score, 8 * c, 0, 8 * c + 6, 30] for c, score in enumerate([0.9, 0.5, 0.2, 0.1])], "f4")
    axes = blank_axes()
    DETECTION.draw(axes, scene(np.random.default_rng(0), 1), kept)
    assert [min(line.get_xdata()) for line in axes.lines] == [0, 8, 16]  # the last is weaker than a fifth of the best
    many = blank_axes()
    DETECTION.draw(many, scene(np.random.default_rng(0), 1), kept[[0] * 20])
    assert len(many.lines) == 6


def test_names_of_boxes_never_cover_each_other() -> None:
    rng = np.random.default_rng(1)
    taken: list[np.ndarray] = []
    for _ in range(40):
        corner = rng.uniform(0, 280, 2)
        box = np.concatenate([corner, corner + rng.uniform(5, 90, 2)])
        place = label_place("sheep", box, (375, 375), 9.0, taken)
        if place is not None:
            assert all(slow_iou(place, other) == 0 for other in taken)
            assert (place >= 0).all() and (place <= 375).all()
            taken.append(place)
    assert 10 < len(taken) < 40


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


def test_probabilities_of_the_annotated_boxes_are_kept() -> None:
    sample = scene(np.random.default_rng(3), 3)
    assert sample.proposals is not None
    probability = torch.rand(len(sample.proposals) + 3, 2)
    kept = Attributes(("red", "round"), {}).keep({"probability": probability}, region_batch([sample]))
    assert kept.dtype == np.float16
    np.testing.assert_allclose(kept, probability[-3:], atol=1e-3)


def test_words_flow_within_the_width() -> None:
    names = [("Foot/Shoe", "black")] * 11
    words = flow([names, [("none", "black")], names[:1]])
    assert all(word.column + len(word.text) <= COLUMNS for word in words)
    # from column 3 on "Foot/Shoe, " takes 11: five a line
    assert [word.line for word in words] == [0] * 5 + [1] * 5 + [2, 3, 4]
    assert [word.column for word in words[:6]] == [3, 14, 25, 36, 47, 3]
    assert [word.text for word in words[9:12]] == ["Foot/Shoe,", "Foot/Shoe", "none"]
    assert flow([]) == []


def letters(axes: Any, colour: str) -> int:
    return sum(to_hex(patch.get_facecolor()).upper() == colour for patch in axes.patches)


def test_the_picture_of_attributes_tells_right_ones_from_wrong_ones() -> None:
    task = Attributes(("red", "round", "striped", "furry", "wet"), {})
    boxes = np.array([[0, 0, 30, 30], [40, 40, 50, 50], [5, 30, 20, 60]], np.float32)
    labels = np.array([[1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [255] * 5], np.uint8)
    sample = Sample(IMAGE, {"attributes": labels}, boxes, None, boxes[:0])
    kept = np.array([[0.9, 0.8, 0.7, 0.1, 0.6], [0.1, 0.2, 0.3, 0.4, 0.5], [0.5] * 5], np.float16)
    axes = blank_axes()
    task.draw(axes, sample, kept)
    axes.figure.canvas.draw()
    assert (letters(axes, RIGHT), letters(axes, WRONG)) == (3, 1 + 3)  # four are true of the first box, three at least
    assert len(axes.lines) == 3
    truth = blank_axes()
    task.draw(truth, sample, None)
    assert letters(truth, RIGHT) == letters(truth, WRONG) == 0
    assert axes.get_ylim()[0] > 64 > 0 == axes.get_ylim()[1]  # room below the image


def test_the_picture_of_attributes_lists_the_largest_boxes() -> None:
    task = Attributes(("red", "round"), {})
    side = np.array([3, 9, 5, 7, 4, 8], np.float32)
    boxes = np.stack([0 * side, 0 * side, side, side], axis=1)
    axes = blank_axes()
    task.draw(axes, Sample(IMAGE, {"attributes": np.ones((6, 2), np.uint8)}, boxes, None, boxes[:0]), None)
    assert [max(line.get_xdata()) for line in axes.lines] == [9, 5, 7, 8]
    for bare in (Sample(IMAGE, {}), Sample(IMAGE, {}, boxes, None, boxes[:0])):
        task.draw(blank_axes(), bare, None)
