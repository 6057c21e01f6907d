"""Weightings on gradients and losses that can be worked by hand, and beside independent references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mtlbench.errors import UserError
from mtlbench.nets.network import fix_seed
from mtlbench.plugins import create
from tests.support.weighings import batch_of, make_weighting, net_of, step_of, take_step, weights_of


def rows(*values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


CONFLICT = rows((1.0, 0.0), (-1.0, 1.0))  # an angle of 135 degrees
LONG = rows((2.0, 0.0), (0.0, 1.0))
FAIR = 4 ** (-2 / 3)  # alpha 2: 4 w1 = w1 ** (-1/2), w2 = w2 ** (-1/2) = 1; then of mean 1
RANDOM = torch.randn(50, 3, 6, generator=torch.Generator().manual_seed(0)).double()


# ------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize(
    ("name", "gradients", "step"),
    [
        ("pcgrad", CONFLICT, (0.5, 1.5)),  # (1, 0) + (-1, 1) / 2, and (-1, 1) + (1, 0)
        ("upgrad", CONFLICT, (0.5, 1.5)),  # of two gradients the same
        ("upgrad", LONG, (2.0, 1.0)),
        ("pcgrad", LONG, (2.0, 1.0)),
        ("mgda", LONG, (0.8, 1.6)),  # the shortest mean has 1/5 of the first, 4/5 of the second
        ("mgda", rows((1.0, 0.0), (3.0, 0.0)), (2.0, 0.0)),  # it is the shorter one itself
        ("mgda", rows((1.0, 0.0), (-1.0, 0.0)), (0.0, 0.0)),
        ("imtlg", LONG, (2 * 2 / 3, 2 * 2 / 3)),  # 1/3 and 2/3: a projection of 2/3 on both directions
        ("aligned_mtl", LONG, (1.0, 1.0)),  # both as long as the shorter one
        ("nash_mtl", LONG, (4 / 3, 4 / 3)),  # weights as 1 / length
        ("fairgrad", LONG, (4 * FAIR / (1 + FAIR), 2 / (1 + FAIR))),
    ],
)
def test_two_gradients_worked_by_hand(name: str, gradients: Tensor, step: tuple[float, ...]) -> None:
    assert step_of(make_weighting(name), gradients).tolist() == pytest.approx(step, abs=1e-4)


@pytest.mark.parametrize("gradients", RANDOM[:20])
def test_upgrads_projections_keep_the_conditions_of_the_least_projection(gradients: Tensor) -> None:
    """No loss rises to first order, and a weight is raised only where the projection is at the border."""
    gramian = gradients @ gradients.T
    found = make_weighting("upgrad").weights(gramian)
    assert bool((found >= 1 - 1e-9).all()) and bool((gramian @ found >= -1e-9).all())


@pytest.mark.parametrize("gradients", RANDOM[:20])
def test_mgdas_mean_is_the_shortest(gradients: Tensor) -> None:
    """No gradient's part along it is shorter than it is, and those that weigh anything have just its length."""
    rows = gradients * torch.tensor([[1.0], [3.0], [0.3]]).double()
    found = make_weighting("mgda").weights(rows @ rows.T) / 3
    mean = found @ rows
    assert found.sum() == pytest.approx(1) and bool((found >= 0).all())
    parts = rows @ mean
    assert bool((parts >= mean @ mean - 1e-9).all())
    assert parts[found > 1e-9].tolist() == pytest.approx([float(mean @ mean)] * int((found > 1e-9).sum()))


@pytest.mark.parametrize("gradients", RANDOM[:20])
def test_fair_and_nash_weights_solve_their_equations(gradients: Tensor) -> None:
    gramian = gradients @ gradients.T
    for name, power in (("nash_mtl", 1.0), ("fairgrad", 0.5)):
        found = make_weighting(name).weights(gramian)
        one = (gramian @ found) * found**power  # the same for all, whatever the scale
        assert one.tolist() == pytest.approx([float(one.mean())] * 3, rel=2e-2) and float(found.sum()) == (
            pytest.approx(3)
        )


def cagrad_of_two(gradients: Tensor, c: float) -> Tensor:
    """CAGrad in closed form: gw = g2 + x (g1 - g2), and the derivative by x of gw g0 + k |gw| is 0, or x at an end."""
    one, two = gradients
    mean, between = gradients.mean(0), one - two
    k, r = c * mean.norm(), between @ mean
    a, b, d = between @ between, two @ between, two @ two
    rest = a * d - b**2
    if k**2 * a > r**2:
        inside = -r * (rest / (k**2 * a - r**2)).clamp(min=0).sqrt()
        x = ((inside - b) / a).clamp(0, 1)
    else:
        x = torch.tensor(0.0 if r > 0 else 1.0)
    found = two + x * between
    return 2 / (1 + c) * (mean + k * found / found.norm())


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
def test_cagrad_of_two_gradients_is_the_closed_form(c: float) -> None:
    for gradients in RANDOM[:, :2]:
        found = step_of(make_weighting("cagrad", c=c), gradients)
        assert torch.allclose(found, cagrad_of_two(gradients, c), atol=1e-4)


def test_cagrad_of_three_gradients_is_the_best_point_of_a_fine_grid() -> None:
    shares = [(i / 60, j / 60, (60 - i - j) / 60) for i in range(61) for j in range(61 - i)]
    grid = torch.tensor(shares, dtype=torch.float64)
    for gradients in RANDOM[:10]:
        mean = gradients.mean(0)
        k = 0.4 * mean.norm()
        means = grid @ gradients
        best = means[int((means @ mean + k * means.norm(dim=1)).argmin())]
        expected = 3 / 1.4 * (mean + k * best / best.norm())
        assert float((step_of(make_weighting("cagrad"), gradients) - expected).norm()) < 0.05 * float(expected.norm())


def test_graddrop_keeps_one_sign_of_a_coordinate_as_often_as_it_is_strong() -> None:
    gradients, method = rows((3.0, 1.0), (-1.0, 2.0)), make_weighting("graddrop")
    with fix_seed(0):
        drawn = torch.stack([step_of(method, gradients) for _ in range(2000)])
    assert bool((drawn[:, 1] == 3.0).all()) and set(drawn[:, 0].tolist()) == {3.0, -1.0}
    assert float((drawn[:, 0] == 3.0).double().mean()) == pytest.approx(0.75, abs=0.05)
    with fix_seed(0):
        assert step_of(make_weighting("graddrop", leak=1.0), gradients).tolist() == [2.0, 3.0]


# ---------------------------------------------------------------------------------------------- losses
def test_weights_of_losses_worked_by_hand() -> None:
    assert weights_of(make_weighting("geometric_mean"), {"a": 4.0, "b": 1.0}).tolist() == pytest.approx([0.5, 2.0])
    e = np.exp(1.0 / (2 * 0.5))
    expected = [4 * 0.5 * e / (e + 1), 4 * 0.5 / (e + 1)]
    assert weights_of(make_weighting("stch", mu=0.5), {"a": 2.0, "b": 1.0}).tolist() == pytest.approx(expected)
    famo = make_weighting("famo")
    famo.start(("a", "b"))
    assert weights_of(famo, {"a": 3.0, "b": 1.0}).tolist() == pytest.approx([0.5, 1.5])
    famo.after({"a": torch.tensor(3.0), "b": torch.tensor(0.5)})  # b falls faster: it weighs less from now on
    first, second = weights_of(famo, {"a": 1.0, "b": 1.0}).tolist()
    assert first > 1 > second and first + second == pytest.approx(2.0)


def test_dwa_weighs_a_task_whose_loss_stands_still_more() -> None:
    method = make_weighting("dwa", steps=2, temperature=1.0)
    for a, b in ((2.0, 2.0), (4.0, 2.0), (3.0, 1.0), (3.0, 1.0)):
        assert weights_of(method, {"a": a, "b": b}).tolist() == [1.0, 1.0]
    e = np.exp(np.array([3 / 3, 1 / 2]))  # the last averages over those before
    assert weights_of(method, {"a": 1.0, "b": 1.0}).tolist() == pytest.approx(2 * e / e.sum())


def test_torchjd_computes_the_same_weights_of_losses() -> None:
    scalarization = pytest.importorskip("torchjd.scalarization")
    losses = {"a": 0.7, "b": 2.0, "c": 1.1}

    def theirs(method: object, scale: float) -> list[float]:
        values = torch.tensor(list(losses.values()), requires_grad=True)
        method(values).backward()
        return (scale * values.grad).tolist()

    assert weights_of(make_weighting("stch"), losses).tolist() == pytest.approx(theirs(scalarization.STCH(0.1), 9.0))
    mean = theirs(scalarization.GeometricMean(), 3.0)
    assert weights_of(make_weighting("geometric_mean"), losses).tolist() == pytest.approx(mean)
    with fix_seed(0):
        drawn = theirs(scalarization.Random(), 3.0)
    with fix_seed(0):
        assert weights_of(make_weighting("rlw"), losses).tolist() == pytest.approx(drawn)
    ours, other = make_weighting("famo"), scalarization.FAMO(3)
    ours.start(tuple(losses))
    for step in range(4):
        assert weights_of(ours, losses).tolist() == pytest.approx(theirs(other, 3.0), rel=1e-5)
        now = torch.tensor([loss * 0.9 ** (k * step) for k, loss in enumerate(losses.values())])
        ours.after(dict(zip(losses, now, strict=True)))
        other.update(now)


# --------------------------------------------------------------------------------------------- options
@pytest.mark.parametrize(
    ("name", "options", "answer"),
    [
        ("cagrad", {"c": 1.0}, "c is 1.0, must be from 0 to below 1"),
        ("stch", {"mu": 0.0}, "mu is 0.0, must be above 0"),
        ("fairgrad", {"alpha": -1.0}, "alpha is -1.0, must be above 0"),
        ("aligned_mtl", {"scale": "max"}, "scale is 'max', must be min or median or rmse"),
        ("upgrad", {"torchjd": "0.1"}, r"planned with TorchJD 0.1, and 0\.\d+ is installed here"),
        ("cagrad", {"d": 1.0}, "no option of weighting cagrad called 'd'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(name: str, options: dict[str, object], answer: str) -> None:
    make_weighting(name)
    with pytest.raises(UserError, match=answer):
        create("weighting", name, **options)


def test_uncertainty_takes_the_step_of_a_recipe_that_learns_its_weights() -> None:
    batch, method = batch_of("fcn"), make_weighting("uncertainty")
    theirs = net_of("fcn", weighting="uncertainty")
    two = take_step(theirs, None, batch)
    one = take_step(net_of("fcn"), method, batch)
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, two.pop(name))
    assert {name: p.grad for name, p in method.log_variances.items()} == {
        name.removeprefix("log_variances."): pytest.approx(gradient) for name, gradient in two.items()
    }
    for parameter in method.parameters():  # at s = -ln(3) a loss counts three times
        parameter.data.fill_(-np.log(3))
    assert weights_of(method, {"semseg": 2.0, "normals": 5.0}).tolist() == pytest.approx([3.0, 3.0])


def test_gradnorm_lowers_the_weight_of_the_longer_gradient_and_of_the_task_that_has_learned_more() -> None:
    """Chen et al., Algorithm 1: Adam's first step is as long as its rate, and mean weights stay 1."""
    method = make_weighting("gradnorm", rate=0.1)
    method.start(("a", "b"))
    gramian = torch.diag(torch.tensor([9.0, 1.0])).double()  # norms 3 and 1
    method.see({"a": torch.tensor(2.0), "b": torch.tensor(2.0)})
    assert method.weights(gramian).tolist() == [1.0, 1.0]
    method.see({"a": torch.tensor(2.0), "b": torch.tensor(2.0)})
    assert method.weights(gramian).tolist() == pytest.approx([0.9, 1.1], abs=1e-6)
    other = make_weighting("gradnorm", rate=0.1)
    other.start(("a", "b"))
    alike = torch.eye(2).double()
    other.see({"a": torch.tensor(2.0), "b": torch.tensor(2.0)})
    assert other.weights(alike).tolist() == [1.0, 1.0]
    other.see({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})  # a has lost half of its loss, b nothing
    other.weights(alike)
    other.see({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
    one, two = other.weights(alike).tolist()
    assert one < 1 < two and one + two == pytest.approx(2)


def test_gradnorms_norms_come_to_their_goals() -> None:
    """With constant losses the weights settle where all norms are alike: w = 1 / norm, of mean 1."""
    method = make_weighting("gradnorm", rate=0.01)
    method.start(("a", "b", "c"))
    gramian = torch.diag(torch.tensor([1.0, 4.0, 16.0])).double()
    for _ in range(800):
        method.see({task: torch.tensor(1.0) for task in "abc"})
        found = method.weights(gramian)
    assert found.tolist() == pytest.approx([12 / 7, 6 / 7, 3 / 7], abs=0.05)
