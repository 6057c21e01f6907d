"""MMoE: multi-gate mixture-of-experts (Ma et al., KDD 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from mtlbench.contracts import Pass, Stage
from mtlbench.schemes._experts import INPUT, Gate, Remember, count_inputs, find_first, group_experts, mix, name_experts


class Mmoe:
    """A shared trunk that ends in several experts, which every task mixes by a gate of its own (Section 4.1, equation
    6): f_t(x) = sum over e of softmax(W_t x)_e f_e(x), with x the features that the experts see.

    Experts are the last `depth` stages with parameters (theirs: a fully connected network on shared inputs). Ours:
    `experts` = 4 of them, where Ma et al. have 8 narrow ones; gates see the mean of a map or region over its places, so
    that an image or region has one mixture; from a file of weights all experts start alike, and gates, which start at
    random, tell them apart (as by Komatsuzaki et al. 2023).
    """

    version = 1

    def __init__(self, experts: int = 4, depth: int = 2) -> None:
        self.experts, self.depth = name_experts(experts, "mmoe"), depth

    def extra_columns(self, tasks: tuple[str, ...]) -> tuple[str, ...]:
        """The experts."""
        return self.experts

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """All together, then every expert for itself; tasks go with the first. Raises UserError for a depth that leaves
        no shared stage."""
        return group_experts(stage, tasks, self.experts, self.depth, "mmoe")

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """The gates after the last stage; before the experts, what remembers their input."""
        first, names = find_first(stage, self.depth, "mmoe"), stage.trunk.names
        if stage.name == names[-1]:
            return Gates(tasks, self.experts, count_inputs(stage, first), stage.trunk.pools_inside)
        return Remember() if stage.name == names[names.index(first) - 1] else None


class Gates(nn.Module):
    """Every task's own mixture of the experts."""

    sees_pass = True

    def __init__(self, tasks: tuple[str, ...], experts: tuple[str, ...], channels: int, per_image: bool) -> None:
        super().__init__()
        self.experts, self.per_image = experts, per_image
        self.gates = nn.ModuleDict({task: Gate(channels, len(experts)) for task in tasks})

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """{column: `B C H W` or `R C`} -> the same shapes."""
        outputs, owners = [xs[name] for name in self.experts], this.owners if self.per_image else None
        seen = this.memory[INPUT]
        return {**xs, **{task: mix(gate(seen[task]), outputs, owners) for task, gate in self.gates.items()}}
