"""Readers of NYUD-MT, PASCAL-MT and Cityscapes: encodings, subsets, broken files in a line each, the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mtlbench import load_results
from mtlbench.authoring.check_dataset import check
from mtlbench.cli.main import main
from mtlbench.datasets._cityscapes_classes import CLASSES_BY_ID, SKY
from mtlbench.datasets.cityscapes import Cityscapes
from mtlbench.datasets.nyud_mt import NyudMt
from mtlbench.datasets.pascal_mt import PascalMt
from mtlbench.errors import UserError
from tests.support.dense_folders import COUNTS, HEIGHT, as_bytes, write_cityscapes, write_nyud, write_pascal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]
READERS: dict[str, tuple[Any, Callable[[Path], Path]]] = {
    "nyud_mt": (NyudMt, write_nyud),
    "nyud_mt png": (NyudMt, lambda root: write_nyud(root, png=True)),
    "pascal_mt": (PascalMt, write_pascal),
    "cityscapes": (Cityscapes, write_cityscapes),
}


def ready(reader: str, root: Path, **options: object) -> Any:
    cls, write = READERS[reader]
    data = cls(root if root.exists() else write(root), **options)
    data.prepare(lambda line: None)
    return data


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize("reader", READERS)
def test_it_keeps_the_contract_and_val_is_carved_out_of_train(tmp_path: Path, reader: str) -> None:
    data = ready(reader, tmp_path / "data")
    assert [len(data.subset(name)) for name in ("train", "val", "test")] == [11, 1, 4] and sum(COUNTS.values()) == 16
    options = {"height": 64} if reader == "cityscapes" else {}
    assert [text for ok, text in check(READERS[reader][0], {"root": tmp_path / "data", **options}) if not ok] == []


@pytest.mark.parametrize("png", [False, True], ids=["npy", "png"])
def test_nyud_has_void_0_and_invalid_0(tmp_path: Path, png: bool) -> None:
    data = ready("nyud_mt png" if png else "nyud_mt", tmp_path / "data")
    sample, root = data.subset("test")[0], tmp_path / "data"
    classes = pixels(root / "segmentation" / "0012.png")
    assert np.array_equal(sample.labels["semseg"], np.where(classes == 0, 255, classes - 1.0))
    assert (
        np.array_equal(sample.labels["depth"], np.load(root / "depth" / "0012.npy"))
        and not sample.labels["depth"][0].any()
    )
    normals = sample.labels["normals"]
    assert not normals[0].any() and np.allclose(np.linalg.norm(normals[1:], axis=2), 1, atol=1e-4)
    if png:
        assert np.abs(as_bytes(normals[1:]).astype(int) - pixels(root / "normals" / "0012.png")[1:]).max() <= 1
    else:
        np.testing.assert_allclose(normals, np.load(root / "normals" / "0012.npy"), atol=2e-5)


def test_pascal_has_parts_of_people_saliency_and_normals_where_they_count(tmp_path: Path) -> None:
    data, root = ready("pascal_mt", tmp_path / "data"), tmp_path / "data"
    with_person, without = data.subset("test")[0], data.subset("test")[1]
    parts = with_person.labels["parts"]
    assert (
        (parts[1] == 1).all() and (parts[2] == 4).all() and parts[3:].max() == 0
    )  # head, lower arms and hands; no cat
    assert "parts" not in without.labels and {*without.labels} == {"semseg", "saliency", "normals"}
    name = "2008_val0000"
    assert np.array_equal(with_person.labels["semseg"], pixels(root / "semseg" / "pascal-context" / f"{name}.png"))
    saliency = pixels(root / "sal_distill" / f"{name}.png")
    assert np.array_equal(with_person.labels["saliency"], saliency >= 128)
    import scipy.io

    wall = scipy.io.loadmat(root / "pascal-context" / "trainval" / f"{name}.mat")["LabelMap"] == 5
    assert 0 < wall.sum() < wall.size
    assert (
        np.array_equal(with_person.labels["normals"][1:].any(axis=2), wall[1:])
        and not with_person.labels["normals"][0].any()
    )
    assert PascalMt(root, normals=False).tasks == ("semseg", "parts", "saliency")
    (root / "db_info" / "nyu_classes.json").unlink()
    with pytest.raises(UserError, match=r"no .*nyu_classes\.json, which says where normals count.*normals=False"):
        PascalMt(root)


def test_cityscapes_has_19_classes_and_disparity_in_pixels_without_the_sky(tmp_path: Path) -> None:
    data, root = ready("cityscapes", tmp_path / "data", height=64), tmp_path / "data"
    sample = data.subset("test")[0]
    stem = "aachen_val_000000_000019"
    ids = pixels(root / "gtFine" / "val" / "aachen" / f"{stem}_gtFine_labelIds.png")
    numbers = {number: place for place, number in enumerate(CLASSES_BY_ID)}
    assert np.array_equal(sample.labels["semseg"], np.vectorize(lambda one: numbers.get(one, 255))(ids))
    p = pixels(root / "disparity" / "val" / "aachen" / f"{stem}_disparity.png").astype(float)
    assert np.allclose(sample.labels["disparity"], np.where((p > 0) & (ids != SKY), (p - 1) / 256, 0))
    assert not sample.labels["disparity"][:, 0].any() and data.categories("semseg")[10] == "sky"
    small = ready("cityscapes", root, height=32).subset("test")[0]
    assert small.image.shape == (32, 64, 3) and np.array_equal(
        small.labels["semseg"], sample.labels["semseg"][1::2, 1::2]
    )
    assert small.labels["disparity"].max() > 32  # still pixels of the full width


BROKEN: dict[str, list[tuple[str, Callable[[Path], object], str]]] = {
    "nyud_mt": [
        ("images/0001.jpg", Path.unlink, "0001.jpg is missing; copy it there"),
        ("segmentation/0002.png", lambda path: path.write_bytes(b"no image"), "0002.png cannot be read ("),
        (
            "depth/0003.npy",
            lambda path: np.save(path, np.full((HEIGHT, 32), 3000.0)),
            "0003.npy is not depth in metres",
        ),
        (
            "normals/0004.npy",
            lambda path: np.save(path, np.zeros((HEIGHT, 32))),
            "0004.npy has the shape (24, 32), not",
        ),
        ("segmentation/0005.png", lambda path: save_grey(path, 41), "0005.png has the class 41; there are 1 to 40"),
    ],
    "pascal_mt": [
        (
            "human_parts/2008_train0001.mat",
            lambda path: path.write_bytes(b"MATLAB"),
            "0001.mat cannot be read or has no anno",
        ),
        ("pascal-context/trainval/2008_train0002.mat", Path.unlink, "0002.mat is missing"),
        (
            "semseg/VOC12/2008_train0004.png",
            lambda path: save_grey(path, 21),
            "0004.png has the class 21; there are 0 to 20",
        ),
    ],
    "cityscapes": [
        ("disparity/train/aachen/aachen_train_000000_000019_disparity.png", Path.unlink, "_disparity.png is missing"),
        (
            "gtFine/train/bochum/bochum_train_000001_000019_gtFine_labelIds.png",
            lambda path: save_grey(path, 255, (64, 128)),
            "labelIds.png has the label 255, the last is 33",
        ),
        (
            "disparity/train/aachen/aachen_train_000002_000019_disparity.png",
            lambda path: save_grey(path, 9, (64, 128)),
            "disparity.png has no number above 9: not 16 bits",
        ),
    ],
}


def save_grey(path: Path, value: int, shape: tuple[int, int] = (HEIGHT, 32)) -> None:
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)


@pytest.mark.parametrize("reader", BROKEN)
def test_broken_files_are_a_line_each_and_may_be_left_out(tmp_path: Path, reader: str) -> None:
    root = READERS[reader][1](tmp_path / "data")
    for place, damage, _ in BROKEN[reader]:
        damage(root / place)
    found = CliRunner().invoke(main, ["data", "verify", reader, "--data-root", str(root)])
    assert found.exit_code == 1 and f"{len(BROKEN[reader])} problems" in found.output
    for *_, says in BROKEN[reader]:
        assert len([line for line in found.output.splitlines() if says in line]) == 1, (says, found.output)
    with pytest.raises(UserError, match="broken=leave-out goes on without those images"):
        ready(reader, root)
    left = ready(reader, root, broken="leave-out")
    assert sum(len(left.subset(name)) for name in ("train", "val")) == 12 - len(BROKEN[reader])


@pytest.mark.parametrize("reader", ["nyud_mt", "pascal_mt"])
def test_lists_that_are_missing_or_lead_elsewhere_are_refused(tmp_path: Path, reader: str) -> None:
    cls, write = READERS[reader]
    with pytest.raises(UserError, match="give --data-root the folder"):
        cls(tmp_path)
    root = write(tmp_path / "data")
    (path,) = root.rglob("val.txt")
    path.write_text("../../secret\n")
    (problem,) = cls(root).verify(print).problems
    assert problem == f"{path}: '../../secret' is no name of an image; correct the line"
    path.unlink()
    with pytest.raises(UserError, match=r"val\.txt is missing or cannot be read"):
        ready(reader, root)


def test_the_pair_of_pascal_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_pascal(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    told = ["run", "--pair", "pascal4", "--data-root", str(root), "--recipe", "smoke", "--executor", "local"]
    found = CliRunner().invoke(main, [*told, "--seeds", "0", "--arm", "split-fc8"])
    assert found.exit_code == 0, found.output
    frame = load_results("results").frame
    test = frame[(frame["subset"] == "test") & frame["headline"].astype(bool)]
    assert dict(zip(test["task"], test["metric"], strict=True)) == {
        "semseg": "mIoU",
        "parts": "mIoU",
        "saliency": "maxF",
        "normals": "mean",
    }
