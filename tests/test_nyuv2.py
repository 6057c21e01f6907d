"""NYU-v2: official formats, ignored pixels, axes and the check that they are right, subsets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from mtlbench.data import nyuv2
from mtlbench.data.nyuv2 import CLASSES, FLOOR, Nyuv2, carve, conventions, turned
from mtlbench.errors import UserError

REAL = Path(os.environ.get("MTLBENCH_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")) / "nyuv2_small"
TRAIN, TEST = [3, 4, 5, 19, 1300, 1301, 1303, 1310], [30, 76]
HEIGHT, WIDTH = 48, 64


def room() -> tuple[np.ndarray, np.ndarray]:
    """A corridor with a left and a right wall and a floor: normals (x left, y up, z towards the camera), classes."""
    normals, classes = np.zeros((HEIGHT, WIDTH, 3)), np.ones((HEIGHT, WIDTH), np.uint8)
    normals[:, :20] = [-1, 0, 0]  # the left wall looks right
    normals[:, 20:44] = [0, 0, 1]
    normals[:, 44:] = [1, 0, 0]
    normals[30:, 10:54] = [0, 1, 0]
    classes[30:, 10:54] = FLOOR + 1
    classes[0], normals[1] = 0, 0  # a row without a class, one without normals
    return normals, classes


def stored(normals: np.ndarray, axes: str) -> np.ndarray:
    """uint8 pixels of a normal file with the given axes; invalid = (127, 127, 127)."""
    channels = [sign * normals[..., axis] for axis, sign in (nyuv2.AXIS[word] for word in axes.split("-"))]
    pixels = np.rint(127.5 + 127.5 * np.stack(channels, axis=-1)).astype(np.uint8)
    pixels[~normals.any(axis=-1)] = 127
    return pixels


def write(root: Path, axes: str = "left-up-towards") -> Path:
    normals, classes = room()
    rng = np.random.default_rng(0)
    for name, frames in (("train", TRAIN), ("test", TEST)):
        for folder in ("image", "seg40", "normal"):
            (root / folder / name).mkdir(parents=True)
        (root / f"{name}.txt").write_text("".join(f"{frame:05d}\n" for frame in frames))
        for frame in frames:
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(root / "image" / name / f"{frame:05d}.jpg")
            Image.fromarray(classes).save(root / "seg40" / name / f"{frame:05d}.png")
            Image.fromarray(stored(normals, axes)).save(root / "normal" / name / f"{frame:05d}.png")
    return root


def test_labels_of_a_known_room(tmp_path: Path) -> None:
    sample = Nyuv2(write(tmp_path)).subset("test")[0]
    normals, classes = room()
    assert sample.image.shape == (HEIGHT, WIDTH, 3) and sample.image.dtype == np.uint8
    found = sample.labels["semseg"]
    assert found.dtype == np.uint8 and (found[0] == 255).all() and (found[1:] == classes[1:] - 1).all()
    assert found[40, 30] == FLOOR
    found = sample.labels["normals"]
    assert found.dtype == np.float32 and not found[1].any()
    length = np.linalg.norm(found, axis=2)
    assert length[normals.any(axis=2)] == pytest.approx(1, abs=1e-6)
    assert (found * normals).sum(axis=2)[normals.any(axis=2)].min() > np.cos(np.radians(0.5))  # 8 bits


@pytest.mark.parametrize("axes", ["left-up-towards", "right-in-up", "right-down-in"])
def test_every_convention_gives_the_same_normals(tmp_path: Path, axes: str) -> None:
    data = Nyuv2(write(tmp_path, axes), axes=axes)
    data.prepare(lambda text: None)
    expected = room()[0]
    assert np.abs(data.subset("train")[0].labels["normals"] - expected).max() < 0.01


@pytest.mark.parametrize("wrong", ["right-in-up", "right-up-towards", "left-down-towards", "left-up-in"])
def test_wrong_axes_are_noticed_and_the_right_ones_named(tmp_path: Path, wrong: str) -> None:
    write(tmp_path)
    with pytest.raises(UserError, match="axes=left-up-towards"):
        Nyuv2(tmp_path, axes=wrong).prepare(lambda text: None)


def test_conventions_are_the_48_signed_permutations() -> None:
    pictures = {turned(np.eye(3), axes).tobytes() for axes in conventions()}
    assert len(conventions()) == len(pictures) == 48
    # x right, y into the scene, z up: a wall ahead is (0, -1, 0), a floor (0, 0, 1)
    assert turned(np.array([[0.0, -1, 0], [0, 0, 1], [1, 0, 0]]), "right-in-up").tolist() == [
        [0, 0, 1],
        [0, 1, 0],
        [-1, 0, 0],
    ]


def test_noise_instead_of_normals_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    rng = np.random.default_rng(0)
    for path in (tmp_path / "normal").rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
    with pytest.raises(UserError, match="under no order of axes"):
        Nyuv2(tmp_path).prepare(lambda text: None)


def test_val_takes_whole_runs_of_neighbouring_frames() -> None:
    official = {1, 2, 3, 10, 11, 20, 30, 31, 32, 33}
    train = sorted(official - {2})
    for fraction in (0.0, 0.2, 0.4, 0.7):
        val = carve(train, official, fraction)
        assert len(val) <= round(fraction * len(train))
        for run in ({1, 3}, {10, 11}, {20}, {30, 31, 32, 33}):  # 2 is not here, yet joins 1 and 3
            assert run <= val or not run & val
    assert not carve(train, official, 0.0) and carve(train, official, 0.4)


def test_subsets_are_disjoint_and_counts_are_trains(tmp_path: Path) -> None:
    data = Nyuv2(write(tmp_path), val_fraction=0.25)
    frames = [data._frames[name] for name in ("train", "val", "test")]
    assert [len(data.subset(name)) for name in ("train", "val", "test")] == [6, 2, 2]
    assert len(set().union(*frames)) == 10 and set(frames[2]) == {("test", frame) for frame in TEST}
    classes = room()[1]
    counts = data.counts("semseg")
    assert counts[FLOOR] == 6 * (classes == FLOOR + 1).sum() and sum(counts) == 6 * (classes > 0).sum()
    assert data.counts("normals") == () and data.categories("normals") == ()


def test_class_names_come_from_the_official_file(tmp_path: Path) -> None:
    write(tmp_path)
    assert Nyuv2(tmp_path).categories("semseg") == CLASSES and len(set(CLASSES)) == 40
    names = np.array([[f"class {n}" for n in range(40)]], dtype=object)
    scipy.io.savemat(tmp_path / "classMapping40.mat", {"className": names})
    assert Nyuv2(tmp_path).categories("semseg")[39] == "class 39"


def test_lists_must_agree_with_the_official_split(tmp_path: Path) -> None:
    write(tmp_path)
    official = {"trainNdxs": np.array(TRAIN + [6])[:, None], "testNdxs": np.array(TEST)[:, None]}
    scipy.io.savemat(tmp_path / "splits.mat", official)
    Nyuv2(tmp_path).prepare(lambda text: None)
    scipy.io.savemat(tmp_path / "splits.mat", {**official, "trainNdxs": np.array(TRAIN[1:])[:, None]})
    with pytest.raises(UserError, match="00003 is not an official train frame"):
        Nyuv2(tmp_path).prepare(lambda text: None)


def test_fingerprint_follows_options_and_files(tmp_path: Path) -> None:
    first = Nyuv2(write(tmp_path)).fingerprint()
    assert Nyuv2(tmp_path).fingerprint() == first
    assert Nyuv2(tmp_path, val_fraction=0.5).fingerprint() != first
    path = tmp_path / "seg40" / "test" / "00030.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 41, (HEIGHT, WIDTH), np.uint8)).save(path)
    changed = Nyuv2(tmp_path).fingerprint()
    (tmp_path / "train.txt").write_text("00003\n00004\n")
    assert len({first, changed, Nyuv2(tmp_path).fingerprint()}) == 3


def test_user_errors_name_the_file(tmp_path: Path) -> None:
    write(tmp_path)
    cases = {"root": None, "axes": "left-left-up", "val_fraction": 1.0}
    for option, value in cases.items():
        with pytest.raises(UserError):
            Nyuv2(**{"root": tmp_path, option: value})  # type: ignore[arg-type]
    wrong = tmp_path / "seg40" / "test" / "00030.png"
    Image.fromarray(np.full((HEIGHT, WIDTH), 41, np.uint8)).save(wrong)
    with pytest.raises(UserError, match="test/00030.png"):
        Nyuv2(tmp_path).subset("test")[0]
    wrong.unlink()
    with pytest.raises(UserError, match="test/00030.png is listed in test.txt"):
        Nyuv2(tmp_path).prepare(lambda text: None)
    (tmp_path / "test.txt").write_text("00076\n1450\n")
    with pytest.raises(UserError, match="test.txt:2: '1450'"):
        Nyuv2(tmp_path).subset("test")
    (tmp_path / "normal").rename(tmp_path / "depth")
    with pytest.raises(UserError, match="no normals"):
        Nyuv2(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real images here")
def test_real_files_are_read() -> None:
    data = Nyuv2(REAL)
    data.prepare(lambda text: None)
    assert [len(data.subset(name)) for name in ("train", "val", "test")] == [49, 5, 27]
    assert data.categories("semseg") == CLASSES
    sample = data.subset("test")[0]
    assert sample.image.shape == (480, 640, 3) and sample.labels["normals"].shape == (480, 640, 3)
    with pytest.raises(UserError, match="axes=left-up-towards"):
        Nyuv2(REAL, axes="right-up-towards").prepare(lambda text: None)


@pytest.mark.skipif(not (REAL.parent / "nyuv2_published").is_dir(), reason="no published maps here")
def test_published_axes_show_floors_that_point_up() -> None:
    folder = REAL.parent / "nyuv2_published"
    pixels = np.asarray(Image.open(folder / "drsleep_00433_normal.png").convert("RGB")).astype(float)
    floor = np.asarray(Image.open(folder / "drsleep_00433_seg40.png")) == FLOOR
    up = turned((pixels - 127.5) / 127.5, "right-in-up")[floor & (pixels != 127).all(axis=2)][:, 1]
    assert up.mean() > 0.9
