"""Region tasks: what they keep of predictions, and their pictures of truth and predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mtlbench.contracts import Sample
from mtlbench.tasks._words import COLUMNS, RIGHT, WRONG, flow
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.detection import class_colour, label_place
from mtlbench.vision import regions
from tests.support.scenes import DETECTION, IMAGE, region_batch, scene, slow_iou


def blank_axes() -> Any:
    figure = Figure(figsize=(4, 4))
    FigureCanvasAgg(figure)
    return figure.subplots()


# ---------------------------------------------------------------------------------------------------- detection
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
    nothing = DETECTION.keep(
        {"probability": torch.ones(2, 4) / 4, "offsets": torch.zeros(2, 3, 4)},
        region_batch([Sample(IMAGE, {}, boxes[:2], None, boxes[:0])]),
    )
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
