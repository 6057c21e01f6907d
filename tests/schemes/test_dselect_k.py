"""DSelect-k (Hazimeh et al., NeurIPS 2021)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mtlbench.errors import UserError
from mtlbench.schemes.dselect_k import DselectK, Selection, smooth_step
from mtlbench.schemes.split import Split
from tests.support.networks import FORMS, gradients_of, inputs, net_of, recipe, small_net
from tests.support.samples import dense_tasks

EXPERTS = ("e0", "e1", "e2", "e3")


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_the_step_is_flat_outside_and_smooth_at_its_ends(gamma: float) -> None:
    """Equation 4: -2 t^3 / gamma^3 + 3 t / (2 gamma) + 1/2 inside."""
    t = torch.linspace(-gamma, gamma, 41, dtype=torch.float64).requires_grad_()
    step = smooth_step(t, gamma)
    (slope,) = torch.autograd.grad(step.sum(), t)
    for x, y, rise in zip(t.tolist(), step.tolist(), slope.tolist(), strict=True):
        inside = -2 / gamma**3 * x**3 + 3 / (2 * gamma) * x + 0.5
        assert y == pytest.approx(0.0 if x < -gamma / 2 else 1.0 if x > gamma / 2 else inside, abs=1e-12)
        assert rise == pytest.approx(max(0.0, -6 / gamma**3 * x**2 + 3 / (2 * gamma)), abs=1e-9)


def gate_of(z: list[list[float]], w: list[float], strength: float = 1.0) -> Selection:
    unit = Selection(("a",), EXPERTS, len(z), 1.0, strength)
    with torch.no_grad():
        unit.z.copy_(torch.tensor([z]))
        unit.w.copy_(torch.tensor([w]))
    return unit


def test_a_selector_spells_the_number_of_its_expert() -> None:
    """z = (+, -) is 10 in binary: expert 2; two selectors share as softmax(w) says."""
    assert gate_of([[2.0, -2.0]], [0.3]).shares().tolist() == [[0.0, 0.0, 1.0, 0.0]]
    shares = gate_of([[2.0, -2.0], [-2.0, 2.0]], [math.log(3.0), 0.0]).shares()
    torch.testing.assert_close(shares, torch.tensor([[0.0, 0.25, 0.75, 0.0]]))
    quarter = smooth_step(torch.tensor(0.1), 1.0)
    soft = gate_of([[0.1, -2.0]], [0.0]).shares()
    torch.testing.assert_close(soft, torch.tensor([[1 - quarter, 0.0, quarter, 0.0]]))


def test_entropy_is_largest_for_an_even_selector_and_nothing_for_a_decided_one() -> None:
    assert gate_of([[0.0, 0.0]], [0.0], 0.5).penalty().item() == pytest.approx(0.5 * math.log(4), abs=1e-4)
    assert gate_of([[9.0, -9.0]], [0.0], 0.5).penalty().item() == pytest.approx(0, abs=1e-5)
    tasks = dense_tasks()
    plain, pulled = (gradients_of(small_net(tasks, DselectK(strength=s)), recipe()) for s in (0.0, 1.0))
    for name, gradient in plain.items():
        assert torch.equal(pulled[name], gradient) == (name != "units.fc7.z"), name


@FORMS
def test_gates_that_all_choose_one_expert_share_all_but_the_heads(form: str) -> None:
    net, shared = net_of(form, DselectK(), dropout=0.0).eval(), net_of(form, Split("fc8"), dropout=0.0).eval()
    with torch.no_grad():
        net.units["fc7"].z.fill_(-1.0)  # 00, the expert that starts as all columns do
    expected = shared.scores(*inputs(form))
    for task, output in net.scores(*inputs(form)).items():
        torch.testing.assert_close(output, expected[task])
    scheme: Any = net.scheme
    assert scheme.outcome(dict(net.units.items())) == {"shares": dict.fromkeys("ab", [1.0, 0.0, 0.0, 0.0])}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"experts": 6}, "6 experts; their number must be 2, 4, 8"),
        ({"experts": 1}, "1 experts; their number must be 2"),
        ({"k": 5}, "k is 5; of 4 experts a task may use 1 to 4"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, int], text: str) -> None:
    with pytest.raises(UserError, match=f"dselect_k: {text}"):
        DselectK(**options)
