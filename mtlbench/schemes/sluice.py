"""Sluice networks (Ruder et al., "Latent multi-task architecture learning", AAAI 2019)."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Pass, Stage
from mtlbench.errors import UserError

LAYERS = "sluice layers"  # in a pass's memory
LAST = 0.9  # the last layer's beta at the start


class Sluice:
    """Separate columns, each with its channels in subspaces, that learn what to mix, subspace by subspace and layer by
    layer; trained jointly from scratch, at one rate, as by Ruder et al. (`lr` multiplies that of alphas and betas).

    Alphas: every subspace of a column receives from every subspace of all columns. Each starts with `own` of itself;
    ours: 1 - own comes from all others alike. For one subspace that is one of the released code's starts, 0.9 / 0.1;
    its starts for two are 1/4 everywhere, and 0.95 from one subspace of each task, a sum that grows layer by layer.
    Betas: a head sees a mixture of its column's layers, learned for each task, which starts with 0.9 of the last one
    (released). Ours: of the last ones, as far back as they are equally wide and nothing is pooled between (fc6, fc7);
    none in networks whose stages pool inside.
    Penalty: `strength` times the squared Frobenius norm of G1^T G2 in every layer of every column, where the columns
    of G1 and G2 are the weights of the channels of two subspaces (0.1: the example of the released code, which sums
    over channels and compares inputs; ours: the reading in which 0 means orthogonal subspaces).

    `after` names the stages with units; none = those that the backbone declares and those that betas mix (theirs:
    every layer).
    """

    version = 1

    def __init__(
        self,
        subspaces: int = 2,
        own: float = 0.9,
        strength: float = 0.1,
        betas: bool = True,
        lr: float = 1.0,
        after: tuple[str, ...] = (),
    ) -> None:
        self.subspaces, self.own, self.strength, self.betas = subspaces, own, strength, betas
        self.lr, self.after = lr, tuple(after)

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Every task for itself."""
        return [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """A SubspaceUnit after the stages of `after`.

        Raises UserError for a stage that the backbone does not have or whose channels make no equal subspaces.
        """
        wanted, layers = stage.takes_unit(self.after, "sluice"), self._layers(stage)
        if not wanted and stage.name not in layers:
            return None
        if self.subspaces < 1 or stage.channels % self.subspaces:
            raise UserError(f"sluice: the {stage.channels} channels of {stage.name} make no {self.subspaces} subspaces")
        return SubspaceUnit(tasks, stage, self.subspaces, self.own, self.lr, layers if stage.name in layers else ())

    def _layers(self, stage: Stage) -> tuple[str, ...]:
        """The stages that betas mix; none where there are fewer than two, or they pool inside."""
        if stage.trunk.pools_inside:
            return ()
        alike: list[str] = []
        for name, width in zip(reversed(stage.trunk.names), reversed(stage.trunk.widths), strict=True):
            if (
                width != stage.trunk.widths[-1]
                or name in stage.trunk.pooling
                or (self.after and name not in self.after)
            ):
                break
            alike.insert(0, name)
        return tuple(alike) if self.betas and len(alike) > 1 else ()

    def penalty(self, columns: dict[str, dict[str, nn.Module]]) -> Tensor | None:
        """How far the subspaces of each layer are from orthogonal, times `strength`; None where that is always 0."""
        layers = [
            layer
            for copies in columns.values()
            for column in copies.values()
            for layer in column.modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)
        ]
        terms = [term for layer in layers for term in measure_overlaps(layer, self.subspaces)] if self.strength else []
        return self.strength * torch.stack(terms).sum() if terms else None

    def outcome(self, units: dict[str, nn.Module]) -> dict[str, Any]:
        """All alphas, {stage: rows of receivers}, with task and subspace counting as in `SubspaceUnit`, and betas,
        {layer: one a task}."""
        ours = {stage: unit for stage, unit in units.items() if isinstance(unit, SubspaceUnit)}
        betas: dict[str, list[float]] = {}
        for unit in ours.values():
            if unit.beta is not None:
                betas = dict(zip(unit.layers, unit.beta.detach().T.tolist(), strict=True))
        return {"alphas": {stage: unit.alpha.detach().tolist() for stage, unit in ours.items()}, "betas": betas}


class SubspaceUnit(nn.Module):
    """Every subspace of every task receives a mixture of all subspaces of all tasks.

    `alpha` is `T*S T*S`: receiver, giver; the S subspaces of the first task, then those of the next. `layers` are those
    that betas mix, if this is one of them; the last one has `beta`, `T L`. Channel c of C is in subspace c * S // C.
    """

    def __init__(
        self,
        tasks: tuple[str, ...],
        stage: Stage,
        subspaces: int,
        own: float,
        lr_multiplier: float,
        layers: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.tasks, self.width, self.subspaces, self.lr_multiplier = tasks, stage.channels, subspaces, lr_multiplier
        self.layers, self.sees_pass = layers, bool(layers)
        self.alpha = nn.Parameter(make_convex(len(tasks) * subspaces, own))
        is_last = bool(layers) and stage.name == layers[-1]
        self.beta = nn.Parameter(make_convex(len(layers), LAST)[-1].repeat(len(tasks), 1)) if is_last else None

    def alphas(self) -> Tensor:
        """`T T C`: what a channel's subspace receives from the same subspace of each task.

        What other subspaces give is not among it; `Sluice.outcome` has that.
        """
        count = len(self.tasks)
        same = self.alpha.detach().view(count, self.subspaces, count, self.subspaces).diagonal(dim1=1, dim2=3)
        return same.repeat_interleave(self.width // self.subspaces, dim=2)

    def forward(self, xs: dict[str, Tensor], this: Pass | None = None) -> dict[str, Tensor]:
        """{task: `B C H W` or `R C`} -> the same shapes. Raises UserError for layers of different map sizes."""
        together = torch.cat([xs[task] for task in self.tasks], dim=1)
        subspaces = together.flatten(1).unflatten(1, (len(self.alpha), -1))
        mixed = (self.alpha @ subspaces).reshape(together.shape).split(self.width, dim=1)
        found = dict(zip(self.tasks, mixed, strict=True))
        if this is not None:
            this.memory.setdefault(LAYERS, []).append(found)
            if self.beta is not None:
                return self._weigh(this.memory[LAYERS], self.beta)
        return found

    def _weigh(self, outputs: list[dict[str, Tensor]], beta: Tensor) -> dict[str, Tensor]:
        shapes = {tuple(output[self.tasks[0]].shape[1:]) for output in outputs}
        if len(shapes) > 1:
            raise UserError(f"sluice: {', '.join(self.layers)} have maps of different sizes; write sluice(betas=False)")
        return {
            task: torch.stack([weight * output[task] for weight, output in zip(row, outputs, strict=True)]).sum(0)
            for task, row in zip(self.tasks, beta, strict=True)
        }


def make_convex(count: int, own: float) -> Tensor:
    """`N N`: `own` on the diagonal, the rest of each row alike; 1 for a single one."""
    others = (1 - own) / max(count - 1, 1)
    return torch.full((count, count), others).fill_diagonal_(own if count > 1 else 1.0)


def measure_overlaps(layer: nn.Conv2d | nn.Linear, subspaces: int) -> list[Tensor]:
    """||G1^T G2||^2 for every two subspaces of a layer's output channels, which see some common input.

    Groups of a convolution see none of each other's, so that their channels are orthogonal as they are.
    """
    weight = layer.weight.flatten(1)  # a row a channel: G^T
    channels, groups = len(weight), layer.groups if isinstance(layer, nn.Conv2d) else 1
    terms, place = [], 0
    for rows in weight.chunk(groups):
        sizes = Counter(channel * subspaces // channels for channel in range(place, place + len(rows)))
        place += len(rows)
        terms += [(one @ other.T).square().sum() for one, other in combinations(rows.split(list(sizes.values())), 2)]
    return terms
