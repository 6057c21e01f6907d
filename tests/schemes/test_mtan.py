"""MTAN: masks over a shared trunk (Liu et al. 2019)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.backbones.alexnet import Alexnet
from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Stage, join
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet, count_cost, plan
from mtlbench.schemes.mtan import Attention, Mtan
from mtlbench.schemes.split import Split
from tests.support.networks import FORMS, inputs, net_of, recipe, run, small_net, tasks_of
from tests.support.samples import dense_tasks

POOLS = ("pool1", "pool2", "pool5")


def attention(net: MultiTaskNet, pool: str) -> Attention:
    unit = net.units[pool]
    assert isinstance(unit, Attention)
    return unit


def open_masks(net: MultiTaskNet) -> None:
    """Every mask is 1 everywhere."""
    for pool in POOLS:
        for mask in attention(net, pool).masks.values():
            nn.init.zeros_(mask[-2].weight)
            nn.init.constant_(mask[-2].bias, 100.0)


@FORMS
@pytest.mark.parametrize("training", [True, False])
def test_with_open_masks_it_is_split_fc6(form: str, training: bool) -> None:
    """Equation 1 with a = 1: every task's own stream is the shared one, pooled in the same way."""
    net, split = (net_of(form, scheme, dropout=0.0).train(training) for scheme in (Mtan(), Split("fc6")))
    open_masks(net)
    one, other = net(*inputs(form)), split(*inputs(form))
    assert all(torch.equal(one[task], other[task]) for task in "ab")
    assert net.groups == split.groups


@FORMS
def test_masks_against_equations_1_and_2_by_hand(form: str) -> None:
    net = net_of(form, Mtan()).eval()
    generator = torch.Generator().manual_seed(3)
    for module in net.units.modules():
        if isinstance(module, nn.BatchNorm2d):  # so that none of its numbers is 0 or 1
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                value.data.uniform_(0.5, 1.5, generator=generator)
    maps: dict[str, Tensor] = {}
    for stage in (*POOLS, "conv1", "conv2", "conv3", "conv5"):
        net.trunk[stage]["a+b"].register_forward_hook(lambda _m, _i, y, stage=stage: maps.__setitem__(stage, y))
    after: list[dict[str, Tensor]] = []
    net.units["pool5"].register_forward_hook(lambda _m, _i, y: after.append(y))
    images, regions = inputs(form)
    net(images, regions)

    def pooled(stage: str, x: Tensor) -> Tensor:
        module = net.trunk[stage]["a+b"]
        return module(x, regions) if form == "roi" and stage == "pool5" else module(x)

    def normalised(x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
        y = nn.functional.conv2d(x, convolution.weight, padding=convolution.kernel_size[0] // 2)
        shape = (1, -1, 1, 1)
        mean, variance = norm.running_mean.view(shape), norm.running_var.view(shape)
        return (y - mean) / (variance + 1e-5).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)

    for task in "ab":
        stream = None
        for pool, first, last in zip(POOLS, ("conv1", "conv2", "conv3"), ("conv1", "conv2", "conv5"), strict=True):
            unit = attention(net, pool)
            layers: Any = list(unit.masks[task])
            seen = maps[first] if stream is None else torch.cat([maps[first], stream], 1)
            mask = normalised(normalised(seen, *layers[:2]).relu(), *layers[3:5]).sigmoid()
            stream = mask * maps[last]
            if pool != "pool5":
                f: Any = unit.pass_on
                stream = normalised(stream, *f[:2]).relu()
            stream = pooled(pool, stream)
        torch.testing.assert_close(after[0][task], stream)


@FORMS
@pytest.mark.parametrize("only", ["", "a"])
def test_masks_lie_between_0_and_1_and_every_parameter_gets_a_gradient(form: str, only: str) -> None:
    net = net_of(form, Mtan(), only=only, dropout=0.0)
    masks: list[Tensor] = []
    for pool in POOLS:
        for mask in attention(net, pool).masks.values():
            mask.register_forward_hook(lambda _m, _i, y: masks.append(y))
    outputs = net(*inputs(form))
    sum((x * x).sum() for x in outputs.values()).backward()
    assert len(masks) == 3 * len(net.tasks) and all(bool(((m > 0) & (m < 1)).all()) for m in masks)
    assert [m.shape[1] for m in masks[:: len(net.tasks)]] == [net.stages[i].channels for i in (0, 2, 6)]
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


def test_the_trunk_is_computed_once() -> None:
    net, calls = net_of("roi", Mtan()), dict[str, int]()
    for stage, columns in net.trunk.items():
        for column in columns.values():
            column.register_forward_hook(lambda *_, stage=stage: calls.__setitem__(stage, calls.get(stage, 0) + 1))
    net(*inputs("roi"))
    assert {calls[stage] for stage in calls if stage.startswith("conv")} == {1}
    assert [calls[pool] for pool in POOLS] == [3, 3, 3]  # the shared map, and each task's own
    assert calls["fc6"] == calls["fc7"] == 2


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("backbone", [Caffenet, Alexnet])
def test_parameters_by_formula(count: int, backbone: Any) -> None:
    """1x1 convolutions and batch norms a task, a 3x3 convolution and a batch norm for all between two blocks."""
    tasks = {name: tasks_of("fcn")["a"] for name in "abc"[:count]}
    small = backbone("fcn", width=0.1, fc=24)
    w = small.channels
    own = sum(
        inputs_ * p + 2 * p + p * p + 2 * p
        for inputs_, p in ((w["conv1"], w["conv1"]), (2 * w["conv2"], w["conv2"]), (2 * w["conv3"], w["conv5"]))
    )
    shared = sum(9 * p * u + 2 * u for p, u in ((w["conv1"], w["conv2"]), (w["conv2"], w["conv3"])))
    found, split = (count_cost(tasks, small, scheme, "fcn", (64, 64), 0)[0] for scheme in (Mtan(), Split("fc6")))
    assert found - split == count * own + shared


def test_blocks_come_from_the_stages_not_from_their_names() -> None:
    """Two stages without parameters on end, one before the first convolution, none of CaffeNet's names."""
    kinds = {"norm": 0, "a": 1, "b": 1, "down": 0, "shift": 0, "c": 1, "d": 1, "last": 0, "end": 0, "dense": 2}
    widths = dict(zip(kinds, (3, 4, 6, 6, 6, 8, 8, 8, 8, 10), strict=True))
    stages = join([Stage(name, widths[name], bool(kind), False) for name, kind in kinds.items()])
    scheme = Mtan()
    groups = plan(scheme, stages, ("x", "y"))
    assert [len(groups[name]) for name in kinds] == [1] * 9 + [2]
    units = {stage.name: scheme.unit(stage, ("x", "y")) for stage in stages}
    kinds_of = {name: type(unit).__name__ for name, unit in units.items()}
    assert kinds_of == {
        "norm": "NoneType",
        "a": "Remember",
        "b": "Remember",
        "down": "Attention",
        "shift": "PoolStreams",
        "c": "Remember",
        "d": "Remember",
        "last": "Attention",
        "end": "PoolStreams",
        "dense": "NoneType",
    }
    first, second = units["down"], units["last"]
    assert isinstance(first, Attention) and isinstance(second, Attention)
    assert first.masks["x"][0].weight.shape == (6, 4, 1, 1) and second.masks["x"][0].weight.shape == (8, 16, 1, 1)
    assert first.pass_on[0].weight.shape == (8, 6, 3, 3)
    assert isinstance(second.pass_on, nn.Identity) and not second.returns_streams
    assert units["end"].returns_streams


@pytest.mark.parametrize("names", [("conv1", "conv2", "fc6"), ("pool1", "fc6")])
def test_trunks_without_blocks_are_refused_in_words(names: tuple[str, ...]) -> None:
    stages = tuple(Stage(name, 4, not name.startswith("pool"), True) for name in names)
    with pytest.raises(UserError, match="Mtan needs convolutions that end in pooling; the stages are .*, fc6$"):
        plan(Mtan(), stages, ("a", "b"))


def test_a_block_whose_maps_change_in_size_is_refused_in_words() -> None:
    net = net_of("fcn", Mtan())
    net.trunk["conv4"]["a+b"][0].stride = (2, 2)
    with pytest.raises(UserError, match=r"maps of a block have different sizes \(.* x .*\); only pooling may"):
        net(*inputs("fcn"))


def test_it_trains_the_same_twice_and_its_state_travels() -> None:
    tasks = dense_tasks()
    nets = [small_net(tasks, Mtan()) for _ in range(3)]
    for net in nets[:2]:
        run(net, tasks, recipe())
    assert all(map(torch.equal, nets[0].state_dict().values(), nets[1].state_dict().values()))
    nets[2].load_state_dict(nets[0].state_dict())
    images, _ = inputs("fcn")
    one, other = (net.eval()(images) for net in (nets[0], nets[2]))
    assert all(torch.equal(one[task], other[task]) for task in tasks)
