"""What stages of timm's networks are wrapped in: maps between them lie `B C H W`, and regions and images end in vectors
(Ours)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.nets.layers import ImagePool, RegionPool

SAMPLES = 2  # points a side that a pooled cell is the mean of (He et al. 2017)


class Chain(nn.Sequential):
    """Modules of a network one after another; `paths`: {name here: name in the network}."""

    def __init__(self, modules: Iterable[tuple[str, nn.Module]]) -> None:
        found = list(modules)
        self.paths = {path.replace(".", "_"): path for path, _ in found}
        super().__init__(OrderedDict((path.replace(".", "_"), module) for path, module in found))


class ChannelsLast(nn.Module):
    """A stage of a network whose maps are `B H W C`; the `first` one takes images as they are."""

    def __init__(self, body: nn.Module, first: bool) -> None:
        super().__init__()
        self.body, self.first = body, first

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W` -> `B C H W`."""
        y: Tensor = self.body(x if self.first else x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


class Embed(nn.Module):
    """The patches of a plain ViT with their positions; `net` is the network without its blocks."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Images `B 3 H W` -> tokens as a map, as `to_map` lays them."""
        patches = self.net.patch_embed(x)  # B H W C
        tokens = self.net.norm_pre(self.net.patch_drop(self.net._pos_embed(patches)))
        return to_map(tokens, self.net.num_prefix_tokens, patches.shape[2])


class Tokens(nn.Module):
    """Blocks of a plain ViT; `prefix` tokens (of the class, registers) come before the patches'. The `last` stage
    leaves them out."""

    def __init__(self, body: nn.Module, prefix: int, last: bool) -> None:
        super().__init__()
        self.body, self.prefix, self.last = body, prefix, last

    def forward(self, x: Tensor) -> Tensor:
        """A map as `to_map` lays it -> the same, or `B C H W` of the patches alone."""
        width = x.shape[3]
        tokens = self.body(to_tokens(x, self.prefix))
        if self.last:
            return to_map(tokens[:, self.prefix :], 0, width)
        return to_map(tokens, self.prefix, width)


def to_map(tokens: Tensor, prefix: int, width: int) -> Tensor:
    """`B N C` -> `B C H W`: patches row by row, then the first `prefix` tokens in rows of their own, filled up with
    zeros, so that whatever mixes channel by channel mixes them, too."""
    patches = tokens[:, prefix:]
    if prefix:
        filled = tokens.new_zeros(len(tokens), rows_of(prefix, width) * width - prefix, tokens.shape[2])
        patches = torch.cat([patches, tokens[:, :prefix], filled], 1)
    laid: Tensor = patches.transpose(1, 2).unflatten(2, (-1, width))
    return laid


def to_tokens(x: Tensor, prefix: int) -> Tensor:
    """The tokens `B N C` that `to_map` laid as `B C H W`."""
    height = x.shape[2] - rows_of(prefix, x.shape[3])
    patches = x[:, :, :height].flatten(2)
    if prefix:
        patches = torch.cat([x[:, :, height:].flatten(2)[:, :, :prefix], patches], 2)
    return patches.transpose(1, 2)


def rows_of(prefix: int, width: int) -> int:
    """How many rows of a map so many tokens take."""
    return math.ceil(prefix / width)


class RegionStage(RegionPool):
    """A stage of form `roi`: RoIAlign (He et al. 2017) to `size` x `size` before its body (`pools_first`) or after it;
    the last stage ends in the mean over the cells."""

    def __init__(
        self, body: nn.Module, size: int, stride: int, centre: float, pools_first: bool, is_last: bool
    ) -> None:
        super().__init__(size, stride)
        self.body, self.pools_first, self.is_last = body, pools_first, is_last
        self.shift = (stride - 1) / 2 - centre  # RoIAlign takes cells to be centred on their share of the pixels

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        """`B C H W`, `R 5` (image index, x1 y1 x2 y2, continuous edges) -> `R C h w`, `R C` of the last stage."""
        y: Tensor = self.body(self._align(x, regions)) if self.pools_first else self._align(self.body(x), regions)
        return y.mean((2, 3)) if self.is_last else y

    def _align(self, x: Tensor, regions: Tensor) -> Tensor:
        from torchvision.ops import roi_align  # takes a second or two, and is needed in form `roi` only

        moved = regions + regions.new_tensor([0.0, *[self.shift] * 4])
        pooled: Tensor = roi_align(x.float(), moved, self.size, 1 / self.stride, SAMPLES, aligned=True)
        return pooled.to(x.dtype)


class ImageStage(ImagePool):
    """The last stage of form `image`: the mean over the cells whose centres lie in the image, without what pads it."""

    def __init__(self, body: nn.Module, stride: int, centre: float) -> None:
        super().__init__(1, stride)
        self.body, self.centre = body, centre

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        """`B C H W`, the images as regions `B 5` -> `B C`."""
        y: Tensor = self.body(x)
        rows, columns = (
            self._inside(cells, ends, y)
            for cells, ends in zip(y.shape[2:], (regions[:, 4], regions[:, 3]), strict=True)
        )
        return (y * (rows[:, None, :, None] * columns[:, None, None, :])).sum((2, 3))

    def _inside(self, cells: int, ends: Tensor, like: Tensor) -> Tensor:
        """`B cells`: what each counts; the first always does."""
        centres = self.centre + self.stride * torch.arange(cells, device=ends.device)
        counts = ((centres < ends[:, None] - 0.5) | (centres == centres[0])).to(like.dtype)
        return counts / counts.sum(1, keepdim=True)


class RegionMean(nn.Module):
    """`R C H W` -> `R C`."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over the cells."""
        return x.mean((2, 3))
