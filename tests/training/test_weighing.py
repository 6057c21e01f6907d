"""What the loop makes of a weighting, a user's own one among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.errors import UserError
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.split import Split
from mtlbench.schemes.tree import Tree
from mtlbench.training.conflicts import find_reached
from mtlbench.training.loop import Training
from mtlbench.training.weighing import Weigher
from tests.support.networks import recipe, run
from tests.support.weighings import TASKS, batch_of, distance, net_of, take_step

pytestmark = pytest.mark.slow


class Kendall(nn.Module):
    """What `--loss-weight uncertainty` does, as a user would write it."""

    version = 1

    def start(self, tasks: tuple[str, ...]) -> None:
        self.variances = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        terms = [loss * torch.exp(-self.variances[task]) + self.variances[task] / 2 for task, loss in losses.items()]
        return torch.stack(terms).sum()


def train(weighting: Any, kind: str = "fixed") -> tuple[dict[str, Tensor], Training]:
    net = net_of("fcn", weighting=kind)
    batch, settings = batch_of("fcn"), recipe(lr=0.05, weighting=kind, clip=0.0, decay="constant", warmup=0)
    training = Training(net, TASKS["fcn"], settings, 5, weighting=weighting)
    list(training.run(lambda first: (batch for _ in range(5)), 0, lambda: dict.fromkeys(TASKS["fcn"], 0.0)))
    return {name: p.detach() for name, p in net.named_parameters()}, training


def test_learned_weights_of_a_users_own_are_those_of_uncertainty() -> None:
    own = Kendall()
    mine, _ = train(own)
    theirs, _ = train(None, "uncertainty")
    learned = {name.removeprefix("log_variances."): s for name, s in theirs.items() if name.startswith("log_v")}
    assert {float(s) for s in learned.values()} != {0.0}
    for task, variance in learned.items():
        assert float(own.variances[task].detach()) == pytest.approx(float(variance), rel=1e-4)
    assert all(torch.allclose(mine[name], theirs[name], rtol=1e-4, atol=1e-6) for name in mine)


def test_random_numbers_are_a_function_of_the_networks_seed_and_the_step() -> None:
    class Loud:
        version = 1

        def combine(self, losses: dict[str, Tensor]) -> Tensor:
            return torch.rand(()) * sum(losses.values())

    def step(seed: int, iteration: int) -> dict[str, Tensor]:
        torch.manual_seed(torch.seed() % 1000)  # whatever else has happened
        net = net_of("fcn")
        net.seed = seed
        return take_step(net, Loud(), batch_of("fcn"), iteration)

    assert distance(step(0, 3), step(0, 3)) == 0
    assert distance(step(0, 3), step(0, 4)) > 1e-3 and distance(step(0, 3), step(1, 3)) > 1e-3


class Recorded:
    """Remembers what it is told; weighs as a plain sum."""

    version = 1

    def __init__(self) -> None:
        self.gramians: list[Tensor] = []
        self.matrices: list[Tensor] = []

    def weights(self, gramian: Tensor) -> Tensor:
        self.gramians.append(gramian)
        return torch.ones(len(gramian))


class Whole(Recorded):
    weights = None

    def aggregate(self, gradients: Tensor) -> Tensor:
        self.matrices.append(gradients)
        return gradients.sum(0)


@pytest.mark.parametrize("scheme", [Split("fc8"), CrossStitch(), Split("conv3")], ids=["fc8", "stitch", "conv3"])
def test_ones_as_weights_are_the_plain_sum_in_every_scheme(scheme: Any) -> None:
    batch = batch_of("fcn")
    plain, own, whole = (take_step(net_of("fcn", scheme), method, batch) for method in (None, Recorded(), Whole()))
    assert distance(own, plain) < 1e-5 and distance(whole, plain) < 1e-5


def test_what_a_weighting_is_told_are_products_of_the_gradients_of_what_two_tasks_reach() -> None:
    """Of three tasks, two share conv2 on; the third leaves there."""
    tasks, batch, told = ("classification", "multilabel", "regression"), batch_of("image"), Recorded()
    tree = Tree({"conv2": [["classification"], ["multilabel", "regression"]]})
    net = net_of("image", tree)
    take_step(net, told, batch)
    alone = []
    for task in tasks:
        net.zero_grad()
        loss = TASKS["image"][task].loss(net(batch.images, None, batch.sizes)[task], batch)
        (TASKS["image"][task].weight * loss).backward()
        names = [name for name, _ in net.named_parameters() if "+" in name]
        found = {name: p.grad for name, p in net.named_parameters()}
        alone.append(torch.cat([torch.zeros(1) if found[n] is None else found[n].flatten() for n in names]))
        assert any(found[name] is None for name in names) == (task == "classification")
    inner = float(alone[1] @ alone[2])
    assert told.gramians[0].dtype == torch.float64 and told.gramians[0].shape == (3, 3)
    assert float(told.gramians[0][1, 2]) == pytest.approx(inner, rel=1e-4)
    assert float(told.gramians[0][2, 2]) == pytest.approx(float(alone[2] @ alone[2]), rel=1e-4)


def test_what_a_loss_reaches_is_read_off_its_graph() -> None:
    net = net_of("fcn")
    outputs = net(batch_of("fcn").images)
    names = {id(p): name for name, p in net.named_parameters()}
    found = {names[id(parameter)] for parameter in find_reached(outputs["semseg"].sum())}
    assert found == {name for name in names.values() if not name.startswith("heads.normals")}


def make(**methods: Callable[..., Any]) -> Any:
    return type("Mine", (), {"version": 1, **methods})()


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (make(combine=lambda self, losses: 3.0), "Mine.combine must return one number that depends on the losses"),
        (
            make(combine=lambda self, losses: sum(losses.values()).detach()),
            "Mine.combine must return one number that depends on the losses",
        ),
        (
            make(combine=lambda self, losses: torch.stack(list(losses.values()))),
            "Mine.combine must return one number that depends on the losses",
        ),
        (make(weights=lambda self, gramian: gramian), r"Mine.weights returned \(2, 2\), not a tensor of shape \(2,\)"),
        (
            make(weights=lambda self, gramian: torch.tensor([1.0, float("nan")])),
            r"Mine.weights returned \[1.0, nan\], which are not all finite",
        ),
        (make(aggregate=lambda self, rows: [1.0]), r"Mine.aggregate returned list, not a tensor of shape \(\d+,\)"),
    ],
)
def test_a_wrong_answer_of_a_weighting_is_named(method: Any, answer: str) -> None:
    with pytest.raises(UserError, match=answer):
        take_step(net_of("fcn"), method, batch_of("fcn"))


def test_gradients_that_are_no_numbers_are_left_to_the_watch_over_losses() -> None:
    told, net = Recorded(), net_of("fcn")
    with torch.no_grad():
        next(net.trunk["conv1"].parameters()).fill_(float("nan"))
    take_step(net, told, batch_of("fcn"))
    assert told.gramians == []


def test_a_task_whose_gradient_is_zero_has_no_row() -> None:
    """As at the first step of dense heads, which start at zero."""
    told, net = Recorded(), net_of("fcn")
    with torch.no_grad():
        for parameter in net.heads["normals"].parameters():
            parameter.zero_()
    assert distance(take_step(net, told, batch_of("fcn")), take_step(net, None, batch_of("fcn"))) < 1e-6
    assert told.gramians == []


def test_without_a_weighting_nothing_of_it_is_in_a_training() -> None:
    assert train(None)[1]._weigher is None
    assert isinstance(train(Recorded())[1]._weigher, Weigher)
    assert run(net_of("fcn"), TASKS["fcn"], recipe()).curve
