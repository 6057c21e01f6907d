"""How long a training step of every arm takes, against its floor and against the one-task networks.

    python benchmarks/step.py [quick|paper|both] [PAIR|both] [ROUNDS] [DEVICE]

The floor of a step are its convolutions and matrix products, forward and backward, replayed alone in this process. A
Split is held against its parts, too: for every stage the time of one column's forward, backward and update, times the
number of columns, and the heads with their losses. Arms take turns, a step each a round; a ratio is the median of the
rounds' ratios. Images and labels are noise of the recipe's size.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from _figures import Figure, tell
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mtlbench.contracts import Batch, Sample
from mtlbench.nets.layers import RegionPool, upsample
from mtlbench.nets.network import place_on_device
from mtlbench.plan import spaces
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import find, make_plugin
from mtlbench.spec import Trial
from mtlbench.store.shapes import TaskFacts
from mtlbench.system.machine import keep_memory
from mtlbench.training.batches import training_batch
from mtlbench.training.context import network_of, tasks_of, view_of
from mtlbench.training.loader import to_device
from mtlbench.training.loop import Training, add_gradients
from mtlbench.training.losses import total_loss
from mtlbench.training.samples import Scaled

CLASSES = {"semseg": 17, "normals": 0, "detection": 10, "attributes": 24}
SIZES = {"fcn": (480, 640), "roi": (375, 500)}  # of the published data sets' images
MOST_IMAGES = 2  # of a step at the paper's sizes: what a processor can do
STEPS = 10**6  # so that no curve is due
WEIGHTY = {"convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm"}
LIMITS = {"quick": 1.5, "paper": 1.2}  # of a step over its floor
ROUNDS = {"quick": 40, "paper": 3}
PAIRS = ("det_attr", "semseg_sn")
AT_PAPERS_SIZES = ("one-task", "split-fc6", "split-fc8", "cross-stitch")


class Noise:
    """A subset of images of noise with labels for every task."""

    def __init__(self, form: str, size: tuple[int, int]) -> None:
        self.form, self.size = form, size

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        height, width = self.size
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if self.form == "fcn":
            normals = rng.normal(size=(height, width, 3)).astype(np.float32) + np.float32([0, 0, 2])
            normals /= np.linalg.norm(normals, axis=2, keepdims=True)
            semseg = rng.integers(0, CLASSES["semseg"], (height, width), dtype=np.uint8)
            return Sample(image, {"semseg": semseg, "normals": normals})
        corner = rng.uniform(0, 0.5, (4 + 500, 2))
        edges = np.concatenate([corner, corner + rng.uniform(0.2, 0.5, corner.shape)], axis=1)
        boxes = (edges * [width, height, width, height]).astype(np.float32)
        labels = {
            "detection": rng.integers(0, CLASSES["detection"], 4, dtype=np.uint8),
            "attributes": rng.integers(0, 2, (4, CLASSES["attributes"]), dtype=np.uint8),
        }
        return Sample(image, labels, boxes[:4], None, np.concatenate([boxes[:4] + 1, boxes[4:]]))


class Products(TorchDispatchMode):
    """Notes every convolution and matrix product, to be replayed on numbers of the same shapes and layouts."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, list[Any], dict[str, Any]]] = []

    def __torch_dispatch__(self, operator: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        if operator.overloadpacket.__name__ in WEIGHTY:
            kept = [one.detach() if isinstance(one, Tensor) else one for one in given]
            self.calls.append((operator, kept, named or {}))
        return operator(*given, **(named or {}))

    def replay(self) -> None:
        """All of them, one after the other."""
        for operator, given, named in self.calls:
            operator(*given, **named)


class Arm:
    """A network that trains on one batch again and again."""

    def __init__(self, trial: Trial, subset: Noise, device: torch.device) -> None:
        self.trial, self.device = trial, device
        known = {}
        for name in trial.task_names:
            categories = tuple(map(str, range(CLASSES[name])))
            known[name] = TaskFacts(categories, find("task", name).fit(categories, subset))
        self.tasks = tasks_of(trial, known)
        self.net = place_on_device(network_of(trial, self.tasks, ()), device)
        view, recipe = view_of(trial), trial.recipe
        scaled = Scaled(subset, recipe.short_side, recipe.long_side)
        batch = training_batch(scaled, self.tasks, view, trial.net_seed, 0, recipe.images)
        self.batch: Batch = to_device(batch, device)
        self.steps = self._steps()
        next(self.steps)
        with Products() as self.products:
            add_gradients(self.net, self.tasks, self.batch, recipe, 1)

    def _steps(self) -> Iterator[float]:
        training = Training(self.net, self.tasks, self.trial.recipe, STEPS)
        return training.run(
            lambda i: (batch for batch in itertools.repeat(self.batch)), 0, lambda: dict.fromkeys(self.tasks, 0.0)
        )

    def step(self) -> None:
        """One step of the training loop, its update included."""
        next(self.steps)

    def parts(self) -> dict[str, Callable[[], None]]:
        """{stage, or "" for the head with its loss: forward, backward and update}, of a one-task network's column."""
        (task,) = self.tasks
        x, found, behind = self.batch.images, {}, False
        for stage in self.net.stages:
            (column,) = self.net.trunk[stage.name].children()
            found[stage.name], x = self._part(column, x.detach(), behind)
            behind = behind or any(parameter.requires_grad for parameter in column.parameters())
        found[""] = self._head(task, x.detach())
        return found

    def _part(self, module: nn.Module, x: Tensor, behind: bool) -> tuple[Callable[[], None], Tensor]:
        """`behind`: whether a stage before it is trained, so that its input needs a gradient."""
        given = (self.batch.regions,) if isinstance(module, RegionPool) else ()
        leaf = x.clone().requires_grad_(behind)
        out = module(leaf, *given).detach()
        gradient, update = torch.randn_like(out), self._update(module)

        def run() -> None:
            leaf.grad = None
            out = module(leaf, *given)
            if out.requires_grad:
                out.backward(gradient)
            update()

        return run, out

    def _head(self, task: str, x: Tensor) -> Callable[[], None]:
        leaf, head = x.clone().requires_grad_(), self.net.heads[task]
        update = self._update(head)

        def run() -> None:
            leaf.grad = None
            output = head(leaf)
            if self.net.form == "fcn":
                output = upsample(output, self.batch.images.shape[-2:], self.net.geometry)
            total_loss(self.tasks, {task: output}, self.batch, self.trial.recipe.loss_weight)[task].backward()
            update()

        return run

    def _update(self, module: nn.Module) -> Callable[[], None]:
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not parameters:
            return lambda: None
        recipe = self.trial.recipe
        sgd = torch.optim.SGD(parameters, lr=1e-9, momentum=recipe.momentum, fused=True)

        def run() -> None:
            if recipe.clip:
                nn.utils.clip_grad_norm_(parameters, recipe.clip)
            sgd.step()
            sgd.zero_grad(set_to_none=True)

        return run


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Wall time."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def arms_of(size: str, pair: str, device: torch.device) -> dict[str, Arm]:
    """{label: arm}: every network of the pair that is trained, each once; at the paper's sizes four arms of them."""
    keep_memory()
    space = spaces.load(pair)
    recipe = dataclasses.replace(spaces.recipe_of(space, size), init="scratch", lr=1e-9, warmup=0)
    if size == "paper":
        images = min(recipe.images, MOST_IMAGES)
        recipe = dataclasses.replace(recipe, images=images, chunk=0, threads=os.cpu_count() or 1)
    torch.set_num_threads(recipe.threads)
    wanted = [arm for arm in space.arms if size == "quick" or arm.name in AT_PAPERS_SIZES]
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    trials = expand(space.pair, wanted, (0,), DataSource(make_plugin("dataset", "rooms", {}), "", ""), backbone, recipe)
    networks: dict[str, Trial] = {}
    for trial in trials:
        if not trial.average:
            networks.setdefault(repr((trial.scheme, trial.backbone, trial.task_names)), trial)
    subset = Noise(space.pair.form, (64, 64) if size == "quick" else SIZES[space.pair.form])
    return {trial.label.removesuffix(" seed 0"): Arm(trial, subset, device) for trial in networks.values()}


def measure(arms: dict[str, Arm], rounds: int, device: torch.device) -> tuple[dict[str, list[float]], ...]:
    """Seconds of each round: of every arm's step, of its floor, and of the Splits' parts added up."""
    steps, floors, sums = ({label: [] for label in arms} for _ in range(3))
    alone = {arm.trial.task_names[0]: arm.parts() for arm in arms.values() if len(arm.trial.task_names) == 1}
    for number in range(rounds + 1):
        parts = {task: {name: seconds(work, device) for name, work in its.items()} for task, its in alone.items()}
        for label, arm in arms.items():
            times = [seconds(arm.step, device), seconds(arm.products.replay, device)]
            whole = sum(parts[task][""] for task in arm.trial.task_names)
            whole += sum(parts[group[0]][stage] for stage, groups in arm.net.groups.items() for group in groups)
            if number:  # the first round is cold
                for store, value in zip((steps, floors, sums), (*times, whole), strict=True):
                    store[label].append(value)
    return steps, floors, sums


def ratio(above: list[float], below: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def study(size: str, pair: str, rounds: int, device: torch.device) -> tuple[list[dict[str, object]], list[Figure]]:
    """A row an arm, and the figures."""
    arms = arms_of(size, pair, device)
    steps, floors, sums = measure(arms, rounds, device)
    alone = [label for label, arm in arms.items() if len(arm.trial.task_names) == 1]
    both = [sum(times) for times in zip(*(steps[label] for label in alone), strict=True)]
    rows: list[dict[str, object]] = [
        {
            "sizes": size,
            "pair": pair,
            "arm": label,
            "ms": round(1000 * statistics.median(steps[label]), 1),
            "images/s": round(len(arm.batch.images) / statistics.median(steps[label]), 1),
            "/ floor": round(ratio(steps[label], floors[label]), 2),
            "/ one-task": "" if label in alone else round(ratio(steps[label], both), 2),
            "/ its parts": round(ratio(steps[label], sums[label]), 2) if not arm.net.units else "",
            "parameters": sum(p.numel() for p in arm.net.parameters()),
        }
        for label, arm in arms.items()
    ]
    splits = [ratio(steps[label], sums[label]) for label in arms if label.startswith("split-")]
    return rows, [
        Figure(
            f"{size} {pair}: largest step / floor", max(ratio(steps[a], floors[a]) for a in arms), "x", LIMITS[size]
        ),
        Figure(
            f"{size} {pair}: cross-stitch / its one-task steps",
            ratio(steps["cross-stitch"], both),
            "x",
            1.02 if size == "paper" else None,
        ),
        Figure(f"{size} {pair}: largest Split / its parts", max(splits), "x", 1.1),
    ]


def main(size: str = "both", pair: str = "both", rounds: str = "", device: str = "cpu") -> None:
    """Print a row an arm, and the figures with targets."""
    rows, figures = [], []
    sizes, pairs = list(LIMITS) if size == "both" else [size], PAIRS if pair == "both" else (pair,)
    for one_size, one_pair in itertools.product(sizes, pairs):
        found = study(one_size, one_pair, int(rounds or ROUNDS[one_size]), torch.device(device))
        rows += found[0]
        figures += found[1]
    tell(rows, figures)


if __name__ == "__main__":
    main(*sys.argv[1:])
