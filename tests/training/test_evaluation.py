"""What a network says of an image does not depend on the images that are evaluated before, beside and after it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Batch, Sample
from mtlbench.nets.network import MultiTaskNet
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.training.batches import evaluation_batches
from mtlbench.training.evaluation import evaluate, finish
from mtlbench.training.samples import Scaled
from tests.support.samples import box_sample, box_tasks, dense_sample, dense_tasks, image_sample, image_tasks, view

SIDES = ((64, 64), (64, 64), (48, 80), (80, 48), (64, 64), (80, 48))
FORMS = pytest.mark.parametrize("form", ["fcn", "roi", "image"])
TASKS = {"fcn": dense_tasks(), "roi": box_tasks(), "image": image_tasks()}
SAMPLES = {
    "fcn": [dense_sample(seed, *sides) for seed, sides in enumerate(SIDES)],
    "roi": [box_sample(seed, max(sides)) for seed, sides in enumerate(SIDES)],
    "image": [image_sample(seed, *sides) for seed, sides in enumerate(SIDES)],
}


def net_of(form: str) -> MultiTaskNet:
    """Its heads and biases start at random: without biases the padding, which is the mean, would stay 0."""
    net = MultiTaskNet(TASKS[form], Caffenet(form, small=True, width=0.2, fc=16), CrossStitch(), form, 0)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in net.named_parameters():
        if name.startswith("heads.") or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return net


class Noting:
    """A task and its meter: it keeps the prediction of each image, without padding."""

    def __init__(self, task: Any) -> None:
        self.predict, self.of_image = task.predict, {}

    def meter(self) -> Noting:
        return self

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        for number, sample in enumerate(batch.samples):
            height, width = sample.image.shape[:2]
            for part, value in prediction.items():
                if value.dim() < 4 and batch.regions is None:
                    own = value[number]
                elif batch.regions is None:
                    own = value[number, ..., :height, :width]
                else:
                    own = value[batch.regions[:, 0] == number]
                self.of_image[id(sample), part] = own.clone()

    def scores(self) -> dict[tuple[int, str], Tensor]:
        return self.of_image


def predictions(form: str, net: MultiTaskNet, samples: Sequence[Sample], chunk: int) -> dict[Any, Tensor]:
    tasks: dict[str, Any] = {name: Noting(task) for name, task in TASKS[form].items()}
    meters = finish(evaluate([net], tasks, samples, view(form, tasks, chunk=chunk), len(samples)))
    found: dict[str, Any] = {name: meter.scores() for name, meter in meters.items()}
    return {(name, *key): value for name, own in found.items() for key, value in own.items()}


@FORMS
@pytest.mark.parametrize("chunk", [0, 2])  # 16 images at a time, and as recipe paper does
def test_a_prediction_does_not_depend_on_the_other_images(form: str, chunk: int) -> None:
    """Padding to the larger of two moved it by some percent."""
    net, samples = net_of(form), SAMPLES[form]
    alone = {key: value for sample in samples for key, value in predictions(form, net, [sample], chunk).items()}
    for order in ((0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (2, 0, 4, 3, 5, 1)):
        together = predictions(form, net, [samples[number] for number in order], chunk)
        assert together.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(together[key], value, rtol=1e-4, atol=1e-6)


@FORMS
def test_scores_do_not_depend_on_the_order_of_the_images(form: str) -> None:
    net, tasks = net_of(form), copy.copy(TASKS[form])
    found = []
    for samples in (SAMPLES[form], SAMPLES[form][::-1]):
        meters = finish(evaluate([net], tasks, samples, view(form, tasks, chunk=2), len(samples)))
        found.append({(name, *score[:2]): score.value for name in tasks for score in meters[name].scores()})
    assert found[0] == pytest.approx(found[1], rel=1e-5, nan_ok=True)


@FORMS
def test_batches_keep_the_order_and_have_one_size_each(form: str) -> None:
    """As many images of one size at a time as there are in a row; where all have one size, always as many as asked."""
    samples, own = SAMPLES[form], view(form, TASKS[form])
    alike = Scaled(samples[:1] * 7, 0, 0)
    assert [len(batch.images) for batch in evaluation_batches(alike, own, 7, 3)] == [3, 3, 1]
    batches = list(evaluation_batches(samples, own, 5, 4))
    assert [id(sample) for batch in batches for sample in batch.samples] == [id(sample) for sample in samples[:5]]
    assert all({s.image.shape[:2] for s in batch.samples} == {tuple(batch.images.shape[2:])} for batch in batches)
    assert len(batches) == (3 if form == "roi" else 4)
