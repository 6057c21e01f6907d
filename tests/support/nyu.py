"""A small NYU-v2 in its official files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from mtlbench.datasets._nyu_classes import CLASSES

HEIGHT, WIDTH = 48, 64


def silent(line: str) -> None:
    pass


# ---------------------------------------------------------------------------------------------------- official files
def mat(root: Path, **change: Callable[[np.ndarray], np.ndarray | None]) -> dict[str, np.ndarray]:
    """Official files of four noise frames, 1, 2 and 4 in train; `change` replaces or (None) drops a variable."""
    rng = np.random.default_rng(1)
    root.mkdir(parents=True, exist_ok=True)
    mapping = (np.arange(894) % 40 + 1).astype(np.uint8)
    scipy.io.savemat(
        root / "classMapping40.mat", {"mapClass": mapping[None], "className": np.array([list(CLASSES)], dtype=object)}
    )
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": np.array([[1], [2], [4]]), "testNdxs": np.array([[3]])})
    rows = np.arange(HEIGHT)[None, :, None]
    depth = np.where(rows < 20, 3000, 30000 // np.maximum(rows - 10, 10)) + rng.integers(0, 9, (4, 1, WIDTH))
    arrays = {
        "images": rng.integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8),
        "labels": rng.integers(0, 895, (4, HEIGHT, WIDTH), np.uint16),
        "depths": depth.astype(np.float32) / np.float32(1000),
    }
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        for name, array in arrays.items():
            stored = change.get(name, lambda array: array)(array)
            if stored is not None:
                file[name] = stored.transpose(0, *range(stored.ndim - 1, 0, -1))
    return arrays
