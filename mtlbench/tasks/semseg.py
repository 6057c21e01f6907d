"""Semantic segmentation: one class per pixel (Section 5; Long et al. 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench import metrics
from mtlbench.plugins import Batch, Metric, Score, Subset

IGNORED = 255


class Semseg:
    """Softmax over the categories at every pixel; label 255 is ignored."""

    version = 1
    form = "fcn"
    weight = 1.0
    metrics = {
        "pixacc": Metric("%", True),
        "mIoU": Metric("%", True),
        "fwIoU": Metric("%", True),
        "IoU": Metric("%", True),
    }
    headline = "mIoU"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any]) -> None:
        self.categories = categories

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """Nothing is taken from train."""
        return {}

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """`H W` flipped left to right."""
        return np.ascontiguousarray(label[:, ::-1])

    def head(self, channels: int) -> nn.Module:
        """1x1 convolution `B C H W` -> `B K H W` that starts at 0, as FCN's score layer."""
        score = nn.Conv2d(channels, len(self.categories), 1)
        nn.init.zeros_(score.weight)
        assert score.bias is not None
        nn.init.zeros_(score.bias)
        return score

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of `B K H W` at full resolution, averaged over the labelled pixels of the labelled images."""
        labels = batch.labels["semseg"].long().masked_fill(~batch.masks["semseg"][:, None, None], IGNORED)
        total = F.cross_entropy(output.float(), labels, ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `B K H W`."""
        return {"probability": output.float().softmax(dim=1)}

    def meter(self) -> SemsegMeter:
        """An empty meter."""
        return SemsegMeter(self.categories)


class SemsegMeter:
    """Counts `truth prediction` over all labelled pixels of a subset; the highest probability wins."""

    def __init__(self, categories: tuple[str, ...]) -> None:
        self.categories = categories
        self.confusion = np.zeros((len(categories), len(categories)), dtype=np.int64)

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the labelled pixels of a batch."""
        guess = prediction["probability"].argmax(dim=1)
        truth = batch.labels["semseg"].to(guess.device).long()
        labelled = (truth != IGNORED) & batch.masks["semseg"].to(guess.device)[:, None, None]
        cells = truth[labelled] * len(self.categories) + guess[labelled]
        counts = torch.bincount(cells, minlength=self.confusion.size)
        self.confusion += counts.cpu().numpy().reshape(self.confusion.shape)

    def scores(self) -> list[Score]:
        """All metrics; IoU of the categories that have truth pixels."""
        ious = metrics.iou_per_class(self.confusion)
        return [
            Score("pixacc", "", metrics.pixel_accuracy(self.confusion)),
            Score("mIoU", "", metrics.mean_iou(self.confusion)),
            Score("fwIoU", "", metrics.frequency_weighted_iou(self.confusion)),
            *(Score("IoU", name, float(iou)) for name, iou in zip(self.categories, ious, strict=True) if iou >= 0),
        ]

    def chance(self) -> list[Score]:
        """For each metric (and each category's IoU), the best of the predictors that give every pixel one class."""
        truth = self.confusion.sum(axis=1)
        best: dict[tuple[str, str], float] = {}
        for constant in range(len(self.categories)):
            meter = SemsegMeter(self.categories)
            meter.confusion[:, constant] = truth
            for metric, category, value in meter.scores():
                best[metric, category] = max(best.get((metric, category), value), value)
        return [Score(metric, category, value) for (metric, category), value in best.items()]
