"""The file of kept predictions: written and read back, and refused in one line when it is another."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from mtlbench.errors import UserError
from mtlbench.store.predictions import read, write


def test_predictions_come_back_as_they_were_in_order_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kept: dict[str, list[np.ndarray]] = {
        "semseg": [rng.integers(0, 9, (4, 5 + i)).astype(np.uint8) for i in range(11)],
        "dir/own.py:Depth": [rng.normal(size=(i, 6)).astype(np.float16) for i in range(3)],
    }
    write(tmp_path / "predictions.npz", kept)
    assert os.listdir(tmp_path) == ["predictions.npz"]
    back = read(tmp_path / "predictions.npz")
    assert set(back) == set(kept)
    for task, arrays in kept.items():
        assert len(back[task]) == len(arrays)
        for ours, theirs in zip(arrays, back[task], strict=True):
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


@pytest.mark.parametrize("names", [["a"], ["a.x"], ["a.1"], ["a.0", "a.2"], ["a.0.5"], ["a.-1"], ["a.00"]])
def test_foreign_names_of_arrays_are_refused(tmp_path: Path, names: list[str]) -> None:
    np.savez(tmp_path / "p.npz", **{name: np.zeros(2) for name in names})
    with pytest.raises(UserError, match=r"p\.npz is damaged; type mtlbench run \.\.\. --force ARM"):
        read(tmp_path / "p.npz")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **{"a.0": np.array([{"x": 1}], dtype=object)})
    with pytest.raises(UserError, match="is damaged"):
        read(tmp_path / "p.npz")


def test_no_content_of_the_file_is_more_than_one_line(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    with pytest.raises(UserError, match="p.npz is missing"):
        read(path)
    os.mkfifo(path)
    with pytest.raises(UserError, match="p.npz is missing"):
        read(path)
    path.unlink()
    write(path, {"a": [np.arange(60, dtype=np.uint8).reshape(6, 10)] * 2})
    whole, dice = path.read_bytes(), random.Random(0)
    spoilt = [whole[: dice.randrange(len(whole))] for _ in range(50)] + [b"", b"PK", b"\x93NUMPY", b"3", b"\x80\x04N."]
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(dice.choice((1, 1, 3, 30))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        spoilt.append(bytes(content))
    refused = 0
    for content in spoilt:
        path.write_bytes(content)
        try:
            assert all(isinstance(array, np.ndarray) for array in read(path)["a"])  # an unused byte
        except UserError as said:
            assert str(said).startswith(f"{path} is damaged; ")
            refused += 1
    assert refused > 200
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="is damaged"):
        read(path)
