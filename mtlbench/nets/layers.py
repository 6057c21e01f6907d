"""Layers that torch does not have in the way that backbones need them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Geometry
from mtlbench.spec import derive_seed


class LocalResponseNorm(nn.Module):
    """x / (1 + alpha / size * sum of x^2 over `size` neighbouring channels) ** 0.75 (Krizhevsky et al. 2012).

    The same numbers as torch's within rounding, as one banded matrix product over channels each way, which is faster.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4) -> None:
        super().__init__()
        self.size, self.scale = size, alpha / size

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W` -> `B C H W`."""
        normalised: Tensor = _Normalised.apply(x, _band(x.shape[1], self.size, self.scale, x.dtype, x.device))
        return normalised


class _Normalised(torch.autograd.Function):
    """x * s ** -0.75 with s = 1 + band x^2, `B C H W`; its gradient takes fewer passes over memory than torch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, band: Tensor) -> Tensor:
        s = _over_channels(band, x * x).add_(1)
        factor = s.rsqrt()
        factor.mul_(factor.sqrt())
        ctx.save_for_backward(x, s, factor, band)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, s, factor, band = ctx.saved_tensors
        direct = gradients[0] * factor
        return direct.addcmul_(x, _over_channels(band, (direct * x).div_(s)), value=-1.5), None


def _over_channels(band: Tensor, x: Tensor) -> Tensor:
    """The symmetric `C C` matrix times every pixel of `B C H W`, in either memory format."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return (x.permute(0, 2, 3, 1) @ band).permute(0, 3, 1, 2)
    return (band @ x.flatten(2)).view_as(x)


@cache
def _band(channels: int, size: int, scale: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # made in an evaluation, it must serve training too
        index = torch.arange(channels, device=device)
        return ((index[:, None] - index[None, :]).abs() <= size // 2).to(dtype) * scale


class Seeded(nn.Module):
    """Randomness that is a function of (seed, iteration, name), not of a global generator.

    So neither another arm nor a resumed run changes it (Ours). The network names it and tells it the iteration, which
    part of a batch that comes in parts it sees, and the finished fraction of the training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.seed = 0
        self.iteration = 0
        self.part = 0
        self.progress = 0.0

    def generator(self, what: str, device: torch.device) -> torch.Generator:
        """A fresh generator for this step; `what` names its use."""
        part = [self.part] if self.part else []
        seed = derive_seed(self.seed, what, self.iteration, self.name, *part)
        return torch.Generator(device).manual_seed(seed)


class SeededDropout(Seeded):
    """Dropout with a seeded mask."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; scaled by 1 / (1 - p) in training, the identity in evaluation."""
        if not self.training or self.p == 0:
            return x
        generator = self.generator("dropout", x.device)
        return x * torch.empty_like(x).bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)


class RegionPool(nn.Module):
    """RoI max pooling (Girshick 2015, Section 2.1) from a map of the given stride to `size` x `size`."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        """`B C H W`, `R 5` (image index, x1 y1 x2 y2, continuous edges) -> `R C size size`."""
        # The operator counts the last pixel in; our boxes end at its far edge.
        inclusive = regions - regions.new_tensor([0.0, 0.0, 0.0, 1.0, 1.0])
        from torchvision.ops import roi_pool  # takes a second or two, and is needed in form `roi` only

        # There is no pooling in bfloat16; values are picked, so that nothing is lost on the way back.
        pooled: Tensor = roi_pool(x.float(), inclusive, self.size, 1 / self.stride)
        return pooled.to(x.dtype)


class ImagePool(RegionPool):
    """The same of whole images: a map of any size to `size` x `size` cells, for one vector an image (Ours).

    As the pooling of a region is, so that what a trunk has learned of regions fits whole images; what pads a smaller
    image of a batch is left out.
    """


def whole_images(images: Tensor, sizes: Tensor | None = None) -> Tensor:
    """Each of the images `B 3 H W` as a region: `B 5` (index, 0 0 width height); `sizes` `B 2` (height, width) are
    those without padding, None = there is none."""
    count, (height, width) = len(images), images.shape[-2:]
    if sizes is None:
        sizes = torch.tensor([[height, width]], dtype=torch.float32, device=images.device).expand(count, 2)
    index = torch.arange(count, dtype=sizes.dtype, device=images.device)[:, None]
    return torch.cat([index, torch.zeros_like(sizes), sizes.flip(1)], dim=1)


def upsample(scores: Tensor, size: tuple[int, int] | torch.Size, geometry: Geometry) -> Tensor:
    """Bilinear upsampling `B K h w` -> `B K H W` as two small matrix products.

    Equals the fixed bilinear deconvolution of Long et al. 2015 and its crop; with `hold` (ours, for unpadded small
    images) pixels beyond the outer cells' centres take the outer cell's score.
    """
    rows = _interpolation(size[0], scores.shape[-2], geometry, scores.dtype, scores.device)
    columns = _interpolation(size[1], scores.shape[-1], geometry, scores.dtype, scores.device)
    return rows @ scores @ columns.T


@cache
def _interpolation(pixels: int, cells: int, geometry: Geometry, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # made in an evaluation, it must serve training too
        position = (torch.arange(pixels, dtype=torch.float64) - geometry.centre) / geometry.stride
        if geometry.hold:
            position = position.clamp(0, cells - 1)
        distance = (position[:, None] - torch.arange(cells, dtype=torch.float64)[None, :]).abs()
        return (1 - distance).clamp(min=0).to(dtype).to(device)
