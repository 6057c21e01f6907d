"""Object detection on given regions (Section 6; Fast R-CNN, Girshick 2015)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench import metrics, regions
from mtlbench.plugins import Batch, Metric, Score, Subset

FIT_IMAGES = 500  # ours
OFFSETS_WITHOUT_FOREGROUND = {"offset_mean": [0.0] * 4, "offset_std": [0.1, 0.1, 0.2, 0.2]}  # Faster R-CNN's constants


class Detection:
    """Class scores (background first) and class-specific box offsets for every region.

    The output `R K` holds C + 1 scores, then 4 normalised offsets for each of the C object classes.
    """

    version = 1
    form = "roi"
    weight = 1.0
    metrics = {"mAP": Metric("%", True), "AP": Metric("%", True), "classes": Metric("count", True)}
    headline = "mAP"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any]) -> None:
        self.categories = categories
        self.offset_mean = torch.tensor(facts["offset_mean"], dtype=torch.float32)
        self.offset_std = torch.tensor(facts["offset_std"], dtype=torch.float32)

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """`offset_mean` and `offset_std` (4 each) of the proposals with IoU >= .5, over up to 500 images of train.

        Ours: one mean and deviation for all classes, where Fast R-CNN has them by class.
        """
        chosen = range(0, len(train), max(1, -(-len(train) // FIT_IMAGES)))
        found = [np.zeros((0, 4), dtype=np.float32)]
        for index in chosen:
            sample = train[index]
            if "detection" not in sample.labels or sample.proposals is None or sample.boxes is None:
                continue
            best, overlap = regions.match(sample.proposals, sample.boxes)
            rows = np.flatnonzero(overlap >= 0.5)
            if sample.difficult is not None:
                rows = rows[~sample.difficult[best[rows]]]
            found.append(regions.encode(sample.proposals[rows], sample.boxes[best[rows]]))
        offsets = np.concatenate(found).astype(np.float64)
        if len(offsets) < 2:
            return OFFSETS_WITHOUT_FOREGROUND
        deviation = np.maximum(offsets.std(axis=0), 0.01)
        return {"offset_mean": offsets.mean(axis=0).round(6).tolist(), "offset_std": deviation.round(6).tolist()}

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """Classes do not change."""
        return label

    def head(self, channels: int) -> nn.Module:
        """`R C` -> `R K`: class scores start N(0, .01), offsets N(0, .001), biases 0."""
        return DetectionHead(channels, len(self.categories))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of the class plus smooth L1 of the true class's offsets on foreground (Fast R-CNN, equation 1).

        Both are averaged over all labelled regions, as in the released code.
        """
        assert batch.foreground is not None and batch.targets is not None
        scores, offsets = self._parts(output)
        labelled = batch.masks["detection"]
        foreground = batch.foreground & labelled
        label = batch.labels["detection"].long()
        rows = labelled.sum().clamp(min=1)
        by_region = F.cross_entropy(scores, torch.where(foreground, label + 1, 0), reduction="none")
        own = offsets[torch.arange(len(label), device=label.device), label]
        goal = (batch.targets - self.offset_mean.to(output.device)) / self.offset_std.to(output.device)
        distance = F.smooth_l1_loss(own, goal, reduction="none").sum(dim=1)
        return ((by_region * labelled).sum() + (distance * foreground).sum()) / rows

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `R C+1` (background first) and `offsets` `R C 4` (dx dy dw dh of each object class)."""
        scores, offsets = self._parts(output)
        offsets = offsets * self.offset_std.to(output.device) + self.offset_mean.to(output.device)
        return {"probability": scores.softmax(dim=1), "offsets": offsets}

    def meter(self) -> DetectionMeter:
        """An empty meter."""
        return DetectionMeter(self.categories)

    def _parts(self, output: Tensor) -> tuple[Tensor, Tensor]:
        classes = len(self.categories)
        scores, offsets = output.float().split([classes + 1, 4 * classes], dim=1)
        return scores, offsets.reshape(-1, classes, 4)


class DetectionHead(nn.Module):
    """Two linear layers side by side, one output."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.scores = nn.Linear(channels, classes + 1)
        self.offsets = nn.Linear(channels, 4 * classes)
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.normal_(self.offsets.weight, std=0.001)
        nn.init.zeros_(self.scores.bias)
        nn.init.zeros_(self.offsets.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`R C` -> `R (C+1 + 4C)`."""
        return torch.cat([self.scores(x), self.offsets(x)], dim=1)


class _Ranked(NamedTuple):
    """The detections of one class."""

    category: str
    scores: np.ndarray
    claimed: np.ndarray  # objects, as metrics.claims gives them
    objects: int  # how many there are to find


class DetectionMeter:
    """Collects the strongest boxes of every image; suppression and matching follow when the subset is complete.

    mAP is over the classes with an object in the subset that is not difficult; their number is the score `classes`.
    """

    def __init__(self, categories: tuple[str, ...]) -> None:
        self.categories = categories
        self.found: list[regions.Detections] = []
        self.truth_boxes: list[np.ndarray] = []
        self.truth_groups: list[np.ndarray] = []
        self.truth_difficult: list[np.ndarray] = []
        self.ranked: list[_Ranked] | None = None

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add a batch; of an image's regions (proposals, then annotated boxes) the proposals alone are detections."""
        assert batch.regions is not None
        probability = prediction["probability"].cpu().numpy()
        offsets = prediction["offsets"].cpu().numpy()
        boxes = batch.regions[:, 1:].cpu().numpy()
        first = 0
        for sample in batch.samples:
            assert sample.proposals is not None and sample.boxes is not None
            rows = slice(first, first + len(sample.proposals))
            first += len(sample.proposals) + len(sample.boxes)
            if "detection" in sample.labels:
                self._add_truth(sample.boxes, sample.labels["detection"], sample.difficult)
                self._add_found(probability[rows, 1:], offsets[rows], boxes[rows], sample.image.shape)
        assert first == len(boxes), "an evaluation has the regions of every image: proposals, then annotated boxes"
        self.ranked = None

    def _add_truth(self, boxes: np.ndarray, labels: np.ndarray, difficult: np.ndarray | None) -> None:
        image = len(self.found)
        self.truth_boxes.append(boxes)
        self.truth_groups.append(image * len(self.categories) + labels.astype(np.int64))
        self.truth_difficult.append(np.zeros(len(boxes), dtype=bool) if difficult is None else difficult)

    def _add_found(self, scores: np.ndarray, offsets: np.ndarray, boxes: np.ndarray, shape: tuple[int, ...]) -> None:
        row, category = regions.strongest(scores)
        decoded = regions.clip(regions.decode(boxes[row], offsets[row, category]), shape[0], shape[1])
        image = np.full(len(row), len(self.found))
        self.found.append(regions.Detections(image, category, scores[row, category], decoded))

    def scores(self) -> list[Score]:
        """mAP, the number of classes that it is over, and the AP of each of them."""
        values = [metrics.detection_average_precision(r.scores, r.claimed, r.objects) for r in self._rank()]
        return [
            Score("mAP", "", metrics.mean_over(values)),
            Score("classes", "", float(len(values))),
            *(Score("AP", r.category, value) for r, value in zip(self._rank(), values, strict=True)),
        ]

    def chance(self) -> list[Score]:
        """95th percentile of mAP and of each AP when the scores of the remaining boxes are permuted within a class."""
        rng = np.random.default_rng(0)
        shuffled = [metrics.shuffled_average_precision(r.claimed, r.objects, rng) for r in self._rank()]
        mean, each = metrics.chance_level(shuffled)
        named = zip(self._rank(), each, strict=True)
        return [Score("mAP", "", mean), *(Score("AP", r.category, float(value)) for r, value in named)]

    def _rank(self) -> list[_Ranked]:
        """The detections of every class that has objects, matched to them."""
        if self.ranked is None:
            images, classes = len(self.found), len(self.categories)
            kept = regions.per_class_nms(regions.join(self.found), images)
            truth = np.concatenate([np.zeros((0, 4), np.float32), *self.truth_boxes])
            groups = np.concatenate([np.zeros(0, np.int64), *self.truth_groups])
            difficult = np.concatenate([np.zeros(0, bool), *self.truth_difficult])
            best, overlap = regions.best_in_group(kept.box, kept.image * classes + kept.category, truth, groups)
            claimed = metrics.claims(best, overlap, difficult)
            objects = np.bincount(groups[~difficult] % classes, minlength=classes)
            self.ranked = [
                _Ranked(name, kept.score[kept.category == c], claimed[kept.category == c], int(objects[c]))
                for c, name in enumerate(self.categories)
                if objects[c]
            ]
        return self.ranked
