"""Depth in metres along the view axis (Eigen et al. 2014; Liu, Johns and Davison 2019).

0, below 0 and NaN = invalid. The network gives log depth, as that of Eigen et al., so that no prediction is negative.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlbench.contracts import Batch, Meter, Metric, Sample, Subset
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.tasks._amounts import (
    DRAWN_SHARE,
    AmountMeter,
    absolute_loss,
    best_constants,
    draw_amounts,
    find_valid,
    keep_amounts,
    sample_amounts,
)
from mtlbench.tasks._batch_means import check_batches, measure
from mtlbench.tasks._heads import dense_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LOSSES = ("absolute", "scale_invariant")
OUTPUTS = ("log", "metres")
NEAREST, FURTHEST = 1e-3, 1e4  # metres: exponentials are kept between them (ours)
LEAST_SPREAD = 0.01  # of log depth in train, so that one depth everywhere can be learned (ours)


class Depth:
    """Regression of log depth at every pixel; its scores are standard deviations of train's log depth from its mean.

    `loss`: "absolute", the mean error in metres (L1, Liu et al. 2019 and those who follow their protocol), or
    "scale_invariant", equation 4 of Eigen et al. 2014 with `invariance` for their lambda (0.5 as theirs; 0 = squared
    error of log depth, 1 = a common factor on an image costs nothing). `output`: "log", or "metres", whose scores are
    the depth itself, of any sign (Liu et al. 2019). Metrics are over all valid pixels of a subset together, as in Eigen
    et al. and LibMTL, not means of images or batches: a pixel counts the same in an image with few valid ones and in
    any size of batches; with `batches` = N they are means over batches of N images. The headline is the first metric of
    Liu et al.'s protocol. `chance`: for each metric the constant that is best for it on train. Raises UserError for
    other options.
    """

    version = 1
    form = "fcn"
    weight = 1.0
    metrics = {
        "absolute": Metric("cm", False),  # mean |d - t|; cm, so that a decimal says enough
        "relative": Metric("%", False),  # mean |d - t| / t
        "rmse": Metric("cm", False),
        "log_rmse": Metric("%", False),  # 100 times that of natural logarithms
        "delta_1": Metric("%", True),  # max(d / t, t / d) < 1.25
        "delta_2": Metric("%", True),  # < 1.25 ** 2
        "delta_3": Metric("%", True),  # < 1.25 ** 3
    }
    headline = "absolute"

    def __init__(
        self,
        categories: tuple[str, ...],
        facts: dict[str, Any],
        loss: str = "absolute",
        invariance: float = 0.5,
        output: str = "log",
        batches: int = 0,
    ) -> None:
        if loss not in LOSSES:
            raise make_unknown("loss of depth", loss, LOSSES)
        if output not in OUTPUTS:
            raise make_unknown("output of depth", output, OUTPUTS)
        if not 0 <= invariance <= 1:
            raise UserError(f"depth: invariance is {invariance}; give a number from 0 to 1")
        if (loss, output) == ("scale_invariant", "metres"):
            raise UserError("depth: loss scale_invariant is one of log depth; leave output=metres out")
        check_batches("depth", batches)
        self.kind, self.invariance, self.output, self.batches = loss, invariance, output, batches
        self.log_mean, self.log_spread = float(facts["log_mean"]), float(facts["log_spread"])
        self.far, self.constants = float(facts["far"]), {name: float(d) for name, d in facts["constants"].items()}

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """Of up to 200 000 valid pixels of up to 200 images (seeded: always the same): `log_mean` and `log_spread` of
        log depth, `constants`, the best constant of each metric in metres, and `far`, where colours end, in metres.

        Raises UserError where train has no valid depth.
        """
        depths = sample_amounts("depth", train, "metres above 0")
        logs = np.log(depths)
        return {
            "log_mean": round(float(logs.mean()), 6),
            "log_spread": round(max(float(logs.std()), LEAST_SPREAD), 6),
            "far": round(float(np.percentile(depths, DRAWN_SHARE)), 3),
            "constants": {name: round(constant, 4) for name, constant in best_constants(depths).items()},
        }

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """`H W` flipped left to right."""
        return np.ascontiguousarray(label[:, ::-1])

    def head(self, channels: int) -> nn.Module:
        """1x1 convolution `B C H W` -> `B 1 H W` that starts at 0: the mean log depth of train, or 0 metres."""
        return dense_head(channels, 1)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Of `B 1 H W` at full resolution, over the valid pixels of the labelled images: metres or squared logarithms.

        The scale-invariant loss is of an image; images count by their valid pixels.
        """
        if self.output == "metres":
            return absolute_loss(output[:, 0].float(), batch, "depth")
        logs = self._log_depth(output)
        if self.kind == "absolute":
            return absolute_loss(logs.exp(), batch, "depth")
        valid = find_valid(batch, "depth")
        truth = torch.where(valid, batch.labels["depth"].float(), 1.0)
        errors = torch.where(valid, logs - truth.log(), 0.0).flatten(1)
        pixels = valid.flatten(1).sum(dim=1).clamp(min=1)
        total = (errors.square().sum(dim=1) - self.invariance * errors.sum(dim=1).square() / pixels).sum()
        return total / valid.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """Valid pixels of the labelled images."""
        return find_valid(batch, "depth").sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`depth` `B H W` in metres: of log depth from 1 mm to 10 km."""
        if self.output == "metres":
            return {"depth": output[:, 0].float()}
        return {"depth": self._log_depth(output).clamp(math.log(NEAREST), math.log(FURTHEST)).exp()}

    def meter(self) -> Meter:
        """An empty meter."""
        return measure(lambda: AmountMeter("depth", self.constants), self.batches)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """`H W` float16, the metres of every n-th pixel (the longest side <= 320)."""
        return keep_amounts(prediction["depth"][0])

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """Metres as colours from 0, bright, to where nearly all of train lies, dark, with their range in words; black =
        invalid."""
        height, width = sample.image.shape[:2]
        depth = sample.labels["depth"] if kept is None else kept
        shown = draw_amounts(axes, (height, width), depth, self.far, "viridis_r")
        if len(shown):
            axes.annotate(
                f"{shown.min():.1f} to {shown.max():.1f} m",
                (0.03 * width, 0.97 * height),
                va="bottom",
                fontsize=7,
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.7, "linewidth": 0},
            )

    def _log_depth(self, output: Tensor) -> Tensor:
        """`B H W`, natural logarithm of metres, of scores `B 1 H W`."""
        return self.log_mean + self.log_spread * output[:, 0].float()
