"""Facts of the FCN-32s form on CaffeNet (Long et al. 2015): sizes, crop, ceil-mode pooling, LRN."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.nets.layers import LocalResponseNorm
from mtlbench.nets.network import MultiTaskNet
from mtlbench.schemes.separate import Separate
from mtlbench.tasks.semseg import Semseg

OFFSET = 18  # the crop layer of the released FCN-AlexNet: crop_param { axis: 2 offset: 18 }
KERNEL, STRIDE = 63, 32  # of its upsampling
# Kernel, stride, padding of the released net, conv1 .. score.
LAYERS = (
    (11, 4, 100),
    (3, 2, 0),
    (5, 1, 2),
    (3, 2, 0),
    (3, 1, 1),
    (3, 1, 1),
    (3, 1, 1),
    (3, 2, 0),
    (6, 1, 0),
    (1, 1, 0),
    (1, 1, 0),
)
POOLINGS = (1, 3, 7)  # places in LAYERS


class RandomHead(Semseg):
    """Scores that differ from 0."""

    def head(self, channels: int) -> nn.Module:
        return nn.Conv2d(channels, 3, 1)


@functools.cache
def narrow_net() -> MultiTaskNet:
    return MultiTaskNet({"a": RandomHead(("x", "y", "z"), {})}, Caffenet("fcn", 0.05, 8), Separate(), "fcn", 0).eval()


def cells(net: MultiTaskNet, images: Tensor) -> Tensor:
    """The scores before upsampling."""
    x = images
    for columns in net.trunk.values():
        x = columns["a"](x)
    return net.heads["a"](x)


def size_after(pixels: int, layers: int = len(LAYERS)) -> int:
    """Caffe: convolutions round the size down, poolings up."""
    for place, (kernel, stride, padding) in enumerate(LAYERS[:layers]):
        rounded = math.ceil if place in POOLINGS else math.floor
        pixels = rounded((pixels + 2 * padding - kernel) / stride) + 1
    return pixels


@pytest.mark.parametrize("height,width", [(97, 131), (480, 640), (64, 64), (227, 50), (1, 1)])
@torch.inference_mode()
def test_any_input_size_gives_the_deconvolution_cropped_at_18(height: int, width: int) -> None:
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    scores = cells(narrow_net(), images)
    tent = 1 - (torch.arange(KERNEL) - KERNEL // 2).abs() / STRIDE
    kernel = (tent[:, None] * tent).expand(3, 1, KERNEL, KERNEL)
    whole = F.conv_transpose2d(scores, kernel, stride=STRIDE, groups=3)
    cropped = whole[..., OFFSET : OFFSET + height, OFFSET : OFFSET + width]
    assert cropped.shape == (1, 3, height, width)
    torch.testing.assert_close(narrow_net()(images)["a"], cropped, atol=1e-5, rtol=1e-5)
    assert cropped.std() > 0


def test_the_crop_offset_by_composing_the_layers_coordinates() -> None:
    """As the released code finds it (coord_map): pixel x of the image lies at x + 18 of the upsampled scores."""
    scale, shift = 1.0, 0.0  # place in the map = scale * pixel + shift
    for kernel, stride, padding in LAYERS:
        scale, shift = scale / stride, (shift + padding - (kernel - 1) / 2) / stride
    scale, shift = scale * STRIDE, shift * STRIDE + (KERNEL - 1) / 2
    assert (scale, shift) == (1, OFFSET)
    geometry = Caffenet("fcn").geometry
    assert geometry.stride == STRIDE and KERNEL // 2 - geometry.centre == OFFSET and not geometry.hold


def test_the_padding_of_100_covers_every_image() -> None:
    """The upsampled scores reach beyond the crop on all sides, so that no pixel is made up."""
    for pixels in range(1, 1100):
        assert STRIDE * (size_after(pixels) - 1) + KERNEL >= OFFSET + pixels


def test_sizes_of_all_maps_follow_ceil_mode_pooling() -> None:
    """Caffe's arithmetic, for a run of sizes in which each pooling has a pixel left over at times."""
    backbone = Caffenet("fcn", 0.05, 8)
    with torch.device("meta"):
        stages = [backbone.build(stage.name).eval() for stage in backbone.stages]
    floor_differs = set()
    for pixels in range(60, 130):
        x = torch.zeros(1, 3, pixels, pixels, device="meta")
        for place, stage in enumerate(stages):
            before = x.shape[-1]
            x = stage(x)
            assert x.shape[-1] == size_after(pixels, place + 1)
            if place in POOLINGS and x.shape[-1] != (before - 3) // 2 + 1:
                floor_differs.add(place)
    assert floor_differs == set(POOLINGS)


def test_a_cell_pooled_beyond_the_edge_takes_the_pixels_there_are() -> None:
    """Ceil mode by hand: of 6 pixels the third window holds the last two only."""
    row = torch.tensor([5.0, 1, 2, 3, 0, 4])
    pooled = Caffenet("fcn").build("pool1")(row.expand(1, 1, 6, 6))
    assert pooled[0, 0].tolist() == [[5, 3, 4]] * 3


@torch.inference_mode()
def test_response_normalisation_opens_conv2_and_conv3() -> None:
    """Caffe's order is pool1, norm1, conv2: the stages end in what is stitched, pool1 and pool2, not normalised."""
    backbone = Caffenet("fcn", 0.1, 8)
    stages = {stage.name: backbone.build(stage.name) for stage in backbone.stages}
    for name, stage in stages.items():
        first = next(stage.children(), None)
        normalises = any(isinstance(module, LocalResponseNorm) for module in stage.modules())
        assert normalises == isinstance(first, LocalResponseNorm) == (name in ("conv2", "conv3"))
    for name, padding, groups in (("conv2", 2, 2), ("conv3", 1, 1)):
        (convolution,) = (module for module in stages[name].modules() if isinstance(module, nn.Conv2d))
        x = torch.rand(1, convolution.in_channels, 7, 9, generator=torch.Generator().manual_seed(0)) * 200
        normed = F.local_response_norm(x, 5, 1e-4, 0.75, 1.0)
        expected = F.conv2d(normed, convolution.weight, convolution.bias, padding=padding, groups=groups).relu()
        torch.testing.assert_close(stages[name](x), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(normed, x, rtol=0.01)
