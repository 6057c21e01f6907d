"""The training loop: rates, batches, divergence, averaging."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.separate import Separate
from mtlbench.training.evaluation import Diverged, average
from mtlbench.training.optimiser import optimiser, rate
from tests.support.networks import recipe, run, small_net
from tests.support.samples import dense_tasks


@pytest.mark.parametrize("decay", ["cosine", "step"])
def test_the_ratio_of_rates_holds_at_every_step_of_the_schedule(decay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 5.2: the units' multiplier is relative to the network's rate, also after the schedule changes it."""
    seen: list[dict[float, float]] = []
    true_step = torch.optim.SGD.step

    def step(self: Any, *args: Any) -> Any:
        seen.append({group["scale"]: group["lr"] for group in self.param_groups})
        return true_step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    tasks = dense_tasks()
    run(small_net(tasks, CrossStitch(lr=100.0)), tasks, recipe(decay=decay, step_at=0.5, warmup=1, lr=1e-4))
    assert len(seen) == 6 and len({rates[1.0] for rates in seen}) > 1
    for rates in seen:
        assert rates[100.0] == pytest.approx(100 * rates[1.0]) and rates[2.0] == pytest.approx(2 * rates[1.0])


def test_groups_of_the_optimiser() -> None:
    """Biases at twice the rate without decay (Girshick 2015, Long et al. 2015); units without decay (Ours)."""
    tasks = dense_tasks()
    net = small_net(tasks, CrossStitch(lr=100.0))
    names = {id(p): name for name, p in net.named_parameters()}
    groups = {}
    for group in optimiser(net, recipe(weight_decay=5e-4)).param_groups:
        part = 0 if group["scale"] == 100 else -1
        groups[group["scale"], group["weight_decay"]] = {names[id(p)].split(".")[part] for p in group["params"]}
    assert groups == {(1.0, 5e-4): {"weight"}, (2.0, 0.0): {"bias"}, (100.0, 0.0): {"units"}}


def test_frozen_stages_do_not_move() -> None:
    """The released Fast R-CNN keeps CaffeNet's conv1 as it is."""
    tasks = dense_tasks()
    net = small_net(tasks, Separate())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    run(net, tasks, recipe(frozen=["conv1"]))
    moved = {k.split(".")[1] for k, v in net.trunk.state_dict(prefix="trunk.").items() if not torch.equal(v, before[k])}
    assert moved == set(net.trunk) - {"conv1", "pool1", "pool2", "pool5"}


def test_schedules_by_hand() -> None:
    step = recipe(decay="step", step_at=0.75, warmup=0)
    assert [rate(step, i, 8) for i in (0, 5, 6, 7)] == [1, 1, 0.1, 0.1]
    cosine = recipe(decay="cosine", warmup=2)
    assert [rate(cosine, i, 8) for i in (0, 1)] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert rate(cosine, 4, 8) == pytest.approx(0.5) and rate(cosine, 7, 8) < 0.05


def test_training_is_the_same_twice_and_alphas_move() -> None:
    tasks = dense_tasks()
    nets = [small_net(tasks, CrossStitch()) for _ in range(2)]
    records = [run(net, tasks, recipe()) for net in nets]
    assert all(map(torch.equal, nets[0].state_dict().values(), nets[1].state_dict().values()))
    assert records[0].curve == records[1].curve and [r["iteration"] for r in records[0].curve] == [3, 3, 6, 6]
    given = ("fc7", "semseg", "normals")
    alphas = [r["alpha"] for r in records[0].alphas if (r["stage"], r["receiver"], r["giver"]) == given]
    assert alphas[0] == pytest.approx(0.1) and alphas[-1] != alphas[0]


def test_a_joint_network_of_separate_columns_is_its_one_task_networks() -> None:
    """Two columns that share and mix nothing train exactly as each would alone: the arms differ in sharing only."""
    tasks = dense_tasks()
    joint = small_net(tasks, Separate())
    run(joint, tasks, recipe(clip=0.1))
    for name, task in tasks.items():
        alone = small_net({name: task}, Separate())
        run(alone, {name: task}, recipe(clip=0.1))
        for key, value in alone.state_dict().items():
            assert torch.equal(value, joint.state_dict()[key]), key


def test_a_diverging_loss_ends_the_trial_with_the_iteration_and_the_alphas() -> None:
    tasks = dense_tasks()
    with pytest.raises(Diverged, match=r"nan.*at iteration 2; alphas .*pool1"):
        run(small_net(tasks, CrossStitch()), tasks, recipe(lr=1e30, clip=0.0, warmup=0))


def test_an_ensemble_averages_probabilities() -> None:
    one, two = {"p": torch.tensor([0.2, 0.8])}, {"p": torch.tensor([0.6, 0.4])}
    torch.testing.assert_close(average([one, two])["p"], torch.tensor([0.4, 0.6]))
