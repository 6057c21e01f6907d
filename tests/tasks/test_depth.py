"""Depth: metrics against scikit-learn and by hand, losses against slow loops, the best constants, pictures."""

from __future__ import annotations

import io
import math
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, root_mean_squared_error
from torch import Tensor

from mtlbench.contracts import Batch, Sample, Score
from mtlbench.errors import UserError
from mtlbench.plugins import create
from mtlbench.tasks._amounts import best_constants
from mtlbench.tasks.depth import Depth

matplotlib.use("Agg")
FACTS: dict[str, Any] = {
    "log_mean": 1.0,
    "log_spread": 0.5,
    "far": 8.0,
    "constants": dict.fromkeys(Depth.metrics, 2.0),
}
DEPTH = Depth((), FACTS)


def batch_of(labels: Tensor, masks: list[bool] | None = None) -> Batch:
    mask = torch.tensor([True] * len(labels) if masks is None else masks)
    return Batch(torch.zeros(len(labels), 3, *labels.shape[1:]), {"depth": labels}, {"depth": mask})


def some_batch() -> tuple[Tensor, Tensor, list[bool]]:
    """Outputs and labels of five images of 6 x 7: parts invalid in each way, two images without a label."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(5, 6, 7, generator=generator) * 9 + 0.7
    labels[0, 0], labels[0, 1], labels[0, 2, :3], labels[1] = 0, float("nan"), -1, 0
    return torch.randn(5, 1, 6, 7, generator=generator), labels, [True, True, True, False, True]


def valid_pixels(output: Tensor, labels: Tensor, masks: list[bool]) -> list[tuple[int, float, float]]:
    """Image, predicted and true metres of each valid pixel."""
    return [
        (b, math.exp(1.0 + 0.5 * float(output[b, 0, y, x])), float(labels[b, y, x]))
        for b, y, x in np.ndindex(5, 6, 7)
        if masks[b] and labels[b, y, x] > 0
    ]


def values(scores: list[Score]) -> dict[str, float]:
    assert all(not score.category for score in scores)
    return {score.metric: score.value for score in scores}


def test_metrics_are_those_of_scikit_learn_and_of_the_definitions_over_all_valid_pixels() -> None:
    output, labels, masks = some_batch()
    meter = DEPTH.meter()
    meter.add(DEPTH.predict(output, batch_of(labels, masks)), batch_of(labels, masks))
    _, guess, truth = (np.array(column) for column in zip(*valid_pixels(output, labels, masks), strict=True))
    assert len(truth) == 3 * 42 - 14 - 3
    ratio = np.maximum(guess / truth, truth / guess)
    expected = {
        "absolute": 100 * mean_absolute_error(truth, guess),
        "relative": 100 * mean_absolute_percentage_error(truth, guess),
        "rmse": 100 * root_mean_squared_error(truth, guess),
        "log_rmse": 100 * root_mean_squared_error(np.log(truth), np.log(guess)),
        "delta_1": 100 * (ratio < 1.25).mean(),
        "delta_2": 100 * (ratio < 1.5625).mean(),
        "delta_3": 100 * (ratio < 1.953125).mean(),
    }
    assert values(meter.scores()) == pytest.approx(expected, rel=1e-5)
    assert set(expected) == set(Depth.metrics) and DEPTH.headline in expected


def test_metrics_by_hand() -> None:
    """Pixels of 1, 2 and 4 m predicted as 1, 3 and 2 m."""
    meter = DEPTH.meter()
    labels = torch.tensor([[[1.0, 2.0, 4.0, 0.0]]])
    meter.add({"depth": torch.tensor([[[1.0, 3.0, 2.0, 9.0]]])}, batch_of(labels))
    found = values(meter.scores())
    assert found["absolute"] == pytest.approx(100) and found["relative"] == pytest.approx(100 / 3)
    assert found["rmse"] == pytest.approx(100 * math.sqrt(5 / 3))
    assert found["log_rmse"] == pytest.approx(100 * math.sqrt((math.log(1.5) ** 2 + math.log(2) ** 2) / 3))
    assert [found[f"delta_{k}"] for k in (1, 2, 3)] == pytest.approx([100 / 3, 200 / 3, 200 / 3])  # 1, 1.5 and 2
    chance = values(meter.chance())  # always 2 m
    assert chance["absolute"] == pytest.approx(100) and chance["relative"] == pytest.approx(50)


def test_the_size_of_batches_does_not_change_a_bit() -> None:
    output, labels, masks = some_batch()
    prediction = DEPTH.predict(output, batch_of(labels, masks))["depth"]
    whole, single = DEPTH.meter(), DEPTH.meter()
    whole.add({"depth": prediction}, batch_of(labels, masks))
    for i in range(5):
        single.add({"depth": prediction[i : i + 1]}, batch_of(labels[i : i + 1], masks[i : i + 1]))
    assert whole.scores() == single.scores() and whole.chance() == single.chance()


def test_the_absolute_loss_is_the_mean_error_in_metres() -> None:
    output, labels, masks = some_batch()
    output.requires_grad_()
    loss = DEPTH.loss(output, batch_of(labels, masks))
    loss.backward()
    errors = [abs(guess - truth) for _, guess, truth in valid_pixels(output.detach(), labels, masks)]
    assert float(loss.detach()) == pytest.approx(np.mean(errors), rel=1e-5)
    assert int(DEPTH.count(batch_of(labels, masks))) == len(errors)
    assert output.grad is not None and output.grad.isfinite().all()
    assert not output.grad[3].any() and not output.grad[0, 0, :2].any() and not output.grad[1].any()


@pytest.mark.parametrize("invariance", [0.0, 0.5, 1.0])
def test_the_scale_invariant_loss_is_equation_4_of_eigen(invariance: float) -> None:
    """1/n sum d^2 - lambda/n^2 (sum d)^2 of each image, which counts by its n pixels."""
    output, labels, masks = some_batch()
    task = Depth((), FACTS, loss="scale_invariant", invariance=invariance)
    pixels = valid_pixels(output, labels, masks)
    terms = 0.0
    for image in {image for image, _, _ in pixels}:
        d = np.array([math.log(guess / truth) for at, guess, truth in pixels if at == image])
        terms += len(d) * ((d**2).mean() - invariance * d.mean() ** 2)
    loss = float(task.loss(output, batch_of(labels, masks)))
    assert loss == pytest.approx(terms / len(pixels), rel=1e-5)
    twice = float(task.loss(output + math.log(2) / 0.5, batch_of(labels, masks)))  # all depths doubled
    assert (twice == pytest.approx(loss, rel=1e-4)) == (invariance == 1)


def test_a_batch_without_labels_has_loss_0_with_gradient() -> None:
    for loss in ("absolute", "scale_invariant"):
        output, labels, _ = some_batch()
        output.requires_grad_()
        found = Depth((), FACTS, loss=loss).loss(output, batch_of(labels, [False] * 5))
        found.backward()
        assert float(found.detach()) == 0 and output.grad is not None and not output.grad.any()


def test_the_head_starts_at_the_mean_log_depth() -> None:
    output = DEPTH.head(8)(torch.randn(2, 8, 5, 4))
    assert output.shape == (2, 1, 5, 4)
    prediction = DEPTH.predict(output, batch_of(torch.ones(2, 5, 4)))["depth"]
    assert prediction.shape == (2, 5, 4) and prediction.unique().tolist() == pytest.approx([math.e])


def test_fit_finds_the_best_constant_of_each_metric() -> None:
    """Against a search of all constants on a fine grid."""
    rng = np.random.default_rng(0)
    depths = np.sort(np.concatenate([rng.uniform(0.7, 3, 700), rng.uniform(4, 10, 500)]))
    grid = np.geomspace(0.7, 10, 3000)
    ratio = np.maximum(grid[:, None] / depths, depths / grid[:, None])
    searched = {
        "absolute": -np.abs(grid[:, None] - depths).mean(axis=1),
        "relative": -(np.abs(grid[:, None] - depths) / depths).mean(axis=1),
        "rmse": -np.square(grid[:, None] - depths).mean(axis=1),
        "log_rmse": -np.square(np.log(ratio)).mean(axis=1),
        **{f"delta_{k}": (ratio < 1.25**k).mean(axis=1) for k in (1, 2, 3)},
    }
    best = best_constants(depths)
    labels = torch.from_numpy(depths).view(1, 30, 40)
    meter = Depth((), {**FACTS, "constants": best}).meter()
    meter.add({"depth": labels}, batch_of(labels))
    for metric, value in values(meter.chance()).items():
        reached = abs(searched[metric].max())
        reached = 100 * (math.sqrt(reached) if "rmse" in metric else reached)
        assert value == pytest.approx(reached, rel=2e-3), metric
        assert value >= reached if Depth.metrics[metric].higher_is_better else value <= reached, metric


def test_fit_takes_valid_pixels_alone() -> None:
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    labels = [np.array([[1, 2, 0], [np.nan, -1, 4]], dtype=np.float32), np.zeros((2, 3), dtype=np.float32)]
    train = [Sample(image, {"depth": labels[0]}), Sample(image, {"depth": labels[1]}), Sample(image, {})]
    found = Depth.fit((), train)
    assert found["log_mean"] == pytest.approx(math.log(2), abs=1e-6)
    assert found["log_spread"] == pytest.approx(math.sqrt(2 / 3) * math.log(2), abs=1e-6)
    assert found["constants"]["absolute"] == 2 and found["constants"]["rmse"] == pytest.approx(7 / 3, abs=1e-4)
    with pytest.raises(UserError, match="has no valid depth"):
        Depth.fit((), train[1:])


def test_an_empty_meter_gives_nan() -> None:
    meter = DEPTH.meter()
    assert all(math.isnan(score.value) for score in [*meter.scores(), *meter.chance()])


def test_wrong_options_are_answered_with_the_right_ones() -> None:
    with pytest.raises(UserError, match="Did you mean 'absolute'"):
        create("task", "depth", categories=(), facts=FACTS, loss="absolut")
    with pytest.raises(UserError, match="invariance is 2; give a number from 0 to 1"):
        create("task", "depth", categories=(), facts=FACTS, loss="scale_invariant", invariance=2)


def test_mirrored_depth() -> None:
    assert Depth.mirror(np.array([[1.0, 2.0, 3.0]])).tolist() == [[3.0, 2.0, 1.0]]


def test_kept_depths_are_small_and_drawn_in_the_colours_of_the_truth() -> None:
    prediction = {"depth": torch.full((1, 480, 640), 2.0)}
    kept = DEPTH.keep(prediction, batch_of(torch.ones(1, 480, 640)))
    assert kept.shape == (240, 320) and kept.dtype == np.float16
    truth = np.array([[2.0, 0.0], [np.nan, 9.0]], dtype=np.float32)
    sample = Sample(np.zeros((2, 2, 3), dtype=np.uint8), {"depth": truth})
    shades = {}
    for what in (None, kept):
        canvas = Figure()
        axes = canvas.add_subplot()
        DEPTH.draw(axes, sample, what)
        canvas.savefig(io.BytesIO(), format="png")
        (image,) = axes.images
        assert tuple(image.get_extent()) == (0, 2, 2, 0) and image.get_clim() == (0, 8.0)
        shades[what is None] = image.to_rgba(image.get_array())
        assert axes.texts[0].get_text() == ("2.0 to 9.0 m" if what is None else "2.0 to 2.0 m")
    assert shades[True][0, 1].tolist() == shades[True][1, 0].tolist() == [0, 0, 0, 1]  # invalid is black
    assert shades[True][0, 0].tolist() == shades[False][0, 0].tolist()
