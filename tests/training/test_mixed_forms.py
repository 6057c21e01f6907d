"""Batches of tasks of several forms: what each task gets is what it gets in a batch of its own form."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Batch, Sample
from mtlbench.nets.network import MultiTaskNet
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.split import Split
from mtlbench.spec import Recipe
from mtlbench.training.batches import cut, evaluation_batch, training_batch
from mtlbench.training.loop import add_gradients
from mtlbench.training.samples import Scaled, scale
from tests.support.samples import box_sample, box_tasks, dense_sample, dense_tasks, image_sample, image_tasks, view

IMAGES = 5
OF_FORM: dict[str, dict[str, Any]] = {"fcn": dense_tasks(), "roi": box_tasks(), "image": image_tasks()}
TASKS = {name: task for tasks in OF_FORM.values() for name, task in tasks.items()}


def sample(seed: int) -> Sample:
    """An image with boxes, maps and labels of its own."""
    boxes, dense, whole = box_sample(seed), dense_sample(seed, 64, 64), image_sample(seed)
    return dataclasses.replace(boxes, labels={**boxes.labels, **dense.labels, **whole.labels})


SAMPLES = [sample(seed) for seed in range(IMAGES)]


def batch_of(form: str, samples: list[Sample], **changes: Any) -> Batch:
    tasks = TASKS if form == "mixed" else OF_FORM[form]
    return training_batch(Scaled(samples, 0, 0), tasks, view(form, tasks, **changes), 3, 1, IMAGES)


@pytest.mark.parametrize("form", list(OF_FORM))
def test_a_task_gets_what_it_gets_in_a_batch_of_its_form(form: str) -> None:
    mixed, own = batch_of("mixed", SAMPLES), batch_of(form, SAMPLES)
    assert torch.equal(mixed.images, own.images)
    for task in OF_FORM[form]:
        assert torch.equal(mixed.labels[task], own.labels[task]) and torch.equal(mixed.masks[task], own.masks[task])
    if form == "roi":
        assert own.regions is not None and mixed.regions is not None and torch.equal(mixed.regions, own.regions)
        assert mixed.of_regions == own.of_regions == ("detection", "attributes")
    tasks = TASKS
    there, alone = (evaluation_batch(SAMPLES, view(f, t)) for f, t in (("mixed", tasks), (form, OF_FORM[form])))
    assert all(torch.equal(there.labels[task], alone.labels[task]) for task in OF_FORM[form])


def test_parts_have_each_task_s_own_rows() -> None:
    batch = batch_of("mixed", SAMPLES)
    pieces = cut(batch, 2)
    for name, label in batch.labels.items():
        assert torch.equal(torch.cat([piece.labels[name] for piece in pieces]), label)
    assert [len(piece.labels["semseg"]) for piece in pieces] == [2, 2, 1]
    assert batch.regions is not None
    assert [len(piece.labels["detection"]) for piece in pieces] == [
        int(((batch.regions[:, 0] >= first) & (batch.regions[:, 0] < first + 2)).sum()) for first in (0, 2, 4)
    ]


def test_maps_are_scaled_and_what_is_said_of_boxes_and_images_stays() -> None:
    forms = {name: form for form, tasks in OF_FORM.items() for name in tasks}
    small = scale(SAMPLES[0], 32, 0, forms)
    assert small.labels["semseg"].shape == (32, 32) and small.labels["normals"].shape == (32, 32, 3)
    assert np.array_equal(small.labels["attributes"], SAMPLES[0].labels["attributes"])
    assert np.array_equal(small.labels["multilabel"], SAMPLES[0].labels["multilabel"])
    assert small.boxes is not None and SAMPLES[0].boxes is not None
    assert np.allclose(small.boxes, SAMPLES[0].boxes / 2)
    subset = Scaled(SAMPLES, 32, 0)
    subset.need(forms)
    assert np.array_equal(subset[0].labels["semseg"], small.labels["semseg"])


@pytest.mark.parametrize("scheme", [Split("fc8"), CrossStitch()], ids=["split", "cross-stitch"])
def test_the_gradient_of_the_whole_batch_comes_from_its_parts_and_unlabelled_tasks_lose_nothing(scheme: Any) -> None:
    """Half of the images have no boxes' labels, the other half no maps."""
    partly = [
        dataclasses.replace(
            one, labels={name: label for name, label in one.labels.items() if name not in OF_FORM[lost]}
        )
        for one, lost in zip(SAMPLES, ("roi", "fcn", "roi", "fcn", "roi"), strict=True)
    ]
    backbone = Caffenet("mixed", small=True, width=0.1, fc=16, dropout=0.0)
    net = MultiTaskNet(TASKS, backbone, scheme, "mixed", 0)
    generator = torch.Generator().manual_seed(0)
    for parameter in net.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    batch = batch_of("mixed", partly)
    assert int(batch.masks["semseg"].sum()) + int(batch.masks["attributes"].view(IMAGES, -1).all(1).sum()) == IMAGES

    def found(images: list[Sample], chunk: int) -> tuple[dict[str, float], torch.Tensor]:
        net.zero_grad()
        losses = add_gradients(
            net, TASKS, batch_of("mixed", images), Recipe("r", {}, 0, images=5, lr=0.1, chunk=chunk), 0
        )
        own = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
        return {name: float(loss) for name, loss in losses.items()}, torch.cat(own)

    whole_losses, whole = found(partly, 0)
    for chunk in (1, 2):
        losses, gradient = found(partly, chunk)
        assert losses == pytest.approx(whole_losses, rel=1e-4)
        assert torch.allclose(gradient, whole, atol=2e-5)
    nowhere = [
        dataclasses.replace(one, labels={n: label for n, label in one.labels.items() if n not in OF_FORM["roi"]})
        for one in SAMPLES
    ]
    losses, _ = found(nowhere, 2)
    assert losses["detection"] == losses["attributes"] == 0.0 and losses["semseg"] > 0
