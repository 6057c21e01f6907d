"""Attributes of objects: independent yes/no questions about a region (Section 6; Farhadi et al. 2009)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.contracts import Batch, Metric, Sample, Score, Subset
from mtlbench.tasks._heads import linear_head
from mtlbench.tasks._words import COLUMNS, CROSS, INK, LINE, RIGHT, WRONG, flow
from mtlbench.vision import drawing, metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


UNLABELLED = 255
LISTED = 4  # boxes of an image, the largest (ours: more text cannot be read)
AT_LEAST = 3  # predicted attributes of a box that are shown (ours)
BOXES = ("#56B4E9", "#E69F00", "#F0E442", "#CC79A7")  # of the listed ones (Okabe and Ito 2008)


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
        return linear_head(channels, len(self.categories))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """1/A x the sum of the attributes' sigmoid cross-entropies (text), averaged over labelled foreground (ours)."""
        labels, rows = batch.labels["attributes"], self._rows(batch)
        by_region = F.binary_cross_entropy_with_logits(output.float(), labels.float(), reduction="none").mean(dim=1)
        return (by_region * rows).sum() / rows.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """The labelled foreground regions."""
        return self._rows(batch).sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `R A` that each attribute is present."""
        return {"probability": output.float().sigmoid()}

    def meter(self) -> AttributesMeter:
        """An empty meter."""
        return AttributesMeter(self.categories)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """The probabilities `n A` float16 of the annotated boxes of one image."""
        (sample,) = batch.samples
        assert sample.proposals is not None
        return prediction["probability"][len(sample.proposals) :].cpu().numpy().astype(np.float16)

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """The image with its largest annotated boxes numbered, and under it the attributes of each.

        The true ones, or the likeliest ones of what was kept: as many as are true, at least 3, right ones in green and
        wrong ones in red with a cross.
        """
        boxes = np.zeros((0, 4), np.float32) if sample.boxes is None else sample.boxes
        labels = sample.labels.get("attributes", np.full((len(boxes), len(self.categories)), UNLABELLED))
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        listed = np.sort(np.argsort(-area, kind="stable")[:LISTED])
        words = flow([self._answer(labels[box], None if kept is None else kept[box]) for box in listed])
        height, width = sample.image.shape[:2]
        letter = width / COLUMNS  # in pixels, as all that follows
        size = letter / drawing.LETTER
        line = LINE * size
        drawing.show_image(axes, sample.image, below=(max((w.line for w in words), default=-1) + 1.5) * line)
        for word in words:
            drawing.write(axes, word.column * letter, height + (word.line + 1) * line, word.text, size, word.colour)
        for number, box in enumerate(listed):
            axes.plot(*drawing.make_outline(boxes[box]), color=BOXES[number], linewidth=1.4)
            first = next(word.line for word in words if word.paragraph == number)
            corner = np.clip(boxes[box, :2], 0, [width - 2 * letter, height - line])
            for x, y in (corner, (0.0, height + first * line + (LINE - 0.85) * size)):
                axes.fill([x, x + 2 * letter, x + 2 * letter, x], [y, y, y + size, y + size], color=BOXES[number])
                drawing.write(axes, x + letter / 2, y + 0.85 * size, str(number + 1), size, INK)

    def _answer(self, label: np.ndarray, probability: np.ndarray | None) -> list[tuple[str, str]]:
        """Names of attributes of one box, each with its colour: the true ones, or the likeliest."""
        labelled = bool((label != UNLABELLED).all())
        true = np.flatnonzero(label == 1) if labelled else np.zeros(0, int)
        if probability is None:
            found = [(self.categories[a], INK) for a in true]
            return found or [("none" if labelled else "not labelled", INK)]
        likeliest = np.argsort(-probability, kind="stable")[: max(AT_LEAST, len(true))]
        if not labelled:
            return [(self.categories[a], INK) for a in likeliest]
        return [(self.categories[a], RIGHT) if label[a] else (CROSS + self.categories[a], WRONG) for a in likeliest]

    def _rows(self, batch: Batch) -> Tensor:
        """`R` bool: labelled foreground."""
        assert batch.foreground is not None
        return batch.foreground & batch.masks["attributes"] & (batch.labels["attributes"] != UNLABELLED).all(dim=1)


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
