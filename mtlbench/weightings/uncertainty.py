"""Uncertainty (Kendall et al. 2018): a learned log-variance a task, exp(-s) on its loss and s / 2 beside it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Uncertainty(nn.Module):
    """The sum of exp(-s) times each loss and s / 2 (Kendall et al. 2018, equation 10), where every s starts at 0 and is
    trained with the network, without decay.

    As `--loss-weight uncertainty`, which makes it part of the recipe, but beside the plain sum in one study. Ours: one
    form for regression and classification.
    """

    version = 1

    def __init__(self) -> None:
        super().__init__()

    def start(self, tasks: Sequence[str]) -> None:
        """Log-variances of 0 for these tasks."""
        self.log_variances = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        """{task: loss} -> scalar."""
        known = self.log_variances
        return torch.stack([(-known[task]).exp() * loss + known[task] / 2 for task, loss in losses.items()]).sum()
