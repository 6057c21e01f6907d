"""NDDR-CNN: neural discriminative dimensionality reduction (Gao et al., CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtlbench.contracts import Stage

MOMENTUM, EPSILON = 0.05, 1e-3  # of the normalisation, as released


class Nddr:
    """Separate columns whose concatenated features every task reduces to its own width by a 1x1 convolution.

    The convolution starts diagonal: a channel of the receiver takes `own` of itself, and 1 - own of the same channel
    of the other tasks together (Gao et al.: 0.9 / 0.1; ours: the division among more than two). `lr` multiplies the
    base rate (theirs: 100). Unlike the units of cross-stitch these decay as all weights do, which is a part of their
    derivation; ours: scale and shift of the normalisation decay, too. `normalise`: batch normalisation and a rectifier
    follow, as released. Networks start from finished one-task ones, heads included, as released; normalisation then
    changes what the later layers were trained on, all the more without any in the columns (theirs have it).

    `after` names the stages; none = the pooling and fully connected ones that the backbone declares. Gao et al. fuse
    after every pooling of VGG-16; fc6 and fc7 are ours, the places of cross-stitch.
    """

    version = 1
    from_one_task = True

    def __init__(
        self, own: float = 0.9, lr: float = 100.0, after: tuple[str, ...] = (), normalise: bool = True
    ) -> None:
        self.own, self.after, self.normalise = own, tuple(after), normalise
        self.rates = {"units.*": lr}

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Every task for itself."""
        return [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """A Fusion after the stages of `after`. Raises UserError for a stage that the backbone does not have."""
        wanted = stage.takes_unit(self.after, "nddr")
        return Fusion(tasks, stage.channels, self.own, self.normalise) if wanted else None


class Fusion(nn.Module):
    """One 1x1 convolution a task over the channels of all tasks, without bias (as released, and so without either
    where nothing is normalised), then batch normalisation and a rectifier.

    `weight` is `T C T C`: receiver, its channel, giver, its channel.
    """

    def __init__(self, tasks: tuple[str, ...], channels: int, own: float, normalise: bool) -> None:
        super().__init__()
        self.tasks, self.width = tasks, channels
        count = len(tasks)
        shares = torch.full((count, count), (1 - own) / max(count - 1, 1)).fill_diagonal_(own if count > 1 else 1.0)
        self.weight = nn.Parameter(torch.einsum("rg,cd->rcgd", shares, torch.eye(channels)))
        self.norm = Normalisation(count * channels) if normalise else None

    def alphas(self) -> Tensor:
        """`T T C`: what each channel receives from the same channel of each task, before normalisation."""
        return self.weight.detach().diagonal(dim1=1, dim2=3)

    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{task: `B C H W` or `R C`} -> the same shapes."""
        together = torch.cat([xs[task] for task in self.tasks], dim=1)
        weight = self.weight.flatten(2).flatten(0, 1)
        if together.dim() == 4:
            fused = functional.conv2d(together, weight[:, :, None, None])
        else:
            fused = functional.linear(together, weight)
        if self.norm is not None:
            fused = functional.relu(self.norm(fused))
        return dict(zip(self.tasks, fused.split(self.width, dim=1), strict=True))


class Normalisation(nn.BatchNorm1d):
    """Batch normalisation of `B C H W` or `R C`, in float32 in any precision; a batch that comes in parts is
    normalised part by part.

    Ours: evaluation uses the running averages freed of their start, since trainings may be far shorter than the 20000
    steps of Gao et al.; so does a training step with a single value a channel, which has no variance.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        flat = x.float() if x.dim() == 2 else x.float().flatten(2)
        if self.training and flat.numel() > flat.shape[1]:
            return super().forward(flat).view_as(x)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        # Without a batch so far the averages are at their start, 0 and 1.
        seen = (1 - (1 - MOMENTUM) ** self.num_batches_tracked).clamp(min=MOMENTUM)
        mean, variance = self.running_mean / seen, 1 + (self.running_var - 1) / seen
        return functional.batch_norm(flat, mean, variance, self.weight, self.bias, eps=self.eps).view_as(x)
