"""Soft parameter sharing: columns of one's own that are kept near each other (Duong et al., ACL 2015)."""

from __future__ import annotations

from itertools import combinations

from torch import Tensor, nn

from mtlbench.contracts import Stage
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown


class SoftSharing:
    """Every task's own column, trained jointly from the start; the squared L2 distance between columns is a loss.

    The term is `strength` times the sum, over the stages with parameters and the pairs of tasks, of the squared
    distance of their weights and biases; heads are apart. `stages` names the stages that are pulled; none = all with
    parameters. Ours: both columns are pulled, where Duong et al. keep one parser near another that is trained before;
    and the default strength: over 300 steps of the quick recipe columns move about a third as far apart as without it
    (at 0.1 a twentieth, at 0.001 nearly as far).
    """

    version = 1

    def __init__(self, strength: float = 0.01, stages: tuple[str, ...] = ()) -> None:
        self.strength, self.stages = strength, tuple(stages)

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Every task for itself. Raises UserError for stages that are not there, or have no parameters."""
        for name in self.stages:
            if name not in stage.trunk.names:
                raise make_unknown("stage to share softly", name, stage.trunk.names)
        if stage.name in self.stages and not stage.has_parameters:
            raise UserError(f"soft sharing of {stage.name!r}: it has no parameters; leave it out")
        return [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """None."""
        return None

    def penalty(self, columns: dict[str, dict[str, nn.Module]]) -> Tensor | None:
        """The scalar that is added to the loss of a step; 0 for one task, None where nothing is trained."""
        trained = [
            p
            for copies in columns.values()
            for column in copies.values()
            for p in column.parameters()
            if p.requires_grad
        ]
        if not trained:
            return None
        total = 0.0 * trained[-1].sum()  # one task alone, or frozen stages, must have a gradient, too
        pulled = [list(columns[stage].values()) for stage in self.stages or columns if stage in columns]
        for copies in pulled:
            for one, other in combinations(copies, 2):
                for a, b in zip(one.parameters(), other.parameters(), strict=True):
                    total = total + (a - b).square().sum()
        return self.strength * total
