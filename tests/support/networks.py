"""Small networks of every form, their inputs, and a short training of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Scheme
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plan import spaces
from mtlbench.spec import Recipe
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.detection import Detection
from mtlbench.tasks.semseg import Semseg
from mtlbench.training.batches import training_batch
from mtlbench.training.loader import make_ahead
from mtlbench.training.loop import Training, add_gradients
from mtlbench.training.record import Record
from mtlbench.training.samples import Scaled
from tests.support.samples import dense_sample, dense_tasks, view

SMALL = {"small": True, "width": 0.1, "fc": 24}


class OtherSemseg(Semseg):
    """A second dense task with a head that starts at random, so that outputs differ."""

    def head(self, channels: int) -> nn.Module:
        return nn.Conv2d(channels, 3, 1)


def tasks_of(form: str) -> dict[str, Any]:
    if form == "fcn":
        return {"a": OtherSemseg(("x", "y", "z"), {}), "b": OtherSemseg(("u", "v", "w"), {})}
    facts = {"offset_mean": [0.0] * 4, "offset_std": [0.1, 0.1, 0.2, 0.2]}
    return {"a": Detection(("x", "y"), facts), "b": Attributes(("p", "q", "r"), {})}


def net_of(form: str, scheme: Scheme, only: str = "", seed: int = 0, **options: Any) -> MultiTaskNet:
    tasks = {name: task for name, task in tasks_of(form).items() if name in (only or "ab")}
    return MultiTaskNet(tasks, Caffenet(form, **{**SMALL, **options}), scheme, form, seed)


def inputs(form: str) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    corner = torch.rand(6, 2, generator=generator) * 30
    index = torch.tensor([0.0, 0, 0, 1, 1, 1])[:, None]
    return images, torch.cat([index, corner, corner + 25], dim=1) if form == "roi" else None


FORMS = pytest.mark.parametrize("form", ["fcn", "roi"])


def recipe(**changes: Any) -> Recipe:
    smoke = spaces.recipe_of(spaces.load("semseg_sn"), "smoke")
    return dataclasses.replace(smoke, **{"curve_points": 2, **changes})


def small_net(tasks: dict[str, Any], scheme: Scheme, form: str = "fcn") -> MultiTaskNet:
    return MultiTaskNet(tasks, Caffenet(form, small=True, width=0.1, fc=16, dropout=0.0), scheme, form, 0)


def run(net: MultiTaskNet, tasks: dict[str, Any], settings: Recipe, iterations: int = 6) -> Record:
    subset = Scaled([dense_sample(s) for s in range(5)], 0, 0)
    v = view("fcn", tasks)

    def batches(first: int) -> Any:
        return make_ahead(lambda i: training_batch(subset, tasks, v, 0, i, 2), first, iterations, 0)

    training = Training(net, tasks, settings, iterations)
    assert list(training.run(batches, 0, lambda: dict.fromkeys(tasks, 0.0)))[-1] == 1.0
    return training.record


COUNTS = pytest.mark.parametrize("count", [1, 2, 3])


def net_with(form: str, scheme: Scheme, count: int, **options: Any) -> MultiTaskNet:
    """With one to three tasks."""
    tasks = tasks_of(form)
    chosen = dict(list({**tasks, "c": tasks["b"]}.items())[:count])
    backbone = Caffenet(form, **{**SMALL, "dropout": 0.0})
    return MultiTaskNet(chosen, backbone, scheme, form, 0, **options)


def step(net: MultiTaskNet, form: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs, and the gradients of the sum of their squares."""
    images, regions = inputs(form)
    outputs = net(images.to(next(net.parameters()).dtype), regions)
    torch.stack([(x * x).sum() for x in outputs.values()]).sum().backward()
    return outputs, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def gradients_of(net: MultiTaskNet, settings: Recipe, progress: float = 0.0) -> dict[str, Tensor]:
    tasks = dense_tasks()
    subset = Scaled([dense_sample(s) for s in range(4)], 0, 0)
    add_gradients(net, tasks, training_batch(subset, tasks, view("fcn", tasks), 0, 0, 4), settings, 0, progress)
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


State = dict[str, Tensor]
