"""Random loss weighting (Lin et al. 2022): new random weights at every step."""

from __future__ import annotations

import torch
from torch import Tensor


class Rlw:
    """Weights are the softmax of standard normal numbers, times the number of tasks, so that their mean is that of the
    plain sum (the factor is ours)."""

    version = 1

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        """{task: loss} -> scalar."""
        values = torch.stack(list(losses.values()))
        weights = torch.randn(len(values)).softmax(0).to(values)  # drawn on the processor: the same on every device
        return len(values) * (weights * values).sum()
