"""A stranger's single files: weights, images, annotations, arrays; and what the package's source never does."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from PIL import Image

import mtlbench
from mtlbench.datasets import _nyu_files, _voc_pictures
from mtlbench.datasets._voc_files import read_annotations
from mtlbench.datasets._voc_folders import Folders
from mtlbench.errors import UserError
from mtlbench.nets import pretrained
from mtlbench.use.export import export
from mtlbench.use.predict import read_image
from tests.support.nyu import mat
from tests.support.strangers import Code
from tests.support.voc import TRAIN, add_xml, image_file, write

pytestmark = pytest.mark.usefixtures("own_cache")

PACKAGE = Path(mtlbench.__file__).parent


# ---------------------------------------------------------------------------------------------------- weights
@pytest.fixture
def net(theirs: Path, tmp_path: Path) -> Path:
    """An exported network."""
    return export(theirs.parents[2], str(theirs), "", tmp_path / "net.pt", False, print)


def with_trial(net: Path, **changes: Any) -> Path:
    """The file with its trial changed."""
    content = torch.load(net, weights_only=True)
    for name, change in changes.items():
        kept = content["trial"][name]
        content["trial"][name] = (
            [{**one, **other} for one, other in zip(kept, change, strict=False)]
            if isinstance(change, list)
            else {**kept, **change}
        )
    torch.save(content, net)
    return net


@pytest.mark.parametrize("field", ["name", "source"])
def test_an_exported_file_names_no_code_that_is_run(field: str, net: Path, tmp_path: Path) -> None:
    trap, file = tmp_path / "run", tmp_path / "evil.py"
    file.write_text(f"import os\nos.mkdir({str(trap)!r})\nfrom mtlbench.schemes.split import Split as Evil\n")
    for changes in (
        {"scheme": {field: f"{file}:Evil"}},
        {"backbone": {field: f"{file}:Evil"}},
        {"tasks": [{field: f"{file}:Evil"}]},
    ):
        for given in ((), ("other.py",)):
            with pytest.raises(UserError, match="needs evil.py|not written by mtlbench"):
                mtlbench.load_network(with_trial(shutil.copy(net, tmp_path / "bad.pt"), **changes), given)
    assert not trap.exists()


def test_an_exported_file_with_a_pickle_is_refused(net: Path, tmp_path: Path) -> None:
    content = torch.load(net, weights_only=True)
    for name in ("state", "trial", "model"):
        torch.save({**content, name: Code(tmp_path / "run")}, net)
        with pytest.raises(UserError, match="not written by mtlbench"):
            mtlbench.load_network(net)
    with pytest.raises(UserError, match="never run"):
        pretrained.read(net)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------- images
def test_no_program_is_started_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS to Ghostscript, whatever the file is called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gs").write_text(f"#!/bin/sh\nmkdir {tmp_path}/run\n")
    (tmp_path / "bin" / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    image = image_file(write(tmp_path), TRAIN[0])
    image.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 80 60\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="no image, or a damaged one"):
        read_image(image)
    assert "not a readable image" in str(_voc_pictures.read_picture(Folders(tmp_path), TRAIN[0]).wrong)
    assert not (tmp_path / "run").exists()


def test_usual_images_are_read_and_huge_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.gif", "a.jp2", "a.ppm"):
        Image.new("RGB", (40, 30), (250, 0, 0)).save(tmp_path / name)
        assert read_image(tmp_path / name)[0].shape == (30, 40, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(UserError, match="cannot be read"):
        read_image(tmp_path / "a.png")
    image = image_file(write(tmp_path), TRAIN[0])
    assert "not a readable image" in str(_voc_pictures.read_picture(Folders(tmp_path), image.stem).wrong)


# ---------------------------------------------------------------------------------------------------- data
LAUGHS = (
    "<!DOCTYPE a [<!ENTITY l0 'ha'>"
    + "".join(f"<!ENTITY l{n + 1} '{f'&l{n};' * 10}'>" for n in range(12))
    + "]><annotation><object><name>&l12;</name></object></annotation>"
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'file://SECRET'>]><annotation><object><name>&x;</name></object></annotation>",
        "<!DOCTYPE a SYSTEM 'file://SECRET'><annotation><object><name>&x;</name></object></annotation>",
    ],
    ids=["laughs", "entity", "doctype"],
)
def test_entities_of_xml_are_neither_fetched_nor_multiplied(text: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("dog")
    add_xml(write(tmp_path))
    file = tmp_path / "VOCdevkit" / "VOC2008" / "Annotations" / f"{TRAIN[0]}.xml"
    file.write_text(text.replace("SECRET", str(tmp_path / "secret")))
    (problem,) = [one for one in read_annotations(Folders(tmp_path)).problems if one.image == TRAIN[0]]
    assert "not XML" in problem.text and "dog" not in problem.text and len(problem.text) < 500


def test_names_in_lists_of_images_lead_nowhere(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / "VOCdevkit" / "VOC2008" / "ImageSets" / "Main" / "train.txt"
    file.write_text(file.read_text() + "../../../../secret\n/etc/hostname\n")
    found = read_annotations(Folders(tmp_path))
    assert [one.text.count("is no name of an image") for one in found.problems].count(1) == 2
    assert set(found.lists["train"]) == set(TRAIN)


def test_arrays_of_nyu_lie_in_their_own_file(tmp_path: Path, own_cache: Path) -> None:
    mat(tmp_path)
    path, other = tmp_path / _nyu_files.LABELLED, tmp_path / "other.mat"
    with h5py.File(path, "a") as file:
        shape, kind = file["depths"].shape, file["depths"].dtype
        file.move("depths", "kept")
    shutil.copy(path, other)
    everything = h5py.VirtualLayout(shape, kind)
    everything[:] = h5py.VirtualSource(other, "kept", shape)
    for put in (
        lambda file: file.__setitem__("depths", h5py.ExternalLink(other, "/kept")),
        lambda file: file.create_dataset("depths", shape, kind, external=[(str(other), 0, h5py.h5f.UNLIMITED)]),
        lambda file: file.create_virtual_dataset("depths", everything),
    ):
        with h5py.File(path, "a") as file:
            put(file)
            assert file["depths"].shape == shape
        with pytest.raises(UserError, match="takes its arrays from other files"):
            _nyu_files.Official(tmp_path, derived=True)._shapes()
        with h5py.File(path, "a") as file:
            del file["depths"]


# ---------------------------------------------------------------------------------------------------- the source
NEVER = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.startfile", "torch.hub.load"}
UNIMPORTED = {"pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle", "joblib"}
ONLY_IN = {  # what runs code or programs: the files that do, and whose
    "runpy.run_path": {"plan/spaces.py"},  # the user's, named by --pair
    "exec_module": {"plugins.py"},  # the user's, named by --scheme and the like, or by --plugin
    "import_module": {
        "plugins.py",
        "authoring/_child.py",
        "use/export.py",
        "cli/main.py",
    },  # the package's, and safetensors
    "subprocess.Popen": {
        "system/scratch.py",
        "datasets/rooms.py",
        "authoring/check.py",
        "execution/ray_process.py",
    },  # this Python's
    "Image.open": {"system/images.py"},
}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """(file, node) of all of the package but the templates, which are users' files."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name != "templates":
            name = str(path.relative_to(PACKAGE))
            yield from ((name, node) for node in ast.walk(ast.parse(path.read_text())))


def test_the_source_reads_no_objects_and_runs_nothing_but_what_is_listed_here() -> None:
    seen = set()
    for file, node in nodes():
        if isinstance(node, ast.Import | ast.ImportFrom):
            words_of = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not {word.partition(".")[0] for word in words_of} & UNIMPORTED, (file, words_of)
        if not isinstance(node, ast.Call):
            continue
        name, words = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
        assert name not in NEVER and name.rpartition(".")[2] not in {"extractall", "read_pickle"}, (file, name)
        assert "shell" not in words, (file, name)
        for rule, files in ONLY_IN.items():
            if name == rule or name.endswith(f".{rule}"):
                seen.add(rule)
                assert file in files, (file, name)
        if name == "torch.load":
            assert ast.unparse(words["weights_only"]) == "True", file
        if name in ("np.load", "numpy.load"):
            assert ast.unparse(words["allow_pickle"]) == "False", file
    assert seen == set(ONLY_IN)
