"""FAMO (Liu et al. 2023): weights that make all losses fall at the same relative rate, learned from losses alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SMALLEST = 1e-8  # added to losses before their logarithm (Liu et al.'s code)


class Famo:
    """Weights z / loss, normalised, of learned z = softmax(logits), times the number of tasks, so that equal losses
    give the plain sum at the start (the factor is ours).

    After each step the losses of the same batch are computed again (one forward pass more), and Adam with `rate` and
    `decay` moves the logits (defaults of Algorithm 2 of the paper).
    """

    version = 1

    def __init__(self, rate: float = 0.025, decay: float = 1e-3) -> None:
        self.rate, self.decay = rate, decay
        self._before: dict[str, Tensor] = {}

    def start(self, tasks: Sequence[str]) -> None:
        """Logits of 0 for these tasks."""
        self._places = {task: place for place, task in enumerate(tasks)}
        self._logits = torch.zeros(len(tasks), requires_grad=True)
        self._adam = torch.optim.Adam([self._logits], lr=self.rate, weight_decay=self.decay)

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        """{task: loss} -> scalar."""
        self._before = {task: loss.detach() for task, loss in losses.items()}
        values = torch.stack(list(losses.values())) + SMALLEST
        shares = self._shares(losses).detach().to(values)
        scale = 1 / (shares / values.detach()).sum()
        return len(values) * scale * (shares * values.log()).sum()

    def after(self, losses: dict[str, Tensor]) -> None:
        """Moves the logits by how much each loss has fallen; {task: loss after the step}."""
        fallen = [(self._before[task] + SMALLEST).log() - (loss + SMALLEST).log() for task, loss in losses.items()]
        shares = self._shares(losses)
        self._logits.grad = torch.autograd.grad(shares, self._logits, torch.stack(fallen).to(shares))[0]
        self._adam.step()

    def _shares(self, tasks: dict[str, Tensor]) -> Tensor:
        """Softmax over these tasks, on the processor."""
        return self._logits[[self._places[task] for task in tasks]].softmax(0)

    def state_dict(self) -> dict[str, Any]:
        """The logits and Adam's moments."""
        return {"logits": self._logits.detach(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        with torch.no_grad():
            self._logits.copy_(state["logits"])
        self._adam.load_state_dict(state["adam"])
