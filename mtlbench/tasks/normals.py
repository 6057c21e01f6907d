"""Surface normals as classification over a codebook (Section 5; Ladicky et al. 2014, Wang et al. 2015), or as vectors.

Axes: y up, z towards the camera, and x left (as in the built-in data sets) or right; mirroring negates x either way.
Zeros = invalid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.contracts import Batch, Meter, Metric, Sample, Score, Subset
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.tasks._batch_means import check_batches, measure
from mtlbench.tasks._codebook import Codebook, normalise, spherical_kmeans, spherical_median
from mtlbench.tasks._heads import dense_head, vector_head
from mtlbench.tasks._maps import thin_out
from mtlbench.vision import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CODES = 20  # Wang et al. 2015
FIT_IMAGES = 200  # ours
FIT_NORMALS = 50_000  # ours
DECODINGS = ("triangle", "nearest")
LABELS = ("nearest", "soft", "vector")
IGNORED = -100
CHANCE_NORMALS = 400  # kept of each image for the best constant and the share outside the cover (ours)


class Normals:
    """Softmax over 20 codes at every pixel; zero normals are ignored.

    `labels`: "nearest", the code nearest to the normal (the paper's loss), "soft", the normal as a mix of the corners
    of its triangle (Ladicky et al. 2014), outside all triangles (ours) the nearest direction on their border, or
    "vector": no codes, the scores are the normal, and the loss is 1 minus the cosine (Liu, Johns and Davison 2019).
    `decoding`: "triangle", the mix of the corners of the likeliest triangle, or "nearest", the likeliest code. Metrics
    are over all valid pixels of a subset together, or, with `batches` = N, means over batches of N images. Raises
    UserError for other values, and for a codebook that no triangles can cover.
    """

    version = 1
    form = "fcn"
    weight = 1.0
    metrics = {
        "mean": Metric("degrees", False),
        "median": Metric("degrees", False),
        "within_11.25": Metric("%", True),
        "within_22.5": Metric("%", True),
        "within_30": Metric("%", True),
        "uncovered": Metric("%", False),
    }
    headline = "mean"

    def __init__(
        self,
        categories: tuple[str, ...],
        facts: dict[str, Any],
        decoding: str = "triangle",
        labels: str = "nearest",
        batches: int = 0,
    ) -> None:
        if decoding not in DECODINGS:
            raise make_unknown("decoding of normals", decoding, DECODINGS)
        if labels not in LABELS:
            raise make_unknown("kind of labels of normals", labels, LABELS)
        check_batches("normals", batches)
        self.decoding, self.labels, self.batches = decoding, labels, batches
        self.codebook = Codebook(np.array(facts["codebook"]))

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
        normals = normalise(np.concatenate(found).astype(np.float64))
        distinct = len(np.unique(normals.round(3), axis=0))
        if distinct < CODES:
            raise UserError(
                f"normals: the train subset has {distinct} different normals, a codebook needs {CODES}; use more images"
            )
        codebook = spherical_kmeans(normals, CODES, rng).round(6)
        Codebook(codebook)  # fail here, not in every trial
        return {"codebook": codebook.tolist()}

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """`H W 3` flipped left to right, x negated."""
        mirrored: np.ndarray = label[:, ::-1] * np.array([-1, 1, 1], dtype=label.dtype)
        return mirrored

    def head(self, channels: int) -> nn.Module:
        """1x1 convolution `B C H W` -> `B K H W` that starts at 0, as FCN's score layer; vectors start at (0, 0, 1)."""
        return vector_head(channels) if self.labels == "vector" else dense_head(channels, len(self.codebook.codes))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of `B 20 H W`, or 1 minus the cosine of `B 3 H W`, at full resolution, averaged over the valid
        pixels of the labelled images."""
        valid, normals = _find_valid(batch), batch.labels["normals"].float()
        if self.labels == "vector":
            cosines = (F.normalize(output.float(), dim=1) * F.normalize(normals, dim=3).movedim(3, 1)).sum(dim=1)
            total = torch.where(valid, 1 - cosines, 0.0).sum()
        elif self.labels == "nearest":
            labels = self.codebook.nearest(normals).masked_fill(~valid, IGNORED)
            total = F.cross_entropy(output.float(), labels, ignore_index=IGNORED, reduction="sum")
        else:
            corners, weights, _ = self.codebook.mix(F.normalize(normals[valid], dim=1))
            scores = output.float().movedim(1, 3)[valid]
            total = (scores.logsumexp(dim=1) - (scores.gather(1, corners) * weights).sum(dim=1)).sum()
        return total / valid.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """Valid pixels of the labelled images."""
        return _find_valid(batch).sum()

    def encode(self, normals: Tensor) -> Tensor:
        """The soft labels `N 20` of unit normals `N 3`."""
        return self.codebook.encode(normals)

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `B 20 H W` of the codes, or under this name the vectors `B 3 H W`; `decode` makes normals of
        it."""
        scores = output.float()
        return {"probability": F.normalize(scores, dim=1) if self.labels == "vector" else scores.softmax(dim=1)}

    def decode(self, probability: Tensor) -> Tensor:
        """Unit normals `N 3` from code probabilities `N 20`, or from means of vectors `N 3`."""
        if self.labels == "vector":
            return F.normalize(probability, dim=1)
        nearest = self.decoding == "nearest"
        return self.codebook.decode_nearest(probability) if nearest else self.codebook.decode(probability)

    def meter(self) -> Meter:
        """An empty meter."""
        return measure(lambda: NormalsMeter(self), self.batches)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """`H W 3` uint8, 127.5 + 127.5 times the predicted normal, of every n-th pixel (the longest side <= 320)."""
        probability = thin_out(prediction["probability"][0])
        return _colours(self.decode(probability.flatten(1).T).view(*probability.shape[1:], 3).cpu().numpy())

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """The normals as colours: red = x, green = y (up), blue = z (towards the camera), black = invalid."""
        height, width = sample.image.shape[:2]
        colours = _colours(sample.labels["normals"]) if kept is None else kept
        axes.imshow(colours, extent=(0, width, height, 0), interpolation="nearest")


def _find_valid(batch: Batch) -> Tensor:
    """`B H W` bool: pixels with a normal, in the images that are labelled."""
    return (batch.labels["normals"] != 0).any(dim=-1) & batch.masks["normals"][:, None, None]


def _colours(normals: np.ndarray) -> np.ndarray:
    """`H W 3` uint8 of `H W 3`; zeros stay black."""
    return np.where(normals.any(axis=2, keepdims=True), np.rint(127.5 + 127.5 * normals), 0).astype(np.uint8)


class NormalsMeter:
    """Histogram of the angular errors over all valid pixels of a subset."""

    def __init__(self, task: Normals) -> None:
        self.task = task
        self.histogram = metrics.angle_histogram(np.zeros(0))
        self.error_sum = 0.0
        self.seen: list[np.ndarray] = []

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the valid pixels of a batch, image by image."""
        probability = prediction["probability"]
        labels, valid = batch.labels["normals"].to(probability.device), _find_valid(batch).to(probability.device)
        for scores, label, mask in zip(probability, labels, valid, strict=True):
            truth = F.normalize(label[mask].float(), dim=1)
            decoded = self.task.decode(scores.movedim(0, 2)[mask])
            inside = truth.cpu().numpy()
            errors = metrics.angular_errors(decoded.cpu().numpy(), inside)
            self.histogram += metrics.angle_histogram(errors)
            self.error_sum += float(errors.sum(dtype=np.float64))
            self.seen.append(inside[:: max(1, len(inside) // CHANCE_NORMALS)][:CHANCE_NORMALS])

    def scores(self) -> list[Score]:
        """All metrics, in degrees and percent of the valid pixels."""
        scores = metrics.angle_scores(self.histogram, self.error_sum)
        return [Score(metric, "", value) for metric, value in scores.items()]

    def chance(self) -> list[Score]:
        """For each metric, the best of many predictors that give every pixel one normal.

        Tried are the codes, 256 of the subset's own normals and, for the mean, their spherical median; measured
        on up to 400 pixels of each image. `uncovered` is the share of these pixels that no triangle of codes covers.
        """
        seen = np.concatenate([np.zeros((0, 3), dtype=np.float32), *self.seen])
        if not len(seen):
            return [*self.scores(), Score("uncovered", "", float("nan"))]
        _, _, covered = self.task.codebook.mix(torch.from_numpy(seen))
        few = seen[:: max(1, len(seen) // 20_000)]
        tried = np.concatenate([self.task.codebook.codes.numpy(), few[:: max(1, len(few) // 256)]])
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
        best["uncovered"] = 100.0 * float((~covered).double().mean())
        return [Score(metric, "", value) for metric, value in best.items()]


def _constant_scores(angles: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of every row of `angles` in degrees."""
    within = {f"within_{t:g}": (angles < t).mean(axis=1) for t in metrics.ANGLE_THRESHOLDS}
    return {"mean": angles.mean(axis=1), "median": np.median(angles, axis=1), **within}
