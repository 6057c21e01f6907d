"""Multi-gate mixture-of-experts (Ma et al., KDD 2018)."""

from __future__ import annotations

import pytest
import torch

from mtlbench.errors import UserError
from mtlbench.schemes.mmoe import Mmoe
from mtlbench.schemes.split import Split
from tests.support.networks import COUNTS, FORMS, inputs, net_of, net_with, recipe, run, small_net, step
from tests.support.samples import dense_tasks


def test_a_single_expert_is_a_network_that_shares_all_but_the_heads() -> None:
    tasks = dense_tasks()
    alone, shared = small_net(tasks, Mmoe(experts=1)), small_net(tasks, Split("fc8"))
    run(alone, tasks, recipe(clip=0.1))
    run(shared, tasks, recipe(clip=0.1))
    ours = {name.replace("+expert-1", ""): value for name, value in alone.state_dict().items()}
    for name, value in shared.state_dict().items():
        assert torch.equal(value, ours[name]), name


@FORMS
def test_every_task_mixes_the_experts_by_its_gate(form: str) -> None:
    """Equation 6 by hand: experts are fc7 of fc6 of what pool5 gives, gates see its mean over places."""
    net = net_of(form, Mmoe(experts=3), dropout=0.0).eval()
    seen: dict[str, torch.Tensor] = {}
    for name, module in net.named_modules():
        if name.startswith(("trunk.pool5.", "trunk.fc7.")) and name.count(".") == 2:
            module.register_forward_hook(lambda _m, _i, x, name=name: seen.update({name: x}))
    outputs = net.scores(*inputs(form))
    (pooled,) = (x for name, x in seen.items() if "pool5" in name)
    experts = [x for name, x in seen.items() if "fc7" in name]
    assert len(experts) == 3
    for task in "ab":
        weight = net.units["fc7"].gates[task].choose.weight
        for item in range(len(pooled)):
            logits = weight @ pooled[item].mean((1, 2))
            shares = logits.exp() / logits.exp().sum()
            mixed = sum(share * expert[item] for share, expert in zip(shares, experts, strict=True))
            torch.testing.assert_close(net.heads[task](mixed[None])[0], outputs[task][item])


@FORMS
@COUNTS
def test_experts_start_apart_and_only_the_last_stages_are_several(form: str, count: int) -> None:
    net, shared = net_with(form, Mmoe(experts=4), count), net_with(form, Split("fc8"), count)
    last = [p.numel() for stage in ("fc6", "fc7") for p in shared.trunk[stage].parameters()]
    channels = net.stages[-3].channels
    size = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in shared.parameters())
    assert size == 3 * sum(last) + count * 4 * channels
    weights = [next(column.parameters()) for column in net.trunk["fc6"].children()]
    assert torch.equal(weights[0], next(shared.trunk["fc6"].parameters()))
    assert all(not torch.equal(one, other) for k, one in enumerate(weights) for other in weights[:k])


@FORMS
def test_gates_tell_experts_apart_that_start_alike(form: str) -> None:
    net = net_with(form, Mmoe(experts=2), 2)
    alike = {name: next(iter(net.trunk[name].children())).state_dict() for name in ("fc6", "fc7")}
    for name, state in alike.items():
        for column in net.trunk[name].children():
            column.load_state_dict(state)
    step(net, form)
    one, other = (next(column.parameters()).grad for column in net.trunk["fc6"].children())
    assert one is not None and other is not None
    assert (one - other).abs().max() > 0.01 * one.abs().max()


def test_depths_that_cannot_be_are_refused() -> None:
    assert len(net_of("fcn", Mmoe(depth=3)).trunk["conv5"]) == 4
    for depth in (0, 7):
        with pytest.raises(UserError, match=f"mmoe: experts of depth {depth}; of 7 layers, 1 to 6 may be"):
            net_of("fcn", Mmoe(depth=depth))
    with pytest.raises(UserError, match="gates see 2 images, and experts end in 6 regions: take a smaller depth"):
        net_of("roi", Mmoe(depth=3))(*inputs("roi"))
    with pytest.raises(UserError, match="mmoe: 0 experts"):
        Mmoe(experts=0)
