"""Weightings, and one step of a small network under them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Batch, Scheme
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plugins import create, list_names
from mtlbench.schemes.split import Split
from mtlbench.spec import Recipe
from mtlbench.training.batches import training_batch
from mtlbench.training.loop import add_gradients
from mtlbench.training.samples import Scaled
from mtlbench.training.weighing import Weigher
from tests.support.samples import dense_sample, dense_tasks, image_sample, image_tasks, view

NAMES = list_names("weighting")
EACH = pytest.mark.parametrize("name", NAMES)
TASKS = {"fcn": dense_tasks(), "image": image_tasks()}
SAMPLES = {"fcn": [dense_sample(seed) for seed in range(5)], "image": [image_sample(seed) for seed in range(5)]}


def make_weighting(name: str, **options: Any) -> Any:
    """A built-in one; the test is skipped where it needs TorchJD and there is none."""
    try:
        return create("weighting", name, **options)
    except UserError as error:
        if "TorchJD" in str(error):
            pytest.skip(str(error))
        raise


def batch_of(form: str, unlabelled: str = "") -> Batch:
    """Five images, on none of which that task is labelled."""
    samples = [
        dataclasses.replace(one, labels={task: label for task, label in one.labels.items() if task != unlabelled})
        for one in SAMPLES[form]
    ]
    return training_batch(Scaled(samples, 0, 0), TASKS[form], view(form, TASKS[form]), 0, 0, len(samples))


def net_of(form: str, scheme: Scheme | None = None, tasks: tuple[str, ...] = (), **options: Any) -> MultiTaskNet:
    """All shared but the heads, if no scheme is given; heads start at random, so that the trunk has a gradient."""
    chosen = {name: TASKS[form][name] for name in tasks or TASKS[form]}
    backbone = Caffenet(form, small=True, width=0.1, fc=16, dropout=0.0)
    net = MultiTaskNet(chosen, backbone, scheme or Split("fc8"), form, 0, **options)
    for name in sorted(chosen):
        generator = torch.Generator().manual_seed(len(name))
        for parameter in net.heads[name].parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return net


def take_step(net: MultiTaskNet, method: Any, batch: Batch, iteration: int = 0, chunk: int = 0) -> dict[str, Tensor]:
    """{name of a parameter: its gradient} of one step under a weighting, or under none; stages that tasks share are
    called `shared`, whatever their order."""
    net.zero_grad()
    tasks = {name: TASKS[net.form][name] for name in net.tasks}
    recipe = Recipe("weighed", {}, 0, images=5, lr=0.1, chunk=chunk)
    weigher = Weigher(method, net) if method is not None else None
    add_gradients(net, tasks, batch, recipe, iteration, weigher=weigher)
    found = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    return {".".join("shared" if "+" in part else part for part in name.split(".")): g for name, g in found.items()}


def flat(found: dict[str, Tensor]) -> Tensor:
    """One vector, in the order of names."""
    return torch.cat([found[name].flatten() for name in sorted(found)])


def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """Of two steps, over the length of the second."""
    assert one.keys() == two.keys()
    return float((flat(one) - flat(two)).norm() / flat(two).norm())


def weights_of(method: Any, losses: dict[str, float]) -> Tensor:
    """What a weighting of losses weighs each by."""
    leaves = {task: torch.tensor(loss, requires_grad=True) for task, loss in losses.items()}
    method.combine(leaves).backward()
    return torch.stack([leaf.grad for leaf in leaves.values()])


def step_of(method: Any, rows: Tensor) -> Tensor:
    """What a weighting of gradients, `T P` float64, makes of them."""
    if hasattr(method, "aggregate"):
        return method.aggregate(rows)
    return method.weights(rows @ rows.T) @ rows
