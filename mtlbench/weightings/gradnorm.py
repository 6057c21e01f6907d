"""GradNorm (Chen et al. 2018): weights that make all tasks train at similar rates, learned from norms and losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LEAST = 1e-3  # of a weight (Ours: a step could take it below 0)


class Gradnorm:
    """Learned weights w, of mean 1, that take the norms w_i G_i to mean(w G) r_i ** `alpha`, where r_i is how little of
    its first loss a task has lost, over the mean of all tasks (equations 1 and 2).

    After each step Adam with `rate` lowers the sum of the norms' distances from their goals, which count as constants
    (Algorithm 1). Ours: norms are over all parameters that tasks share (theirs: the last shared layer), in units of
    their mean; a first loss is that of the first step in which the task is labelled.
    """

    version = 1

    def __init__(self, alpha: float = 1.5, rate: float = 0.025) -> None:
        self.alpha, self.rate = alpha, rate
        self._first: dict[str, float] = {}
        self._losses: dict[str, float] = {}

    def start(self, tasks: Sequence[str]) -> None:
        """Weights of 1 for these tasks."""
        self._places = {task: place for place, task in enumerate(tasks)}
        self._weights = torch.ones(len(tasks), dtype=torch.float64)
        self._adam = torch.optim.Adam([self._weights], lr=self.rate)

    def see(self, losses: dict[str, Tensor]) -> None:
        """{task: loss of this step}, in the order of the gradients that follow."""
        self._losses = {task: float(loss) for task, loss in losses.items()}
        for task, loss in self._losses.items():
            self._first.setdefault(task, loss)

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`; the weights of the next step learn from it."""
        if not self._losses:
            return torch.ones(len(gramian), dtype=torch.float64)
        places = [self._places[task] for task in self._losses]
        found = self._weights[places].clone()
        self._learn(places, gramian.diagonal().sqrt())
        return len(found) * found / found.sum()

    def _learn(self, places: list[int], norms: Tensor) -> None:
        """One step of Adam for these tasks, `T`."""
        left = torch.tensor([loss / self._first[task] for task, loss in self._losses.items()], dtype=torch.float64)
        relative = norms / norms.mean()
        weighted = self._weights[places] * relative
        goals = weighted.mean() * (left / left.mean()) ** self.alpha
        slope = torch.zeros_like(self._weights)
        slope[places] = (weighted - goals).sign() * relative  # of the sum of |w n - goal|
        self._weights.grad = slope
        self._adam.step()
        self._weights.clamp_(min=LEAST).mul_(len(self._weights) / self._weights.clamp(min=LEAST).sum())

    def state_dict(self) -> dict[str, Any]:
        """Weights, first losses and Adam's moments."""
        return {"weights": self._weights.clone(), "first": dict(self._first), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._weights.copy_(state["weights"])
        self._first = dict(state["first"])
        self._adam.load_state_dict(state["adam"])
