"""Soft parameter sharing (Duong et al. 2015)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.soft_sharing import SoftSharing
from tests.support.networks import FORMS, inputs, net_of, recipe, run, small_net
from tests.support.samples import dense_tasks


def penalty_of(net: MultiTaskNet) -> float:
    penalty = net.penalty()
    assert penalty is not None
    return penalty.item()


def columns_of(net: MultiTaskNet) -> dict[str, dict[str, nn.Module]]:
    return {stage: dict(copies.named_children()) for stage, copies in net.trunk.items()}


def distance(net: MultiTaskNet) -> float:
    """The squared distance of two columns, from the state dict."""
    state = net.state_dict()
    names = [name for name in state if ".semseg." in name and name.startswith("trunk.")]
    return sum(float((state[n] - state[n.replace(".semseg.", ".normals.")]).square().sum()) for n in names)


def test_zero_strength_is_two_one_task_networks_bit_for_bit() -> None:
    """Also where gradients are clipped, and in heads: each column is an owner of its own."""
    tasks = dense_tasks()
    joint = small_net(tasks, SoftSharing(strength=0.0))
    run(joint, tasks, recipe(clip=0.1))
    for name, task in tasks.items():
        alone = small_net({name: task}, Separate())
        run(alone, {name: task}, recipe(clip=0.1))
        for key, value in alone.state_dict().items():
            assert torch.equal(value, joint.state_dict()[key]), key


@FORMS
def test_the_gradient_by_hand(form: str) -> None:
    """2 x strength x (a - b) for a, its negative for b; nothing for heads."""
    net = net_of(form, SoftSharing(strength=0.3))
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    penalty = net.penalty()
    assert penalty is not None and penalty.shape == ()
    penalty.backward()
    expected = torch.zeros(())
    for name, parameter in net.named_parameters():
        if name.startswith("heads."):
            assert parameter.grad is None
            continue
        other = net.get_parameter(name.replace(".a.", ".X.").replace(".b.", ".a.").replace(".X.", ".b."))
        torch.testing.assert_close(parameter.grad, 0.6 * (parameter - other).detach())
        expected = expected + 0.15 * (parameter - other).square().sum()  # every pair is met twice
    torch.testing.assert_close(penalty, expected)


def test_columns_that_start_alike_are_not_penalised_at_first() -> None:
    assert penalty_of(net_of("fcn", SoftSharing())) == 0


def layer(*values: float) -> nn.Module:
    module = nn.Linear(len(values), 1, bias=False)
    module.weight.data[:] = torch.tensor(values)
    return module


def test_three_tasks_are_three_pairs_and_stages_can_be_chosen() -> None:
    """conv1: (0, 0), (3, 4), (0, 1): 25 + 1 + 18 = 44; fc7: 0, 1, 3: 1 + 9 + 4 = 14."""
    columns = {
        "conv1": {"a": layer(0, 0), "b": layer(3, 4), "c": layer(0, 1)},
        "pool1": {name: nn.Identity() for name in "abc"},
        "fc7": {"a": layer(0), "b": layer(1), "c": layer(3)},
    }
    assert SoftSharing(strength=0.5).penalty(columns).item() == 0.5 * (44 + 14)
    assert SoftSharing(strength=2.0, stages=("fc7",)).penalty(columns).item() == 2 * 14


def test_one_task_alone_has_no_penalty_and_trains() -> None:
    tasks = dense_tasks()
    one = {"semseg": tasks["semseg"]}
    nets = [small_net(one, scheme) for scheme in (SoftSharing(), Separate())]
    for net in nets:
        run(net, one, recipe())
    assert penalty_of(nets[0]) == 0
    assert all(map(torch.equal, nets[0].state_dict().values(), nets[1].state_dict().values()))


def test_the_stronger_the_nearer_and_a_huge_strength_keeps_columns_equal() -> None:
    """SGD takes d = a - b to (1 - 4 x rate x strength) d - rate x (difference of the tasks' gradients) at a step: at
    2500 and a rate of 1e-4 nothing is left of d but what the last step has set apart."""
    tasks, found = dense_tasks(), {}
    settings = recipe(lr=1e-4, bias_lr=1.0, momentum=0.0, clip=0.0, weight_decay=0.0, decay="step", step_at=1.0)
    for strength in (0.0, 100.0, 1000.0, 2500.0):
        net = small_net(tasks, SoftSharing(strength))
        run(net, tasks, settings, iterations=12)
        found[strength] = distance(net)
    assert found[0.0] > found[100.0] > found[1000.0] > found[2500.0]
    assert found[2500.0] < 0.05 * found[0.0]  # squared; the steps of 12 iterations differ in direction


@pytest.mark.parametrize("stages", [(), ("conv1",)])
def test_frozen_stages_are_not_pulled(stages: tuple[str, ...]) -> None:
    """Also where they are the only ones, and where the last stage is frozen."""
    tasks = dense_tasks()
    for frozen in (["conv1"], ["conv1", "fc7"]):
        net = small_net(tasks, SoftSharing(stages=stages))
        before = next(net.trunk["conv1"].parameters()).clone()
        run(net, tasks, recipe(frozen=frozen))
        assert torch.equal(before, next(net.trunk["conv1"].parameters()))


@pytest.mark.parametrize(
    "stages,said", [(("fc77",), "Did you mean 'fc7'"), (("pool1",), "'pool1': it has no parameters; leave it out")]
)
def test_wrong_stages_are_refused_in_words(stages: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        net_of("fcn", SoftSharing(stages=stages))


@FORMS
def test_outputs_are_those_of_separate_columns(form: str) -> None:
    soft, separate = (net_of(form, scheme).eval() for scheme in (SoftSharing(), Separate()))
    one, other = soft(*inputs(form)), separate(*inputs(form))
    assert all(torch.equal(one[task], other[task]) for task in "ab")


def test_the_penalty_is_seen_in_every_columns_gradient() -> None:
    net = net_of("fcn", SoftSharing(strength=1.0, stages=("conv2", "fc6")))
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    net.penalty().backward()
    pulled = {name.split(".")[1] for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert pulled == {"conv2", "fc6"}
    gradients: list[Tensor] = [next(c.parameters()).grad for c in columns_of(net)["fc6"].values()]
    torch.testing.assert_close(gradients[0], -gradients[1])
