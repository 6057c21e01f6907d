"""Saliency: whether a pixel belongs to what catches the eye (Maninis et al. 2019, Vandenhende et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.contracts import Batch, Metric, Sample, Score, Subset
from mtlbench.tasks._heads import dense_head
from mtlbench.tasks._maps import find_labelled, thin_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes


BINS = 20  # of probability: thresholds are .05, .10 .. .95 (Bruggemann et al. 2021, ATRC)
OF_IOU = slice(3, 18)  # thresholds .20 to .90 (Vandenhende et al. 2021)
BETA_SQUARED = 0.3  # of F (Bruggemann et al. 2021)


class Saliency:
    """A sigmoid at every pixel; labels are 0 or 1, 255 is ignored.

    `maxF` is the best F with beta squared = .3 over 19 thresholds, of precision and recall over all pixels of a subset
    (Bruggemann et al. 2021); `IoU` the best, over 15 thresholds, of the mean over images of the IoU of what is salient,
    100 % where nothing is and nothing was found (Vandenhende et al. 2021). `chance`: all pixels salient, or none.
    """

    version = 1
    form = "fcn"
    weight = 1.0
    metrics = {"maxF": Metric("%", True), "IoU": Metric("%", True)}
    headline = "maxF"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any]) -> None:
        """Neither categories nor facts are needed."""

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """Nothing is taken from train."""
        return {}

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """`H W` flipped left to right."""
        return np.ascontiguousarray(label[:, ::-1])

    def head(self, channels: int) -> nn.Module:
        """1x1 convolution `B C H W` -> `B 1 H W` that starts at 0."""
        return dense_head(channels, 1)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Binary cross-entropy of `B 1 H W` at full resolution over the labelled pixels of the labelled images."""
        labelled = find_labelled(batch, "saliency")
        truth = (batch.labels["saliency"] == 1).float()
        each = F.binary_cross_entropy_with_logits(output[:, 0].float(), truth, reduction="none")
        return torch.where(labelled, each, 0.0).sum() / labelled.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """Labelled pixels of the labelled images."""
        return find_labelled(batch, "saliency").sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`salient` `B H W`, a probability."""
        return {"salient": output[:, 0].float().sigmoid()}

    def meter(self) -> SaliencyMeter:
        """An empty meter."""
        return SaliencyMeter()

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """`H W` uint8, 255 times the probability at every n-th pixel (the longest side <= 320)."""
        return (255 * thin_out(prediction["salient"][0])).round().byte().cpu().numpy()

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """The probability from black to white; what is not labelled is black."""
        height, width = sample.image.shape[:2]
        shown = 255 * (sample.labels["saliency"] == 1).astype(np.uint8) if kept is None else kept
        axes.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), interpolation="nearest")


class SaliencyMeter:
    """Of each image, how many pixels are found and how many of these are salient, at each threshold."""

    def __init__(self) -> None:
        self.found = [np.zeros((0, BINS - 1), np.int64)]
        self.hits = [np.zeros((0, BINS - 1), np.int64)]
        self.salient, self.pixels = list[int](), list[int]()

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the labelled pixels of a batch, image by image."""
        for guess, label, mask in zip(
            prediction["salient"].cpu(),
            batch.labels["saliency"].cpu(),
            find_labelled(batch, "saliency").cpu(),
            strict=True,
        ):
            if not mask.any():
                continue
            truth = label[mask] == 1
            bins = (guess[mask].double() * BINS + 1e-6).long().clamp(0, BINS - 1)  # .05 is in the bin that it begins
            counts = torch.bincount(bins + BINS * truth, minlength=2 * BINS).view(2, BINS).numpy()
            above = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
            self.found.append(above.sum(axis=0)[None])
            self.hits.append(above[1][None])
            self.salient.append(int(truth.sum()))
            self.pixels.append(len(truth))

    def scores(self) -> list[Score]:
        """Both metrics, over the labelled pixels."""
        return _scores(np.concatenate(self.found), np.concatenate(self.hits), np.array(self.salient))

    def chance(self) -> list[Score]:
        """For each metric, the better of finding every pixel and none."""
        pixels, salient = (
            np.array(counts, np.int64)[:, None].repeat(BINS - 1, 1) for counts in (self.pixels, self.salient)
        )
        every, none = (
            _scores(pixels, salient, np.array(self.salient)),
            _scores(0 * pixels, 0 * salient, np.array(self.salient)),
        )
        return [max(pair, key=lambda score: score.value) for pair in zip(every, none, strict=True)]


def _scores(found: np.ndarray, hits: np.ndarray, salient: np.ndarray) -> list[Score]:
    """Both metrics of pixels found `N T`, hits among them `N T` and salient ones `N`, of N images at T thresholds."""
    if not len(salient):
        return [Score("maxF", "", float("nan")), Score("IoU", "", float("nan"))]
    weighed = BETA_SQUARED * salient.sum() + found.sum(axis=0)  # F is (1 + b) TP / (b P + TP + FP)
    f = (1 + BETA_SQUARED) * hits.sum(axis=0) / np.maximum(weighed, 1e-12)
    union = found + salient[:, None] - hits
    iou = np.where(union > 0, hits / np.maximum(union, 1), 1.0).mean(axis=0)[OF_IOU]
    return [Score("maxF", "", 100 * float(f.max())), Score("IoU", "", 100 * float(iou.max()))]
