"""Surface normals as classification over a codebook (Section 5; Ladicky et al. 2014, Wang et al. 2015).

Axes: z towards the camera, and x left or right; mirroring negates x either way. Zeros = invalid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import Delaunay, QhullError
from torch import Tensor, nn

from mtlbench import metrics
from mtlbench.errors import UserError
from mtlbench.plugins import Batch, Metric, Score, Subset

CODES = 20  # Wang et al. 2015
FIT_IMAGES = 200  # ours
FIT_NORMALS = 50_000  # ours
KMEANS_ROUNDS = 100  # ours, at most
IGNORED = -100
CHANCE_NORMALS = 400  # kept of each image for the best constant (ours)


class Normals:
    """Softmax over 20 codes at every pixel; the label is the code nearest to the normal, zero normals are ignored."""

    version = 1
    form = "fcn"
    weight = 1.0
    metrics = {
        "mean": Metric("degrees", False),
        "median": Metric("degrees", False),
        "within_11.25": Metric("%", True),
        "within_22.5": Metric("%", True),
        "within_30": Metric("%", True),
    }
    headline = "mean"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any]) -> None:
        codes = _unit(np.array(facts["codebook"], dtype=np.float64))
        self.triangles = triangulate(codes)
        self.codes = torch.from_numpy(codes.astype(np.float32))

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """`codebook`: 20 unit vectors, k-means of up to 50 000 normals from up to 200 images (seeded: always the same).

        Raises UserError when train has fewer than 20 different normals, or normals that no triangles can cover.
        """
        rng = np.random.default_rng(0)
        chosen = range(0, len(train), max(1, -(-len(train) // FIT_IMAGES)))
        found = [np.zeros((0, 3), dtype=np.float32)]
        for index in chosen:
            label = train[index].labels.get("normals")
            if label is not None:
                valid = label[(label != 0).any(axis=-1)]
                share = min(len(valid), FIT_NORMALS // len(chosen))
                found.append(valid[rng.choice(len(valid), share, replace=False)])
        normals = _unit(np.concatenate(found).astype(np.float64))
        distinct = len(np.unique(normals.round(3), axis=0))
        if distinct < CODES:
            raise UserError(
                f"normals: the train subset has {distinct} different normals, a codebook needs {CODES}; use more images"
            )
        codebook = spherical_kmeans(normals, CODES, rng).round(6)
        triangulate(_unit(codebook))  # fail here, not in every trial
        return {"codebook": codebook.tolist()}

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """`H W 3` flipped left to right, x negated."""
        return label[:, ::-1] * np.array([-1, 1, 1], dtype=label.dtype)

    def head(self, channels: int) -> nn.Module:
        """1x1 convolution `B C H W` -> `B 20 H W` that starts at 0, as FCN's score layer."""
        score = nn.Conv2d(channels, len(self.codes), 1)
        nn.init.zeros_(score.weight)
        assert score.bias is not None
        nn.init.zeros_(score.bias)
        return score

    def nearest_codes(self, normals: Tensor) -> Tensor:
        """`...` index of the code nearest to each normal `... 3`; -100 for zero normals."""
        nearest = (normals @ self.codes.to(normals).T).argmax(dim=-1)
        return nearest.masked_fill(~(normals != 0).any(dim=-1), IGNORED)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of `B 20 H W` at full resolution, averaged over the valid pixels of the labelled images."""
        labels = self.nearest_codes(batch.labels["normals"].float())
        labels = labels.masked_fill(~batch.masks["normals"][:, None, None], IGNORED)
        total = F.cross_entropy(output.float(), labels, ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `B 20 H W` of the codes; `decode` makes normals of it."""
        return {"probability": output.float().softmax(dim=1)}

    def decode(self, probability: Tensor) -> Tensor:
        """Unit normals `N 3` from code probabilities `N 20`.

        The corners of the triangle with the highest total probability, mixed by their probabilities (Ladicky et al.).
        """
        triangles = torch.from_numpy(self.triangles).to(probability.device)
        codes = self.codes.to(probability)
        corner_of = torch.zeros(len(codes), len(triangles), dtype=probability.dtype, device=probability.device)
        corner_of.scatter_(0, triangles.T, 1.0)
        corners = triangles[(probability @ corner_of).argmax(dim=1)]
        mixed = (probability.gather(1, corners)[..., None] * codes[corners]).sum(dim=1)
        return F.normalize(mixed, dim=1)

    def meter(self) -> NormalsMeter:
        """An empty meter."""
        return NormalsMeter(self)


class NormalsMeter:
    """Histogram of the angular errors over all valid pixels of a subset."""

    def __init__(self, task: Normals) -> None:
        self.task = task
        self.histogram = metrics.angle_histogram(np.zeros(0))
        self.error_sum = 0.0
        self.seen: list[np.ndarray] = []

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the valid pixels of a batch."""
        probability = prediction["probability"]
        normals = F.normalize(batch.labels["normals"].to(probability.device).float(), dim=-1)
        valid = (normals != 0).any(dim=-1) & batch.masks["normals"].to(probability.device)[:, None, None]
        decoded = self.task.decode(probability.permute(0, 2, 3, 1)[valid])
        errors = metrics.angular_errors(decoded.cpu().numpy(), normals[valid].cpu().numpy())
        self.histogram += metrics.angle_histogram(errors)
        self.error_sum += float(errors.sum(dtype=np.float64))
        for image, mask in zip(normals, valid, strict=True):
            inside = image[mask].cpu().numpy()
            self.seen.append(inside[:: max(1, len(inside) // CHANCE_NORMALS)][:CHANCE_NORMALS])

    def scores(self) -> list[Score]:
        """All metrics, in degrees and percent of the valid pixels."""
        scores = metrics.angle_scores(self.histogram, self.error_sum)
        return [Score(metric, "", value) for metric, value in scores.items()]

    def chance(self) -> list[Score]:
        """For each metric, the best of many predictors that give every pixel one normal.

        Tried are the codes, 256 of the subset's own normals and, for the mean, their spherical median; measured
        on up to 400 pixels of each image.
        """
        seen = np.concatenate([np.zeros((0, 3), dtype=np.float32), *self.seen])
        if not len(seen):
            return self.scores()
        few = seen[:: max(1, len(seen) // 20_000)]
        tried = np.concatenate([self.task.codes.numpy(), few[:: max(1, len(few) // 256)]])
        angles = np.degrees(np.arccos(np.clip(tried @ few.T, -1, 1)))
        median_direction = spherical_median(few, tried[angles.mean(axis=1).argmin()])
        best: dict[str, float] = {}
        winners = [median_direction]
        for name, values in _constant_scores(angles).items():
            higher = self.task.metrics[name].higher_is_better
            winners.append(tried[int(values.argmax() if higher else values.argmin())])
        for direction in winners:
            errors = metrics.angular_errors(direction, seen)
            for name, value in metrics.angle_scores(metrics.angle_histogram(errors), float(errors.sum())).items():
                pick = max if self.task.metrics[name].higher_is_better else min
                best[name] = pick(best.get(name, value), value)
        return [Score(metric, "", value) for metric, value in best.items()]


def _constant_scores(angles: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of every row of `angles` in degrees."""
    within = {f"within_{t:g}": (angles < t).mean(axis=1) for t in metrics.ANGLE_THRESHOLDS}
    return {"mean": angles.mean(axis=1), "median": np.median(angles, axis=1), **within}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def spherical_kmeans(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count 3` unit vectors that are the mean directions of the clusters of unit vectors `N 3` (k-means++ start)."""
    codes = vectors[rng.integers(len(vectors))][None]
    for _ in range(1, count):
        distance = np.maximum(1 - (vectors @ codes.T).max(axis=1), 0)
        codes = np.concatenate([codes, vectors[rng.choice(len(vectors), p=distance / distance.sum())][None]])
    nearest = np.full(len(vectors), -1)
    for _ in range(KMEANS_ROUNDS):
        similarity = vectors @ codes.T
        previous, nearest = nearest, similarity.argmax(axis=1)
        if (nearest == previous).all():
            break
        sums = np.stack([np.bincount(nearest, weights=axis, minlength=count) for axis in vectors.T], axis=1)
        empty = np.linalg.norm(sums, axis=1) < 1e-9
        if empty.any():  # an empty cluster starts again at the vectors that are represented worst
            sums[empty] = vectors[np.argsort(similarity.max(axis=1), kind="stable")[: int(empty.sum())]]
        codes = _unit(sums)
    return codes


def triangulate(codes: np.ndarray) -> np.ndarray:
    """Delaunay triangles `T 3` (indices) over unit vectors `N 3` on the sphere.

    Ours: planar Delaunay after the stereographic projection from (0, 0, -1). The projection keeps circles, so these are
    the spherical Delaunay triangles, less those around the direction that points away from the camera.
    """
    plane = codes[:, :2] / np.maximum(1 + codes[:, 2:], 1e-6)
    try:
        return Delaunay(plane).simplices.astype(np.int64)
    except QhullError as error:
        raise UserError("normals: the codebook's directions lie on one arc; use more or more varied images") from error


def spherical_median(vectors: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The direction `3` with the lowest mean angle to unit vectors `N 3` (Weiszfeld's iteration on the sphere)."""
    direction = start.astype(np.float64)
    for _ in range(30):
        cosine = np.clip(vectors @ direction, -1, 1)
        angle = np.maximum(np.arccos(cosine), 1e-3)
        tangent = (vectors - cosine[:, None] * direction) / np.maximum(np.sin(angle), 1e-3)[:, None]
        direction = _unit(direction + tangent.sum(axis=0) / (1 / angle).sum())
    return direction
