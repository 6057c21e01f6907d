"""Facts of NDDR-CNN (Gao et al., CVPR 2019)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.errors import UserError
from mtlbench.nets.network import count_cost
from mtlbench.plan.arms import make_custom
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.nddr import MOMENTUM, Fusion, Nddr, Normalisation
from mtlbench.schemes.separate import Separate
from mtlbench.training.batches import training_batch
from mtlbench.training.loop import add_gradients
from mtlbench.training.optimiser import make_optimiser
from mtlbench.training.samples import Scaled
from tests.support.networks import (
    COUNTS,
    FORMS,
    SMALL,
    inputs,
    net_of,
    net_with,
    recipe,
    run,
    small_net,
    step,
    tasks_of,
)
from tests.support.samples import dense_sample, dense_tasks, view


@FORMS
@COUNTS
def test_at_its_diagonal_start_without_normalisation_it_is_a_cross_stitch(form: str, count: int) -> None:
    """0.9 of its own channel and 0.1 of the same channel of the others is a unit per channel with these alphas."""
    fused, stitched = (net_with(form, s, count) for s in (Nddr(normalise=False), CrossStitch(own=0.9)))
    (ours, got), (theirs, expected) = step(fused, form), step(stitched, form)
    for task, output in theirs.items():
        torch.testing.assert_close(ours[task], output)
    columns = [name for name in expected if not name.startswith("units.")]
    assert columns == [name for name, _ in fused.named_parameters() if not name.startswith("units.")]
    for name in columns:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-4, atol=1e-5 * float(expected[name].abs().max()))
    for stage, alpha in stitched.alphas().items():
        torch.testing.assert_close(fused.alphas()[stage], alpha)
        diagonal = got[f"units.{stage}.weight"].diagonal(dim1=1, dim2=3)
        torch.testing.assert_close(diagonal, expected[f"units.{stage}.alpha"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (7, 3)])
def test_every_channel_sees_all_channels_of_all_tasks(shape: tuple[int, ...]) -> None:
    """The layer by hand: concatenate, project, normalise over batch and places, rectify."""
    unit = Fusion(("a", "b"), 3, 0.9, normalise=True)
    torch.nn.init.normal_(unit.weight)
    assert unit.norm is not None
    torch.nn.init.uniform_(unit.norm.weight, 0.5, 2)
    torch.nn.init.uniform_(unit.norm.bias, -1, 1)
    xs = {task: torch.randn(shape) for task in "ab"}
    found, alphas = unit(xs), unit.alphas()
    for receiver, task in enumerate("ab"):
        projected = torch.zeros(shape)
        for channel in range(3):
            for giver, other in enumerate("ab"):
                assert alphas[receiver, giver, channel] == unit.weight[receiver, channel, giver, channel]
                for source in range(3):
                    weight = float(unit.weight[receiver, channel, giver, source].detach())
                    projected[:, channel] += weight * xs[other][:, source]
        for channel in range(3):
            values = projected[:, channel]
            scale, shift = (p.detach()[receiver * 3 + channel] for p in (unit.norm.weight, unit.norm.bias))
            normal = (values - values.mean()) / (values.var(correction=0) + 1e-3).sqrt()
            torch.testing.assert_close(found[task][:, channel].detach(), (normal * scale + shift).clamp(min=0))


def test_averages_in_evaluation_are_those_of_the_batches_from_the_first_on() -> None:
    """Weights 0.05 x 0.95^k, as released, of the batches so far, which sum to 1; before any: mean 0, variance 1."""
    norm = Normalisation(3)
    batches = [torch.randn(40, 3) * (k + 1) + k for k in range(3)]
    norm.eval()
    torch.testing.assert_close(norm(batches[1]).detach(), batches[1] / (1 + 1e-3) ** 0.5)
    norm.train()
    for x in batches:
        norm(x)
    weights = [MOMENTUM * (1 - MOMENTUM) ** (2 - k) for k in range(3)]
    mean, variance = (
        sum(w * f(x) for w, x in zip(weights, batches, strict=True)) / sum(weights)
        for f in (lambda x: x.mean(0), lambda x: x.var(0))
    )
    x = torch.randn(5, 3)
    torch.testing.assert_close(norm.eval()(x).detach(), (x - mean) / (variance + 1e-3).sqrt())


def test_a_single_value_a_channel_is_normalised_by_the_averages() -> None:
    norm = Normalisation(3)
    norm(torch.randn(6, 3))
    one = torch.randn(1, 3, 1, 1)
    trained = norm(one)
    assert int(norm.num_batches_tracked or 0) == 1
    torch.testing.assert_close(trained, norm.eval()(one))
    assert norm(torch.zeros(0, 3)).shape == (0, 3) and norm.train()(torch.zeros(0, 3)).shape == (0, 3)


@FORMS
def test_averages_travel_with_the_weights(form: str) -> None:
    net, copy = net_with(form, Nddr(), 2), net_with(form, Nddr(), 2)
    images, regions = inputs(form)
    for k in range(3):
        net(images * (k + 1), regions)
    copy.load_state_dict(net.state_dict(), strict=True)
    assert "units.fc6.norm.running_mean" in net.state_dict()
    outputs = net.eval()(images, regions)
    for task, output in copy.eval()(images, regions).items():
        assert torch.equal(output, outputs[task])
    one = net(images[:1], None if regions is None else regions[:1])  # nor does the rest of the batch matter
    for task, output in one.items():
        torch.testing.assert_close(output, outputs[task][: len(output)], rtol=1e-4, atol=1e-5)


@FORMS
@COUNTS
def test_parameters_by_formula_and_cost_on_meta(form: str, count: int) -> None:
    """(T C)^2 of the projections and 2 T C of the normalisation after pool1, pool2, pool5, fc6, fc7."""
    tasks = dict(list({**tasks_of(form), "c": tasks_of(form)["b"]}.items())[:count])
    backbone = Caffenet(form, **SMALL)
    sizes = [stage.channels for stage in backbone.stages if stage.stitched]
    assert len(sizes) == 5
    found = [
        count_cost(tasks, backbone, scheme, form, (64, 64), 6) for scheme in (Nddr(), Nddr(normalise=False), Separate())
    ]
    products = sum((count * c) ** 2 for c in sizes)
    assert found[1][0] - found[2][0] == products
    assert found[0][0] - found[1][0] == sum(2 * count * c for c in sizes)
    assert found[0][1] > found[2][1]


def test_rates_are_a_hundred_times_the_base_at_every_step_and_weights_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, tuple[float, float]]] = []
    true_step = torch.optim.SGD.step
    tasks = dense_tasks()
    net = small_net(tasks, Nddr())
    names = {id(p): name for name, p in net.named_parameters()}

    def step(self: Any, *args: Any) -> Any:
        seen.append({names[id(p)]: (g["lr"], g["weight_decay"]) for g in self.param_groups for p in g["params"]})
        return true_step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    run(net, tasks, recipe(decay="cosine", warmup=1, lr=1e-4, weight_decay=5e-4))
    assert len(seen) == 6 and len({now["trunk.fc6.semseg.0.weight"] for now in seen}) > 1
    for now in seen:
        base, _ = now["trunk.fc6.semseg.0.weight"]
        units = [value for name, value in now.items() if name.startswith("units.")]
        assert len(units) == 15 and all(lr == pytest.approx(100 * base) and decay == 5e-4 for lr, decay in units)


@FORMS
@COUNTS
def test_every_parameter_gets_a_gradient(form: str, count: int) -> None:
    net = net_with(form, Nddr(), count)
    found = step(net, form)[1]
    dead = [name for name, _ in net.named_parameters() if name not in found or not found[name].abs().sum() > 0]
    assert not dead and all(g.isfinite().all() for g in found.values())


@pytest.mark.parametrize("form", ["fcn", "roi"])
def test_it_runs_in_bfloat16_with_averages_in_float32(form: str) -> None:
    plain, reduced = net_with(form, Nddr(), 2), net_with(form, Nddr(), 2, precision="bf16")
    outputs, found = step(reduced, form)
    for task, output in plain(*inputs(form)).items():
        assert output.dtype == outputs[task].dtype == torch.float32
        torch.testing.assert_close(outputs[task], output, rtol=0.1, atol=0.1 * float(output.detach().abs().max()))
    assert all(value.dtype == torch.float32 for value in found.values())
    assert reduced.units["pool1"].norm.running_mean.dtype == torch.float32
    x = torch.randn(5, 3, 4, 4).bfloat16()
    assert torch.equal(Normalisation(3)(x), Normalisation(3)(x.float()))


def test_a_batch_in_parts_trains_and_counts_every_part() -> None:
    """Each part is normalised by itself, so that averages see as many batches as there are parts."""
    tasks = dense_tasks()
    subset = Scaled([dense_sample(s) for s in range(4)], 0, 0)
    batch = training_batch(subset, tasks, view("fcn", tasks), 0, 0, 4)
    for chunk, parts in ((0, 1), (1, 4)):
        net = small_net(tasks, Nddr())
        add_gradients(net, tasks, batch, recipe(chunk=chunk), 0)
        assert {int(unit.norm.num_batches_tracked) for unit in net.units.values()} == {parts}
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_training_from_finished_networks_is_the_same_twice() -> None:
    tasks = dense_tasks()
    parents = []
    for name, task in tasks.items():
        parents.append(small_net({name: task}, Separate()))
    nets = []
    for _ in range(2):
        net = small_net(tasks, Nddr())
        net.load_columns([parent.state_dict() for parent in parents])
        run(net, tasks, recipe())
        nets.append(net)
    assert all(map(torch.equal, nets[0].state_dict().values(), nets[1].state_dict().values()))
    moved = nets[0].units["fc7"].weight.detach() - Fusion(tuple(tasks), 16, 0.9, normalise=True).weight.detach()
    assert moved.abs().max() > 1e-4  # off the diagonal, too
    assert make_custom("nddr(lr=10.0)").parents == ("one-task",)


def test_places_are_checked_and_a_rate_of_one_is_the_base_rate() -> None:
    assert list(net_of("fcn", Nddr(after=("pool1", "pool2"))).units) == ["pool1", "pool2"]
    with pytest.raises(UserError, match="nddr after 'pool3': the stages are conv1, pool1"):
        net_of("fcn", Nddr(after=("pool3",)))
    groups = make_optimiser(small_net(dense_tasks(), Nddr(lr=1.0)), recipe()).param_groups
    assert {group["scale"] for group in groups} == {1.0, 2.0}
