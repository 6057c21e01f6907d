"""Weightings with a mistake each, and how the first wrong finding on them begins."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor


class Nothing:
    version = 1


class Both:
    version = 1

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        return torch.stack(list(losses.values())).sum()

    def weights(self, gramian: Tensor) -> Tensor:
        return torch.ones(len(gramian))


class Cut:
    """Its losses have no graph: nothing would be trained."""

    version = 1

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        return torch.tensor(sum(loss.item() for loss in losses.values()))


class Fixed:
    """Takes it that there are always two tasks."""

    version = 1

    def weights(self, gramian: Tensor) -> Tensor:
        return torch.tensor([1.0, 1.0])


class Log:
    version = 1

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        return torch.stack([loss.log() for loss in losses.values()]).sum()


class Mean:
    version = 1

    def weights(self, gramian: Tensor) -> Tensor:
        return torch.ones(len(gramian)) / len(gramian)


class Dice:
    version = 1

    def weights(self, gramian: Tensor) -> Tensor:
        return torch.tensor([1 + random.uniform(-0.5, 0.5) for _ in gramian])


class Forgetful:
    """Counts its steps, and nobody keeps the count."""

    version = 1

    def __init__(self) -> None:
        self.steps = 0

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        self.steps += 1
        first, *others = losses.values()
        return torch.stack([first * (1 + 0.1 * self.steps), *others]).sum()


class Unkept(Forgetful):
    def state_dict(self) -> dict[str, Any]:
        return {"steps": self}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"].steps


class Inverse:
    version = 1

    def weights(self, gramian: Tensor) -> Tensor:
        found: Tensor = torch.linalg.solve(gramian, torch.ones(len(gramian), dtype=gramian.dtype))
        return len(gramian) * found / found.sum()


MISTAKES = {
    Nothing: "Nothing has none of them; it needs one of combine, weights, aggregate",
    Both: "Both has both combine and weights; it needs one of",
    Cut: "mistaken_weightings.py:{line}: weighting Cut.combine must return one number that depends on the losses",
    Fixed: "mistaken_weightings.py:{line}: weighting Fixed.weights returned (2,), not a tensor of shape (3,)",
    Log: "mistaken_weightings.py:{line}: combine gives NaN or infinity for a loss of 0",
    Mean: "mistaken_weightings.py:{line}: weights makes a step 0.5 times the plain sum where all tasks agree",
    Dice: "two trainings of one seed differ in ",
    Forgetful: "a training that goes on from a resume file differs in ",
    Unkept: "its state_dict cannot be kept",
    Inverse: "mistaken_weightings.py:",
}
