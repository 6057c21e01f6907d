"""Random normals, and batches of dense tasks."""

from __future__ import annotations

import numpy as np
import torch

from mtlbench.contracts import Batch


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def facing(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random unit vectors that face the camera."""
    vectors = rng.normal(size=(*shape, 3))
    vectors[..., 2] = np.abs(vectors[..., 2])
    return unit(vectors).astype(np.float32)


def dense_batch(task: str, labels: torch.Tensor, masks: list[bool] | None = None) -> Batch:
    mask = torch.tensor([True] * len(labels) if masks is None else masks)
    return Batch(torch.zeros(len(labels), 3, *labels.shape[1:3]), {task: labels}, {task: mask})
