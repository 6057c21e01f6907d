"""The training loop: rates, batches, divergence, averaging."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.nddr import Nddr
from mtlbench.schemes.separate import Separate
from mtlbench.training.evaluation import Diverged, average_predictions
from mtlbench.training.optimiser import compute_rate, make_optimiser
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
    for group in make_optimiser(net, recipe(weight_decay=5e-4)).param_groups:
        part = 0 if group["scale"] == 100 else -1
        groups[group["scale"], group["weight_decay"]] = {names[id(p)].split(".")[part] for p in group["params"]}
    assert groups == {(1.0, 5e-4): {"weight"}, (2.0, 0.0): {"bias"}, (100.0, 0.0): {"units"}}


def test_adamw_decays_weights_but_neither_biases_nor_scales_of_norms() -> None:
    """Loshchilov and Hutter 2019 decouple the decay; that norms have none is the field's habit."""
    tasks = dense_tasks()
    net = small_net(tasks, Nddr(lr=1.0))
    names = {id(p): name for name, p in net.named_parameters()}
    adamw = make_optimiser(net, recipe(optimiser="adamw", weight_decay=0.05, beta2=0.99))
    assert isinstance(adamw, torch.optim.AdamW) and adamw.defaults["betas"] == (0.9, 0.99)
    decay = {names[id(p)]: group["weight_decay"] for group in adamw.param_groups for p in group["params"]}
    norms = {name for name in decay if name.startswith("units.") and net.get_parameter(name).ndim == 1}
    assert norms and {decay[name] for name in norms} == {0.0}
    assert {value for name, value in decay.items() if name.endswith("bias")} == {0.0}
    assert {value for name, value in decay.items() if net.get_parameter(name).ndim > 1} == {0.05}


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_first_step_of_adam_is_the_rate_for_every_parameter(name: str) -> None:
    """Kingma and Ba 2015, Section 2.1: with the bias correction it is lr g / (|g| + epsilon)."""
    tasks = dense_tasks()
    net = small_net(tasks, Separate())
    before = {key: value.clone() for key, value in net.named_parameters()}
    settings = recipe(optimiser=name, lr=1e-3, bias_lr=1.0, weight_decay=0.0, clip=0.0, warmup=0, decay="constant")
    run(net, tasks, settings, iterations=1)
    moves = [(value.detach() - before[key].detach()).abs() for key, value in net.named_parameters()]
    moved = torch.cat([move[move > 0] for move in moves])
    assert float(moved.max()) <= 1.001e-3 and float(moved.median()) == pytest.approx(1e-3, rel=1e-3)


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
    assert [compute_rate(step, i, 8) for i in (0, 5, 6, 7)] == [1, 1, 0.1, 0.1]
    halved = recipe(
        decay="step", step_at=0.5, step_factor=0.5, warmup=0
    )  # Liu et al. 2019: halved at 100 of 200 epochs
    assert [compute_rate(halved, i, 200) for i in (99, 100)] == [1, 0.5]
    poly = recipe(decay="poly", warmup=0)
    assert [compute_rate(poly, i, 10) for i in (0, 5, 9)] == [1, pytest.approx(0.5**0.9), pytest.approx(0.1**0.9)]
    assert {compute_rate(recipe(decay="constant", warmup=0), i, 10) for i in range(10)} == {1.0}
    cosine = recipe(decay="cosine", warmup=2)
    assert [compute_rate(cosine, i, 8) for i in (0, 1)] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert compute_rate(cosine, 4, 8) == pytest.approx(0.5) and compute_rate(cosine, 7, 8) < 0.05


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
    torch.testing.assert_close(average_predictions([one, two])["p"], torch.tensor([0.4, 0.6]))
