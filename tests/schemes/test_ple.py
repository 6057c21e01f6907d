"""Progressive layered extraction and customized gate control (Tang et al., RecSys 2020)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.schemes.ple import Ple
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.split import Split
from tests.support.networks import COUNTS, FORMS, inputs, net_of, net_with


def column(net: MultiTaskNet, stage: str, name: str, x: Tensor) -> Tensor:
    output: Tensor = net.trunk[stage][name](x)
    return output


def after_pooling(net: MultiTaskNet, form: str) -> Tensor:
    """What the experts see, from a network that shares all."""
    found: list[Tensor] = []
    handle = net.trunk["pool5"]["+".join(net.columns.forms)].register_forward_hook(lambda _m, _i, x: found.append(x))
    net.scores(*inputs(form))
    handle.remove()
    return found[0]


def by_hand(weight: Tensor, x: Tensor, experts: list[Tensor]) -> Tensor:
    """softmax(W x) of each image or region over its experts."""
    seen = x.flatten(2).mean(2) if x.dim() > 2 else x
    items = []
    for item, vector in enumerate(seen):
        shares = (weight @ vector).exp()
        items.append(sum(share / shares.sum() * expert[item] for share, expert in zip(shares, experts, strict=True)))
    return torch.stack(items)


@FORMS
def test_two_levels_by_hand(form: str) -> None:
    """Section 4.2: level 2 of a task works on what its gate mixed, the common expert on what its gate mixed of all."""
    net = net_of(form, Ple(), dropout=0.0).eval()
    x = after_pooling(net, form)
    unit = net.units["fc6"]
    h = {name: column(net, "fc6", name, x) for name in ("a", "b", "expert-1")}
    level = {task: by_hand(unit.gates[task].choose.weight, x, [h[task], h["expert-1"]]) for task in "ab"}
    level["expert-1"] = by_hand(unit.common.choose.weight, x, [h["a"], h["b"], h["expert-1"]])
    h = {name: column(net, "fc7", name, level[name]) for name in h}
    outputs = net.scores(*inputs(form))
    for task in "ab":
        last = by_hand(net.units["fc7"].gates[task].choose.weight, level[task], [h[task], h["expert-1"]])
        torch.testing.assert_close(net.heads[task](last), outputs[task])
    assert net.units["fc7"].common is None


@FORMS
def test_a_single_level_by_hand(form: str) -> None:
    """CGC: gates after the last stage alone, over whole experts, which see what the gates see."""
    net = net_of(form, Ple(shared=2, progressive=False), dropout=0.0).eval()
    x = after_pooling(net, form)
    h = {name: column(net, "fc7", name, column(net, "fc6", name, x)) for name in ("a", "b", "expert-1", "expert-2")}
    outputs = net.scores(*inputs(form))
    for task in "ab":
        experts = [h[task], h["expert-1"], h["expert-2"]]
        last = by_hand(net.units["fc7"].gates[task].choose.weight, x, experts)
        torch.testing.assert_close(net.heads[task](last), outputs[task])


def close(net: MultiTaskNet, own: float) -> None:
    """Gates that give a task's own expert everything, or (`own` < 0) the common one."""
    for name, parameter in net.named_parameters():
        if name.startswith("units.") and ".gates." in name:
            with torch.no_grad():
                parameter.zero_()
                parameter[0] = own


@FORMS
@COUNTS
def test_between_separate_columns_and_one_for_all(form: str, count: int) -> None:
    """Where gates take a task's own expert alone its outputs are those of a Split at fc6; where they take the common
    one, those of the Split that shares all."""
    net, apart, together = (net_with(form, s, count).eval() for s in (Ple(), Split("fc6"), Split("fc8")))
    images, regions = inputs(form)
    for own, other in ((1e4, apart), (-1e4, together)):
        close(net, own)
        if other is together:  # the common expert starts in its own way
            for stage in ("fc6", "fc7"):
                net.trunk[stage]["expert-1"].load_state_dict(next(iter(other.trunk[stage].children())).state_dict())
                for gate in [net.units["fc6"].common] if stage == "fc6" else []:
                    with torch.no_grad():
                        gate.choose.weight.zero_()
                        gate.choose.weight[-1] = 1e4
        expected = other.scores(images, regions)
        for task, output in net.scores(images, regions).items():
            torch.testing.assert_close(output, expected[task])


def test_size_and_refusals() -> None:
    """T own experts and one common one, T gates over 2 a level, and one over T + 1 in the first."""
    net, alone = net_with("fcn", Ple(), 3), net_with("fcn", Separate(), 3)
    last = [p.numel() for stage in ("fc6", "fc7") for p in alone.trunk[stage]["a"].parameters()]
    early = sum(p.numel() for s in alone.stages[:-2] for p in alone.trunk[s.name]["a"].parameters())
    pool5, fc6 = (stage.channels for stage in alone.stages[-3:-1])
    heads = sum(p.numel() for p in alone.heads.parameters())
    gates = pool5 * (3 * 2 + 4) + fc6 * 3 * 2
    assert sum(p.numel() for p in net.parameters()) == early + 4 * sum(last) + heads + gates
    assert list(net_of("roi", Ple(depth=3)).units) == ["conv4", "conv5", "pool5", "fc6", "fc7"]
    net_of("roi", Ple(depth=3))(*inputs("roi"))  # gates before the pooling see images, after it regions
    with pytest.raises(UserError, match="gates see 2 images, and experts end in 6 regions"):
        net_of("roi", Ple(depth=3, progressive=False))(*inputs("roi"))
    with pytest.raises(UserError, match="ple: experts of depth 9"):
        net_of("fcn", Ple(depth=9))
