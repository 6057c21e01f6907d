"""Pretrained weights: found, read without running code, checked by name and shape, and the same network afterwards."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from mtlbench import weights
from mtlbench.backbones.alexnet import Alexnet
from mtlbench.backbones.caffenet import Caffenet
from mtlbench.errors import UserError
from mtlbench.network import MultiTaskNet
from mtlbench.plugins import Backbone
from mtlbench.sharing.cross_stitch import CrossStitch
from mtlbench.tasks.semseg import Semseg

ROOT = Path(__file__).parents[1]
State = dict[str, Tensor]
FORMS = pytest.mark.parametrize("form", ["fcn", "roi"])
BACKBONES = pytest.mark.parametrize("cls", [Caffenet, Alexnet])
CAFFE_SHAPES = {
    "conv1": (96, 3, 11, 11), "conv2": (256, 48, 5, 5), "conv3": (384, 256, 3, 3), "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3), "fc6": (4096, 9216), "fc7": (4096, 4096), "fc8": (1000, 4096),
}  # fmt: skip
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
    assert Caffenet("fcn").bgr and not Alexnet("fcn").bgr
    preset = torchvision.models.get_weight(Alexnet.torchvision_weights).transforms()
    assert np.allclose(Alexnet.mean, np.array(preset.mean) * 255)
    assert np.allclose(Alexnet.std, np.array(preset.std) * 255)


def test_all_columns_of_a_network_start_from_the_file(alexnet: nn.Module) -> None:
    with torch.device("meta"):
        tasks: Any = {name: Semseg(("x", "y"), {}) for name in "ab"}
        net = MultiTaskNet(tasks, Alexnet("fcn"), CrossStitch(), "fcn", 0)
    net.to_empty(device="cpu")
    net.load_pretrained(Alexnet("fcn").adapted(dict(alexnet.state_dict())))
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
    first = {"width": r"conv1\.weight is 96 3 11 11, here 48 3 11 11", "fc": r"fc6\.weight is 4096 9216, here 512 9216",
             "small": r"conv1\.weight is 96 3 11 11, here 96 3 5 5"}[next(iter(options))]  # fmt: skip
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


# ------------------------------------------------------------------------------------------------ files
def test_every_kind_of_file_gives_the_same_numbers(tmp_path: Path) -> None:
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([0.5, -2.0])}
    torch.save(state, tmp_path / "bare.pt")
    torch.save({"state_dict": state}, tmp_path / "wrapped.pth")
    torch.save({k: v.half() for k, v in state.items()}, tmp_path / "half.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "plain.npz", **{k: v.numpy() for k, v in state.items()})
    turned = {k: np.asfortranarray(v.numpy().astype(">f8")) for k, v in state.items()}
    np.savez_compressed(tmp_path / "turned.npz", **turned)
    for path in tmp_path.iterdir():
        found = weights.read(path)
        assert list(found) == list(state) and all(v.dtype == torch.float32 for v in found.values())
        assert all(torch.equal(found[name], state[name]) for name in state), path


class Code:
    """Runs as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.save({"a.weight": Code(trap)}, tmp_path / "new.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a.weight": Code(trap)}))
    np.savez(tmp_path / "objects.npz", a=np.array([Code(trap)], dtype=object))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Code(trap)))
    for path in list(tmp_path.iterdir()):
        with pytest.raises(UserError, match="holds more than arrays, which is never run") as error:
            weights.read(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not trap.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_or_foreign_is_refused_in_one_line(tmp_path: Path, share: float) -> None:
    state = {"a.weight": torch.rand(50, 50)}
    torch.save(state, tmp_path / "new.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "arrays.npz", **{"a.weight": state["a.weight"].numpy()})
    for name in ("page.pth", "page.npz"):
        (tmp_path / name).write_text("<html>moved</html>" * 100)
    for path in list(tmp_path.iterdir()):
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        with pytest.raises(UserError, match="is cut off") as error:
            weights.read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("content,message", [
    ({"epoch": 3, "model": {}}, "'epoch' is a int, not a tensor"),
    ([torch.zeros(2)], "holds a list, not a dict"),
    ({"a.weight": torch.tensor([1.0, float("nan")])}, r"a\.weight has values that are not finite"),
    ({"a.weight": torch.eye(3) * 1j}, r"a\.weight is sparse or complex"),
    pytest.param({"a.weight": torch.eye(3).to_sparse()}, r"a\.weight is sparse or complex",
                 marks=pytest.mark.filterwarnings("ignore:Validating sparse")),
])  # fmt: skip
def test_content_that_is_no_state_is_refused_by_name(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(UserError, match=message):
        weights.read(tmp_path / "file.pt")


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").write_bytes(b"\x0a\x08CaffeNet")
    with pytest.raises(UserError, match=r"\.pt, \.pth and \.npz .*docs/weights\.md"):
        weights.read(tmp_path / "net.caffemodel")
    for function in (weights.read, weights.digest):
        with pytest.raises(UserError, match="nothing.pt"):
            function(tmp_path / "nothing.pt")


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    for name in ("one.pt", "two.npz"):
        (tmp_path / name).write_bytes(b"abc")
        assert weights.digest(tmp_path / name) == "ba7816bf8f01"  # FIPS 180-2, appendix B.1


# ------------------------------------------------------------------------------------------------ where they are
@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch.hub folder, and no network."""

    def offline(*args: Any, **options: Any) -> None:
        raise URLError("Name or service\nnot known")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def published(monkeypatch: pytest.MonkeyPatch, content: bytes) -> str:
    """Make torchvision's AlexNet a file with this content; the file's name, which ends in its hash as theirs do."""
    name = f"alexnet-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    answer = SimpleNamespace(url=f"https://download.example.org/models/{name}")
    monkeypatch.setattr("torchvision.models.get_weight", {Alexnet.torchvision_weights: answer}.__getitem__)
    return name


def test_without_a_network_one_line_says_what_to_fetch_and_where_to_put_it(hub: Path) -> None:
    with pytest.raises(UserError) as error:
        weights.locate("alexnet", Alexnet("fcn"), None)
    message = str(error.value)
    assert "fetch https://download.pytorch.org/models/alexnet-owt-7be5be79.pth elsewhere" in message
    assert f"put it at {hub / 'alexnet-owt-7be5be79.pth'}, or give --weights FILE, or --init scratch" in message
    assert "\n" not in message and not list(hub.iterdir())


def test_a_folder_that_cannot_be_made_is_told_in_the_same_line(hub: Path) -> None:
    hub.parent.write_text("a file stands where torch.hub's folder should")
    with pytest.raises(UserError, match="fetch https.* put it at .*--init scratch"):
        weights.locate("alexnet", Alexnet("fcn"), None)


def test_a_file_in_torch_hubs_folder_is_taken_if_it_is_the_published_one(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = hub / published(monkeypatch, b"the published bytes")
    hub.mkdir(parents=True)
    place.write_bytes(b"the published bytes")
    assert weights.locate("alexnet", Alexnet("roi"), None) == place
    place.write_bytes(b"the published by")
    with pytest.raises(UserError, match="cut off, or changed.*delete it"):
        weights.locate("alexnet", Alexnet("roi"), None)


@pytest.mark.parametrize("arrives", [b"the published bytes", b"another page"])
def test_a_download_is_checked_against_its_name(hub: Path, monkeypatch: pytest.MonkeyPatch, arrives: bytes) -> None:
    published(monkeypatch, b"the published bytes")

    class Page:
        def __enter__(self) -> Page:
            self.rest = [arrives, b""]
            return self

        def __exit__(self, *error: object) -> None: ...

        def info(self) -> Any:
            return SimpleNamespace(getheaders=lambda name: [str(len(arrives))])

        def read(self, size: int) -> bytes:
            return self.rest.pop(0)

    monkeypatch.setattr("torch.hub.urlopen", lambda request: Page())
    if arrives == b"the published bytes":
        assert weights.locate("alexnet", Alexnet("fcn"), None).read_bytes() == arrives
    else:
        with pytest.raises(UserError, match="invalid hash value"):
            weights.locate("alexnet", Alexnet("fcn"), None)
        assert not list(hub.iterdir())


def test_caffenet_needs_a_file(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no weights for caffenet: give --weights FILE .*--backbone alexnet, or --init"):
        weights.locate("caffenet", Caffenet("fcn"), None)
    with pytest.raises(UserError, match="no such file: .*gone.npz; --weights"):
        weights.locate("caffenet", Caffenet("fcn"), tmp_path / "gone.npz")
    (tmp_path / "here.npz").touch()
    assert weights.locate("caffenet", Caffenet("fcn"), tmp_path / "here.npz") == tmp_path / "here.npz"


# ------------------------------------------------------------------------------------------------ the documented way
def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def record(number: int, content: bytes | int) -> bytes:
    """One field of a protocol-buffer message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def caffemodel(arrays: dict[str, list[np.ndarray]], old: bool) -> bytes:
    """A .caffemodel as Caffe writes it (caffe.proto): LayerParameter, or V1LayerParameter with 4D shapes."""
    data = record(1, b"CaffeNet") + record(3, b"data") + record(5, 1)
    for name, blobs in arrays.items():
        layer = record(4 if old else 1, name.encode()) + (b"" if old else record(2, b"Convolution"))
        layer += varint(1001 << 3 | 5) + struct.pack("<f", 1.0)  # fields that the reader must step over
        layer += varint(1003 << 3 | 1) + struct.pack("<d", 1.0)
        for blob in blobs:
            numbers = record(5, blob.astype("<f4").tobytes())
            if old:
                shape = (1,) * (4 - blob.ndim) + blob.shape
                message = b"".join(record(i + 1, size) for i, size in enumerate(shape)) + numbers
            else:
                message = numbers + record(7, record(1, b"".join(map(varint, blob.shape))))
            layer += record(6 if old else 7, message)
        data += record(2 if old else 100, layer)
    return data


@pytest.mark.parametrize("old", [True, False])
def test_the_documented_script_converts_a_caffemodel(tmp_path: Path, old: bool) -> None:
    script = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "weights.md").read_text(), re.DOTALL)
    assert script
    (tmp_path / "convert.py").write_text(script[1])
    arrays = {"conv1": [np.random.rand(96, 3, 11, 11), np.random.rand(96)], "relu1": [],
              "fc6": [np.random.rand(5, 300), np.random.rand(5)]}  # fmt: skip
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(arrays, old))
    command = [sys.executable, "convert.py", "net.caffemodel", "net.npz"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    state = weights.read(tmp_path / "net.npz")
    assert list(state) == ["conv1.weight", "conv1.bias", "fc6.weight", "fc6.bias"]
    for name, blobs in arrays.items():
        for kind, blob in zip(("weight", "bias"), blobs, strict=False):
            assert np.array_equal(state[f"{name}.{kind}"].numpy(), blob.astype(np.float32))


def test_the_documented_table_is_what_is_accepted() -> None:
    """Every row of names and shapes, for both backbones."""
    rows = re.findall(r"^\| (\w+) \|(.*)\|$", (ROOT / "docs" / "weights.md").read_text(), re.MULTILINE)
    states: list[State] = [{}, {}]
    for stage, rest in rows:
        cells = [cell.strip() for cell in rest.split("|")]
        if re.fullmatch(r"conv\d|fc\d", stage):
            for state, (name, *shapes) in zip(states, (cells[:3], cells[3:]), strict=True):
                for kind, shape in zip(("weight", "bias"), shapes, strict=True):
                    state[f"{name.strip('`')}.{kind}"] = torch.empty(*map(int, shape.split()), device="meta")
    for cls, state in zip((Caffenet, Alexnet), states, strict=True):
        for form in ("fcn", "roi"):
            assert len(cls(form).adapted(state)) == 7
