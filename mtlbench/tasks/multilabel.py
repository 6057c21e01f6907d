"""Multi-label classification of whole images: independent yes/no questions about an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.contracts import Batch, Metric, Sample, Score, Subset
from mtlbench.tasks._heads import linear_head
from mtlbench.tasks._words import CROSS, INK, RIGHT, WRONG, draw_under
from mtlbench.vision import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes


UNLABELLED = 255
THRESHOLD = 0.5
AT_LEAST = 3  # predicted labels of an image that are shown (ours)
SHOWN = 8  # at most (ours)


class Multilabel:
    """One sigmoid a category; labels are 0 or 1 a category, 255 where that one is not known.

    `mAP` is the mean, over the categories with a positive in the subset, of scikit-learn's average precision (the area
    under the steps, not 11 points); `F1` the mean of their F1 at a probability of 0.5. `chance`: of mAP and AP the 95th
    percentile under permuted scores, as for `attributes`; of F1 yes everywhere; `base_rate` is the mean share of yes.
    """

    version = 1
    form = "image"
    weight = 1.0
    metrics = {
        "mAP": Metric("%", True),
        "F1": Metric("%", True),
        "AP": Metric("%", True),  # of each category
        "categories": Metric("count", True),  # that mAP and F1 are over
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
        """Labels do not change."""
        return label

    def head(self, channels: int) -> nn.Module:
        """Linear `B C` -> `B K` that starts N(0, .01), bias 0."""
        return linear_head(channels, len(self.categories))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Sigmoid cross-entropy of `B K` in nats, averaged over the labelled entries of all images."""
        labels, labelled = batch.labels["multilabel"], _find_labelled(batch)
        goal = labels.float().masked_fill(~labelled, 0.0)
        entries = F.binary_cross_entropy_with_logits(output.float(), goal, reduction="none")
        return (entries * labelled).sum() / labelled.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """The labelled entries."""
        return _find_labelled(batch).sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `B K` of yes."""
        return {"probability": output.float().sigmoid()}

    def meter(self) -> MultilabelMeter:
        """An empty meter."""
        return MultilabelMeter(self.categories)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """The probabilities `K` float16 of one image."""
        return prediction["probability"][0].cpu().numpy().astype(np.float16)

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """The image, and under it what is true of it, or the likeliest of what was kept: as many as are true (3 to 8),
        right ones in green and wrong ones in red with a cross."""
        label = sample.labels.get("multilabel", np.full(len(self.categories), UNLABELLED, np.uint8))
        true = np.flatnonzero(label == 1)
        if kept is None:
            empty = "not labelled" if (label == UNLABELLED).all() else "none"
            more = [f"and {len(true) - SHOWN} more"] if len(true) > SHOWN else []
            names = [self.categories[k] for k in true[:SHOWN]] + more
            draw_under(axes, sample.image, [(name, INK) for name in names or [empty]])
            return
        likeliest = np.argsort(-kept, kind="stable")[: min(SHOWN, max(AT_LEAST, len(true)))]
        draw_under(axes, sample.image, [self._word(int(k), int(label[k])) for k in likeliest])

    def _word(self, category: int, label: int) -> tuple[str, str]:
        """A predicted category and its colour."""
        name = self.categories[category]
        return (name, INK) if label == UNLABELLED else (name, RIGHT) if label else (CROSS + name, WRONG)


def _find_labelled(batch: Batch) -> Tensor:
    """`B K` bool: what is known."""
    return (batch.labels["multilabel"] != UNLABELLED) & batch.masks["multilabel"][:, None]


class MultilabelMeter:
    """Scores of the labelled entries of a subset, from scikit-learn."""

    def __init__(self, categories: tuple[str, ...]) -> None:
        self.categories = categories
        self.probability = [np.zeros((0, len(categories)), dtype=np.float32)]
        self.labels = [np.zeros((0, len(categories)), dtype=np.uint8)]

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add a batch."""
        self.probability.append(prediction["probability"].cpu().numpy())
        labels = batch.labels["multilabel"].masked_fill(~_find_labelled(batch), UNLABELLED)
        self.labels.append(labels.cpu().numpy().astype(np.uint8))

    def _columns(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Name, probabilities and truth (bool) of each category with a positive, over its labelled images."""
        scores, labels = np.concatenate(self.probability), np.concatenate(self.labels)
        known = [(name, labels[:, k] != UNLABELLED, k) for k, name in enumerate(self.categories)]
        columns = [(name, scores[rows, k], labels[rows, k] == 1) for name, rows, k in known]
        return [column for column in columns if column[2].any()]

    def scores(self) -> list[Score]:
        """mAP and F1, the number of categories that they are over, and the AP of each of these."""
        columns = self._columns()
        values = [average_precision(scores, labels) for _, scores, labels in columns]
        f1 = [f1_of(scores >= THRESHOLD, labels) for _, scores, labels in columns]
        return [
            Score("mAP", "", metrics.mean_over(values)),
            Score("F1", "", metrics.mean_over(f1)),
            Score("categories", "", float(len(columns))),
            *(Score("AP", column[0], value) for column, value in zip(columns, values, strict=True)),
        ]

    def chance(self) -> list[Score]:
        """Of predictions that have nothing to do with the images."""
        rng, columns = np.random.default_rng(0), self._columns()
        shuffled = [
            np.array([average_precision(rng.permutation(len(labels)), labels) for _ in range(metrics.PERMUTATIONS)])
            for _, _, labels in columns
        ]
        mean, each = metrics.chance_level(shuffled)
        yes = [f1_of(np.ones_like(labels), labels) for _, _, labels in columns]
        return [
            Score("mAP", "", mean),
            Score("F1", "", metrics.mean_over(yes)),
            Score("base_rate", "", metrics.mean_over([100.0 * float(labels.mean()) for _, _, labels in columns])),
            *(Score("AP", column[0], float(value)) for column, value in zip(columns, each, strict=True)),
        ]


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Of scores `N` and truth `N` bool with a positive, in percent."""
    from sklearn.metrics import average_precision_score  # takes a second

    return 100 * float(average_precision_score(labels, scores))


def f1_of(guess: np.ndarray, labels: np.ndarray) -> float:
    """Of guesses `N` and truth `N` bool with a positive, in percent."""
    from sklearn.metrics import f1_score

    return 100 * float(f1_score(labels, guess, zero_division=0.0))
