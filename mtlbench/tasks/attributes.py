"""Attributes of objects: independent yes/no questions about a region (Section 6; Farhadi et al. 2009)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench import metrics
from mtlbench.plugins import Batch, Metric, Score, Subset

UNLABELLED = 255


class Attributes:
    """One sigmoid per attribute, trained on foreground regions; a row of 255 is not labelled."""

    version = 1
    form = "roi"
    weight = 1.0
    metrics = {
        "mAP": Metric("%", True),
        "AP": Metric("%", True),
        "attributes": Metric("count", True),
        "base_rate": Metric("%", True),
    }
    headline = "mAP"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any]) -> None:
        self.categories = categories

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """Nothing is taken from train."""
        return {}

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """Attributes do not change."""
        return label

    def head(self, channels: int) -> nn.Module:
        """Linear `R C` -> `R A` that starts N(0, .01), bias 0."""
        linear = nn.Linear(channels, len(self.categories))
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        return linear

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """1/A x the sum of the attributes' sigmoid cross-entropies (text), averaged over labelled foreground (ours)."""
        assert batch.foreground is not None
        labels = batch.labels["attributes"]
        rows = batch.foreground & batch.masks["attributes"] & (labels != UNLABELLED).all(dim=1)
        by_region = F.binary_cross_entropy_with_logits(output.float(), labels.float(), reduction="none").mean(dim=1)
        return (by_region * rows).sum() / rows.sum().clamp(min=1)

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `R A` that each attribute is present."""
        return {"probability": output.float().sigmoid()}

    def meter(self) -> AttributesMeter:
        """An empty meter."""
        return AttributesMeter(self.categories)


class AttributesMeter:
    """Scores of the annotated, labelled boxes of a subset.

    mAP is over the attributes with a positive in the subset; their number is the score `attributes`.
    """

    def __init__(self, categories: tuple[str, ...]) -> None:
        self.categories = categories
        self.probability = [np.zeros((0, len(categories)), dtype=np.float32)]
        self.labels = [np.zeros((0, len(categories)), dtype=bool)]

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add a batch; of an image's regions (proposals, then annotated boxes) the annotated boxes count."""
        probability = prediction["probability"].cpu().numpy()
        end = 0
        for sample in batch.samples:
            assert sample.proposals is not None and sample.boxes is not None
            start = end + len(sample.proposals)
            end = start + len(sample.boxes)
            if "attributes" in sample.labels:
                labels = sample.labels["attributes"]
                labelled = (labels != UNLABELLED).all(axis=1)
                self.probability.append(probability[start:end][labelled])
                self.labels.append(labels[labelled] > 0)
        assert end == len(probability), "an evaluation has the regions of every image: proposals, then annotated boxes"

    def _columns(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Name, scores and truth of each attribute that has a positive."""
        scores, labels = np.concatenate(self.probability), np.concatenate(self.labels)
        return [(name, scores[:, a], labels[:, a]) for a, name in enumerate(self.categories) if labels[:, a].any()]

    def scores(self) -> list[Score]:
        """mAP, the number of attributes that it is over, and the AP of each of them."""
        columns = self._columns()
        values = [metrics.average_precision_11point(scores, labels) for _, scores, labels in columns]
        return [
            Score("mAP", "", metrics.mean_over(values)),
            Score("attributes", "", float(len(columns))),
            *(Score("AP", column[0], value) for column, value in zip(columns, values, strict=True)),
        ]

    def chance(self) -> list[Score]:
        """95th percentile of mAP and of each AP under permuted scores, and the mean `base_rate` of the attributes."""
        rng = np.random.default_rng(0)
        columns = self._columns()
        shuffled = []
        for _, _, labels in columns:
            own_index = np.where(labels, np.arange(len(labels)), -1)
            shuffled.append(metrics.shuffled_average_precision(own_index, int(labels.sum()), rng))
        mean, each = metrics.chance_level(shuffled)
        return [
            Score("mAP", "", mean),
            Score("base_rate", "", metrics.mean_over([100.0 * float(labels.mean()) for _, _, labels in columns])),
            *(Score("AP", column[0], float(value)) for column, value in zip(columns, each, strict=True)),
        ]
