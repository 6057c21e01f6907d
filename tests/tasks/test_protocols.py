"""Losses and metrics that published protocols have: vectors, metres, inverse depth, means over small batches."""

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

from mtlbench.contracts import Batch, Sample, Score
from mtlbench.errors import UserError
from mtlbench.tasks.depth import Depth
from mtlbench.tasks.disparity import Disparity
from mtlbench.tasks.normals import Normals
from mtlbench.tasks.saliency import Saliency
from tests.support.normals import facing

matplotlib.use("Agg")
CODES = {"codebook": facing(np.random.default_rng(1), 20).astype(float).tolist()}
DEPTHS: dict[str, Any] = {
    "log_mean": 1.0,
    "log_spread": 0.5,
    "far": 8.0,
    "constants": dict.fromkeys(Depth.metrics, 2.0),
}
NEAR: dict[str, Any] = {"far": 0.4, "constants": {"absolute": 0.1, "relative": 0.01}}


def batch_of(name: str, labels: Tensor) -> Batch:
    return Batch(torch.zeros(len(labels), 3, 6, 7), {name: labels}, {name: torch.ones(len(labels), dtype=torch.bool)})


def values(scores: list[Score]) -> dict[str, float]:
    return {score.metric: score.value for score in scores}


def make(name: str, batches: int = 0) -> tuple[Any, Tensor, Tensor]:
    """A task, outputs and labels of five images of 6 x 7, with more and more of the first invalid."""
    generator = torch.Generator().manual_seed(0)
    labels = 0.05 + torch.rand(5, 6, 7, generator=generator)
    output = torch.randn(5, 1, 6, 7, generator=generator)
    task: Any = Disparity((), NEAR, batches=batches)
    if name == "depth":
        labels, task = 5 * labels, Depth((), DEPTHS, output="metres", batches=batches)
    if name == "normals":
        labels = torch.from_numpy(facing(np.random.default_rng(0), 5, 6, 7))
        output, task = 3 * output.expand(5, 3, 6, 7).roll(1, 1) + labels.movedim(3, 1), None
        task = Normals((), CODES, labels="vector", batches=batches)
    for place in range(5):
        labels[place, : 5 - place] = 0
    return task, output, labels


NAMES = pytest.mark.parametrize("name", ["normals", "depth", "disparity"])


def their_metrics(name: str, output: Tensor, labels: Tensor) -> dict[str, float]:
    """LibMTL's and nash-mtl's formulas of a batch, in our units."""
    if name == "normals":
        valid = labels.sum(dim=3) != 0
        cosine = (F.normalize(output, dim=1) * labels.movedim(3, 1)).sum(dim=1)[valid].clamp(-1, 1)
        error = np.degrees(np.arccos(cosine.double().numpy()))
        within = {f"within_{t:g}": 100 * float((error < t).mean()) for t in (11.25, 22.5, 30)}
        return {"mean": error.mean(), "median": float(np.median(error)), **within}
    valid = labels != 0
    error = (output[:, 0] - labels)[valid].abs()
    return {"absolute": 100 * float(error.mean()), "relative": 100 * float((error / labels[valid]).mean())}


@NAMES
def test_metrics_are_theirs_over_all_pixels_or_as_means_over_batches(name: str) -> None:
    for batches in (0, 2):
        task, output, labels = make(name, batches)
        parts = [(output, labels)] if not batches else [(output[i : i + 2], labels[i : i + 2]) for i in (0, 2, 4)]
        found = [their_metrics(name, *part) for part in parts]
        expected = {metric: np.mean([one[metric] for one in found]) for metric in found[0]}
        meter = task.meter()
        for first, last in ((0, 3), (3, 5)):  # as evaluation may come
            batch = batch_of(name, labels[first:last])
            meter.add(task.predict(output[first:last], batch), batch)
        got = values(meter.scores())
        assert {metric: got[metric] for metric in expected} == pytest.approx(expected, rel=1e-4, abs=3e-3)
        assert set(got) == set(task.metrics) - {"uncovered"}
        assert values(meter.chance())[task.headline] > 0
    assert values(make(name)[0].meter().scores()).keys() == values(make(name, 2)[0].meter().scores()).keys()


def test_batches_without_a_label_do_not_count_and_nothing_at_all_is_nan() -> None:
    task, output, labels = make("disparity", batches=2)
    labels[:2] = 0
    meter = task.meter()
    meter.add(task.predict(output, batch_of("disparity", labels)), batch_of("disparity", labels))
    parts = [their_metrics("disparity", output[i : i + 2], labels[i : i + 2]) for i in (2, 4)]
    assert values(meter.scores())["absolute"] == pytest.approx(np.mean([one["absolute"] for one in parts]), rel=1e-5)
    assert all(math.isnan(score.value) for score in task.meter().scores())


@NAMES
def test_losses_are_theirs(name: str) -> None:
    task, output, labels = make(name)
    output = output.clone().requires_grad_()
    batch = batch_of(name, labels)
    loss = task.loss(output, batch)
    loss.backward()
    if name == "normals":
        valid = (labels.sum(dim=3) != 0).unsqueeze(1)
        vectors = output.detach() / output.detach().norm(dim=1, keepdim=True)
        expected = 1 - float((vectors * labels.movedim(3, 1) * valid).sum()) / int(valid.sum())
    else:
        valid = (labels != 0).unsqueeze(1)
        expected = float(((output.detach() - labels[:, None]).abs() * valid).sum()) / int(valid.sum())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert output.grad is not None and output.grad.isfinite().all()
    assert not output.grad[~valid.expand_as(output)].any() and int(task.count(batch)) == int(valid.sum())


def test_heads_start_where_directions_and_amounts_are_defined() -> None:
    x = torch.randn(2, 8, 5, 4)
    vectors = make("normals")[0].head(8)(x)
    assert vectors.shape == (2, 3, 5, 4) and (vectors[:, 2] > 0.7).all() and (vectors[:, :2].abs() < 0.3).all()
    for name in ("depth", "disparity"):
        assert not make(name)[0].head(8)(x).any()


def test_vectors_of_an_ensemble_are_averaged_and_have_length_1() -> None:
    task, output, labels = make("normals")
    batch = batch_of("normals", labels)
    pair = [task.predict(one, batch)["probability"] for one in (output, output.flip(0))]
    decoded = task.decode(torch.stack(pair).mean(0).movedim(1, 3).reshape(-1, 3))
    assert torch.allclose(decoded.norm(dim=1), torch.ones(5 * 6 * 7))
    assert task.keep({"probability": pair[0][:1]}, batch).shape == (6, 7, 3)


def test_depth_in_metres_may_be_negative_and_ratios_stay_numbers() -> None:
    task, output, labels = make("depth")
    assert (task.predict(output, batch_of("depth", labels))["depth"] < 0).any()
    meter = task.meter()
    meter.add(task.predict(output, batch_of("depth", labels)), batch_of("depth", labels))
    assert all(math.isfinite(score.value) for score in meter.scores())


def test_inverse_depth_is_fitted_drawn_and_mirrored() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    label = np.array([[0.1, 0.0], [0.2, 0.4]], np.float32)
    facts = Disparity.fit((), [Sample(image, {"disparity": label})])
    assert facts["constants"] == {"absolute": 0.2, "relative": 0.1} and facts["far"] == pytest.approx(0.392)
    with pytest.raises(UserError, match="disparity: the train subset has no valid disparity"):
        Disparity.fit((), [Sample(image, {})])
    assert np.array_equal(Disparity.mirror(label), label[:, ::-1])
    canvas = Figure()
    task = Disparity((), facts)
    kept = task.keep({"disparity": torch.from_numpy(label)[None]}, batch_of("disparity", torch.ones(1, 6, 7)))
    for axes, what in zip(canvas.subplots(1, 2), (None, kept), strict=True):
        task.draw(axes, Sample(image, {"disparity": label}), what)
        assert axes.images[0].get_array().mask.tolist() == [[False, True], [False, False]]
    canvas.savefig(io.BytesIO())


def test_wrong_options_are_named() -> None:
    for make_wrong, message in (
        (lambda: Depth((), DEPTHS, output="metre"), "Did you mean 'metres'"),
        (lambda: Depth((), DEPTHS, output="metres", loss="scale_invariant"), "leave output=metres out"),
        (lambda: Disparity((), NEAR, batches=-1), "disparity: batches is -1; give how many images"),
        (lambda: Normals((), CODES, labels="vectors"), "Did you mean 'vector'"),
    ):
        with pytest.raises(UserError, match=message):
            make_wrong()


# ---------------------------------------------------------------------------------------------------- saliency
def some_saliency() -> tuple[Tensor, Tensor]:
    """Probabilities on the borders of bins and labels of four images, of which one has no salient pixel."""
    rng = np.random.default_rng(0)
    guess = rng.integers(0, 21, (4, 6, 7)) / 20
    labels = rng.integers(0, 2, (4, 6, 7)).astype(np.uint8)
    labels[0, :2], labels[1] = 255, 0
    return torch.from_numpy(guess), torch.from_numpy(labels)


def test_saliency_is_scored_as_the_field_does() -> None:
    """F over all pixels (beta squared = .3), IoU as a mean over images, each at its best threshold."""
    guess, labels = some_saliency()
    meter = Saliency((), {}).meter()
    for part in (slice(0, 3), slice(3, 4)):
        meter.add({"salient": guess[part]}, batch_of("saliency", labels[part]))
    valid, truth = labels.numpy() != 255, labels.numpy() == 1
    best_f, best_iou = 0.0, 0.0
    for step in range(1, 20):
        found = (guess.numpy() >= step / 20 - 1e-9) & valid
        precision, recall = (found & truth).sum() / found.sum(), (found & truth).sum() / truth.sum()
        best_f = max(best_f, 1.3 * precision * recall / (0.3 * precision + recall))
        ious = []
        for f, t in zip(found, truth, strict=True):
            ious.append((f & t).sum() / (f | t).sum() if (f | t).any() else 1.0)
        best_iou = max(best_iou, float(np.mean(ious))) if 4 <= step <= 18 else best_iou
    assert values(meter.scores()) == pytest.approx({"maxF": 100 * best_f, "IoU": 100 * best_iou})
    share = truth.sum() / valid.sum()
    chance = values(meter.chance())
    assert chance["maxF"] == pytest.approx(100 * 1.3 * share / (0.3 * share + 1))
    assert chance["IoU"] >= 25  # the image without one, where nothing is found


def test_saliency_is_drawn_and_an_empty_meter_gives_nan() -> None:
    task = Saliency((), {})
    assert all(math.isnan(score.value) for score in (*task.meter().scores(), *task.meter().chance()))
    kept = task.keep({"salient": torch.full((1, 480, 640), 0.5)}, batch_of("saliency", torch.zeros(1, 6, 7)))
    assert kept.shape == (240, 320) and kept.dtype == np.uint8 and kept[0, 0] == 128
    canvas = Figure()
    axes = canvas.add_subplot()
    label = np.array([[0, 1], [255, 1]], np.uint8)
    task.draw(axes, Sample(np.zeros((2, 2, 3), np.uint8), {"saliency": label}), None)
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0, 255], [0, 255]]
