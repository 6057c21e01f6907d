"""Depth in metres along the view axis (Eigen et al. 2014; Liu, Johns and Davison 2019).

0, below 0 and NaN = invalid. The network gives log depth, as that of Eigen et al., so that no prediction is negative.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlbench.contracts import Batch, Metric, Sample, Score, Subset
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.tasks._heads import dense_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FIT_IMAGES = 200  # ours
FIT_PIXELS = 200_000  # ours
LOSSES = ("absolute", "scale_invariant")
STEP = 1.25  # of the shares of pixels within a factor (Ladicky et al. 2014, Eigen et al. 2014)
POWERS = {"delta_1": 1, "delta_2": 2, "delta_3": 3}  # of STEP
NEAREST, FURTHEST = 1e-3, 1e4  # metres: predictions are kept between them (ours)
LEAST_SPREAD = 0.01  # of log depth in train, so that one depth everywhere can be learned (ours)
DRAWN_SHARE = 98  # percent of train's pixels that are not further than the last colour (ours)
KEPT_SIDE = 320  # pixels, at most, of what is kept to be drawn


class Depth:
    """Regression of log depth at every pixel; its scores are standard deviations of train's log depth from its mean.

    `loss`: "absolute", the mean error in metres (L1, Liu et al. 2019 and those who follow their protocol), or
    "scale_invariant", equation 4 of Eigen et al. 2014 with `invariance` for their lambda (0.5 as theirs; 0 = squared
    error of log depth, 1 = a common factor on an image costs nothing). Metrics are over all valid pixels of a subset
    together, as in Eigen et al. and LibMTL, not means of images or batches: a pixel counts the same in an image with
    few valid ones and in any size of batches. The headline is the first metric of Liu et al.'s protocol.
    `chance`: for each metric the constant that is best for it on train. Raises UserError for other options.
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
        self, categories: tuple[str, ...], facts: dict[str, Any], loss: str = "absolute", invariance: float = 0.5
    ) -> None:
        if loss not in LOSSES:
            raise make_unknown("loss of depth", loss, LOSSES)
        if not 0 <= invariance <= 1:
            raise UserError(f"depth: invariance is {invariance}; give a number from 0 to 1")
        self.kind, self.invariance = loss, invariance
        self.log_mean, self.log_spread = float(facts["log_mean"]), float(facts["log_spread"])
        self.far, self.constants = float(facts["far"]), {name: float(d) for name, d in facts["constants"].items()}

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """Of up to 200 000 valid pixels of up to 200 images (seeded: always the same): `log_mean` and `log_spread` of
        log depth, `constants`, the best constant of each metric in metres, and `far`, where colours end, in metres.

        Raises UserError where train has no valid depth.
        """
        rng = np.random.default_rng(0)
        chosen = range(0, len(train), max(1, -(-len(train) // FIT_IMAGES)))
        found = [np.zeros(0)]
        for index in chosen:
            label = train[index].labels.get("depth")
            if label is not None:
                valid = label[np.isfinite(label) & (label > 0)].astype(np.float64)
                share = min(len(valid), FIT_PIXELS // len(chosen))
                found.append(valid[rng.choice(len(valid), share, replace=False)])
        depths = np.sort(np.concatenate(found))
        if not len(depths):
            raise UserError("depth: the train subset has no valid depth (metres above 0); look at its depth files")
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
        """1x1 convolution `B C H W` -> `B 1 H W` that starts at 0, the mean log depth of train."""
        return dense_head(channels, 1)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Of `B 1 H W` at full resolution, over the valid pixels of the labelled images: metres or squared logarithms.

        The scale-invariant loss is of an image; images count by their valid pixels.
        """
        valid, logs = _find_valid(batch), self._log_depth(output)
        truth = torch.where(valid, batch.labels["depth"].float(), 1.0)  # NaN times 0 would be NaN
        if self.kind == "absolute":
            total = torch.where(valid, (logs.exp() - truth).abs(), 0.0).sum()
        else:
            errors = torch.where(valid, logs - truth.log(), 0.0).flatten(1)
            pixels = valid.flatten(1).sum(dim=1).clamp(min=1)
            total = (errors.square().sum(dim=1) - self.invariance * errors.sum(dim=1).square() / pixels).sum()
        return total / valid.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """Valid pixels of the labelled images."""
        return _find_valid(batch).sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`depth` `B H W` in metres, from 1 mm to 10 km."""
        return {"depth": self._log_depth(output).clamp(math.log(NEAREST), math.log(FURTHEST)).exp()}

    def meter(self) -> DepthMeter:
        """An empty meter."""
        return DepthMeter(self.constants)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """`H W` float16, the metres of every n-th pixel (the longest side <= 320)."""
        depth = prediction["depth"][0]
        step = -(-max(depth.shape) // KEPT_SIDE)
        kept: np.ndarray = depth[::step, ::step].cpu().numpy().astype(np.float16)
        return kept

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """Metres as colours from 0, bright, to where nearly all of train lies, dark, with their range in words; black =
        invalid."""
        import matplotlib

        height, width = sample.image.shape[:2]
        depth = np.asarray(sample.labels["depth"] if kept is None else kept, dtype=np.float32)
        shown = np.ma.masked_where(~(np.isfinite(depth) & (depth > 0)), depth)
        colours = matplotlib.colormaps["viridis_r"].with_extremes(bad="black")
        axes.imshow(shown, cmap=colours, vmin=0, vmax=self.far, extent=(0, width, height, 0), interpolation="nearest")
        if shown.count():
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


def best_constants(depths: np.ndarray) -> dict[str, float]:
    """{metric: the depth in metres that is best for it everywhere}, of sorted depths `N` in metres above 0.

    >>> best_constants(np.array([1.0, 2.0, 4.0]))["rmse"].__round__(3)
    2.333
    """
    logs, inverse = np.log(depths), np.cumsum(1 / depths)
    best = {
        "absolute": float(np.median(depths)),
        "relative": float(depths[np.searchsorted(inverse, inverse[-1] / 2)]),  # the median by weights 1 / depth
        "rmse": float(depths.mean()),
        "log_rmse": float(np.exp(logs.mean())),
    }
    for name, power in POWERS.items():  # the depths that one constant reaches lie in a window of log depth
        ends = np.searchsorted(logs, logs + 2 * power * math.log(STEP))
        first = int(np.argmax(ends - np.arange(len(logs))))
        best[name] = math.sqrt(depths[first] * depths[ends[first] - 1])
    return best


def _find_valid(batch: Batch) -> Tensor:
    """`B H W` bool: pixels with a depth, in the images that are labelled."""
    depth = batch.labels["depth"]
    return depth.isfinite() & (depth > 0) & batch.masks["depth"][:, None, None]


class DepthMeter:
    """Sums of errors over all valid pixels of a subset, in 64 bits image by image: the same for any size of batches."""

    def __init__(self, constants: dict[str, float]) -> None:
        self.constants = constants
        self.pixels = 0
        self.sums = dict.fromkeys(Depth.metrics, 0.0)
        self.sums_of_constants = dict.fromkeys(Depth.metrics, 0.0)

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the valid pixels of a batch."""
        valid, guesses = _find_valid(batch).cpu(), prediction["depth"].cpu()
        for guess, label, mask in zip(guesses, batch.labels["depth"].cpu(), valid, strict=True):
            truth, own = label[mask].double(), guess[mask].double()
            self.pixels += len(truth)
            for metric in Depth.metrics:
                self.sums[metric] += error_sum(metric, own, truth)
                constant = torch.full_like(truth, self.constants[metric])
                self.sums_of_constants[metric] += error_sum(metric, constant, truth)

    def scores(self) -> list[Score]:
        """All metrics, over the valid pixels."""
        return self._scores(self.sums)

    def chance(self) -> list[Score]:
        """For each metric, what the constant that is best for it on train gets here."""
        return self._scores(self.sums_of_constants)

    def _scores(self, sums: dict[str, float]) -> list[Score]:
        pixels = self.pixels or float("nan")
        means = {metric: total / pixels for metric, total in sums.items()}
        means |= {metric: math.sqrt(means[metric]) for metric in ("rmse", "log_rmse")}
        return [Score(name, "", 100 * value) for name, value in means.items()]  # centimetres and percent


def error_sum(metric: str, guess: Tensor, truth: Tensor) -> float:
    """What a metric is the mean of (or the root of the mean), summed over pixels: depths `N` float64 in metres.

    >>> error_sum("delta_1", torch.tensor([1.0, 2.0]), torch.tensor([1.2, 2.5]))
    1.0
    """
    if metric == "absolute":
        terms = (guess - truth).abs()
    elif metric == "relative":
        terms = (guess - truth).abs() / truth
    elif metric == "rmse":
        terms = (guess - truth).square()
    elif metric == "log_rmse":
        terms = (guess.log() - truth.log()).square()
    else:
        terms = (torch.maximum(guess / truth, truth / guess) < STEP ** POWERS[metric]).double()
    return float(terms.sum())
