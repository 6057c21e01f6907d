"""MTL-shared, the variant of Abdulnabi et al. 2015 and Zhou et al. 2013 that Section 6.1 compares with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtlbench.contracts import Stage


class MtlShared:
    """Two columns trained jointly whose classifiers are combinations of one latent matrix: W_t = L S_t.

    L is common to all tasks, S_t the task's own head. Ours: L has `width` times as many columns as fc7 has channels,
    has no bias, and W_t covers all outputs of the task, box offsets included.
    """

    version = 1

    def __init__(self, width: float = 0.25) -> None:
        self.width = width

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Every task for itself."""
        return [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """The latent layer after the last stage."""
        last = stage.trunk.names[-1]
        return Latent(stage.channels, max(1, round(self.width * stage.channels))) if stage.name == last else None


class Latent(nn.Module):
    """x -> L^T x with one matrix L (`C channels`) for all tasks."""

    any_shape = True

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        # Variance is kept, not doubled as He's rule would: no rectifier follows.
        self.weight = nn.Parameter(torch.randn(channels, inputs) / math.sqrt(inputs))

    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{task: `B C H W` or `R C`} -> the same with `channels` channels."""
        return {task: self._product(x) for task, x in xs.items()}

    def _product(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            return functional.conv2d(x, self.weight[:, :, None, None])
        return functional.linear(x, self.weight)
