"""Classification of whole images: one class an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.contracts import Batch, Metric, Sample, Score, Subset
from mtlbench.tasks._heads import linear_head
from mtlbench.tasks._words import CROSS, INK, RIGHT, WRONG, draw_under

if TYPE_CHECKING:
    from matplotlib.axes import Axes


IGNORED = (-1, 255)
SHOWN = 3  # of the likeliest classes


class Classification:
    """Softmax over the categories; labels -1 and 255 are not labelled.

    The headline is `balanced_accuracy`, the mean of the recalls of the classes that the subset has: where one class is
    frequent, `accuracy` says little. `chance`: the most frequent class of train everywhere, and for `log_loss`
    the shares of train's classes (each counted once more, so that none is impossible).
    """

    version = 1
    form = "image"
    weight = 1.0
    metrics = {
        "accuracy": Metric("%", True),
        "balanced_accuracy": Metric("%", True),
        "log_loss": Metric("nats", False),
        "recall": Metric("%", True),  # of each class
    }
    headline = "balanced_accuracy"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any]) -> None:
        self.categories, self.counts = categories, tuple(int(count) for count in facts["counts"])

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """`counts`: images of each class."""
        samples = (train[index] for index in range(len(train)))
        found = [int(one.labels["classification"]) for one in samples if "classification" in one.labels]
        labels = np.array(found, dtype=np.int64)
        known = labels[~np.isin(labels, IGNORED)]
        return {"counts": np.bincount(known, minlength=len(categories)).tolist()}

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """A class does not change."""
        return label

    def head(self, channels: int) -> nn.Module:
        """Linear `B C` -> `B K` that starts N(0, .01), bias 0."""
        return linear_head(channels, len(self.categories))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of `B K` in nats, averaged over the labelled images."""
        labelled = _find_labelled(batch)
        labels = batch.labels["classification"].long().masked_fill(~labelled, IGNORED[0])
        total = F.cross_entropy(output.float(), labels, ignore_index=IGNORED[0], reduction="sum")
        return total / labelled.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """The labelled images."""
        return _find_labelled(batch).sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `B K`."""
        return {"probability": output.float().softmax(dim=1)}

    def meter(self) -> ClassificationMeter:
        """An empty meter."""
        return ClassificationMeter(self.categories, self.counts)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """The probabilities `K` float16 of one image."""
        return prediction["probability"][0].cpu().numpy().astype(np.float16)

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """The image, and under it its class, or the likeliest ones of what was kept: the first in green where it is
        right, in red with a cross where it is wrong."""
        label = int(sample.labels.get("classification", IGNORED[0]))
        if kept is None:
            draw_under(axes, sample.image, [(self._name(label), INK)])
            return
        likeliest = np.argsort(-kept, kind="stable")[:SHOWN]
        words = [(f"{self.categories[k]} {100 * float(kept[k]):.0f} %", INK) for k in likeliest]
        if label not in IGNORED:
            first = words[0][0]
            words[0] = (first, RIGHT) if likeliest[0] == label else (CROSS + first, WRONG)
        draw_under(axes, sample.image, words)

    def _name(self, label: int) -> str:
        return "not labelled" if label in IGNORED else self.categories[label]


def _find_labelled(batch: Batch) -> Tensor:
    """`B` bool: images with a class."""
    labels = batch.labels["classification"]
    return (labels != IGNORED[0]) & (labels != IGNORED[1]) & batch.masks["classification"]


class ClassificationMeter:
    """Scores of the labelled images of a subset, from scikit-learn; the first of the highest probabilities wins."""

    def __init__(self, categories: tuple[str, ...], counts: tuple[int, ...]) -> None:
        self.categories, self.counts = categories, counts
        self.probability = [np.zeros((0, len(categories)))]
        self.labels = [np.zeros(0, dtype=np.int64)]

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the labelled images of a batch."""
        labelled = _find_labelled(batch).cpu()
        self.probability.append(prediction["probability"].cpu()[labelled].double().numpy())
        self.labels.append(batch.labels["classification"].cpu()[labelled].long().numpy())

    def scores(self) -> list[Score]:
        """All metrics, and the recall of each class that the subset has."""
        return self._scores(np.concatenate(self.probability))

    def chance(self) -> list[Score]:
        """Of who knows the counts of train alone."""
        images = sum(map(len, self.labels))
        shares = (np.array(self.counts) + 1) / (sum(self.counts) + len(self.counts))
        return self._scores(np.tile(shares, (images, 1)))

    def _scores(self, probability: np.ndarray) -> list[Score]:
        from sklearn.metrics import log_loss, recall_score  # takes a second

        truth = np.concatenate(self.labels)
        if not len(truth):
            return [Score(name, "", float("nan")) for name in self._whole]
        guess, present = probability.argmax(axis=1), np.unique(truth)
        recalls = 100 * recall_score(truth, guess, labels=present, average=None)
        classes = range(len(self.categories))
        loss = log_loss(truth, probability / probability.sum(axis=1, keepdims=True), labels=classes)
        return [
            Score("accuracy", "", 100 * float((guess == truth).mean())),
            Score("balanced_accuracy", "", float(recalls.mean())),
            Score("log_loss", "", float(loss)),
            *(Score("recall", self.categories[k], float(one)) for k, one in zip(present, recalls, strict=True)),
        ]

    @property
    def _whole(self) -> tuple[str, ...]:
        """The metrics that are of the task as a whole."""
        return ("accuracy", "balanced_accuracy", "log_loss")
