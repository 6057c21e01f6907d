"""The search of Learning to Branch (Guo, Lee and Ulbricht, ICML 2020); `branching` trains what it finds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Stage
from mtlbench.nets.forms import OfForms
from mtlbench.nets.layers import Seeded
from mtlbench.spec import derive_seed


class BranchingSearch:
    """As many columns as tasks at every stage; each child column learns which column of the stage before is its parent.

    A child's input is the mixture of all parents' outputs by a Gumbel-softmax sample of its choice; after
    the last stage the heads choose. Choices and weights are learned together, in one run.
    Ours: the temperature falls geometrically from `start` to `end`; `lr` multiplies the base rate for the choices,
    which have no weight decay; a step draws one sample, also where its batch comes in parts; in evaluation every child
    takes its likeliest parent alone. All columns of a stage start alike, so that at first no choice matters; the random
    mixtures give each column another gradient, and it is that which sets them apart.
    """

    version = 1

    def __init__(self, start: float = 1.0, end: float = 0.1, lr: float = 10.0) -> None:
        self.start, self.end, self.lr = start, end, lr

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """A column for each task, which is named after it and serves whoever chooses it."""
        return [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """A choice after every stage that has parameters: pooling follows its column, there is nothing to choose."""
        return Choice(tasks, self.start, self.end, self.lr) if stage.has_parameters else None

    def outcome(self, units: dict[str, nn.Module]) -> dict[str, Any]:
        """`tasks`; `parents`: {stage: the likeliest column of it, for each child}; `probabilities`: {stage: `T T`}."""
        choices = {stage: unit for stage, unit in units.items() if isinstance(unit, Choice | OfForms)}
        tasks = next(iter(choices.values())).tasks
        found = {stage: choice.alphas() for stage, choice in choices.items()}
        # No task takes a column of a task of another form.
        probabilities = {stage: alphas[:, :, 0].nan_to_num() for stage, alphas in found.items() if alphas is not None}
        return {
            "tasks": list(tasks),
            "parents": {stage: shares.argmax(1).tolist() for stage, shares in probabilities.items()},
            "probabilities": {stage: shares.tolist() for stage, shares in probabilities.items()},
        }


class Choice(Seeded):
    """Which of T columns each of T children takes; `logits` are `T T`: child, parent, uniform at first."""

    def __init__(self, tasks: tuple[str, ...], start: float, end: float, lr_multiplier: float) -> None:
        super().__init__()
        self.tasks, self.start, self.end, self.lr_multiplier = tasks, start, end, lr_multiplier
        self.logits = nn.Parameter(torch.zeros(len(tasks), len(tasks)))

    def alphas(self) -> Tensor:
        """`T T 1`: child (receiver), parent (giver): the probabilities."""
        return self.logits.detach().softmax(1)[:, :, None]

    def parents(self) -> Tensor:
        """`T`: the likeliest parent of each child."""
        return self.logits.detach().argmax(1)

    def sample(self) -> Tensor:
        """`T T`, rows that sum to 1: softmax((log p + Gumbel noise) / temperature) (Jang et al. 2017)."""
        temperature = self.start * (self.end / self.start) ** self.progress
        # From the processor, so that every device draws the same; not of the part: a step has one sample.
        seed = derive_seed(self.seed, "choice", self.iteration, self.name)
        noise = torch.empty(self.logits.shape).exponential_(generator=torch.Generator().manual_seed(seed)).log_().neg_()
        noisy: Tensor = (self.logits.log_softmax(1) + noise.to(self.logits)) / temperature
        return noisy.softmax(1)

    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{column: `B C H W` or `R C`} -> the same shapes for the children."""
        if not self.training:
            chosen = torch.stack([xs[task] for task in self.tasks]).index_select(0, self.parents())
            return dict(zip(self.tasks, chosen, strict=True))
        mixed = {}
        for task, row in zip(self.tasks, self.sample(), strict=True):
            mixed[task] = row[0] * xs[self.tasks[0]]
            for weight, parent in zip(row[1:], self.tasks[1:], strict=True):
                mixed[task] = torch.addcmul(mixed[task], weight, xs[parent])
        return mixed
