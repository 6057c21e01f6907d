"""Images with boxes, for the region tasks; a slow overlap of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mtlbench.contracts import Batch, Sample, Score
from mtlbench.tasks.detection import Detection
from mtlbench.vision import regions

IMAGE = np.zeros((64, 64, 3), dtype=np.uint8)


OFFSETS = {
    "offset_mean": [[0.0, -0.1, 0.05, 0.0], [0.02, 0.0, -0.1, 0.1], [0.0, 0.03, 0.0, 0.2]],
    "offset_std": [[0.1, 0.2, 0.3, 0.4], [0.15, 0.1, 0.2, 0.25], [0.05, 0.1, 0.35, 0.2]],
}


def value(scores: Sequence[Score], metric: str, category: str = "") -> float:
    found = [score.value for score in scores if (score.metric, score.category) == (metric, category)]
    assert len(found) == 1
    return found[0]


def check_metric_names(task: Any, meter: Any) -> None:
    names = {score.metric for score in [*meter.scores(), *meter.chance()]}
    assert names == set(task.metrics) and task.headline in names


# ---------------------------------------------------------------------------------------------------- detection
DETECTION = Detection(("cat", "dog", "cow"), OFFSETS)


def region_batch(samples: list[Sample]) -> Batch:
    """The regions of an evaluation: each image's proposals, then its annotated boxes."""
    rows = []
    for i, sample in enumerate(samples):
        assert sample.proposals is not None and sample.boxes is not None
        boxes = np.concatenate([sample.proposals, sample.boxes])
        rows.append(np.concatenate([np.full((len(boxes), 1), i), boxes], axis=1))
    return Batch(torch.zeros(len(samples), 3, 64, 64), {}, {}, samples, torch.from_numpy(np.concatenate(rows)).float())


def scene(rng: np.random.Generator, objects: int, difficult: bool = False, width: int = 64) -> Sample:
    """Objects in a row without overlap, and proposals near and far from them."""
    corner = np.stack([np.arange(objects) * 16.0, rng.uniform(0, 40, objects)], axis=1)
    boxes = np.concatenate([corner, corner + rng.uniform(10, 14, (objects, 2))], axis=1).astype(np.float32)
    spread = np.repeat(boxes, 4, axis=0) + rng.normal(0, 1.5, (4 * objects, 4)).astype(np.float32)
    image = np.zeros((64, width, 3), dtype=np.uint8)
    labels: dict[str, np.ndarray] = {
        "detection": rng.integers(0, 3, objects),
        "attributes": rng.integers(0, 2, (objects, 2)).astype(np.uint8),
    }
    return Sample(image, labels, boxes, np.full(objects, difficult), regions.clip(spread.astype("f4"), 64, width))


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))
