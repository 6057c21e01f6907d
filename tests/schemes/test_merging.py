"""Task arithmetic (Ilharco et al., ICLR 2023) and TIES merging (Yadav et al., NeurIPS 2023)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.contracts import Scheme
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plan import spaces
from mtlbench.plan.arms import at_methods, at_rates, at_weightings, is_merged, make_custom
from mtlbench.plan.expand import DataSource, apply_init, expand
from mtlbench.plan.options import Start
from mtlbench.plugins import make_plugin
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.split import Split
from mtlbench.schemes.task_arithmetic import TaskArithmetic
from mtlbench.schemes.ties import Ties, average_agreeing, trim
from tests.support.networks import FORMS, inputs, net_of

SCHEMES = pytest.mark.parametrize("scheme", [TaskArithmetic(scale=1.0), Ties(density=1.0)], ids=["sum", "ties"])


def ones(form: str) -> dict[str, MultiTaskNet]:
    """Finished one-task networks, which apply_init alike: each weight has moved by a number of its own."""
    nets = {}
    for number, task in enumerate("ab"):
        nets[task] = net_of(form, Separate(), only=task, dropout=0.0).eval()
        torch.manual_seed(number)
        with torch.no_grad():
            for parameter in nets[task].parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return nets


def merged(form: str, scheme: Scheme, parents: dict[str, MultiTaskNet], only: str = "") -> MultiTaskNet:
    net = net_of(form, scheme, only=only, dropout=0.0).eval()
    net.load_columns([parent.state_dict() for parent in parents.values()])
    return net


@FORMS
@SCHEMES
def test_one_task_alone_stays_its_network(form: str, scheme: Scheme) -> None:
    parent = ones(form)["a"]
    alone = merged(form, scheme, {"a": parent}, only="a")
    assert all(torch.equal(value, parent.state_dict()[name]) for name, value in alone.state_dict().items())


@FORMS
def test_task_vectors_are_added_and_heads_are_their_own(form: str) -> None:
    parents, start = ones(form), net_of(form, Split("fc8")).state_dict()
    for scale in (0.0, 0.4, 0.5):
        state = merged(form, TaskArithmetic(scale), parents).state_dict()
        for name, value in state.items():
            part, stage, *rest = name.split(".")
            if part == "heads":
                assert torch.equal(value, parents[stage].state_dict()[name])
                continue
            a, b = (parents[task].state_dict()[".".join([part, stage, task, *rest[1:]])] for task in "ab")
            torch.testing.assert_close(value, start[name] + scale * (a - start[name]) + scale * (b - start[name]))
            if scale == 0.5:
                torch.testing.assert_close(value, (a + b) / 2)


def test_trimming_keeps_the_largest_of_a_vector() -> None:
    vector = torch.tensor([0.1, -3.0, 0.0, 2.0, -0.2])
    assert trim(vector, 0.4).tolist() == [0.0, -3.0, 0.0, 2.0, 0.0]
    assert torch.equal(trim(vector, 1.0), vector) and trim(vector, 0.01).tolist() == [0, -3, 0, 0, 0]


def test_the_sign_with_more_mass_wins_and_those_who_agree_are_averaged() -> None:
    """A column a case: both agree; the larger of two wins alone; two small against a large; one alone; none; a draw."""
    vectors = torch.tensor(
        [
            [1.0, 3.0, -5.0, 0.0, 0.0, 2.0],
            [3.0, -1.0, 2.0, 0.0, 0.0, -2.0],
            [0.0, 0.0, 2.0, -4.0, 0.0, 0.0],
        ]
    )
    assert average_agreeing(vectors).tolist() == [2.0, 3.0, -5.0, -4.0, 0.0, 0.0]


def test_ties_trims_over_all_weights_of_a_network_together() -> None:
    start = {"x": torch.zeros(2), "y": torch.ones(2, 1)}
    finished = {
        "a": {"x": torch.tensor([0.1, 0.2]), "y": torch.tensor([[5.0], [-1.0]])},
        "b": {"x": torch.tensor([9.0, 0.1]), "y": torch.tensor([[3.0], [1.0]])},
    }
    found = Ties(density=0.5).merge(start, finished)
    assert found["x"].tolist() == [9.0, 0.0] and found["y"].tolist() == [[1 + 3.0], [1 - 2.0]]
    with pytest.raises(UserError, match="ties: density is 1.5; a share above 0, at most 1"):
        Ties(density=1.5)


class Partly(Split):
    """Merges what comes before fc6, and counts what it is asked."""

    from_one_task = True

    def __init__(self) -> None:
        super().__init__("fc6")
        self.asked: list[set[str]] = []

    def merge(self, start: dict[str, Tensor], finished: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        self.asked.append({name.split(".")[1] for name in start})
        return {name: finished["b"][name] for name in start}


@FORMS
def test_columns_of_one_task_are_that_task_s(form: str) -> None:
    scheme, parents = Partly(), ones(form)
    net = merged(form, scheme, parents)
    assert scheme.asked == [{"conv1", "conv2", "conv3", "conv4", "conv5"}]
    images, regions = inputs(form)
    torch.testing.assert_close(net.scores(images, regions)["b"], parents["b"].scores(images, regions)["b"])
    assert not torch.allclose(net.scores(images, regions)["a"], parents["a"].scores(images, regions)["a"])


def test_a_merge_that_loses_weights_is_refused() -> None:
    class Losing(Partly):
        def merge(self, start: dict[str, Tensor], finished: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
            return {}

    with pytest.raises(UserError, match="scheme Losing: merge returned other names or shapes than it was given"):
        merged("fcn", Losing(), ones("fcn"))


class Normalised(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.norm = inner, nn.BatchNorm2d(10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.norm(self.inner(x))
        return found


def test_running_averages_are_means_of_the_networks() -> None:
    nets = [net_of("fcn", Separate(), only=task) for task in "ab"]
    joint = net_of("fcn", TaskArithmetic(scale=1.0))
    for net in (*nets, joint):
        for name, column in list(net.trunk["conv1"].items()):
            net.trunk["conv1"][name] = Normalised(column)
    for net, mean in zip(nets, (2.0, 4.0), strict=True):
        net.state_dict()[f"trunk.conv1.{net.tasks[0]}.norm.running_mean"].fill_(mean)
        net.state_dict()[f"trunk.conv1.{net.tasks[0]}.norm.num_batches_tracked"].fill_(7)
    joint.load_columns([net.state_dict() for net in nets])
    state = joint.state_dict()
    assert state["trunk.conv1.a+b.norm.running_mean"].tolist() == [3.0] * 10
    assert state["trunk.conv1.a+b.norm.num_batches_tracked"] == 7


def test_merged_networks_are_planned_without_training_and_nothing_of_it_is_varied() -> None:
    space = spaces.load("det_attr")
    arms = {arm.name: arm for arm in (*space.arms, *space.more)}
    chosen = [arms["one-task"], arms["task-arithmetic"], arms["ties"]]
    assert [is_merged(arm) for arm in chosen] == [False, True, True]
    assert make_custom("ties(density=0.5)").parents == ("one-task",)
    assert len(at_rates(chosen, [3.0])) == 4 and at_weightings(chosen, ["detection", "attributes"], 3) == tuple(chosen)
    with pytest.raises(UserError, match="weighs the tasks of joint arms, and none is chosen"):
        at_methods(chosen, ["rlw"])
    with pytest.raises(UserError, match="ties cannot start from scratch"):
        apply_init(chosen, spaces.recipe_of(space, "smoke"), [Start("scratch", "ties")])
    recipe = spaces.recipe_of(space, "smoke")
    source = DataSource(make_plugin("dataset", "rooms", {}), "", "abc")
    trials = expand(space.pair, chosen, (0,), source, make_plugin("backbone", "caffenet", {}), recipe)
    own: dict[str, Any] = {trial.arm: trial for trial in trials}
    assert own["ties"].iterations == 0 and own["ties"].parents == tuple(t.key for t in trials[:2])
