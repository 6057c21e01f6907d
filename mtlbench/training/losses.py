"""The losses of a step, piece after piece of its batch, and the gradient of their plain sum."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor

from mtlbench.contracts import Batch, Task
from mtlbench.nets.network import MultiTaskNet
from mtlbench.spec import Options, Recipe
from mtlbench.training.batches import cut
from mtlbench.training.conflicts import Conflicts

Losses = dict[str, Tensor]  # by task, scalars


def total_loss(tasks: dict[str, Task], outputs: dict[str, Tensor], batch: Batch, weights: Options) -> Losses:
    """Each task's weighted loss, 0 where no image of the batch is labelled; a joint network minimises the sum."""
    return {
        name: weights.get(name, task.weight) * task.loss(outputs[name], batch)
        if name in batch.labels
        else 0.0 * outputs[name].sum()
        for name, task in tasks.items()
    }


class Pieces:
    """A step's batch in pieces of `chunk` images, and their losses.

    A task's loss is a mean, so that the pieces' losses count by what they are means over (gradient accumulation: the
    mini-batch of the recipe on any device).
    """

    def __init__(
        self,
        net: MultiTaskNet,
        tasks: dict[str, Task],
        batch: Batch,
        recipe: Recipe,
        iteration: int,
        progress: float = 0.0,
        conflicts: Conflicts | None = None,
    ) -> None:
        """`conflicts`, where they are wanted, are told the losses of each piece."""
        self.conflicts = conflicts
        self.net, self.tasks, self.batch, self.weights = net, tasks, batch, recipe.loss_weight
        self.iteration, self.progress = iteration, progress
        self._parts = cut(batch, recipe.chunk)

    def __len__(self) -> int:
        return len(self._parts)

    @cached_property
    def _counts(self) -> dict[str, Tensor]:
        return {
            name: torch.stack([task.count(piece) for piece in self._parts])
            for name, task in self.tasks.items()
            if len(self) > 1 and name in self.batch.labels
        }

    def losses(self, number: int) -> Losses:
        """Of a forward pass of one piece, as its part of the batch's losses, with what units add to them."""
        piece = self._parts[number]
        self.net.begin(self.iteration, number, self.progress)
        found = total_loss(self.tasks, self.net(piece.images, piece.regions, piece.sizes), piece, self.weights)
        for name, count in self._counts.items():
            found[name] = found[name] * (count[number] / count.sum().clamp(min=1))
        for name, of_units in self.net.losses.items():
            found[name] = found[name] + of_units * (len(piece.images) / len(self.batch.images))
        if self.conflicts and torch.is_grad_enabled():
            self.conflicts.add({name: found[name] for name in self.batch.labels if name in found})
        return found

    def totals(self) -> Losses:
        """The batch's losses, without gradient."""
        with torch.no_grad():
            return add(self.losses(number) for number in range(len(self)))


def add(several: Iterable[Losses]) -> Losses:
    """The sum of each task's losses, detached."""
    total: Losses = {}
    for losses in several:
        total = {name: total[name] + loss.detach() if total else loss.detach() for name, loss in losses.items()}
    return total


def add_plain(net: MultiTaskNet, pieces: Pieces, first: Losses | None = None) -> Losses:
    """Add the gradient of the sum of the losses to the parameters'; returns the losses. `first` are the losses of the
    first piece where they are known.

    Log-variances s weigh them as exp(-s) loss + s / 2 (Kendall et al. 2018, equation 10; ours: for every kind of task,
    since the factor 1/2 of their regression shifts s by a constant only); the losses that are returned are without.
    """
    losses = dict.fromkeys(pieces.tasks, torch.zeros((), device=pieces.batch.images.device))
    for number in range(len(pieces)):
        found = first if first and number == 0 else pieces.losses(number)
        weighted = [
            loss * torch.exp(-net.log_variances[name]) if name in net.log_variances else loss
            for name, loss in found.items()
        ]
        torch.stack(weighted).sum().backward()
        losses = {name: loss + found[name].detach() for name, loss in losses.items()}
    return losses
