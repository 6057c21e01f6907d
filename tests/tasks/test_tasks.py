"""Heads, losses, predictions and meters of the built-in tasks against slow loops and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mtlbench.contracts import Sample
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.detection import Detection
from mtlbench.tasks.normals import Normals
from mtlbench.tasks.semseg import Semseg
from tests.support.normals import dense_batch, facing
from tests.support.scenes import IMAGE, check_metric_names, value

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


def normals_task() -> Normals:
    train = [Sample(IMAGE, {"normals": facing(np.random.default_rng(i), 40, 40)}) for i in range(8)]
    return Normals((), Normals.fit((), train))


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


# ---------------------------------------------------------------------------------------------------- all tasks
DETECTION = Detection(("cat", "dog", "cow"), {"offset_mean": [[0.0] * 4] * 3, "offset_std": [[0.1] * 4] * 3})


def test_empty_meters_give_nan_not_errors() -> None:
    for task in (SEMSEG, normals_task(), DETECTION, Attributes(("red",), {})):
        meter = task.meter()
        assert math.isnan(value(meter.scores(), task.headline))
        assert all(math.isnan(score.value) or score.value == 0 for score in meter.chance())
