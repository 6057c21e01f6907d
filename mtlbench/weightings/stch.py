"""Smooth Tchebycheff scalarization (Lin et al. 2024): the largest loss counts most."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlbench.errors import UserError


class Stch:
    """mu log sum exp(loss / (T mu)) over T tasks, with equal preferences 1 / T and ideal losses 0, times T squared, so
    that equal losses give the plain sum (the factor is ours, and so is mu = 0.1 of the paper's 0.01 to 1)."""

    version = 1

    def __init__(self, mu: float = 0.1) -> None:
        """`mu` above 0; the smaller, the closer to the maximum. Raises UserError."""
        if mu <= 0:
            raise UserError(f"stch: mu is {mu}, must be above 0")
        self.mu = mu

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        """{task: loss} -> scalar."""
        values = torch.stack(list(losses.values()))
        tasks = len(values)
        return tasks**2 * self.mu * torch.logsumexp(values / (tasks * self.mu), 0)
