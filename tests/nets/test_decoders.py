"""What dense tasks have before their heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.backbones.timm import Timm
from mtlbench.contracts import Geometry
from mtlbench.errors import UserError
from mtlbench.nets.decoders import DeepLab, Pyramid, _locate, levels_of
from mtlbench.nets.layers import upsample
from mtlbench.nets.network import MultiTaskNet, count_cost
from mtlbench.plugins import find
from mtlbench.spec import identity_of
from tests.support.networks import SMALL, recipe, run, tasks_of
from tests.support.samples import dense_tasks

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_deeplab_is_torchvisions_head_without_its_last_layer() -> None:
    torch.manual_seed(0)
    theirs = DeepLabHead(12, 5).eval()
    ours = DeepLab(12).eval()
    state = {name: value for name, value in theirs.state_dict().items() if not name.startswith("4.")}
    ours.load_state_dict(state)
    x = torch.randn(2, 12, 6, 5)
    assert torch.equal(theirs[4](ours(x)), theirs(x))


@pytest.mark.parametrize(("fine", "coarse"), [((4, 1.5), (16, 7.5)), ((2, 0), (4, 0)), ((8, 7), (32, 31))])
def test_coarse_maps_are_brought_to_where_the_fine_ones_cells_lie(fine: Any, coarse: Any) -> None:
    """A map of which each cell holds the pixel that it is centred on gives that of the fine cells, between centres."""
    one, other = Geometry(*fine, hold=True), Geometry(*coarse, hold=True)
    ratio = other.stride // one.stride
    cells = (other.centre + other.stride * torch.arange(4.0)).expand(1, 1, 4, 4)
    found = upsample(cells, (4 * ratio, 4 * ratio), _locate(one, other))[0, 0, 0]
    wanted = one.centre + one.stride * torch.arange(4.0 * ratio)
    torch.testing.assert_close(found, wanted.clamp(float(cells.min()), float(cells.max())))


def test_a_pyramid_adds_maps_from_the_top_down() -> None:
    pyramid = Pyramid([3, 5], [Geometry(4, 0, True), Geometry(8, 0, True)])
    fine, coarse = torch.randn(1, 3, 6, 6), torch.randn(1, 5, 3, 3)
    added = pyramid.lateral[0](fine) + upsample(pyramid.lateral[1](coarse), (6, 6), Geometry(2, 0, True))
    torch.testing.assert_close(pyramid([fine, coarse]), pyramid.smooth(added))


def test_levels_are_the_last_maps_of_each_stride_from_4_on() -> None:
    levels = levels_of(Timm("fcn", model="test_efficientnet"))
    assert {stage: level.stride for stage, level in levels.items()} == {
        "stage2": 4,
        "stage3": 8,
        "stage4": 16,
        "stage5": 32,
    }
    assert list(levels_of(Timm("fcn", model="test_vit"))) == ["stage4"]
    with pytest.raises(UserError, match="decoder fpn: Caffenet does not say where the cells of its stages lie"):
        levels_of(Caffenet("fcn", **SMALL))


@pytest.mark.parametrize("decoder", ["deeplab", "fpn"])
@pytest.mark.parametrize("scheme", ["cross_stitch", "mtl_shared"])
def test_networks_with_decoders_train_and_see_their_own_columns(decoder: str, scheme: str) -> None:
    tasks, backbone = dense_tasks(), Timm("fcn", model="test_efficientnet")
    net = MultiTaskNet(tasks, backbone, find("scheme", scheme)(), "fcn", 0, decoder=decoder)
    record = run(net, tasks, recipe(decoder=decoder), iterations=2)
    assert len(record.curve) > 0 and not net.maps
    images: Tensor = IMAGES
    assert all(x.shape[-2:] == images.shape[-2:] for x in net.eval()(images).values())
    parameters, flops = count_cost(tasks, backbone, find("scheme", scheme)(), "fcn", (64, 96), 0, decoder)
    assert parameters == sum(p.numel() for p in net.parameters()) and flops > 0


def test_other_forms_have_none_and_the_usual_one_is_no_part_of_a_key() -> None:
    plain, decoded = (
        MultiTaskNet(tasks_of("roi"), Timm("roi", model="test_vit"), find("scheme", "separate")(), "roi", 0, **more)
        for more in ({}, {"decoder": "fpn"})
    )
    assert plain.state_dict().keys() == decoded.state_dict().keys()
    assert "decoder" not in identity_of(recipe()) and identity_of(recipe(decoder="fpn"))["decoder"] == "fpn"
    with pytest.raises(UserError, match="decoder is 'unet', must be linear or deeplab or fpn"):
        recipe(decoder="unet")
