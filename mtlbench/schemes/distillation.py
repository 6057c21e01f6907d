"""Distillation from the one-task networks: KD4MTL (Li and Bilen, ECCV workshops 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtlbench.contracts import Pass, Stage

EPSILON = 1e-6  # below the root of a norm, as released


class Distillation:
    """A network that shares all but the heads, whose features are pulled towards those of every task's finished
    one-task network, each through a 1x1 convolution of its own (an adaptor, without bias, which only training needs).

    The distance of task t, ||A_t f / |A_t f| - f_t / |f_t|||^2 with norms over channels, is a mean over places or
    regions and joins the task's loss, times `strength` (Section 3.2; 1 is theirs for most tasks). Ours: features are
    those of the last stage (the released SegNet adds those of its decoder's last); adaptors learn by the network's
    optimiser at `lr` times the rate, where theirs have an Adam of their own; one-task networks are in evaluation, and
    their forward passes are not among the FLOPs that are counted.
    """

    version = 1
    teachers = True

    def __init__(self, strength: float = 1.0, lr: float = 1.0) -> None:
        self.strength = strength
        self.rates = {"units.*": lr}

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """One column for all tasks."""
        return [tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """The adaptors after the last stage."""
        return Adaptors(tasks, stage.channels, self.strength) if stage.name == stage.trunk.names[-1] else None


class Adaptors(nn.Module):
    """Passes features on unchanged; in training leaves each task's distance from its one-task network."""

    sees_pass = True

    def __init__(self, tasks: tuple[str, ...], channels: int, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.adaptors = nn.ParameterDict({task: nn.Parameter(torch.empty(channels, channels)) for task in tasks})
        for weight in self.adaptors.values():
            nn.init.xavier_normal_(weight)

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """{task: `B C H W` or `R C`}, unchanged."""
        if self.training:
            finished = this.finished()
            for task, weight in self.adaptors.items():
                this.losses[task] = self.strength * measure_distance(adapt(weight, xs[task]), finished[task])
        return xs


def adapt(weight: Tensor, x: Tensor) -> Tensor:
    """A 1x1 convolution of `B C H W` or `R C`."""
    return functional.conv2d(x, weight[:, :, None, None]) if x.dim() == 4 else functional.linear(x, weight)


def measure_distance(x: Tensor, aim: Tensor) -> Tensor:
    """The squared distance of two features of norm 1, `B C H W` or `R C`, as a mean over all but the channels."""
    one, other = (y.float() / (y.float().square().sum(1, keepdim=True) + EPSILON).sqrt() for y in (x, aim))
    return (one - other).square().sum(1).mean()
