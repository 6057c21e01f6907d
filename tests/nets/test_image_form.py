"""Form `image`: one vector an image, as form `roi` gives of one region that is the whole image."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mtlbench.authoring._probe import make_probes
from mtlbench.backbones.alexnet import Alexnet
from mtlbench.backbones.caffenet import Caffenet
from mtlbench.nets.layers import whole_images
from mtlbench.nets.network import MultiTaskNet, count_cost
from mtlbench.schemes.cross_stitch import CrossStitch

OPTIONS: dict[str, Any] = {"width": 0.1, "fc": 24, "dropout": 0.0}
BACKBONES = pytest.mark.parametrize(
    ("cls", "options"),
    [(Caffenet, {"small": True}), (Caffenet, {}), (Alexnet, {})],
    ids=["small", "caffenet", "alexnet"],
)


def nets(cls: Any, options: dict[str, Any]) -> tuple[MultiTaskNet, MultiTaskNet]:
    """One of form `image` and one of form `roi` with the same weights."""
    image, roi = (
        MultiTaskNet(make_probes(form, "ab"), cls(form, **OPTIONS, **options), CrossStitch(), form, 0).eval()
        for form in ("image", "roi")
    )
    with torch.no_grad():  # no biases of 0: what pads an image would stay 0
        for name, parameter in roi.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    image.load_state_dict(roi.state_dict())
    return image, roi


@BACKBONES
@pytest.mark.parametrize("size", [(64, 64), (96, 131)])
def test_an_image_is_a_region_that_is_the_whole_image(cls: Any, options: dict[str, Any], size: tuple[int, int]) -> None:
    """To the last bit: the same operations on the same numbers."""
    image, roi = nets(cls, options)
    pixels = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1))
    regions = torch.tensor([[i, 0.0, 0.0, size[1], size[0]] for i in range(3)])
    found, expected = image(pixels), roi(pixels, regions)
    for task in "ab":
        assert found[task].shape == (3, 3) and found[task].std() > 1e-4
        assert torch.equal(found[task], expected[task])


@BACKBONES
def test_what_pads_an_image_is_not_pooled(cls: Any, options: dict[str, Any]) -> None:
    """An image of 64 x 64 in the corner of 64 x 320 pixels: cells beyond it do not count, whatever is there."""
    image, _ = nets(cls, options)
    pixels = torch.randn(2, 3, 64, 320, generator=torch.Generator().manual_seed(1))
    pixels[0, :, :, 64:] = 0
    other = pixels.clone()
    other[0, :, :, 200:] = 50.0  # further from the image than a cell of it sees
    sizes = torch.tensor([[64.0, 64.0], [64.0, 320.0]])
    assert torch.equal(whole_images(pixels, sizes)[:, 1:], torch.tensor([[0.0, 0, 64, 64], [0, 0, 320, 64]]))
    found, changed, unknown = image(pixels, None, sizes), image(other, None, sizes), image(other)
    for task in "ab":
        assert torch.equal(changed[task], found[task])
        assert (unknown[task][0] - found[task][0]).abs().max() > 1e-3


@BACKBONES
def test_one_vector_an_image_costs_as_one_region_an_image(cls: Any, options: dict[str, Any]) -> None:
    costs = [
        count_cost(make_probes(form, "ab"), cls(form, **OPTIONS, **options), CrossStitch(), form, (64, 64), 1)
        for form in ("image", "roi")
    ]
    assert costs[0] == costs[1] and costs[0][1] > 0
