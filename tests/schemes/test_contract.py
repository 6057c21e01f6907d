"""What a scheme may do beyond groups and units: passes, penalties, rates, searches; learned weights of losses."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.contracts import Pass, Stage, join
from mtlbench.errors import UserError
from mtlbench.nets.layers import Seeded
from mtlbench.nets.network import MultiTaskNet
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.separate import Separate
from mtlbench.training.batches import training_batch
from mtlbench.training.loop import add_gradients
from mtlbench.training.optimiser import make_optimiser
from mtlbench.training.samples import Scaled
from mtlbench.training.trial import outcome_of
from tests.support.networks import gradients_of, inputs, net_of, recipe, run, small_net
from tests.support.samples import dense_sample, dense_tasks, view
from tests.support.stores import write_made


class Streams(Separate):
    """Keeps pool1's input and pools it again: the same map twice."""

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        return Keep(stage.name) if stage.name in ("conv5", "pool5") else None


class Keep(nn.Module):
    sees_pass = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.found: list[dict[str, Tensor]] = []

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        if self.name == "conv5":
            assert not this.memory  # empty at the start of every pass
            this.memory["map"] = xs
        else:
            self.found.append({task: this.again(x) for task, x in this.memory["map"].items()})
        return xs


@pytest.mark.parametrize("form", ["fcn", "roi"])
def test_a_unit_may_pool_another_map_as_the_stage_before_it_does(form: str) -> None:
    net = net_of(form, Streams()).eval()
    after: list[dict[str, Tensor]] = []
    net.units["pool5"].register_forward_hook(lambda _m, _i, output: after.append(output))
    for _ in range(2):
        net(*inputs(form))
    for found, output in zip(net.units["pool5"].found, after, strict=True):
        assert all(torch.equal(found[task], output[task]) for task in "ab")


class Pulled(Separate):
    """Half the squared distance of the two fc7 weights."""

    def penalty(self, columns: dict[str, dict[str, nn.Module]]) -> Tensor:
        a, b = (next(module.parameters()) for module in columns["fc7"].values())
        return (a - b).square().sum() / 2


@pytest.mark.parametrize("chunk", [0, 2])
def test_a_penalty_is_added_once_a_step(chunk: int) -> None:
    tasks = dense_tasks()
    nets = [small_net(tasks, scheme) for scheme in (Separate(), Pulled())]
    for net in nets:  # columns start alike
        torch.nn.init.constant_(next(net.trunk["fc7"]["normals"].parameters()), 0.25)
    plain, pulled = (gradients_of(net, recipe(chunk=chunk)) for net in nets)
    a, b = (next(column.parameters()) for column in nets[1].trunk["fc7"].values())
    for name, gradient in plain.items():
        distance = {"trunk.fc7.semseg.1.weight": a - b, "trunk.fc7.normals.1.weight": b - a}.get(name, 0)
        torch.testing.assert_close(pulled[name], gradient + distance)


class Rated(CrossStitch):
    rates = {"units.pool1.*": 0.1, "heads.*": 3.0}


def test_rates_multiply_those_of_the_parameters_that_they_name() -> None:
    tasks = dense_tasks()
    scales = {}
    for scheme in (CrossStitch(), Rated()):
        net = small_net(tasks, scheme)
        names = {id(p): name for name, p in net.named_parameters()}
        scales[type(scheme)] = {
            names[id(p)]: group["scale"]
            for group in make_optimiser(net, recipe()).param_groups
            for p in group["params"]
        }
    for name, scale in scales[Rated].items():
        factor = 0.1 if name.startswith("units.pool1.") else 3.0 if name.startswith("heads.") else 1.0
        assert scale == pytest.approx(factor * scales[CrossStitch][name])
    assert scales[Rated]["units.pool1.alpha"] == pytest.approx(10)


def test_rates_that_name_nothing_are_an_error() -> None:
    class Wrong(Separate):
        rates = {"units.pool9.*": 2.0}

    with pytest.raises(UserError, match=r"scheme Wrong: no parameter matches 'units\.pool9\.\*' of its rates"):
        make_optimiser(small_net(dense_tasks(), Wrong()), recipe())


class Idle(Separate):
    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        return Unused() if stage.name == "fc6" else None


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(3))

    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        return xs


def test_a_parameter_that_nothing_depends_on_ends_the_training_by_name() -> None:
    tasks = dense_tasks()
    with pytest.raises(UserError, match=r"the loss does not depend on units\.fc6\.gate"):
        run(small_net(tasks, Idle()), tasks, recipe())


class Noisy(Separate):
    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        return Noise() if stage.name == "fc6" else None


class Noise(Seeded):
    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        self.seen = (self.seed, self.name, self.iteration, self.progress)
        draw = torch.rand((), generator=self.generator("noise", torch.device("cpu")))
        return {task: x * draw for task, x in xs.items()}


def test_randomness_is_a_function_of_seed_place_and_iteration() -> None:
    net = net_of("fcn", Noisy(), seed=3)
    images, _ = inputs("fcn")
    net.begin(4, progress=0.5)
    first = net(images)["a"]
    torch.manual_seed(99)
    again = net(images)["a"]
    assert torch.equal(first, again) and net.units["fc6"].seen == (3, "units.fc6", 4, 0.5)
    net.begin(5)
    assert not torch.equal(net(images)["a"], first)


class Helped(Separate):
    """Tasks alone, and a column beside them that both see in the end."""

    def extra_columns(self, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return ("common",)

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [("common", *tasks)] if stage.name == "conv1" else [("common",), *((task,) for task in tasks)]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        return Add() if stage.name == "fc7" else None


class Add(nn.Module):
    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: x if name == "common" else x + xs["common"] for name, x in xs.items()}


def test_a_scheme_may_have_columns_that_no_task_owns() -> None:
    helped, alone = net_of("fcn", Helped(), dropout=0.0).eval(), net_of("fcn", Separate(), dropout=0.0).eval()
    assert list(helped.trunk["conv1"]) == ["a+b+common"] and list(helped.heads) == ["a", "b"]
    weights = {name: column.state_dict()["0.weight"] for name, column in helped.trunk["fc6"].items()}
    assert torch.equal(weights["a"], weights["b"]) and not torch.equal(weights["a"], weights["common"])
    images, _ = inputs("fcn")
    xs, x = images, images
    for stage in helped.stages:
        name = "a+b+common" if stage.name == "conv1" else "common"
        x, xs = helped.trunk[stage.name][name](x), alone.trunk[stage.name]["a"](xs)
    torch.testing.assert_close(helped.scores(images)["a"], helped.heads["a"](x + xs))


def test_extra_columns_are_part_of_every_partition_and_no_tasks() -> None:
    class Lost(Helped):
        def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
            return [tasks]

    with pytest.raises(UserError, match=r"scheme Lost: groups at conv1 are .* not a partition of \['a', 'b', 'common'"):
        net_of("fcn", Lost())
    task = dense_tasks()["semseg"]
    with pytest.raises(UserError, match="scheme Helped has a column 'common'; call the task something else"):
        small_net({"common": task, "other": task}, Helped())


class Apart(Separate):
    """All weights shared; after conv1 every task has a multiple of its own."""

    streams = True

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        return Multiples() if stage.name == "conv1" else None


class Multiples(nn.Module):
    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {task: x * (number + 1) for number, (task, x) in enumerate(xs.items())}


def test_tasks_may_pass_the_weights_that_they_share_with_features_of_their_own() -> None:
    images, _ = inputs("fcn")
    scheme = Apart()
    net, alone = net_of("fcn", scheme, dropout=0.0), net_of("fcn", Separate(), dropout=0.0)
    xs = {"a": images, "b": images}
    for stage in alone.stages:
        xs = {task: alone.trunk[stage.name][task](x) for task, x in xs.items()}
        if stage.name == "conv1":
            xs["b"] = xs["b"] * 2
    assert all(list(copies) == ["a+b"] for copies in net.trunk.values())
    for task, output in net.scores(images).items():
        torch.testing.assert_close(output, net.heads[task](xs[task]))
    scheme.streams = False
    with pytest.raises(UserError, match=r"pool1 is shared by a\+b, but a unit before it told them apart"):
        net.scores(images)


# ------------------------------------------------------------------------------------------------ weights of losses
def uncertain(tasks: dict[str, Any]) -> MultiTaskNet:
    return MultiTaskNet(tasks, small_backbone(), Separate(), "fcn", 0, weighting="uncertainty")


def small_backbone() -> Any:
    from mtlbench.backbones.caffenet import Caffenet

    return Caffenet("fcn", small=True, width=0.1, fc=16, dropout=0.0)


@pytest.mark.parametrize("chunk", [0, 2])
def test_log_variances_weigh_the_losses_as_kendall_et_al(chunk: int) -> None:
    """exp(-s) L + s / 2 a task: at s, columns get exp(-s) of their gradient and s gets 1/2 - exp(-s) L."""
    tasks = dense_tasks()
    plain, net = small_net(tasks, Separate()), uncertain(tasks)
    with torch.no_grad():
        net.log_variances["semseg"].fill_(0.7)
    expected, found = gradients_of(plain, recipe(chunk=chunk)), gradients_of(net, recipe(chunk=chunk))
    subset = Scaled([dense_sample(s) for s in range(4)], 0, 0)
    batch = training_batch(subset, tasks, view("fcn", tasks), 0, 0, 4)
    losses = add_gradients(plain, tasks, batch, recipe(), 0)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient * (math.exp(-0.7) if ".semseg." in name else 1.0))
    for task, s in (("semseg", 0.7), ("normals", 0.0)):
        gradient = 0.5 - math.exp(-s) * float(losses[task])
        assert float(found[f"log_variances.{task}"]) == pytest.approx(gradient, rel=1e-4)


def test_only_networks_of_several_tasks_learn_weights_and_parents_fit_them() -> None:
    tasks = dense_tasks()
    net = uncertain(tasks)
    alone = MultiTaskNet({"semseg": tasks["semseg"]}, small_backbone(), Separate(), "fcn", 0, weighting="uncertainty")
    assert len(net.log_variances) == 2 and not len(alone.log_variances)
    parents = [MultiTaskNet({n: t}, small_backbone(), Separate(), "fcn", 1) for n, t in tasks.items()]
    net.load_columns([parent.state_dict() for parent in parents])
    run(net, tasks, recipe())
    assert all(float(s.detach()) != 0 for s in net.log_variances.values())


# ------------------------------------------------------------------------------------------------ searches
def test_what_a_search_found_is_read_from_its_result(tmp_path: Path) -> None:
    told = {
        "scores": [],
        "metrics": {},
        "cost": {"seconds": 1.0, "seconds_with_parents": 1.0},
        "backbone": "b",
        "architecture": [],
        "counts": {},
        "environment": {},
        "finished": "",
    }
    write_made(tmp_path, "", {**told, "outcome": {"at": "fc6"}})
    assert outcome_of(tmp_path) == {"at": "fc6"}
    write_made(tmp_path, "", told)
    with pytest.raises(UserError, match="has found nothing to start from"):
        outcome_of(tmp_path)


def test_stages_know_the_widths_of_all() -> None:
    stages = join(small_backbone().stages)
    assert all(stage.trunk.widths == tuple(s.channels for s in stages) for stage in stages)
    assert dataclasses.replace(stages[0]) == stages[0]
