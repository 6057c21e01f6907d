"""Facts of Sluice networks (Ruder et al., AAAI 2019)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Pass, Stage, join
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plan.arms import make_custom
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.sluice import Sluice, SubspaceUnit, measure_overlaps
from mtlbench.training.optimiser import make_optimiser
from tests.support.networks import COUNTS, FORMS, SMALL, inputs, net_of, net_with, recipe, run, small_net, step
from tests.support.samples import dense_tasks


def weights_of(net: MultiTaskNet) -> list[str]:
    return [name for name, _ in net.named_parameters() if not name.startswith("units.")]


def fix(net: MultiTaskNet, last: float) -> None:
    """Betas all on the last layer for 1."""
    beta = net.units["fc7"].beta
    with torch.no_grad():
        beta[:, 0], beta[:, 1] = 1 - last, last


def randomise(net: MultiTaskNet) -> None:
    generator = torch.Generator().manual_seed(2)
    for unit in net.units.values():
        nn.init.uniform_(unit.alpha, -1, 1, generator=generator)


def stages_of(widths: dict[str, int], pooling: tuple[str, ...] = ()) -> tuple[Stage, ...]:
    """Of a made-up backbone with units after `x` and `y` only, unless asked for."""
    return join([Stage(name, channels, name not in pooling, name in "xy") for name, channels in widths.items()])


@FORMS
@COUNTS
@pytest.mark.parametrize("betas", [False, True])
def test_one_subspace_and_fixed_betas_is_a_cross_stitch_per_layer(form: str, count: int, betas: bool) -> None:
    """At the start, 0.9 / 0.1, and for any alphas.

    In float64: in float32 the two sum in another order, and about one draw of alphas in 80 has a feature within that
    rounding of 0, or two pooled ones that near to each other; then the gradient goes another way.
    """
    sluice = net_with(form, Sluice(subspaces=1, strength=0.0, betas=betas), count).double()
    stitched = net_with(form, CrossStitch(per_channel=False), count).double()
    if betas:
        fix(sluice, 1.0)
    for change in (False, True):
        if change:
            randomise(sluice)
        for stage, unit in stitched.units.items():
            alpha = sluice.units[stage].alpha.detach()
            if not change:
                torch.testing.assert_close(unit.alpha[:, :, 0].detach(), alpha)
            unit.alpha.data.copy_(alpha[:, :, None])
        sluice.zero_grad()
        stitched.zero_grad()
        (ours, got), (theirs, expected) = step(sluice, form), step(stitched, form)
        for task, output in theirs.items():
            assert_alike(ours[task].detach(), output.detach())
        assert weights_of(sluice) == weights_of(stitched)
        for name in expected:
            assert_alike(got[name], expected[name].view_as(got[name]))
        assert all(map(torch.equal, sluice.alphas()["pool1"][..., :1], stitched.alphas()["pool1"]))


def assert_alike(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10 * float(expected.abs().max()))


@FORMS
def test_betas_on_the_last_layer_are_none_and_on_the_first_skip_it(form: str) -> None:
    none, mixed = net_with(form, Sluice(betas=False), 2), net_with(form, Sluice(), 2)
    seen: dict[str, dict[str, Tensor]] = {}
    assert torch.equal(mixed.units["fc7"].beta, torch.tensor([[0.1, 0.9]] * 2))
    fix(mixed, 1.0)
    expected = none(*inputs(form))
    for task, output in mixed(*inputs(form)).items():
        torch.testing.assert_close(output, expected[task])
    for stage in ("fc6", "fc7"):
        mixed.units[stage].register_forward_hook(lambda _m, _i, y, stage=stage: seen.__setitem__(stage, y))
    fix(mixed, 0.0)
    mixed(*inputs(form))
    for task in "ab":
        torch.testing.assert_close(seen["fc7"][task], seen["fc6"][task])


def test_mixing_by_hand() -> None:
    """Two tasks, two subspaces, two channels each: x~[t, s] = sum over u, r of alpha[t s, u r] x[u, r]."""
    for shape in ((2, 4, 3, 5), (6, 4)):
        unit = SubspaceUnit(("a", "b"), stages_of({"x": 4})[0], 2, 0.9, 1.0)
        nn.init.uniform_(unit.alpha, -1, 1)
        alpha = unit.alpha.detach()
        xs = {task: torch.randn(shape) for task in "ab"}
        found = unit(xs)
        for t, receiver in enumerate("ab"):
            for s in range(2):
                expected = torch.zeros_like(xs["a"][:, :2])
                for u, giver in enumerate("ab"):
                    for r in range(2):
                        expected += alpha[2 * t + s, 2 * u + r] * xs[giver][:, 2 * r : 2 * r + 2]
                torch.testing.assert_close(found[receiver][:, 2 * s : 2 * s + 2].detach(), expected)
        alphas = unit.alphas()
        for c in range(4):
            assert [[float(alphas[t, u, c]) for u in (0, 1)] for t in (0, 1)] == [
                [float(alpha[2 * t + c // 2, 2 * u + c // 2]) for u in (0, 1)] for t in (0, 1)
            ]


@COUNTS
def test_the_start_is_convex(count: int) -> None:
    """A sum of 1 a row keeps magnitudes: the same activations everywhere come out as they are."""
    tasks = tuple("abc"[:count])
    for subspaces in (1, 2, 4):
        unit = SubspaceUnit(tasks, stages_of({"x": 8})[0], subspaces, 0.9, 1.0)
        assert unit.alpha.shape == (count * subspaces,) * 2 and unit.alphas().shape == (count, count, 8)
        torch.testing.assert_close(unit.alpha.detach().sum(1), torch.ones(count * subspaces))
        assert float(unit.alpha[0, 0].detach()) == pytest.approx(0.9 if count * subspaces > 1 else 1.0)
        same = torch.rand(3, 1).expand(3, 8)
        for mixed in unit(dict.fromkeys(tasks, same)).values():
            torch.testing.assert_close(mixed.detach(), same)


def test_the_penalty_by_hand() -> None:
    """Channels (1, 2), (0, 1) | (3, 1), (1, 0): inner products 5, 1, 1, 0, squared 27; halved by a strength of 1/2."""
    layer = nn.Linear(2, 4, bias=False)
    layer.weight.data = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 1.0], [1.0, 0.0]])
    assert [float(term.detach()) for term in measure_overlaps(layer, 2)] == [27.0]
    scheme = Sluice(strength=0.5)
    penalty = scheme.penalty({"fc6": {"a": layer, "b": nn.Sequential(layer)}, "pool5": {"a": nn.MaxPool2d(2)}})
    assert penalty is not None and penalty.shape == () and float(penalty.detach()) == 27.0
    penalty.backward()
    g1, g2 = layer.weight.detach()[:2], layer.weight.detach()[2:]
    torch.testing.assert_close(layer.weight.grad, torch.cat([2 * g1 @ g2.T @ g2, 2 * g2 @ g1.T @ g1]))
    layer.weight.data = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [0.0, -1.0]])
    assert [float(term.detach()) for term in measure_overlaps(layer, 2)] == [0.0]
    assert len(measure_overlaps(layer, 4)) == math.comb(4, 2) and not measure_overlaps(layer, 1)
    assert Sluice(subspaces=1).penalty({"fc6": {"a": layer}}) is None
    assert Sluice(strength=0.0).penalty({"fc6": {"a": layer}}) is None


def filters(conv: nn.Conv2d) -> Tensor:
    """A row a channel over all inputs, with zeros where it sees none."""
    full = torch.zeros(conv.out_channels, conv.in_channels, *conv.kernel_size)
    fan, size = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    for c in range(conv.out_channels):
        first = c // size * fan
        full[c, first : first + fan] = conv.weight[c].detach()
    return full.flatten(1)


@pytest.mark.parametrize("groups,subspaces", [(1, 2), (2, 2), (2, 3), (3, 2), (2, 4), (4, 2)])
def test_channels_of_different_groups_are_orthogonal(groups: int, subspaces: int) -> None:
    conv = nn.Conv2d(12, 12, 3, groups=groups)
    rows = filters(conv)
    place = torch.arange(12) * subspaces // 12
    expected = sum(((rows[place == s] @ rows[place == t].T) ** 2).sum() for t in range(subspaces) for s in range(t))
    found = sum((float(term.detach()) for term in measure_overlaps(conv, subspaces)), 0.0)
    assert found == pytest.approx(float(expected), rel=1e-5)
    assert (found == 0) == (groups % subspaces == 0)


def test_the_penalty_brings_subspaces_apart() -> None:
    tasks = dense_tasks()
    found = []
    for strength in (0.0, 0.1):
        net = small_net(tasks, Sluice(strength=strength))
        run(net, tasks, recipe(), iterations=12)
        columns = [m for m in net.trunk.modules() if isinstance(m, nn.Conv2d)]
        found.append(sum(float(term.detach()) for layer in columns for term in measure_overlaps(layer, 2)))
    assert found[1] < 0.8 * found[0]


@FORMS
@COUNTS
def test_every_parameter_gets_a_gradient(form: str, count: int) -> None:
    net = net_with(form, Sluice(), count)
    outputs = net(*inputs(form))
    penalty = net.penalty()
    assert penalty is not None
    (torch.stack([(x * x).sum() for x in outputs.values()]).sum() + penalty).backward()
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead and net.units["fc7"].beta.shape == (count, 2)


def layers_of(scheme: Sluice, *made_up: Any) -> dict[str, tuple[str, ...]]:
    """{stage with a unit: the layers that it takes part in mixing}."""
    found = {}
    for stage in stages_of(*made_up):
        if (unit := scheme.unit(stage, ("a", "b"))) is not None:
            assert isinstance(unit, SubspaceUnit) and unit.sees_pass == bool(unit.layers)
            assert (unit.beta is not None) == (bool(unit.layers) and stage.name == stage.trunk.names[-1])
            found[stage.name] = unit.layers
    return found


def test_betas_mix_layers_of_one_width_after_the_last_pooling() -> None:
    scheme, three = Sluice(), ("x", "y", "z")
    assert layers_of(scheme, {"x": 8, "y": 8, "z": 8}) == dict.fromkeys("xyz", three)
    assert layers_of(scheme, {"x": 8, "y": 8, "z": 6}) == {"x": (), "y": ()}
    assert layers_of(scheme, {"x": 6, "y": 8, "z": 6}) == {"x": (), "y": ()}
    assert layers_of(scheme, {"x": 8, "p": 8, "y": 8, "z": 8}, ("p",)) == {"x": (), "y": ("y", "z"), "z": ("y", "z")}
    assert layers_of(Sluice(betas=False), {"x": 8, "y": 8, "z": 8}) == {"x": (), "y": ()}
    assert layers_of(Sluice(after=("x", "z")), {"x": 8, "y": 8, "z": 8}) == {"x": (), "z": ()}
    assert layers_of(Sluice(after=("y", "z")), {"x": 8, "y": 8, "z": 8}) == dict.fromkeys("yz", ("y", "z"))
    unit = scheme.unit(stages_of({"w": 8, "x": 8, "y": 8, "z": 8})[-1], ("a",))
    torch.testing.assert_close(unit.beta.detach(), torch.tensor([[0.1 / 3] * 3 + [0.9]]))


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match="the 10 channels of pool1 make no 3 subspaces"):
        net_of("fcn", Sluice(subspaces=3))
    with pytest.raises(UserError, match="make no 0 subspaces"):
        net_of("fcn", Sluice(subspaces=0))
    with pytest.raises(UserError, match="sluice after 'pool3': the stages are conv1"):
        net_of("fcn", Sluice(after=("pool3",)))
    first, last = (SubspaceUnit(("a",), stage, 2, 0.9, 1.0, ("x", "y")) for stage in stages_of({"x": 4, "y": 4}))
    memory = Pass(again=lambda x: x)
    first({"a": torch.ones(1, 4, 6, 6)}, memory)
    with pytest.raises(UserError, match="x, y have maps of different sizes"):
        last({"a": torch.ones(1, 4, 3, 3)}, memory)


def test_it_trains_from_scratch_at_one_rate_and_tells_what_it_has_found() -> None:
    tasks = dense_tasks()
    nets = [small_net(tasks, Sluice()) for _ in range(2)]
    for net in nets:
        run(net, tasks, recipe())
    assert all(map(torch.equal, nets[0].state_dict().values(), nets[1].state_dict().values()))
    scheme: Any = nets[0].scheme
    found = json.loads(json.dumps(scheme.outcome(dict(nets[0].units.items()))))
    assert list(found["alphas"]) == ["pool1", "pool2", "pool5", "fc6", "fc7"]
    for stage, rows in found["alphas"].items():
        torch.testing.assert_close(torch.tensor(rows), nets[0].units[stage].alpha.detach())
    assert found["betas"]["fc7"] == nets[0].units["fc7"].beta[:, 1].tolist()
    assert list(found["betas"]) == ["fc6", "fc7"] and found["betas"]["fc6"][0] != pytest.approx(0.1, abs=1e-6)
    assert {group["scale"] for group in make_optimiser(nets[0], recipe()).param_groups} == {1.0, 2.0}
    assert make_custom("sluice(lr=10.0)").parents == ()
    scales = {g["scale"] for g in make_optimiser(small_net(tasks, Sluice(lr=10.0)), recipe()).param_groups}
    assert scales == {1.0, 2.0, 10.0}


@FORMS
def test_parameters_by_formula_and_in_bfloat16(form: str) -> None:
    """(T S)^2 alphas after each of five stages, T x 2 betas; next to nothing."""
    for count, subspaces in ((2, 2), (3, 1)):
        net, plain = net_with(form, Sluice(subspaces=subspaces), count), net_with(form, CrossStitch(), count)
        extra = [sum(p.numel() for p in n.parameters()) for n in (net, plain)]
        stitches = sum(s.channels for s in Caffenet(form, **SMALL).stages if s.stitched) * count**2
        assert extra[0] == extra[1] - stitches + 5 * (count * subspaces) ** 2 + 2 * count
    reduced = net_with(form, Sluice(), 2, precision="bf16")
    expected = net_with(form, Sluice(), 2)(*inputs(form))
    for task, output in reduced(*inputs(form)).items():
        largest = float(expected[task].detach().abs().max())
        torch.testing.assert_close(output, expected[task], rtol=0.1, atol=0.1 * largest)
