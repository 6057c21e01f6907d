"""Lenet: the network of Sener and Koltun 2018 where sizes allow to compare, and what is not theirs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from mtlbench.authoring._probe import make_probes
from mtlbench.backbones.lenet import Lenet
from mtlbench.errors import UserError
from mtlbench.nets.layers import ImagePool, whole_images
from mtlbench.nets.network import MultiTaskNet, count_cost
from mtlbench.plan import spaces
from mtlbench.plugins import create, find
from mtlbench.schemes.split import Split


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_it_has_the_parameters_of_the_published_network() -> None:
    """Theirs: Conv2d(1, 10, 5), Conv2d(10, 20, 5), Linear(320, 50); heads Linear(50, 50), Linear(50, 10). Ours sees
    three channels: 500 weights more."""
    backbone = Lenet("image")
    found = {stage.name: count(backbone.build(stage.name)) for stage in backbone.stages}
    assert found == {"conv1": 260 + 500, "pool1": 0, "conv2": 5020, "pool2": 0, "fc3": 16_050, "fc4": 2550}
    net = MultiTaskNet(make_probes("image", ("a", "b")), backbone, Split("fc4"), "image", 0)
    shared = [name for name in dict(net.named_parameters()) if ".a+b." in name]
    assert {name.split(".")[1] for name in shared} == {"conv1", "conv2", "fc3"}  # their encoder


def test_it_computes_what_that_network_does_where_its_cells_are_pairs() -> None:
    """At 27 pixels the whole map is 14 cells wide, so that 7 x 7 maxima are a max pooling of 2 x 2: the published order
    of layers, relu(max_pool(conv(x))), with paddings of 2."""
    backbone = Lenet("image", cells=7, dropout=0.0)
    stages = {stage.name: backbone.build(stage.name).eval() for stage in backbone.stages}
    x = torch.randn(3, 3, 27, 27, generator=torch.Generator().manual_seed(0))
    found, expected = x, x
    for module in stages.values():
        found = module(found, whole_images(x)) if isinstance(module, ImagePool) else module(found)
    for name in ("conv1", "conv2"):
        layer = stages[name].get_submodule("0")
        mapped = functional.conv2d(expected, layer.weight, layer.bias, padding=2)
        expected = functional.relu(functional.max_pool2d(mapped, 2, ceil_mode=True))
    for name, place in (("fc3", "2"), ("fc4", "0")):
        layer = stages[name].get_submodule(place)
        expected = functional.relu(functional.linear(expected.flatten(1), layer.weight, layer.bias))
    assert expected.std() > 0.01 and torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_dropout_opens_the_encoders_last_layer_and_the_heads() -> None:
    net = MultiTaskNet(make_probes("image", ("a",)), Lenet("image"), Split("fc8"), "image", 0)
    dropped = [name for name, module in net.named_modules() if type(module).__name__ == "SeededDropout"]
    assert dropped == ["trunk.fc3.a.1", "heads.a.0"]
    assert all(net.get_submodule(name).p == 0.5 for name in dropped)


def test_widths_scale_and_a_file_that_does_not_fit_is_refused() -> None:
    wide = Lenet("image", width=0.5, fc=16, widen=2.0)
    assert [stage.channels for stage in wide.stages] == [10, 10, 20, 20, 32, 32]
    state = {
        f"{stage.name}.{key.rpartition('.')[2]}": value
        for stage in Lenet("image").stages
        for key, value in Lenet("image").build(stage.name).state_dict().items()
    }
    assert set(Lenet("image").adapted(state)) == {"conv1", "conv2", "fc3", "fc4"}
    with pytest.raises(UserError, match=r"does not fit lenet, 10 and 32 wide: other shapes: fc3.weight is 50 320"):
        wide.adapted(state)


@pytest.mark.parametrize("arm", [a.name for s in ("arms", "more") for a in getattr(spaces.load("multimnist"), s)])
def test_every_arm_of_its_space_can_be_built_and_gives_every_parameter_a_gradient(arm: str) -> None:
    space = spaces.load("multimnist")
    chosen = next(one for one in (*space.arms, *space.more) if one.name == arm)
    scheme = create("scheme", chosen.scheme, **chosen.options)
    if any(hasattr(find("scheme", chosen.scheme), name) for name in ("adopt", "teachers")):
        pytest.skip("it is trained as what a search has found, or beside finished networks")
    tasks = make_probes("image", space.pair.tasks)
    backbone = Lenet("image", dropout=0.0)
    net = MultiTaskNet(tasks, backbone, scheme, "image", 0)
    outputs = net(torch.randn(4, 3, 36, 36, generator=torch.Generator().manual_seed(0)))
    sum((x * x).sum() for x in outputs.values()).backward()
    assert set(outputs) == {"left", "right"} and all(x.shape == (4, 3) for x in outputs.values())
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert count_cost(tasks, backbone, scheme, "image", (36, 36), 1)[1] > 1e6
