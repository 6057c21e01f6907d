"""Files of pretrained weights: read without running code, found or fetched, and made as documented."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

from mtlbench.backbones.alexnet import Alexnet
from mtlbench.backbones.caffenet import Caffenet
from mtlbench.errors import UserError
from mtlbench.nets import pretrained
from tests.support.networks import State
from tests.support.places import ROOT


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
        found = pretrained.read(path)
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
            pretrained.read(path)
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
            pretrained.read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content,message",
    [
        ({"epoch": 3, "model": {}}, "'epoch' is a int, not a tensor"),
        ([torch.zeros(2)], "holds a list, not a dict"),
        ({"a.weight": torch.tensor([1.0, float("nan")])}, r"a\.weight has values that are not finite"),
        ({"a.weight": torch.eye(3) * 1j}, r"a\.weight is sparse or complex"),
        pytest.param(
            {"a.weight": torch.eye(3).to_sparse()},
            r"a\.weight is sparse or complex",
            marks=pytest.mark.filterwarnings("ignore:Validating sparse"),
        ),
    ],
)
def test_content_that_is_no_state_is_refused_by_name(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(UserError, match=message):
        pretrained.read(tmp_path / "file.pt")


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.caffemodel").write_bytes(b"\x0a\x08CaffeNet")
    with pytest.raises(UserError, match=r"\.npz, \.pt, \.pth, \.safetensors files; docs/weights\.md"):
        pretrained.read(tmp_path / "net.caffemodel")
    for function in (pretrained.read, pretrained.digest):
        with pytest.raises(UserError, match="nothing.pt"):
            function(tmp_path / "nothing.pt")


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    for name in ("one.pt", "two.npz"):
        (tmp_path / name).write_bytes(b"abc")
        assert pretrained.digest(tmp_path / name) == "ba7816bf8f01"  # FIPS 180-2, appendix B.1


# ------------------------------------------------------------------------------------------------ where they are
@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch.hub folder, and no network."""

    def offline(*args: Any, **options: Any) -> None:
        raise URLError("Name or service\nnot known")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def publish(monkeypatch: pytest.MonkeyPatch, content: bytes) -> str:
    """Make torchvision's AlexNet a file with this content; the file's name, which ends in its hash as theirs do."""
    name = f"alexnet-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    answer = SimpleNamespace(url=f"https://download.example.org/models/{name}")
    monkeypatch.setattr("torchvision.models.get_weight", {Alexnet.torchvision_weights: answer}.__getitem__)
    return name


def test_without_a_network_one_line_says_what_to_fetch_and_where_to_put_it(hub: Path) -> None:
    with pytest.raises(UserError) as error:
        pretrained.locate("alexnet", Alexnet("fcn"), None)
    message = str(error.value)
    assert "fetch https://download.pytorch.org/models/alexnet-owt-7be5be79.pth elsewhere" in message
    assert f"put it at {hub / 'alexnet-owt-7be5be79.pth'}, or give --weights FILE, or --init scratch" in message
    assert "\n" not in message and not list(hub.iterdir())


def test_a_folder_that_cannot_be_made_is_told_in_the_same_line(hub: Path) -> None:
    hub.parent.write_text("a file stands where torch.hub's folder should")
    with pytest.raises(UserError, match="fetch https.* put it at .*--init scratch"):
        pretrained.locate("alexnet", Alexnet("fcn"), None)


def test_a_file_in_torch_hubs_folder_is_taken_if_it_is_the_published_one(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = hub / publish(monkeypatch, b"the published bytes")
    hub.mkdir(parents=True)
    place.write_bytes(b"the published bytes")
    assert pretrained.locate("alexnet", Alexnet("roi"), None) == (place, "BSD-3-Clause")
    place.write_bytes(b"the published by")
    with pytest.raises(UserError, match="cut off, or changed.*delete it"):
        pretrained.locate("alexnet", Alexnet("roi"), None)


@pytest.mark.parametrize("arrives", [b"the published bytes", b"another page"])
def test_a_download_is_checked_against_its_name(hub: Path, monkeypatch: pytest.MonkeyPatch, arrives: bytes) -> None:
    publish(monkeypatch, b"the published bytes")

    class Page:
        def __init__(self) -> None:
            self.rest = [arrives, b""]

        def __enter__(self) -> Page:
            return self

        def __exit__(self, *error: object) -> None: ...

        def info(self) -> Any:
            return SimpleNamespace(getheaders=lambda name: [str(len(arrives))])

        def read(self, size: int) -> bytes:
            return self.rest.pop(0)

        def close(self) -> None: ...

    monkeypatch.setattr("torch.hub.urlopen", lambda request: Page())
    if arrives == b"the published bytes":
        assert pretrained.locate("alexnet", Alexnet("fcn"), None)[0].read_bytes() == arrives
    else:
        with pytest.raises(UserError, match="invalid hash value"):
            pretrained.locate("alexnet", Alexnet("fcn"), None)
        assert not list(hub.iterdir())


def test_caffenet_needs_a_file(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no weights for caffenet: give --weights FILE .*--backbone alexnet, or --init"):
        pretrained.locate("caffenet", Caffenet("fcn"), None)
    with pytest.raises(UserError, match="no such file: .*gone.npz; --weights"):
        pretrained.locate("caffenet", Caffenet("fcn"), tmp_path / "gone.npz")
    (tmp_path / "here.npz").touch()
    assert pretrained.locate("caffenet", Caffenet("fcn"), tmp_path / "here.npz") == (tmp_path / "here.npz", "")


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
    arrays = {
        "conv1": [np.random.rand(96, 3, 11, 11), np.random.rand(96)],
        "relu1": [],
        "fc6": [np.random.rand(5, 300), np.random.rand(5)],
    }
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(arrays, old))
    command = [sys.executable, "convert.py", "net.caffemodel", "net.npz"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    state = pretrained.read(tmp_path / "net.npz")
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


def test_safetensors_are_read_and_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.arange(3.0)}, tmp_path / "net.safetensors")
    assert torch.equal(pretrained.read(tmp_path / "net.safetensors")["a"], torch.arange(3.0))
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "net.safetensors").read_bytes()[:20])
    with pytest.raises(UserError, match="cut.safetensors is cut off, not written by safetensors"):
        pretrained.read(tmp_path / "cut.safetensors")
