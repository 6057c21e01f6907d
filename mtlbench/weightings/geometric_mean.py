"""The geometric mean of the losses (Chennupati et al. 2019): each task's loss counts by its relative change."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-8  # a loss of 0 has no logarithm (Ours)


class GeometricMean:
    """T times the geometric mean of T losses, so that equal losses give the plain sum (the factor is ours)."""

    version = 1

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        """{task: loss} -> scalar; losses below 1e-8 count as that."""
        values = torch.stack(list(losses.values())).clamp(min=SMALLEST)
        return len(values) * values.log().mean().exp()
