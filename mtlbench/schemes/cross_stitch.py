"""Cross-stitch units (Section 3, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Stage


class CrossStitch:
    """Separate columns whose activations are mixed linearly after some stages.

    `per_channel`: one unit per channel (Section 5; SemSeg + SN), else one per layer (Section 6; Det + Attr).
    `own` is the start of alpha_s; the other tasks share 1 - own, a convex start that is not enforced later
    (Section 5.1, Table 1: 0.9 / 0.1 is best of four). `lr` multiplies the base rate (Section 5.2, Table 2).
    `after` names the stages; none = the pooling and fully connected ones that the backbone declares (Section 5).
    """

    version = 1

    def __init__(
        self, per_channel: bool = True, own: float = 0.9, lr: float = 100.0, after: tuple[str, ...] = ()
    ) -> None:
        self.per_channel, self.own, self.lr, self.after = per_channel, own, lr, tuple(after)

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Every task for itself."""
        return [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """A CrossStitchUnit after the stages of `after`."""
        if not stage.takes_unit(self.after, "cross-stitch"):
            return None
        return CrossStitchUnit(tasks, stage.channels if self.per_channel else 1, self.own, self.lr)


class CrossStitchUnit(nn.Module):
    """x~_t = sum over u of alpha[t, u] * x_u for every task t (equation 1, for any number of tasks).

    `alpha` is `T T C`: receiver, giver, channel (C = 1 for one unit per layer).
    """

    def __init__(self, tasks: tuple[str, ...], channels: int, own: float, lr_multiplier: float) -> None:
        super().__init__()
        self.tasks, self.lr_multiplier = tasks, lr_multiplier
        count = len(tasks)
        start = torch.full((count, count), (1 - own) / max(count - 1, 1)).fill_diagonal_(own if count > 1 else 1.0)
        self.alpha = nn.Parameter(start[:, :, None].repeat(1, 1, channels))

    def alphas(self) -> Tensor:
        """`T T C`: receiver, giver, channel."""
        return self.alpha.detach()

    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{task: `B C H W` or `R C`} -> the same shapes."""
        return dict(zip(self.tasks, _Mixed.apply(self.alpha, *(xs[task] for task in self.tasks)), strict=True))


class _Mixed(torch.autograd.Function):
    """Equation 1 and its gradients (equations 2 and 3), in fewer passes over memory than torch's own."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(alpha, *xs)
        return tuple(_combine(receiver, xs) for receiver in _over(xs[0], alpha))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        alpha, *xs = ctx.saved_tensors
        axes = [0, *range(2, xs[0].dim())] if alpha.shape[2] > 1 else list(range(xs[0].dim()))
        products = [(gradient * x).sum(axes) for gradient in gradients for x in xs]
        back = (_combine(giver, gradients) for giver in _over(xs[0], alpha.transpose(0, 1)))
        return torch.stack(products).view_as(alpha), *back


def _over(x: Tensor, alpha: Tensor) -> Tensor:
    """Alphas `T T C` in a shape that multiplies activations like x, channel by channel."""
    return alpha.reshape(*alpha.shape, *(1,) * (x.dim() - 2))


def _combine(factors: Tensor, xs: Sequence[Tensor]) -> Tensor:
    """The sum of all factor * x."""
    total = factors[0] * xs[0]
    for factor, x in zip(factors[1:], xs[1:], strict=True):
        total.addcmul_(factor, x)
    return total
