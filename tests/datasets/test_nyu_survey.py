"""NYU-v2 in other conventions than the reader's: each is one line that names what would make it right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from mtlbench.datasets._nyu_survey import (
    OFFICIAL_TEST,
    DepthSurvey,
    LabelSurvey,
    is_counted_from_zero,
    wrong_camera,
)
from mtlbench.datasets.nyuv2 import Nyuv2
from tests.support.nyu import silent
from tests.support.places import REAL_DATA

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]

FRAMES = 10
real = pytest.mark.skipif(not (REAL_DATA / "nyuv2").is_dir(), reason="needs the real frames")
TEST = {number for number, bit in enumerate(f"{int(OFFICIAL_TEST, 16):01449b}", start=1) if bit == "1"}
TRAIN = set(range(1, 1450)) - TEST


def labels(floor: int = 2, ceiling: int = 22, wall: int = 1) -> np.ndarray:
    """Stored labels of a room of 40 x 60: ceiling above, wall, a cabinet in it, floor below."""
    stored = np.full((40, 60), wall, np.uint8)
    stored[:6], stored[30:], stored[15:25, 5:20] = ceiling, floor, wall + 2
    return stored


def survey_of(stored: np.ndarray, largest: int = 0, frames: int = FRAMES) -> str:
    survey = LabelSurvey()
    for _ in range(frames):
        survey.add(stored - np.uint8(1), largest)
    return survey.wrong()


# ---------------------------------------------------------------------------------------------------- labels
def test_right_labels_and_too_few_frames_are_not_blamed() -> None:
    assert survey_of(labels()) == "" and survey_of(labels(1, 21, 0), frames=7) == ""
    assert survey_of(np.full((40, 60), 3, np.uint8)) == ""  # no floor anywhere: nothing to tell


def test_a_numbering_from_zero_and_one_from_two_are_named() -> None:
    assert "0..39 with void 40 or 255: add 1, and make void 0" in survey_of(labels(1, 21, 0))
    assert "2..41 with void 1: take away 1" in survey_of(labels(3, 23, 2))


def test_floors_at_the_top_are_named_where_no_numbering_fits() -> None:
    assert "floors lie at 12% of the height" in survey_of(labels()[::-1])


def test_forty_classes_in_the_mat_are_named() -> None:
    assert "labels are 0..40, so that they hold 40 classes already" in survey_of(labels(), largest=40)
    assert survey_of(labels(), largest=894) == ""


# ---------------------------------------------------------------------------------------------------- depth
def depth_in_metres(seed: int) -> np.ndarray:
    """A slanted wall, 1.2 to 4.5 m."""
    rng = np.random.default_rng(seed)
    return np.linspace(1.2, 4.5, 40 * 60).reshape(40, 60) + rng.uniform(0, 0.2, (40, 60))


@pytest.mark.parametrize(
    ("stored", "of_images", "said"),
    [
        (lambda d: np.round(d * 1000), True, ""),
        (lambda d: np.round(d * 100), True, "centimetres: multiply it by 10"),
        (lambda d: np.round(d * 5000), True, "1/5000 m: multiply it by 0.2"),
        (lambda d: np.round(d * 1000).astype(np.uint16).byteswap(), True, "two bytes of each pixel are swapped"),
        (lambda d: np.round(d * 13), True, "0.7 to 10 m is usual; write it in millimetres"),
        (lambda d: d, False, ""),
        (lambda d: d * 1000, False, "millimetres: multiply it by 0.001"),
        (lambda d: d * 100, False, "centimetres: multiply it by 0.01"),
    ],
)
def test_units_of_depth(stored: Callable[[np.ndarray], np.ndarray], of_images: bool, said: str) -> None:
    survey = DepthSurvey()
    for seed in range(FRAMES):
        survey.add(stored(depth_in_metres(seed)).astype(np.float32) / np.float32(1000 if of_images else 1))
    wrong = survey.wrong(of_images)
    assert said in wrong and bool(said) == bool(wrong)


# ---------------------------------------------------------------------------------------------------- camera, lists
def test_the_camera_must_be_of_frames_of_this_size() -> None:
    full = (324.582, 252.736)
    assert wrong_camera(full, 480, 640) == "" and wrong_camera((162.04, 126.1), 240, 320) == ""
    assert "of frames of about 650 x 506 pixels and these have 320 x 240; divide its numbers by 2, " in wrong_camera(
        full, 240, 320
    )
    assert "multiply its numbers by 2, or delete it" in wrong_camera((162.04, 126.1), 480, 640)


def test_official_lists_have_795_and_654_frames_and_begin_as_published() -> None:
    assert (len(TRAIN), len(TEST)) == (795, 654)
    assert sorted(TEST)[:10] == [1, 2, 9, 14, 15, 16, 17, 18, 21, 28]


def test_lists_counted_from_zero_are_noticed_without_frame_0() -> None:
    assert not is_counted_from_zero({"train": TRAIN, "test": TEST})
    low = {"train": {n - 1 for n in TRAIN}, "test": {n - 1 for n in TEST}}
    assert is_counted_from_zero(low)
    part = {name: set(sorted(numbers - {0})[5:60]) for name, numbers in low.items()}
    assert is_counted_from_zero(part)
    assert not is_counted_from_zero({"train": {n + 1 for n in part["train"]}, "test": {n + 1 for n in part["test"]}})
    assert not is_counted_from_zero({"train": set(range(1, 30)), "test": set(range(30, 60))})  # someone's own lists


# ---------------------------------------------------------------------------------------------------- real frames
def part(root: Path, source: str, *folders: str) -> Path:
    """Some frames of a real copy."""
    copy, data = root / "nyu", REAL_DATA / source
    for name in ("train", "test"):
        numbers = (data / f"{name}.txt").read_text().split()
        numbers = numbers[:: len(numbers) // FRAMES] if name == "train" else numbers[:2]  # of many rooms
        (copy / "x").mkdir(parents=True, exist_ok=True)
        (copy / f"{name}.txt").write_text("\n".join(numbers) + "\n")
        for folder in folders:
            (copy / folder / name).mkdir(parents=True)
            for number in numbers:
                (path,) = (data / folder / name).glob(f"{number}.*")
                shutil.copyfile(path, copy / folder / name / path.name)
    for name in ("classMapping40.mat", "splits.mat", "intrinsics.txt"):
        shutil.copyfile(data / name, copy / name)
    return copy


def change(folder: Path, how: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in folder.rglob("*.png"):
        Image.fromarray(how(np.array(Image.open(path)))).save(path)


def from_zero(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == 0, 40, stored - np.uint8(1)).astype(np.uint8)


@real
@pytest.mark.parametrize("source", ["nyuv2", "nyuv2_small"])
def test_real_labels_of_another_numbering_are_one_line(tmp_path: Path, source: str) -> None:
    given = "normal" if source == "nyuv2_small" else "depth"
    root = part(tmp_path, source, "image", "seg40", given)
    assert Nyuv2(root).verify(silent).problems == ()
    change(root / "seg40", from_zero)
    (problem,) = Nyuv2(root).verify(silent).problems
    assert "seg40: labels look like 0..39 with void 40 or 255: add 1, and make void 0" in problem


@real
@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda d: (d // 10).astype(np.uint16), "centimetres: multiply it by 10"),
        (lambda d: (d.astype(np.int64) * 5).clip(0, 65535).astype(np.uint16), "1/5000 m: multiply it by 0.2"),
        (lambda d: d.astype(np.uint16).byteswap(), "two bytes of each pixel are swapped"),
    ],
)
def test_real_depths_in_another_unit_are_one_line(
    tmp_path: Path, how: Callable[[np.ndarray], np.ndarray], said: str
) -> None:
    root = part(tmp_path, "nyuv2", "image", "seg40", "depth")
    change(root / "depth", how)
    with pytest.raises(Exception, match=said):
        Nyuv2(root).prepare(silent)


@real
def test_a_camera_of_full_size_beside_halved_frames_is_one_line(tmp_path: Path) -> None:
    root = part(tmp_path, "nyuv2_half", "image", "seg40", "depth")
    assert Nyuv2(root).verify(silent).problems == ()
    shutil.copyfile(REAL_DATA / "nyuv2" / "intrinsics.txt", root / "intrinsics.txt")
    (problem,) = Nyuv2(root).verify(silent).problems
    assert (
        "intrinsics.txt is of frames of about 650 x 506 pixels and these have 320 x 240; divide its numbers by 2"
        in (problem)
    )


@real
def test_official_splits_counted_from_zero_are_one_line(tmp_path: Path) -> None:
    root = part(tmp_path, "nyuv2", "image", "seg40", "depth")
    splits = scipy.io.loadmat(root / "splits.mat")
    low = {name: splits[name].astype(np.int32) - 1 for name in ("trainNdxs", "testNdxs")}
    scipy.io.savemat(root / "splits.mat", {name: numbers[5:100] for name, numbers in low.items()})
    (problem,) = Nyuv2(root).verify(silent).problems
    assert "splits.mat counts frames from 0, and they are 1..1449; add 1 to trainNdxs and testNdxs" in problem


@real
def test_depth_says_how_many_normals_will_be_valid(tmp_path: Path) -> None:
    counts = {
        count.what: count.found
        for count in Nyuv2(part(tmp_path, "nyuv2", "image", "seg40", "depth")).verify(silent).counts
    }
    given = counts["valid normals that the depth gives (%, of 3 frames)"]
    assert 50 <= given < counts["measured depth (%)"] == 78
