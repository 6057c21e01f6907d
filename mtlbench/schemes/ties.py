"""TIES merging of one-task networks: trim, elect a sign, average who agrees (Yadav et al., NeurIPS 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtlbench.contracts import Stage
from mtlbench.errors import UserError


class Ties:
    """All weights but the heads' are start + scale * what the task vectors (finished - start) agree on (Section 4).

    Of each vector the share `density` of largest size stays, over all weights together; each weight takes the sign of
    the sum of what is left; its change is the mean of those vectors that are not 0 there and have this sign. Density
    0.2 and scale 1 are the authors' where nothing chooses them (Section 6): none here is chosen on val. One-task
    networks of a seed start alike; each task keeps its own network's head.
    """

    version = 1
    from_one_task = True

    def __init__(self, density: float = 0.2, scale: float = 1.0) -> None:
        self.density, self.scale = density, scale
        if not 0 < density <= 1:
            raise UserError(f"ties: density is {density:g}; a share above 0, at most 1")

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """One column for all tasks."""
        return [tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """None."""
        return None

    def merge(self, start: dict[str, Tensor], finished: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        """The weights of what several tasks share."""
        sizes = [value.numel() for value in start.values()]
        vectors = [
            torch.cat([(own[name] - value).flatten() for name, value in start.items()]) for own in finished.values()
        ]
        changes = average_agreeing(torch.stack([trim(vector, self.density) for vector in vectors])).split(sizes)
        return {
            name: value + self.scale * change.view_as(value)
            for (name, value), change in zip(start.items(), changes, strict=True)
        }


def trim(vector: Tensor, density: float) -> Tensor:
    """The vector `P`, 0 but for the share of its numbers that are largest in size; equal ones stay together."""
    kept = max(1, round(density * len(vector)))
    smallest = vector.abs().kthvalue(len(vector) - kept + 1).values
    return torch.where(vector.abs() >= smallest, vector, 0.0)


def average_agreeing(vectors: Tensor) -> Tensor:
    """`T P` -> `P`: the mean of those that have the sign of their sum; 0 where all are 0, or cancel out."""
    agrees = vectors.sign() == vectors.sum(0).sign()
    counts = (agrees & (vectors != 0)).sum(0).clamp(min=1)
    return torch.where(agrees, vectors, 0.0).sum(0) / counts
