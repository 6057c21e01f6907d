"""DSelect-k: gates that learn which k experts a task uses (Hazimeh et al., NeurIPS 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Stage
from mtlbench.errors import UserError
from mtlbench.schemes._experts import group_experts, mix, name_experts

EPSILON = 1e-6  # in the logarithm, as released


class DselectK:
    """A shared trunk that ends in several experts, of which every task picks at most `k`, the same for all inputs
    (static gates; theirs may also be a function of the input, which is left out here).

    A gate is q = sum over i of softmax(w)_i r(z_i), where each of k selectors r(z_i) is a product of smooth steps
    S(z) or 1 - S(z) over the bits of the experts' numbers (Section 2, equations 3 to 6): one expert's share is 1 where
    every z has left (-gamma / 2, gamma / 2). `strength` times the selectors' entropies is added to the loss (Section
    2.4). Starts and `gamma` are those of the released code. Experts are the last `depth` stages with parameters; ours:
    4 of them, their number a power of two (which needs no term for codes of no expert), and the strength.
    """

    version = 1

    def __init__(
        self, experts: int = 4, k: int = 2, depth: int = 2, gamma: float = 1.0, strength: float = 0.01
    ) -> None:
        self.experts, self.k, self.depth = name_experts(experts, "dselect_k"), k, depth
        self.gamma, self.strength = gamma, strength
        if experts < 2 or experts & (experts - 1):
            raise UserError(f"dselect_k: {experts} experts; their number must be 2, 4, 8 ..")
        if not 0 < k <= experts:
            raise UserError(f"dselect_k: k is {k}; of {experts} experts a task may use 1 to {experts}")

    def extra_columns(self, tasks: tuple[str, ...]) -> tuple[str, ...]:
        """The experts."""
        return self.experts

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """All together, then every expert for itself; tasks go with the first. Raises UserError for a depth that leaves
        no shared stage."""
        return group_experts(stage, tasks, self.experts, self.depth, "dselect_k")

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """The gates after the last stage."""
        is_last = stage.name == stage.trunk.names[-1]
        return Selection(tasks, self.experts, self.k, self.gamma, self.strength) if is_last else None

    def outcome(self, units: dict[str, nn.Module]) -> dict[str, Any]:
        """`shares`: {task: of each expert}."""
        gates = [module for unit in units.values() for module in unit.modules() if isinstance(module, Selection)]
        return {
            "shares": {
                task: row for gate in gates for task, row in zip(gate.tasks, gate.shares().tolist(), strict=True)
            }
        }


class Selection(nn.Module):
    """The gates of all tasks: `z` are `T k log2(E)`, `w` are `T k`."""

    def __init__(self, tasks: tuple[str, ...], experts: tuple[str, ...], k: int, gamma: float, strength: float) -> None:
        super().__init__()
        self.tasks, self.experts, self.gamma, self.strength = tasks, experts, gamma, strength
        bits = len(experts).bit_length() - 1
        self.z = nn.Parameter(torch.empty(len(tasks), k, bits).uniform_(-gamma / 100, gamma / 100))
        self.w = nn.Parameter(torch.empty(len(tasks), k).uniform_(-0.05, 0.05))
        codes = [[bool(number >> bit & 1) for bit in reversed(range(bits))] for number in range(len(experts))]
        self.register_buffer("codes", torch.tensor(codes), persistent=False)

    def selectors(self) -> Tensor:
        """`T k E`, each a distribution over the experts."""
        step, codes = smooth_step(self.z, self.gamma)[:, :, None], self.get_buffer("codes")
        return torch.where(codes, step, 1 - step).prod(3)

    def shares(self) -> Tensor:
        """`T E`, each a distribution over the experts."""
        return (self.w.softmax(1)[:, :, None] * self.selectors()).sum(1)

    def penalty(self) -> Tensor:
        """The entropies of all selectors, times `strength`."""
        chosen = self.selectors()
        return -self.strength * (chosen * (chosen + EPSILON).log()).sum()

    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{column: `B C H W` or `R C`} -> the same shapes."""
        outputs = [xs[name] for name in self.experts]
        return {**xs, **{task: mix(row, outputs) for task, row in zip(self.tasks, self.shares(), strict=True)}}


def smooth_step(t: Tensor, gamma: float) -> Tensor:
    """0 up to -gamma / 2, 1 from gamma / 2 on, between them the cubic that makes both ends smooth; any shape."""
    inside = t.clamp(-gamma / 2, gamma / 2) / gamma
    return -2 * inside**3 + 1.5 * inside + 0.5
