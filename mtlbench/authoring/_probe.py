"""What checks of schemes and backbones have in common: a task that fits all, batches, and asking one question after the
other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mtlbench.authoring.check import Finding, explain, place
from mtlbench.contracts import Batch, Metric, Stage
from mtlbench.nets.network import MultiTaskNet
from mtlbench.spec import MIXED, Recipe
from mtlbench.training.loop import add_gradients
from mtlbench.training.optimiser import make_optimiser
from mtlbench.training.process import forbid_exit

# A task is of one form, whatever others are beside it.
MIXED_TASKS = {"semseg": "fcn", "normals": "fcn", "detection": "roi", "attributes": "roi", "tags": "image"}
RECIPE = Recipe("check", {}, 0, images=2, lr=1e-4)
Case = TypeVar("Case")


class Fault(Exception):
    """A breach of the contract; the text says where, what, and what to do."""


class Probe:
    """A task that asks for given numbers, so that no head or loss hides what a backbone or a scheme does."""

    version, weight, headline = 1, 1.0, "error"
    metrics = {"error": Metric("", False)}

    def __init__(self, name: str, form: str) -> None:
        self.name, self.form = name, form

    def head(self, channels: int) -> nn.Module:
        """Three numbers a pixel, region or image."""
        return nn.Conv2d(channels, 3, 1) if self.form == "fcn" else nn.Linear(channels, 3)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The mean squared error."""
        return (output - batch.labels[self.name]).square().mean()

    def count(self, batch: Batch) -> Tensor:
        """Images or regions."""
        return batch.masks[self.name].sum()


def make_probes(form: str, names: Sequence[str]) -> dict[str, Any]:
    """{name: its task}; in form `mixed` each has a form of its own."""
    return {name: Probe(name, form_of(form, name)) for name in names}


def form_of(form: str, task: str) -> str:
    """The form of a task in networks of this form."""
    return MIXED_TASKS[task] if form == MIXED else form


def batch_of(form: str, names: Sequence[str], images: int, size: int, regions: int = 2, seed: int = 0) -> Batch:
    """The first images, `size` pixels a side, of a random series of 8; with some regions each for form `roi`. Of odd
    seeds they are half 0."""
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randn(8, 3, size, size, generator=draw)[:images]
    pixels[..., : size // 2 * (seed % 2), :] = 0
    corner = torch.rand(8, regions, 2, generator=draw)[:images] * size / 2
    index = torch.arange(images).view(-1, 1, 1).expand(-1, regions, 1)
    boxes = torch.cat([index, corner, corner + size * 0.4], dim=2).flatten(0, 1)
    shapes = {"fcn": (images, 3, size, size), "roi": (images * regions, 3), "image": (images, 3)}
    shape = {name: shapes[form_of(form, name)] for name in names}
    labels = {name: torch.randn(shape[name], generator=draw) for name in names}
    masks = {name: torch.ones(shape[name][0], dtype=torch.bool) for name in names}
    of_regions = tuple(name for name in names if form_of(form, name) == "roi")
    return Batch(pixels, labels, masks, regions=boxes if of_regions else None, of_regions=of_regions)


def train_steps(net: MultiTaskNet, batches: Sequence[Batch]) -> Iterator[dict[str, Tensor]]:
    """Train on each batch once, as a trial does; gives a step's losses when its gradients are there, before its
    update."""
    tasks, sgd = make_probes(net.form, net.tasks), make_optimiser(net, RECIPE)
    net.train()
    for number, batch in enumerate(batches):
        sgd.zero_grad(set_to_none=True)
        yield add_gradients(net, tasks, batch, RECIPE, number, number / len(batches))
        sgd.step()


def watch(unit: nn.Module, stage: Stage, names: tuple[str, ...], following: list[tuple[str, ...]]) -> None:
    """Raise a Fault at the first pass in which the unit loses tasks, shapes or finite numbers, or tells apart tasks
    that are one group at the next stage, where the groups are `following`."""
    where = f"{place(type(unit).forward)}the unit after {stage.name}"
    was: dict[str, Any] = {}
    last = stage.name == stage.trunk.names[-1]

    def note(_: nn.Module, given: tuple[Any, ...]) -> None:
        was.clear()
        was.update(given[0])

    def look(_: nn.Module, given: tuple[Any, ...], found: Any) -> None:
        if changed := [name for name in was | given[0] if was.get(name) is not given[0].get(name)]:
            raise Fault(f"{where} writes {changed[0]} into the dictionary that it was given; make one of its own")
        if not isinstance(found, dict):
            raise Fault(f"{where} returns {name_type(found)}; it must return {{task: tensor}} for all tasks")
        if lost := [name for name in names if name not in found]:
            raise Fault(f"{where} drops {' and '.join(lost)}; it must return every task that it was given")
        if more := [name for name in found if name not in names]:
            raise Fault(f"{where} returns {more[0]!r}, which it was not given; keep the names of the tasks")
        for name in names:
            before, after = given[0][name], found[name]
            if not isinstance(after, Tensor):
                raise Fault(f"{where} returns {name_type(after)} for {name}; it must return a tensor")
            width = getattr(unit, "channels", stage.channels) if last else stage.channels
            wanted = before.new_empty(before.shape[0], width, *before.shape[2:])
            if after.shape != wanted.shape:
                hint = "" if last else "; only a unit after the last stage may change the width (by `channels`)"
                raise Fault(f"{where} returns {name} with the shape {shape(after)}, not {shape(wanted)}{hint}")
            if before.isfinite().all() and not after.isfinite().all():
                many = f"{len(before)} {'image' if before.dim() == 4 else 'region'}{'s' * (len(before) > 1)}"
                raise Fault(
                    f"{where} returns NaN or infinity for {name}, from {many} of finite numbers; look for a "
                    "division by 0, or a logarithm of 0 (features are often 0)"
                )
        for group in following:
            if any(found[name] is not found[group[0]] for name in group):
                raise Fault(
                    f"{where} gives {' and '.join(group)} a tensor each, but they are one group at the next "
                    "stage; let groups() part them from there on"
                )

    unit.register_forward_pre_hook(note)
    unit.register_forward_hook(look)


def ask(cls: Any, questions: Sequence[Callable[[Case], None]], cases: list[Case]) -> Iterator[Finding]:
    """A finding for each question, whose first line of text says what holds if it passes for all cases.

    A case that fails a question is not asked further, since one fault leads to others; without cases left, none is.
    """
    count = len(cases)
    for question in questions:
        faults = [(case, text) for case in cases if (text := _fault(cls, question, case))]
        text = (inspect.getdoc(question) or question.__name__).partition("\n")[0].rstrip(".")
        if faults:
            case, text = faults[0]
            more = f", and {len(faults) - 1} more of {count} networks" if len(faults) > 1 else ""
            text = f"{text} (seen with {case}{more})"
        yield Finding(not faults, text)
        cases = [case for case in cases if all(case is not failed for failed, _ in faults)]
        if not cases:
            return


def _fault(cls: Any, question: Callable[[Case], None], case: Case) -> str:
    try:
        with forbid_exit():
            question(case)
    except Fault as fault:
        return str(fault)
    except Exception as error:
        if "modified by an inplace operation" in str(error):
            return (
                "something changes a tensor in place that the gradient still needs; write x = x + y, not x += y or "
                "x[...] = y"
            )
        return explain(error, cls)
    return ""


def name_type(value: object) -> str:
    """`a list`, `None`."""
    return "None" if value is None else f"a {type(value).__name__}"


def shape(x: Tensor) -> str:
    """`2 x 10 x 4 x 4`."""
    return " x ".join(map(str, x.shape)) or "one number"


def find_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> str:
    """The first name whose tensors differ, or nothing."""
    return next((name for name in one if name not in other or not torch.equal(one[name], other[name])), "")


def move_generator(do: Callable[[], Any]) -> Any:
    """As another process would find torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch.initial_seed() % 1000 + 1)
        return do()
