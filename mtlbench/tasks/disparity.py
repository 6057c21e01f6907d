"""Inverse depth, as the disparity of two cameras, in whatever unit the data set has it (Liu, Johns and Davison 2019).

0, below 0 and NaN = invalid. Far things are near 0, where relative errors are large: a mean of them says little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from mtlbench.contracts import Batch, Meter, Metric, Sample, Subset
from mtlbench.tasks import _amounts
from mtlbench.tasks._batch_means import check_batches, measure
from mtlbench.tasks._heads import dense_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Disparity:
    """Regression of inverse depth at every pixel by its mean absolute error; the scores are the inverse depth itself.

    Metrics are over all valid pixels of a subset together, or, with `batches` = N, means over batches of N images.
    `chance`: for each metric the constant that is best for it on train. Raises UserError for a wrong option.
    """

    version = 1
    form = "fcn"
    weight = 1.0
    metrics = {
        "absolute": Metric("1/100", False),  # mean |d - t|, times 100, so that a decimal or two say enough
        "relative": Metric("%", False),  # mean |d - t| / t
    }
    headline = "absolute"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any], batches: int = 0) -> None:
        check_batches("disparity", batches)
        self.batches = batches
        self.far, self.constants = float(facts["far"]), {name: float(d) for name, d in facts["constants"].items()}

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """`constants`, the best constant of each metric, and `far`, where colours end, of up to 200 000 valid pixels of
        up to 200 images. Raises UserError where train has none."""
        amounts = _amounts.sample_amounts("disparity", train, "numbers above 0")
        best = _amounts.best_constants(amounts)
        return {
            "far": round(float(np.percentile(amounts, _amounts.DRAWN_SHARE)), 6),
            "constants": {name: round(best[name], 6) for name in Disparity.metrics},
        }

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """`H W` flipped left to right."""
        return np.ascontiguousarray(label[:, ::-1])

    def head(self, channels: int) -> nn.Module:
        """1x1 convolution `B C H W` -> `B 1 H W` that starts at 0."""
        return dense_head(channels, 1)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean absolute error of `B 1 H W` at full resolution over the valid pixels of the labelled images."""
        return _amounts.absolute_loss(output[:, 0].float(), batch, "disparity")

    def count(self, batch: Batch) -> Tensor:
        """Valid pixels of the labelled images."""
        return _amounts.find_valid(batch, "disparity").sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`disparity` `B H W`."""
        return {"disparity": output[:, 0].float()}

    def meter(self) -> Meter:
        """An empty meter."""
        return measure(lambda: _amounts.AmountMeter("disparity", self.constants), self.batches)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """`H W` float16, every n-th pixel (the longest side <= 320)."""
        return _amounts.keep_amounts(prediction["disparity"][0])

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """Inverse depth as colours, near things bright; black = invalid."""
        amounts = sample.labels["disparity"] if kept is None else kept
        _amounts.draw_amounts(axes, sample.image.shape[:2], amounts, self.far, "viridis")
