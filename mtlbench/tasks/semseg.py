"""Semantic segmentation: one class per pixel (Section 5; Long et al. 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from mtlbench.contracts import Batch, Metric, Sample, Score, Subset
from mtlbench.tasks._heads import dense_head
from mtlbench.tasks._maps import IGNORED, find_labelled, thin_out
from mtlbench.vision import metrics
from mtlbench.vision.drawing import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


NAMED_AREA = 0.015  # share of the picture from which an area is given its name


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
        return dense_head(channels, len(self.categories))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of `B K H W` at full resolution, averaged over the labelled pixels of the labelled images."""
        labelled = find_labelled(batch, "semseg")
        labels = batch.labels["semseg"].long().masked_fill(~labelled, IGNORED)
        total = F.cross_entropy(output.float(), labels, ignore_index=IGNORED, reduction="sum")
        return total / labelled.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """Labelled pixels of the labelled images."""
        return find_labelled(batch, "semseg").sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`probability` `B K H W`."""
        return {"probability": output.float().softmax(dim=1)}

    def meter(self) -> SemsegMeter:
        """An empty meter."""
        return SemsegMeter(self.categories)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """`H W` uint8, the likeliest class of every n-th pixel (the longest side <= 320)."""
        guess = prediction["probability"][0].max(dim=0).indices
        return thin_out(guess).byte().cpu().numpy()

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """The classes as colours with the names on large areas, black = ignored."""
        classes = sample.labels["semseg"] if kept is None else kept
        height, width = sample.image.shape[:2]
        axes.imshow(_colours(classes), extent=(0, width, height, 0), interpolation="nearest")
        rows, columns = classes.shape
        for name, row, column in self._name_areas(classes):
            axes.annotate(
                name,
                ((column + 0.5) * width / columns, (row + 0.5) * height / rows),
                ha="center",
                va="center",
                fontsize=7,
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.7, "linewidth": 0},
            )

    def _name_areas(self, classes: np.ndarray) -> list[tuple[str, int, int]]:
        """Name, row and column of the innermost pixel of each large connected area."""
        found = []
        for label in np.setdiff1d(classes, [IGNORED]):
            areas, _ = ndimage.label(classes == label)
            sizes = np.bincount(areas.ravel())
            for area in np.flatnonzero(sizes[1:] >= NAMED_AREA * classes.size) + 1:
                depth = ndimage.distance_transform_edt(np.pad(areas == area, 1))[1:-1, 1:-1]
                row, column = np.unravel_index(int(depth.argmax()), depth.shape)
                found.append((self.categories[label], int(row), int(column)))
        return found


def _colours(classes: np.ndarray) -> np.ndarray:
    """`H W 3` uint8; IGNORED is black, the palette starts again after 40 classes."""
    palette = np.array([list(bytes.fromhex(colour)) for colour in PALETTE], dtype=np.uint8)
    return np.where((classes == IGNORED)[..., None], np.uint8(0), palette[classes % len(palette)])


class SemsegMeter:
    """Counts `truth prediction` over all labelled pixels of a subset; the highest probability wins."""

    def __init__(self, categories: tuple[str, ...]) -> None:
        self.categories = categories
        self.confusion = np.zeros((len(categories), len(categories)), dtype=np.int64)

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the labelled pixels of a batch."""
        guess = prediction["probability"].max(dim=1).indices  # twice as fast as argmax, the first of equals too
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
