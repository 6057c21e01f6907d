"""Distillation from one-task networks: KD4MTL (Li and Bilen 2020)."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mtlbench.contracts import Scheme
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plan import spaces
from mtlbench.plan.arms import make_custom
from mtlbench.plan.expand import DataSource, Pretrained, apply_init, expand
from mtlbench.plan.options import Start
from mtlbench.plugins import make_plugin
from mtlbench.schemes.distillation import Distillation, measure_distance
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.split import Split
from mtlbench.schemes.task_arithmetic import TaskArithmetic
from mtlbench.training.trial import _start_networks
from tests.support.networks import FORMS, gradients_of, inputs, net_of, recipe, run, small_net
from tests.support.samples import dense_tasks


def taught(form: str, scheme: Distillation) -> MultiTaskNet:
    net = net_of(form, scheme, dropout=0.0)
    net.teachers = {task: net_of(form, Separate(), only=task, seed=9).eval() for task in "ab"}
    return net


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (6, 5)])
def test_the_distance_is_that_of_directions(shape: tuple[int, ...]) -> None:
    """2 - 2 cos at every place, whatever the norms."""
    x, aim = torch.randn(shape), torch.randn(shape)
    expected = (2 - 2 * torch.cosine_similarity(x, aim, dim=1)).mean()
    assert measure_distance(x, aim).item() == pytest.approx(expected.item(), abs=1e-4)
    assert measure_distance(3 * x, 7 * x).item() == pytest.approx(0, abs=1e-4)
    assert measure_distance(torch.zeros(shape), torch.zeros(shape)) == 0


@FORMS
def test_each_task_s_distance_joins_its_loss_in_training_alone(form: str) -> None:
    net, (images, regions) = taught(form, Distillation(strength=0.5)), inputs(form)
    net(images, regions)
    shared = net_of(form, Split("fc8"), dropout=0.0).features(images, regions)
    for task in "ab":
        weight = net.units["fc7"].adaptors[task]
        adapted = torch.einsum("oc,bc...->bo...", weight, shared[task])
        aim = net.teachers[task].features(images, regions)[task]
        torch.testing.assert_close(net.losses[task], 0.5 * measure_distance(adapted, aim))
    net.teachers = {}
    net.eval()(images, regions)
    assert net.losses == {}


def test_losses_of_units_are_in_the_step_whole_or_in_parts() -> None:
    """d (loss + distance): the plain gradient, and that of the distances over the whole batch."""
    tasks = dense_tasks()
    found = []
    for strength, chunk in ((0.0, 0), (2.0, 0), (2.0, 1), (4.0, 0)):
        net = small_net(tasks, Distillation(strength))
        net.teachers = {name: small_net({name: task}, Separate()).eval() for name, task in tasks.items()}
        for teacher in net.teachers.values():
            torch.manual_seed(5)
            for parameter in teacher.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
        found.append(gradients_of(net, recipe(chunk=chunk)))
    plain, once, parts, twice = found
    for name, gradient in once.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(twice[name] - plain[name], 2 * (gradient - plain[name]), rtol=1e-3, atol=1e-5)
        assert name.startswith("heads.") == torch.equal(gradient, plain[name])


def test_without_strength_it_is_the_network_that_shares_all_and_teachers_stay() -> None:
    tasks = dense_tasks()
    net, shared = small_net(tasks, Distillation(strength=0.0)), small_net(tasks, Split("fc8"))
    net.teachers = {name: small_net({name: task}, Separate()).eval() for name, task in tasks.items()}
    before = {task: {k: v.clone() for k, v in one.state_dict().items()} for task, one in net.teachers.items()}
    for one in (net, shared):
        run(one, tasks, recipe(clip=0.1))
    state = net.state_dict()
    assert set(state) - set(shared.state_dict()) == {f"units.fc7.adaptors.{task}" for task in tasks}
    assert all(torch.equal(value, state[name]) for name, value in shared.state_dict().items())
    for task, one in net.teachers.items():
        assert all(torch.equal(value, before[task][name]) for name, value in one.state_dict().items())


@FORMS
def test_features_learn_to_be_those_of_a_teacher(form: str) -> None:
    net = taught(form, Distillation())
    distances = []
    sgd = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(30):
        net(*inputs(form))
        total = torch.stack(list(net.losses.values())).sum()
        sgd.zero_grad()
        total.backward()
        sgd.step()
        distances.append(total.item())
    assert distances[-1] < 0.5 * distances[0]


def test_it_starts_where_all_start_and_its_teachers_are_its_parents() -> None:
    space = spaces.load("det_attr")
    arms = [
        arm for arm in (*space.arms, *space.more) if arm.name in ("one-task", "distillation", "ties", "cross-stitch")
    ]
    smoke = dataclasses.replace(spaces.recipe_of(space, "smoke"), init="pretrained")
    source = DataSource(make_plugin("dataset", "rooms", {}), "", "abc")
    pretrained = {"pretrained": Pretrained("file", "digest")}
    trials = expand(space.pair, arms, (0,), source, make_plugin("backbone", "caffenet", {}), smoke, pretrained)
    by_arm: dict[str, Any] = {trial.arm: trial for trial in trials}
    assert by_arm["distillation"].iterations == 8 and len(by_arm["distillation"].parents) == 2
    files = {arm: trial.weights_file for arm, trial in by_arm.items()}
    assert files == {"one-task": "file", "distillation": "file", "ties": "file", "cross-stitch": ""}
    assert make_custom("distillation(strength=2.0)").parents == ("one-task",)
    with pytest.raises(UserError, match="distillation cannot start from scratch"):
        apply_init(arms, smoke, [Start("scratch", "distillation")])


@pytest.mark.parametrize("scheme", [Distillation(), TaskArithmetic(scale=1.0)], ids=["teachers", "merge"])
def test_a_network_is_begun_from_the_file_first_then_from_its_parents(scheme: Scheme) -> None:
    """Task vectors are taken from the weights of the file; a network with teachers keeps them."""
    net, has_teachers = net_of("fcn", scheme), hasattr(scheme, "teachers")
    parents = [net_of("fcn", Separate(), only=task) for task in "ab"]
    for parent in parents:
        for parameter in parent.parameters():
            torch.nn.init.constant_(parameter, 3.0)

    def start_pretrained(given: MultiTaskNet) -> None:
        for parameter in given.trunk.parameters():
            torch.nn.init.constant_(parameter, 1.0)

    context: Any = SimpleNamespace(
        trial=SimpleNamespace(average=False, weights_file="file"),
        network=lambda: net,
        start_pretrained=start_pretrained,
        teachers=lambda device, states: dict(zip("ab", states, strict=True)) if has_teachers else {},
    )
    (begun,) = _start_networks(context, [parent.state_dict() for parent in parents], torch.device("cpu"))
    weight = next(begun.trunk.parameters())
    assert weight.unique().tolist() == [1.0 if has_teachers else 1.0 + 2 * (3.0 - 1.0)]
