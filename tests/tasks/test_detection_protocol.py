"""Evaluation of detections: hand-worked cases, and loops over the whole released protocol."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtlbench.contracts import Sample
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.detection import Detection
from mtlbench.vision import regions
from tests.support.scenes import DETECTION, IMAGE, OFFSETS, check_metric_names, region_batch, scene, slow_iou, value


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
        IMAGE,
        {"detection": np.array([0, 0])},
        np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32),
        np.array([False, True]),
        # upper .6 of the cat: hit; its lower half: overlaps the other by .1 alone, so stays, but the cat is taken;
        # the difficult cat: counts neither way
        np.array([[0, 0, 10, 6], [0, 5, 10, 10], [20, 20, 40, 40]], np.float32),
    )
    second = Sample(
        IMAGE,
        {"detection": np.array([0])},
        np.array([[0, 0, 20, 20]], np.float32),
        np.array([False]),
        # hit; overlaps it by .95: goes; nothing there: miss
        np.array([[0, 0, 20, 20], [0, 0, 20, 19], [40, 40, 60, 60]], np.float32),
    )
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
            order = sorted(range(len(scores)), key=lambda i: -scores[i, c])[:100]
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
        sample = Sample(
            IMAGE, sample.labels, sample.boxes, sample.difficult, np.concatenate([clutter, near]).astype(np.float32)
        )
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
