"""Options, counts, meters and pictures of the dense tasks against slow loops and hand-worked cases."""

from __future__ import annotations

import io
import math
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from mtlbench.contracts import Sample, Score
from mtlbench.errors import UserError
from mtlbench.plugins import create
from mtlbench.tasks.normals import Normals
from mtlbench.tasks.semseg import Semseg
from mtlbench.vision.drawing import PALETTE
from tests.support.normals import dense_batch, facing

matplotlib.use("Agg")
SEMSEG = Semseg(("wall", "floor", "chair"), {})


FACTS = {"codebook": facing(np.random.default_rng(1), 20).astype(float).tolist()}


def some_batch(name: str) -> tuple[Any, Tensor, Tensor, list[bool]]:
    """A task, outputs and labels of five images of 6 x 7: parts unlabelled, the second image without a label."""
    if name == "semseg":
        labels = torch.randint(0, 3, (5, 6, 7), generator=torch.Generator().manual_seed(0)).byte()
        labels[0, :2], labels[1] = 255, 255
        task: Any = SEMSEG
    else:
        labels = torch.from_numpy(facing(np.random.default_rng(0), 5, 6, 7))
        labels[0, :2], labels[1] = 0, 0
        task = Normals((), FACTS, labels="soft" if name == "soft normals" else "nearest")
    output = torch.randn(5, 3 if name == "semseg" else 20, 6, 7, generator=torch.Generator().manual_seed(1))
    return task, output, labels, [True, True, True, False, True]


NAMES = pytest.mark.parametrize("name", ["semseg", "normals", "soft normals"])


def scores_of(scores: list[Score]) -> dict[str, float]:
    return {score.metric: score.value for score in scores if not score.category}


# ---------------------------------------------------------------------------------------------------- counts
@NAMES
def test_the_loss_of_a_batch_is_the_mean_of_its_parts_by_count(name: str) -> None:
    """So that a mini-batch of 20 may pass in parts; a part without labels counts 0."""
    task, output, labels, masks = some_batch(name)
    what = name.split()[-1]
    whole = dense_batch(what, labels, masks)
    parts = [dense_batch(what, labels[i : i + 1], masks[i : i + 1]) for i in range(5)]
    counts = [int(task.count(part)) for part in parts]
    assert counts == [4 * 7, 0, 6 * 7, 0, 6 * 7] and int(task.count(whole)) == sum(counts)
    losses = [float(task.loss(output[i : i + 1], part)) for i, part in enumerate(parts)]
    by_parts = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    assert float(task.loss(output, whole)) == pytest.approx(by_parts, rel=1e-5)


@NAMES
def test_a_batch_without_labels_has_loss_0_with_gradient(name: str) -> None:
    task, output, labels, _ = some_batch(name)
    output.requires_grad_()
    loss = task.loss(output, dense_batch(name.split()[-1], labels, [False] * 5))
    loss.backward()
    assert float(loss.detach()) == 0 and output.grad is not None and (output.grad == 0).all()


# ---------------------------------------------------------------------------------------------------- normals: options
def test_the_default_is_the_loss_of_the_paper_bit_for_bit() -> None:
    """Cross-entropy on the nearest code (Section 5)."""
    task, output, labels, masks = some_batch("normals")
    nearest = (labels @ task.codebook.codes.T).argmax(dim=-1)
    valid = (labels != 0).any(dim=-1) & torch.tensor(masks)[:, None, None]
    expected = F.cross_entropy(output, nearest.masked_fill(~valid, -100), reduction="sum") / valid.sum()
    assert torch.equal(task.loss(output, dense_batch("normals", labels, masks)), expected)
    explicit = Normals((), FACTS, decoding="triangle", labels="nearest")
    assert torch.equal(explicit.loss(output, dense_batch("normals", labels, masks)), expected)


def test_soft_loss_is_cross_entropy_against_the_three_weights() -> None:
    task, output, labels, masks = some_batch("soft normals")
    terms = []
    for b, y, x in np.ndindex(5, 6, 7):
        if masks[b] and labels[b, y, x].any():
            weights = task.encode(labels[b, y, x][None])[0]
            log_probability = output[b, :, y, x].log_softmax(dim=0)
            terms.append(-sum(float(w) * float(p) for w, p in zip(weights, log_probability, strict=True)))
    assert len(terms) == 4 * 7 + 2 * 6 * 7
    output.requires_grad_()
    loss = task.loss(output, dense_batch("normals", 3 * labels, masks))  # a normal's length is of no account
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.mean(terms), rel=1e-5)
    assert output.grad is not None and (output.grad[3] == 0).all() and (output.grad[0, :, :2] == 0).all()


def test_the_perfect_soft_prediction_decodes_to_the_truth_and_the_perfect_hard_one_to_codes() -> None:
    labels = torch.from_numpy(facing(np.random.default_rng(4), 1, 40, 40))
    batch = dense_batch("normals", labels)
    soft, hard = Normals((), FACTS, labels="soft"), Normals((), FACTS, decoding="nearest")
    weights = soft.encode(labels.view(-1, 3)).view(1, 40, 40, 20).permute(0, 3, 1, 2)
    found = {}
    for name, task in (("soft", soft), ("hard", hard)):
        meter = task.meter()
        meter.add({"probability": weights}, batch)
        found[name] = scores_of(meter.scores())
    covered = soft.codebook.mix(labels.view(-1, 3))[2]
    assert found["soft"]["within_11.25"] >= 100 * float(covered.float().mean())
    codes = torch.tensor(FACTS["codebook"])[weights.permute(0, 2, 3, 1).reshape(-1, 20).argmax(dim=1)]
    angles = torch.rad2deg((codes * labels.view(-1, 3)).sum(dim=1).clamp(-1, 1).arccos())
    assert found["hard"]["mean"] == pytest.approx(float(angles.mean()), abs=0.01)
    assert found["soft"]["mean"] < 0.5 * found["hard"]["mean"]


@pytest.mark.parametrize("option,near", [("decoding", "triangle"), ("labels", "nearest")])
def test_wrong_options_are_answered_with_the_right_ones(option: str, near: str) -> None:
    with pytest.raises(UserError, match=f"Did you mean '{near}'"):
        create("task", "normals", categories=(), facts=FACTS, **{option: near + "s"})
    assert getattr(create("task", "normals", categories=(), facts=FACTS, **{option: near}), option) == near


def test_the_share_of_normals_outside_the_cover_is_a_chance_score() -> None:
    """Of the codes themselves none, of normals that face away all, zero normals not counted."""
    task = Normals((), FACTS)
    labels = torch.zeros(1, 4, 20, 3)
    labels[0, 0], labels[0, 1, :10] = task.codebook.codes, -task.codebook.codes[:10]
    meter = task.meter()
    meter.add({"probability": torch.full((1, 20, 4, 20), 0.05)}, dense_batch("normals", labels))
    assert scores_of(meter.chance())["uncovered"] == pytest.approx(100 * 10 / 30)
    assert "uncovered" not in scores_of(meter.scores()) and task.metrics["uncovered"].unit == "%"
    assert math.isnan(scores_of(task.meter().chance())["uncovered"])


# ---------------------------------------------------------------------------------------------------- meters
@pytest.mark.parametrize("name", ["semseg", "normals"])
def test_meters_do_not_depend_on_how_images_come_in_batches(name: str) -> None:
    task, output, labels, masks = some_batch(name)
    whole, single = task.meter(), task.meter()
    prediction = task.predict(output, dense_batch(name, labels, masks))
    whole.add(prediction, dense_batch(name, labels, masks))
    for i in range(5):
        one = {key: value[i : i + 1] for key, value in prediction.items()}
        single.add(one, dense_batch(name, labels[i : i + 1], masks[i : i + 1]))
    for one, other in zip([*whole.scores(), *whole.chance()], [*single.scores(), *single.chance()], strict=True):
        assert one[:2] == other[:2] and one.value == pytest.approx(other.value, rel=1e-9)


def test_the_first_of_equal_classes_wins() -> None:
    """A head that starts at 0 gives all classes the same probability: it must count as the first class."""
    meter = SEMSEG.meter()
    labels = torch.zeros(1, 9, 11, dtype=torch.uint8)
    meter.add({"probability": torch.full((1, 3, 9, 11), 1 / 3)}, dense_batch("semseg", labels))
    assert meter.confusion[0].tolist() == [99, 0, 0]


# ---------------------------------------------------------------------------------------------------- pictures
def draw(task: Any, sample: Sample, kept: np.ndarray | None) -> tuple[np.ndarray, tuple[float, ...], dict[str, float]]:
    """The picture, its extent, and the words on it with the row that they stand on."""
    canvas = Figure(figsize=(4, 3))
    axes = canvas.add_subplot()
    task.draw(axes, sample, kept)
    canvas.savefig(io.BytesIO(), format="png")
    (image,) = axes.images
    words = {text.get_text(): text.xy[1] for text in axes.texts}  # type: ignore[attr-defined]
    return np.asarray(image.get_array()), tuple(image.get_extent()), words


def measure_packed(array: np.ndarray) -> int:
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return len(file.getvalue())


def colour(number: int) -> list[int]:
    return [int(PALETTE[number][i : i + 2], 16) for i in (0, 2, 4)]


def test_kept_classes_are_the_likeliest_and_drawn_with_their_names() -> None:
    classes = torch.zeros(1, 60, 80, dtype=torch.int64)
    classes[:, 40:] = 1
    classes[:, 10:12, 10:12] = 2  # too small for a name
    prediction = {"probability": F.one_hot(classes, 3).permute(0, 3, 1, 2) * 0.5 + 0.1}
    kept = SEMSEG.keep(prediction, dense_batch("semseg", classes.byte()))
    assert kept.dtype == np.uint8 and np.array_equal(kept, classes[0])
    truth = np.full((120, 160), 255, dtype=np.uint8)
    truth[:, 100:] = 2
    sample = Sample(np.zeros((120, 160, 3), dtype=np.uint8), {"semseg": truth})
    picture, extent, words = draw(SEMSEG, sample, kept)
    assert picture.shape == (60, 80, 3) and extent == (0, 160, 120, 0)
    assert list(words) == ["wall", "floor"] and words["wall"] < 80 < words["floor"] < 120
    assert [picture[y, x].tolist() for y, x in ((0, 0), (59, 0), (10, 10))] == [colour(0), colour(1), colour(2)]
    picture, extent, words = draw(SEMSEG, sample, None)
    assert list(words) == ["chair"] and (picture[:, :100] == 0).all() and picture[0, 100].tolist() == colour(2)


def test_names_stand_inside_their_area() -> None:
    """An area may be hollow: its name stands on its innermost pixel, not at its centre of mass."""
    classes = np.full((50, 50), 1, dtype=np.uint8)
    classes[20:40, 5:45] = 0
    for name, row, column in SEMSEG._name_areas(classes):
        assert SEMSEG.categories[classes[row, column]] == name
    assert [name for name, _, _ in SEMSEG._name_areas(classes)] == ["wall", "floor"]
    two = np.zeros((50, 50), dtype=np.uint8)
    two[:, 20:30] = 255
    assert [(name, column < 20) for name, _, column in SEMSEG._name_areas(two)] == [("wall", True), ("wall", False)]


def test_forty_colours_can_be_told_apart() -> None:
    """In CIELAB, where a just visible difference is about 2; black stands for ignored."""
    rgb = np.array([colour(k) for k in range(40)] + [[0, 0, 0]]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    xyz = linear @ to_xyz.T / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 100 * np.eye(41)
    assert len(PALETTE) == 40 and distance.min() > 20


def test_kept_normals_are_colours() -> None:
    task = Normals((), FACTS, decoding="nearest")
    probability = torch.zeros(1, 20, 3, 2)
    probability[0, 7] = 1
    kept = task.keep({"probability": probability}, dense_batch("normals", torch.zeros(1, 3, 2, 3)))
    assert kept.shape == (3, 2, 3) and kept.dtype == np.uint8
    np.testing.assert_allclose(kept / 127.5 - 1, np.broadcast_to(FACTS["codebook"][7], (3, 2, 3)), atol=0.004)
    truth = np.zeros((3, 2, 3), dtype=np.float32)
    truth[0, 0], truth[1, 1] = (0, 0, 1), (-1, 0, 0)
    sample = Sample(np.zeros((3, 2, 3), dtype=np.uint8), {"normals": truth})
    picture, extent, _ = draw(task, sample, None)
    assert extent == (0, 2, 3, 0) and (picture[2] == 0).all()
    assert picture[0, 0].tolist() == [128, 128, 255] and picture[1, 1].tolist() == [0, 128, 128]
    assert np.array_equal(draw(task, sample, kept)[0], kept)


@pytest.mark.parametrize("size,expected", [((120, 160), (120, 160)), ((480, 640), (240, 320)), ((97, 331), (49, 166))])
def test_what_is_kept_is_small(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """At most 320 pixels long and, at 160 x 120, under 100 kB on disk even for noise."""
    generator = torch.Generator().manual_seed(0)
    for task, channels in ((SEMSEG, 3), (Normals((), FACTS), 20)):
        probability = torch.rand(1, channels, *size, generator=generator)
        kept = task.keep({"probability": probability}, dense_batch("semseg", torch.zeros(1, *size)))
        assert kept.shape[:2] == expected
        assert size != (120, 160) or measure_packed(kept) < 100_000
    whole = probability[0, :, :: size[0] - 1].flatten(1).T  # the first and the last row
    if size == expected:
        np.testing.assert_allclose(kept[0], 127.5 + 127.5 * task.decode(whole)[: size[1]].numpy(), atol=0.51)
