"""Caffenet and Alexnet: their networks with published weights, geometry, and the weights they take and refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from mtlbench.backbones.alexnet import Alexnet
from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Backbone
from mtlbench.errors import UserError
from mtlbench.nets.forms import Boxes, Memory
from mtlbench.nets.network import MultiTaskNet
from mtlbench.nets.pretrained import halves
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.split import Split
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.semseg import Semseg
from tests.support.networks import FORMS, State

BACKBONES = pytest.mark.parametrize("cls", [Caffenet, Alexnet])
CAFFE_SHAPES = {
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (1000, 4096),
}
REGION = torch.tensor([[0.0, 0, 0, 193, 193]])  # pixels 0 to 192, both counted


@pytest.fixture(scope="module")
def alexnet() -> Iterator[nn.Module]:
    """Torchvision's, with random weights of He's size, so that activations stay of one magnitude."""
    with torch.device("meta"):
        net = torchvision.models.alexnet()
    yield net.to_empty(device="cpu").eval().requires_grad_(False).apply(_randomise)


def _randomise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.uniform_(module.weight, -1, 1).mul_((6 / module.weight[0].numel()) ** 0.5)
        nn.init.uniform_(module.bias, -0.1, 0.1)


@pytest.fixture(scope="module")
def caffe_state() -> State:
    """Random numbers under the documented names, in the shapes of Caffe's blobs."""
    state = {}
    for name, shape in CAFFE_SHAPES.items():
        size = (6 / np.prod(shape[1:])) ** 0.5
        state |= {f"{name}.weight": torch.empty(shape).uniform_(-size, size), f"{name}.bias": torch.rand(shape[0]) / 10}
    return state


def stages_with(backbone: Backbone, state: State) -> dict[str, nn.Module]:
    """All stages in evaluation, those with parameters from the file's state."""
    adapted = backbone.adapted(state)
    assert list(adapted) == [stage.name for stage in backbone.stages if stage.has_parameters]
    stages = {}
    for stage in backbone.stages:
        with torch.device("meta"):
            stages[stage.name] = backbone.build(stage.name).eval()
        stages[stage.name].load_state_dict(adapted.get(stage.name, {}), assign=True)
    return stages


def pad(stages: dict[str, nn.Module], conv1: int, pools: int) -> None:
    stages["conv1"][0].padding = (conv1, conv1)
    for pool in (module for module in stages.values() if isinstance(module, nn.MaxPool2d)):
        pool.padding = pools


def activations(stages: dict[str, nn.Module], x: Tensor, regions: Tensor) -> State:
    seen = {}
    for name, module in stages.items():
        x = seen[name] = module(x, regions) if name == "pool5" and not isinstance(module, nn.MaxPool2d) else module(x)
    return seen


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Relative to the largest activation; a map of nothing proves nothing."""
    assert expected.abs().max() > 0.1
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


# ------------------------------------------------------------------------------------------------ the networks
@FORMS
def test_alexnet_with_torchvisions_weights_is_torchvisions(alexnet: nn.Module, form: str) -> None:
    """With its paddings every map up to conv5 is equal, and so is fc7 at 224 x 224, where its adaptive pooling does
    nothing and RoI pooling of the whole 13 x 13 map is pool5."""
    image = torch.randn(1, 3, 224, 224)
    stages = stages_with(Alexnet(form), alexnet.state_dict())
    pad(stages, conv1=2, pools=0)
    with torch.no_grad():
        ours = activations(stages, image, REGION)
        x, names = image, ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5"]
        for module in alexnet.features[:-1]:
            x = module(x)
            if isinstance(module, nn.ReLU | nn.MaxPool2d):
                assert_close(ours[names.pop(0)], x, 1e-5)
        assert not names
        fc7 = alexnet.classifier[:6](torch.flatten(alexnet.avgpool(alexnet.features[-1](x)), 1))
    assert_close(ours["fc7"].flatten(1), fc7, 1e-5)


@BACKBONES
def test_both_forms_compute_the_same_features(cls: Any, alexnet: nn.Module, caffe_state: State) -> None:
    """At padding 0 on 227 x 227 the region (0, 0, 192, 192) covers all 13 x 13 cells in windows of 3 at stride 2."""
    state = caffe_state if cls is Caffenet else dict(alexnet.state_dict())
    image = torch.randn(2, 3, 227, 227)
    regions = torch.cat([REGION, REGION + torch.tensor([1.0, 0, 0, 0, 0])])
    fc7 = {}
    for form in ("fcn", "roi"):
        stages = stages_with(cls(form), state)
        pad(stages, conv1=0, pools=0)
        count = sum(p.numel() for stage in stages.values() for p in stage.parameters())
        # Krizhevsky et al. 2012 and 2014: 61.0 and 61.1 million, with a classifier of 1000 classes.
        assert count + 1000 * 4097 == (60_965_224 if cls is Caffenet else 61_100_840)
        with torch.no_grad():
            fc7[form] = activations(stages, image, regions)["fc7"].flatten(1)
    assert fc7["fcn"].shape == (2, 4096)
    assert_close(fc7["fcn"], fc7["roi"], 1e-4)
    assert (fc7["roi"][0] - fc7["roi"][1]).abs().max() > 0.1


def positive(backbone: Backbone) -> list[nn.Module]:
    """All stages up to conv5 with weights that let any pixel through."""
    stages = [backbone.build(stage.name).eval() for stage in backbone.stages[:7]]
    for module in (m for stage in stages for m in stage.modules() if isinstance(m, nn.Conv2d)):
        nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    return stages


@BACKBONES
def test_cells_of_form_roi_are_centred_where_region_pooling_looks(cls: Any) -> None:
    """RoI pooling looks for pixel 16 i in cell i (Girshick 2015): the cells that an impulse there reaches lie as far
    to the left of cell i as to its right."""
    stages = positive(cls("roi", width=0.05, fc=4))
    for cell in (12, 15):
        x = torch.zeros(1, 3, 480, 480)
        x[..., cell * 16, cell * 16] = 1e6
        with torch.no_grad():
            for stage in stages:
                x = stage(x)
        reached = torch.nonzero(x[0, 0].amax(0) > 0).flatten()
        assert reached[0] + reached[-1] == 2 * cell


@BACKBONES
def test_regions_at_the_far_edge_have_cells(cls: Any) -> None:
    """The last pixel of an image of any size lies in a cell of the map: pixel p in cell round(p / 16)."""
    with torch.device("meta"):
        for size in range(300, 364):
            x = torch.zeros(1, 3, size, 64)
            backbone = cls("roi", width=0.05, fc=4)
            for stage in backbone.stages[:7]:
                x = backbone.build(stage.name)(x)
            assert x.shape[2] > round((size - 1) / 16)


@BACKBONES
def test_every_pixel_of_an_image_of_any_size_gets_a_score(cls: Any) -> None:
    """Form fcn, geometry (32, 13): pixels lie within one stride of a cell's centre, else upsampling has nothing."""
    backbone = cls("fcn", width=0.05, fc=4)
    stride, centre, hold = backbone.geometry
    assert (stride, centre, hold) == (32, 13, False)
    with torch.device("meta"):
        stages = [backbone.build(stage.name).eval() for stage in backbone.stages]
        for size in (1, 16, *range(200, 265)):
            x = torch.zeros(1, 3, size, size)
            for stage in stages:
                x = stage(x)
            assert size - 1 < centre + stride * x.shape[2]


def test_input_scaling_belongs_to_the_weights() -> None:
    """Caffe's are BGR 0-255 minus a mean; torchvision's have its own mean and deviation, in RGB 0-1."""
    assert Caffenet("fcn", weights="0123456789ab").std == (1, 1, 1) and Caffenet("fcn").std == (64, 64, 64)
    assert Caffenet("fcn", weights="0123456789ab", scaled=True).std == (64, 64, 64)  # a trunk of ours
    assert Caffenet("fcn").bgr and not Alexnet("fcn").bgr
    preset = torchvision.models.get_weight(Alexnet.torchvision_weights).transforms()
    assert np.allclose(Alexnet.mean, np.array(preset.mean) * 255)
    assert np.allclose(Alexnet.std, np.array(preset.std) * 255)


def test_all_columns_of_a_network_start_from_the_file(alexnet: nn.Module) -> None:
    with torch.device("meta"):
        tasks: Any = {name: Semseg(("x", "y"), {}) for name in "ab"}
        net = MultiTaskNet(tasks, Alexnet("fcn"), CrossStitch(), "fcn", 0)
    net.to_empty(device="cpu")
    net.load_pretrained(Alexnet("fcn"), dict(alexnet.state_dict()))
    for task in "ab":
        fc6 = net.trunk.get_submodule(f"fc6.{task}")[0].weight
        assert torch.equal(fc6.flatten(1), alexnet.classifier[1].weight)


# ------------------------------------------------------------------------------------------------ what is refused
@FORMS
def test_a_file_with_other_names_is_refused_by_name(alexnet: nn.Module, caffe_state: State, form: str) -> None:
    with pytest.raises(UserError) as error:
        Caffenet(form).adapted(dict(alexnet.state_dict()))
    assert "missing: conv1.weight, conv1.bias, conv2.weight and 11 more;" in str(error.value)
    assert "unexpected: features.0.weight, features.0.bias, features.3.weight and 13 more (" in str(error.value)
    assert "\n" not in str(error.value)
    one_less = {k: v for k, v in caffe_state.items() if k != "fc7.bias"}
    with pytest.raises(UserError, match=r": missing: fc7\.bias \("):
        Caffenet(form).adapted(one_less)
    with pytest.raises(UserError, match=r": unexpected: conv6\.weight \("):
        Caffenet(form).adapted(caffe_state | {"conv6.weight": torch.zeros(1)})


@FORMS
@pytest.mark.parametrize("options", [{"width": 0.5}, {"fc": 512}, {"small": True}])
def test_a_network_narrower_than_the_file_is_refused_by_shape(caffe_state: State, form: str, options: Any) -> None:
    first = {
        "width": r"conv1\.weight is 96 3 11 11, here 48 3 11 11",
        "fc": r"fc6\.weight is 4096 9216, here 512 9216",
        "small": r"conv1\.weight is 96 3 11 11, here 96 3 5 5",
    }[next(iter(options))]
    with pytest.raises(UserError, match=rf"does not fit .*caffenet in form {form}.*: other shapes: {first}"):
        Caffenet(form, **options).adapted(caffe_state)
    if "small" not in options:
        with torch.device("meta"):
            state = torchvision.models.alexnet().state_dict()
        with pytest.raises(UserError, match="does not fit alexnet.*: other shapes: "):
            Alexnet(form, **options).adapted(state)


def test_the_same_number_of_values_in_another_shape_is_refused(caffe_state: State) -> None:
    """A transposed layer is not re-shaped into place."""
    other = caffe_state | {"fc6.weight": caffe_state["fc6.weight"].T}
    with pytest.raises(UserError, match=r"fc6\.weight is 9216 4096, here 4096 9216"):
        Caffenet("fcn").adapted(other)


@pytest.mark.parametrize("form", ["fcn", "roi"])
def test_a_wider_network_that_starts_from_a_trunk_computes_what_the_trunk_does(form: str) -> None:
    """Of its channels half of the narrow ones stand at the start of each half. Response normalisation sees neighbours
    that are new, which is why values are near, not equal."""

    def net(widen: float) -> MultiTaskNet:
        backbone = Caffenet(form, small=True, width=0.1, fc=32, dropout=0.0, widen=widen)
        tasks = {"semseg": Semseg(("a", "b"), {})} if form == "fcn" else {"attributes": Attributes(("a", "b"), {})}
        return MultiTaskNet(tasks, backbone, Split("fc8"), form, 0 if widen == 1 else 5).eval()

    narrow, wide = net(1.0), net(1.5)
    weights = {}
    for name, value in narrow.trunk.state_dict().items():
        stage, _, place = name.split(".", 2)
        weights[f"{stage}.{place.rpartition('.')[2]}"] = (
            value.flatten(1) if stage in ("fc6", "fc7") and value.dim() > 1 else value
        )
    wide.load_pretrained(Caffenet(form, small=True, width=0.1, fc=32), weights)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[0, 0, 0, 40.0, 60.0], [1, 8, 8, 60, 60]]) if form == "roi" else None
    seen = []
    for one in (narrow, wide):
        xs = dict.fromkeys(one.tasks, images)
        for stage in one.stages:
            xs = one._stage(stage, xs, Boxes(boxes, None), Memory())
        seen.append(next(iter(xs.values())).detach())
    channels = seen[0].shape[1]
    assert seen[1].shape[1] == 48 and channels == 32
    old = halves(channels, 48)
    assert old.tolist() == [*range(16), *range(24, 40)]
    assert (seen[0] > 0).any() and torch.allclose(seen[1][:, old], seen[0], atol=1e-2 * float(seen[0].abs().max()))
