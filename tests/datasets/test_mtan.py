"""The reader of MTAN's .npy folders: encodings, subsets, what is missing or wrong in a line each, the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mtlbench import load_results
from mtlbench.authoring.check_dataset import check
from mtlbench.cli.main import main
from mtlbench.datasets._dense_reader import carve
from mtlbench.datasets.mtan import Mtan
from mtlbench.errors import UserError
from tests.support.npy_folders import write_mtan

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]


def ready(root: Path, **options: object) -> Mtan:
    data = Mtan(root, **options)
    data.prepare(lambda line: None)
    return data


def load(root: Path, what: str, number: int, folder: str = "val") -> np.ndarray:
    return np.load(root / folder / what / f"{number}.npy", allow_pickle=False)


def test_maps_of_rooms_are_those_of_the_files(tmp_path: Path) -> None:
    root = write_mtan(tmp_path / "rooms")
    data = ready(root)
    assert data.tasks == ("semseg", "normals", "depth") and len(data.categories("semseg")) == 13
    test = data.subset("test")
    assert len(test) == 5  # their val, in their order
    for number in range(5):
        sample = test[number]
        assert sample.image.dtype == np.uint8 and np.abs(sample.image / 255 - load(root, "image", number)).max() < 0.002
        label = load(root, "label", number)
        assert np.array_equal(sample.labels["semseg"], np.where(label == -1, 255, label))
        assert np.array_equal(sample.labels["depth"], load(root, "depth", number)[..., 0])
        np.testing.assert_allclose(sample.labels["normals"], load(root, "normal", number), atol=2e-5)
    first = test[0]
    assert (first.labels["semseg"][:16] == 255).all() and not first.labels["depth"][:16].any()
    assert not first.labels["normals"][:16].any() and first.labels["normals"][16:].any(axis=2).all()
    train = [load(root, "label", n, "train") for n in range(12) if f"train/{n}" not in carve(names(12), 0.1)]
    assert data.counts("semseg") == tuple(sum(int((label == c).sum()) for label in train) for c in range(13))


def names(count: int) -> list[str]:
    return [f"train/{number}" for number in range(count)]


@pytest.mark.parametrize("labels", ["label", "label_7", "label_19"])
def test_streets_have_inverse_depth_and_labels_of_one_of_their_folders(tmp_path: Path, labels: str) -> None:
    root = write_mtan(tmp_path / "streets", rooms=False, labels=labels)
    data = ready(root, labels=labels if labels == "label_19" else "")
    assert data.tasks == ("semseg", "disparity")
    assert len(data.categories("semseg")) == (19 if labels == "label_19" else 7)
    sample = data.subset("test")[1]
    assert np.array_equal(sample.labels["disparity"], load(root, "depth", 1)[..., 0])
    assert np.array_equal(sample.labels["semseg"], load(root, labels, 1))


def test_val_is_blocks_of_neighbours_of_train() -> None:
    chosen = [number for number, name in enumerate(names(795)) if name in carve(names(795), 0.1)]
    assert len(chosen) == 80 and chosen == sorted(start + i for start in chosen[::10] for i in range(10))
    assert all(start % 10 == 0 for start in chosen[::10]) and not carve(names(795), 0)
    assert len(carve(names(12), 0.1)) == 1


@pytest.mark.parametrize("rooms", [True, False], ids=["rooms", "streets"])
def test_it_keeps_the_contract(tmp_path: Path, rooms: bool) -> None:
    root = write_mtan(tmp_path / "data", rooms)
    assert [text for ok, text in check(Mtan, {"root": root}) if not ok] == []


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path, allow_pickle=False)))


def test_what_is_missing_or_of_another_encoding_is_named_in_a_line_each(tmp_path: Path) -> None:
    root = write_mtan(tmp_path / "rooms")
    sound = Mtan(root).verify(print)
    assert not sound.problems
    assert [tuple(count) for count in sound.counts[:2]] == [("train images", 12, 795), ("test images", 5, 654)]
    train = root / "train"
    (train / "depth" / "0.npy").unlink()
    (train / "image" / "1.npy").write_bytes(b"no array")
    np.save(train / "label" / "2.npy", np.array([[{}]]), allow_pickle=True)
    rewrite(train / "label" / "3.npy", lambda label: np.full_like(label, 13))
    rewrite(train / "image" / "4.npy", lambda image: 255 * image)
    rewrite(train / "normal" / "5.npy", lambda normal: 127.5 + 127.5 * normal)
    rewrite(train / "depth" / "6.npy", lambda depth: 1000 * depth)
    rewrite(train / "label" / "7.npy", lambda label: label[:-1])
    rewrite(train / "label" / "8.npy", lambda label: np.full_like(label, 0.5))
    (train / "image" / "9.npy").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    problems = Mtan(root).verify(print).problems
    expected = (
        "depth/0.npy is missing; copy it there",
        "image/1.npy cannot be read (",
        "label/2.npy cannot be read (",
        "label/3.npy has the class 13; there are 0 to 12, and -1 for none",
        "image/4.npy has values that are not from 0 to 1",
        "normal/5.npy has numbers beyond -1 to 1",
        "depth/6.npy is not depth in metres from 0 to 100",
        "label/7.npy is 48 x 31, its image 48 x 32",
        "label/8.npy has the class 0.5",
        "image/9.npy is a Git LFS pointer",
    )
    assert len(problems) == len(expected) and not any("\n" in text for text in problems)
    for says in expected:
        assert len([text for text in problems if says in text]) == 1, (says, problems)
    with pytest.raises(UserError, match=r"depth/0\.npy is missing.*and 9 more.*broken=leave-out goes on"):
        ready(root)
    left = ready(root, broken="leave-out")
    assert [len(left.subset(name)) for name in ("train", "val", "test")] == [2, 0, 5]
    assert left.fingerprint() != ready(root, broken="leave-out", val_fraction=0.5).fingerprint()


def test_folders_that_are_not_there_and_wrong_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mtan needs its files: --data-root DIR"):
        Mtan()
    with pytest.raises(UserError, match=r"no .*train/image; give --data-root"):
        Mtan(tmp_path)
    root = write_mtan(tmp_path / "rooms", counts={"train": 2})
    problems = Mtan(root).verify(print).problems
    assert len(problems) == 4 and all("/val/" in text and "is missing" in text for text in problems)
    with pytest.raises(UserError, match="has no label_7; leave labels out"):
        Mtan(root, labels="label_7")
    with pytest.raises(UserError, match="Did you mean 'label_19'"):
        Mtan(root, labels="label_1")
    with pytest.raises(UserError, match="val_fraction is 1; give a number"):
        Mtan(root, val_fraction=1)


def test_the_command_counts_and_names(tmp_path: Path) -> None:
    root = write_mtan(tmp_path / "streets", rooms=False)
    found = CliRunner().invoke(main, ["data", "verify", "mtan", "--data-root", str(root)])
    assert found.exit_code == 1 and "sound, but not the published data set" in found.output
    assert "labelled pixels of disparity (%)" in found.output


TINY = """
from dataclasses import replace
from mtlbench.authoring import load_space

FULL = load_space("{pair}")
SHORT = dict(extra_iterations=1, images=2, curve_points=1, curve_images=2)
SPACE = replace(FULL, recipes=tuple(
    replace(recipe, iterations=dict.fromkeys(FULL.pair.tasks, 2), **SHORT)
    for recipe in FULL.recipes if recipe.name in ("libmtl", "nash")
))
"""


@pytest.mark.parametrize(
    ("pair", "recipe", "metrics"),
    [
        ("dense3", "libmtl", {"mIoU", "pixacc", "absolute", "relative", "mean", "median", "within_30"}),
        ("semseg_disparity", "nash", {"mIoU", "pixacc", "absolute", "relative"}),
    ],
)
def test_a_made_folder_runs_through_the_published_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: str, recipe: str, metrics: set[str]
) -> None:
    """With two steps, on the smallest network of timm, from scratch."""
    pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    root = write_mtan(tmp_path / "data", rooms=pair == "dense3")
    Path("tiny.py").write_text(TINY.format(pair=pair))
    small = ["--backbone", "timm:test_efficientnet", "--init", "scratch"]
    few = ["--executor", "local", "--seeds", "0", "--arm", "split-fc8", "--arm", "one-task"]
    told = ["run", "--pair", "tiny.py", "--dataset", "mtan", "--data-root", str(root), "--recipe", recipe]
    found = CliRunner().invoke(main, [*told, *small, *few])
    assert found.exit_code == 0, found.output
    frame = load_results("results").frame
    test = frame[(frame["subset"] == "test") & (frame["category"] == "")]
    assert {*test["metric"]} >= metrics and test["value"].notna().all() and {*test["recipe"]} == {recipe}
    assert {*test["arm"]} == {"one-task", "split-fc8"}
    assert {*test["backbone"]} == {"timm(model=test_efficientnet)"}
    if recipe == "libmtl":
        shown = CliRunner().invoke(main, ["table", "libmtl", "--paper"]).output
        assert "not timm(model=resnet50.tv_in1k,output_stride=8)" in " ".join(shown.split())
