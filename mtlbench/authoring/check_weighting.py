"""The contract of weightings, asked in short trainings of small networks with 2 and 3 tasks."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from mtlbench.authoring._probe import RECIPE, Fault, ask, batch_of, find_difference, make_probes, move_generator
from mtlbench.authoring.check import Finding, check_declaration, place
from mtlbench.contracts import Batch
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet, fix_seed
from mtlbench.plugins import find
from mtlbench.spec import Options
from mtlbench.training.loop import add_gradients
from mtlbench.training.losses import Pieces
from mtlbench.training.optimiser import make_optimiser
from mtlbench.training.weighing import Weigher

METHODS = ("combine", "weights", "aggregate")
TASKS = ("semseg", "normals", "depth")
SIZE = 64  # of the images, in pixels
SMALL: Options = {"small": True, "width": 0.1, "fc": 24, "dropout": 0.0}
STEPS = 6
DRAWS = 40  # whose mean is looked at, of a weighting that draws at random
FAR = 1.5  # times the plain sum, or below one part in this: another scale (Ours)


@dataclass
class Case:
    """One kind of network whose tasks are weighed; several questions look at one training."""

    make: Callable[[], Any]  # the weighting
    count: int  # of tasks

    def __str__(self) -> str:
        return f"{self.count} tasks"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks."""
        return TASKS[: self.count]

    def net(self) -> MultiTaskNet:
        """All is shared but the heads."""
        scheme, backbone = find("scheme", "split")("fc8"), find("backbone", "caffenet")("fcn", **SMALL)
        return MultiTaskNet(make_probes("fcn", self.names), backbone, scheme, "fcn", 0)

    @cached_property
    def start(self) -> Short:
        """A training before its first step, which stays so."""
        return Short(self)

    @cached_property
    def trained(self) -> tuple[Half, Short]:
        """A training of twice STEPS, and what was kept of it after STEPS. Raises Fault, UserError."""
        short = Short(self)
        short.steps(STEPS)
        half = Half(copy_state(short.net), copy.deepcopy(short.optimiser.state_dict()), keep(short.weigher))
        short.steps(STEPS)
        return half, short

    def batch(self, number: int) -> Batch:
        """Two images; in every third batch the first task is not labelled."""
        batch = batch_of("fcn", self.names, 2, SIZE, seed=number)
        if number % 3 == 2:
            del batch.labels[self.names[0]]
            batch.masks[self.names[0]][:] = False
        return batch


class Short:
    """A short training under a weighting."""

    def __init__(self, case: Case) -> None:
        self.case, self.net, self.done = case, case.net(), 0
        self.weigher = Weigher(case.make(), self.net)
        self.optimiser = make_optimiser(self.net, RECIPE)
        if own := self.weigher.parameters:
            self.optimiser.add_param_group({"params": own, "scale": 1.0, "weight_decay": 0.0})

    def steps(self, count: int) -> None:
        """Train on."""
        tasks = make_probes("fcn", self.case.names)
        for number in range(self.done, self.done + count):
            batch = self.case.batch(number)
            self.optimiser.zero_grad(set_to_none=True)
            add_gradients(self.net, tasks, batch, RECIPE, number, weigher=self.weigher)
            for name, parameter in self.net.named_parameters():
                if parameter.grad is not None and not parameter.grad.isfinite().all():
                    raise Fault(f"{self.where}makes the gradient of {name} NaN or infinite in step {number + 1}")
            self.optimiser.step()
            self.weigher.after(Pieces(self.net, tasks, batch, RECIPE, number))
        self.done += count

    @property
    def method(self) -> str:
        """The one of METHODS that the weighting has."""
        return next(method for method in METHODS if hasattr(self.weigher.weighting, method))

    @property
    def where(self) -> str:
        """`my.py:12: weights `."""
        return f"{place(getattr(type(self.weigher.weighting), self.method, None))}{self.method} "


@dataclass
class Half:
    """What a training goes on from: the network, the optimiser, and the file of the weighting's state."""

    net: dict[str, Tensor]
    optimiser: dict[str, Any]
    file: io.BytesIO | Exception


def copy_state(net: MultiTaskNet) -> dict[str, Tensor]:
    """Its state, which further training leaves alone."""
    return {name: value.clone() for name, value in net.state_dict().items()}


def keep(weigher: Weigher) -> io.BytesIO | Exception:
    """The state of a weighting as a file, or why there is none."""
    file = io.BytesIO()
    try:
        torch.save(weigher.state(), file)
    except Exception as error:
        return error
    return file


def check_method(case: Case) -> None:
    """It has one of combine, weights and aggregate."""
    found = [method for method in METHODS if callable(getattr(case.make(), method, None))]
    if len(found) != 1:
        had = f"both {' and '.join(found)}" if found else "none of them"
        raise Fault(f"{type(case.make()).__name__} has {had}; it needs one of {', '.join(METHODS)}")


def check_answers(case: Case) -> None:
    """Its answer has the right shape and is finite, in every step, where a task is not labelled, too."""
    try:
        _ = case.trained
    except UserError as error:
        raise Fault(f"{place(getattr(type(case.start.weigher.weighting), case.start.method, None))}{error}") from error


def check_extremes(case: Case) -> None:
    """Its answer is finite where a loss is 0, and where gradients are equal, opposite, or of very different lengths."""
    rows = torch.eye(case.count, 8, dtype=torch.float64)
    several = {"equal gradients": torch.ones_like(rows), "gradients of very different lengths": rows.clone()}
    several["opposite gradients"] = torch.ones_like(rows)
    several["opposite gradients"][0] = -1.0
    several["gradients of very different lengths"][0] *= 1e4
    losses = {"a loss of 0": [0.0, *[1.0] * (case.count - 1)], "losses of 0": [0.0] * case.count}
    short = case.start
    for what, given in losses.items() if short.method == "combine" else several.items():
        if not weigh(case, given).isfinite().all():
            raise Fault(
                f"{short.where}gives NaN or infinity for {what}; look for a division by 0, or a logarithm or root of 0"
            )


def check_scale(case: Case) -> None:
    """Where nothing is to be weighed (equal losses, equal gradients) a step is about the plain sum."""
    rows = torch.ones(case.count, 8, dtype=torch.float64)
    short = case.start
    is_of_losses = short.method == "combine"
    given: Any = [1.0] * case.count if is_of_losses else rows
    drawn = torch.stack([weigh(case, given, draw).double().mean() for draw in range(DRAWS)])
    found = float(drawn.mean()) / (1.0 if is_of_losses else case.count)
    if not 1 / FAR < found < FAR:
        likely = "; multiply by the number of tasks" if math.isclose(found, 1 / case.count, rel_tol=0.1) else ""
        raise Fault(
            f"{short.where}makes a step {found:.2g} times the plain sum where all tasks agree, so that the recipe's "
            f"learning rate no longer fits{likely}"
        )


def weigh(case: Case, given: Any, draw: int = 0) -> Tensor:
    """What a fresh weighting makes of losses (their weights) or of gradients `T P` (the step)."""
    made: Any = Weigher(case.make(), case.start.net).weighting
    with fix_seed(draw, "check"):
        if hasattr(made, "combine"):
            names = sorted(case.names)
            leaves = {name: torch.tensor(loss, requires_grad=True) for name, loss in zip(names, given, strict=True)}
            made.combine(leaves).backward()
            return torch.stack([torch.zeros(()) if x.grad is None else x.grad for x in leaves.values()])
        with torch.no_grad():
            step: Tensor = (
                made.aggregate(given.float())
                if hasattr(made, "aggregate")
                else made.weights(given @ given.T).to(given) @ given
            )
        return step


def check_repeatable(case: Case) -> None:
    """The same seed gives the same training, whatever else has been trained in the process."""
    half, _ = case.trained
    other = Short(case)
    move_generator(lambda: other.steps(STEPS))
    if name := find_difference(half.net, other.net.state_dict()):
        raise Fault(
            f"two trainings of one seed differ in {name}; draw with torch, not with random or numpy, and keep what is "
            "remembered in self, not in the class or file"
        )


def check_resumed(case: Case) -> None:
    """A training that goes on from what state_dict gave is the one that was not interrupted."""
    half, whole = case.trained
    try:
        if isinstance(half.file, Exception):
            raise half.file
        half.file.seek(0)
        state = torch.load(half.file, weights_only=True)
    except Exception as error:
        raise Fault(
            f"its state_dict cannot be kept ({type(error).__name__}): numbers, texts, tensors, lists and dicts of them "
            "can"
        ) from error
    second = Short(case)
    second.weigher.restore(state)
    second.net.load_state_dict(half.net)
    second.optimiser.load_state_dict(half.optimiser)
    second.done = STEPS
    second.steps(STEPS)
    if name := find_difference(whole.net.state_dict(), second.net.state_dict()):
        raise Fault(
            f"a training that goes on from a resume file differs in {name}: it remembers something that state_dict and "
            "load_state_dict do not keep"
        )


def check(cls: Any, options: Options | None = None) -> Iterator[Finding]:
    """What holds of a weighting's class, with these options of its constructor, and what does not; never raises."""
    found, resolved = check_declaration(cls, options or {}, ())
    yield from found[1:]
    if resolved is None:
        return
    cases = [Case(partial(cls, **resolved), count) for count in (2, 3)]
    yield from ask(
        cls, (check_method, check_answers, check_extremes, check_scale, check_repeatable, check_resumed), cases
    )
