"""Dynamic weight average (Liu et al. 2019): a task whose loss falls slowly weighs more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Dwa:
    """Weights are the softmax over tasks of the ratio of a loss's last two averages, over `temperature`, times the
    number of tasks; equal ratios give the plain sum, and so do the first two periods.

    An average is over `steps` steps of those in which the task is labelled, where the paper has epochs (Ours: mtlbench
    counts iterations).
    """

    version = 1

    def __init__(self, temperature: float = 2.0, steps: int = 50) -> None:
        self.temperature, self.steps = temperature, steps
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._averages: dict[str, list[Tensor]] = {}  # the last two, older first

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        """{task: loss} -> scalar."""
        values = torch.stack(list(losses.values()))
        weights = torch.ones_like(values)
        if all(len(self._averages.get(task, ())) == 2 for task in losses):
            older, newer = (torch.stack([self._averages[task][k] for task in losses]).to(values) for k in (0, 1))
            weights = len(values) * (newer / older / self.temperature).softmax(0)
        for task, loss in losses.items():
            self._sums[task] = self._sums[task].to(loss) + loss.detach() if task in self._sums else loss.detach()
            self._counts[task] = self._counts.get(task, 0) + 1
            if self._counts[task] == self.steps:
                average = self._sums.pop(task) / self._counts.pop(task)
                self._averages[task] = [*self._averages.get(task, ()), average][-2:]
        return (weights * values).sum()

    def state_dict(self) -> dict[str, Any]:
        """Sums, counts and averages by task."""
        return {"sums": dict(self._sums), "counts": dict(self._counts), "averages": dict(self._averages)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._sums, self._counts, self._averages = (dict(state[name]) for name in ("sums", "counts", "averages"))
