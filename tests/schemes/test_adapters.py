"""Adapters of low rank a task, after MTLoRA (Agiza et al., CVPR 2024)."""

from __future__ import annotations

import pytest
import torch

from mtlbench.schemes.adapters import Adapter, Adapters
from mtlbench.schemes.split import Split
from tests.support.networks import COUNTS, FORMS, gradients_of, inputs, net_of, net_with, recipe, run, small_net
from tests.support.samples import dense_tasks


@FORMS
@COUNTS
def test_it_starts_as_the_network_that_shares_all_but_the_heads(form: str, count: int) -> None:
    """And is as large but for 2 r C a task and stage with parameters."""
    net, shared = (net_with(form, scheme, count).eval() for scheme in (Adapters(rank=3), Split("fc8")))
    expected = shared.scores(*inputs(form))
    for task, output in net.scores(*inputs(form)).items():
        assert torch.equal(output, expected[task])
    channels = sum(stage.channels for stage in net.stages if stage.has_parameters)
    size = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in shared.parameters())
    assert size == count * 2 * 3 * channels


@pytest.mark.parametrize("shape", [(4, 5, 2, 3), (6, 5)])
def test_the_change_is_a_matrix_of_low_rank_at_every_place(shape: tuple[int, ...]) -> None:
    adapter, x = Adapter(5, 2, 3.0), torch.randn(shape)
    torch.nn.init.normal_(adapter.up.weight)
    change = 3.0 * adapter.up.weight @ adapter.down.weight
    assert torch.linalg.matrix_rank(change) == 2
    torch.testing.assert_close(adapter(x), x + torch.einsum("oc,bc...->bo...", change, x))


def test_the_shared_weights_learn_from_every_task_through_its_own_adapters() -> None:
    """Their gradient is the sum of those of the tasks alone."""
    tasks = dense_tasks()
    net = small_net(tasks, Adapters())
    for name, parameter in net.named_parameters():
        if name.endswith("up.weight") or name.startswith("heads."):  # which start at 0
            torch.nn.init.normal_(parameter, std=0.02)
    joint = gradients_of(net, recipe())
    total: dict[str, torch.Tensor] = {}
    for task in tasks:
        for parameter in net.parameters():
            parameter.grad = None
        for name, gradient in gradients_of(
            net, recipe(loss_weight={other: float(other == task) for other in tasks})
        ).items():
            total[name] = total.get(name, torch.zeros(())) + gradient
            if name.startswith("units."):
                assert bool(gradient.any()) == (f".{task}." in name)
    for name, gradient in joint.items():
        torch.testing.assert_close(total[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_trunk_at_rate_0_stays_as_it_was() -> None:
    tasks = dense_tasks()
    net = small_net(tasks, Adapters(trunk=0.0))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    run(net, tasks, recipe())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("trunk."), name
    assert list(net_of("fcn", Adapters()).units) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]
