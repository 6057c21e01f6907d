"""What tasks that give a number above 0 at each pixel have in common; labels of 0, below 0 and NaN = invalid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mtlbench.contracts import Batch, Score, Subset
from mtlbench.errors import UserError
from mtlbench.tasks._maps import thin_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FIT_IMAGES = 200  # ours
FIT_PIXELS = 200_000  # ours
STEP = 1.25  # of the shares of pixels within a factor (Ladicky et al. 2014, Eigen et al. 2014)
POWERS = {"delta_1": 1, "delta_2": 2, "delta_3": 3}  # of STEP
LEAST = 1e-3  # what metrics of ratios and logarithms take for a guess that is smaller (ours)
DRAWN_SHARE = 98  # percent of train's pixels that are not further than the last colour (ours)


def sample_amounts(name: str, train: Subset, unit: str) -> np.ndarray:
    """Up to 200 000 valid pixels of up to 200 images (seeded: always the same), sorted, `N` float64.

    Raises UserError where train has none.
    """
    rng = np.random.default_rng(0)
    chosen = range(0, len(train), max(1, -(-len(train) // FIT_IMAGES)))
    found = [np.zeros(0)]
    for index in chosen:
        label = train[index].labels.get(name)
        if label is not None:
            valid = label[np.isfinite(label) & (label > 0)].astype(np.float64)
            share = min(len(valid), FIT_PIXELS // len(chosen))
            found.append(valid[rng.choice(len(valid), share, replace=False)])
    amounts = np.sort(np.concatenate(found))
    if not len(amounts):
        raise UserError(f"{name}: the train subset has no valid {name} ({unit}); look at its {name} files")
    return amounts


def find_valid(batch: Batch, name: str) -> Tensor:
    """`B H W` bool: pixels with an amount, in the images that are labelled."""
    amount = batch.labels[name]
    return amount.isfinite() & (amount > 0) & batch.masks[name][:, None, None]


def absolute_loss(guess: Tensor, batch: Batch, name: str) -> Tensor:
    """Mean absolute error of `B H W` over the valid pixels; 0 where there are none."""
    valid = find_valid(batch, name)
    truth = torch.where(valid, batch.labels[name].float(), 1.0)  # NaN times 0 would be NaN
    return torch.where(valid, (guess - truth).abs(), 0.0).sum() / valid.sum().clamp(min=1)


class AmountMeter:
    """Sums of errors over all valid pixels of a subset, in 64 bits image by image: the same for any size of batches.

    `constants`: {metric: the amount that is best for it on train}, of the metrics that `error_sum` knows.
    """

    def __init__(self, name: str, constants: dict[str, float]) -> None:
        self.name, self.constants = name, constants
        self.pixels = 0
        self.sums = dict.fromkeys(constants, 0.0)
        self.sums_of_constants = dict.fromkeys(constants, 0.0)

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the valid pixels of a batch."""
        valid, guesses = find_valid(batch, self.name).cpu(), prediction[self.name].cpu()
        for guess, label, mask in zip(guesses, batch.labels[self.name].cpu(), valid, strict=True):
            truth, own = label[mask].double(), guess[mask].double()
            self.pixels += len(truth)
            for metric, constant in self.constants.items():
                self.sums[metric] += error_sum(metric, own, truth)
                self.sums_of_constants[metric] += error_sum(metric, torch.full_like(truth, constant), truth)

    def scores(self) -> list[Score]:
        """All metrics, over the valid pixels."""
        return self._scores(self.sums)

    def chance(self) -> list[Score]:
        """For each metric, what the constant that is best for it on train gets here."""
        return self._scores(self.sums_of_constants)

    def _scores(self, sums: dict[str, float]) -> list[Score]:
        pixels = self.pixels or float("nan")
        means = {metric: total / pixels for metric, total in sums.items()}
        means |= {metric: math.sqrt(means[metric]) for metric in ("rmse", "log_rmse") if metric in means}
        return [Score(name, "", 100 * value) for name, value in means.items()]  # hundredths and percent


def keep_amounts(amounts: Tensor) -> np.ndarray:
    """Every n-th pixel of `H W` (the longest side <= 320), float16."""
    kept: np.ndarray = thin_out(amounts).cpu().numpy().astype(np.float16)
    return kept


def draw_amounts(axes: Axes, size: tuple[int, int], amounts: np.ndarray, far: float, colours: str) -> np.ndarray:
    """Amounts as colours from 0 to `far` on an image of `size`, black = invalid; the valid ones are returned."""
    import matplotlib

    height, width = size
    amounts = np.asarray(amounts, dtype=np.float32)
    shown = np.ma.masked_where(~(np.isfinite(amounts) & (amounts > 0)), amounts)
    chosen = matplotlib.colormaps[colours].with_extremes(bad="black")
    axes.imshow(shown, cmap=chosen, vmin=0, vmax=far, extent=(0, width, height, 0), interpolation="nearest")
    valid: np.ndarray = shown.compressed()
    return valid


def best_constants(amounts: np.ndarray) -> dict[str, float]:
    """{metric: the amount that is best for it everywhere}, of sorted amounts `N` above 0.

    >>> best_constants(np.array([1.0, 2.0, 4.0]))["rmse"].__round__(3)
    2.333
    """
    logs, inverse = np.log(amounts), np.cumsum(1 / amounts)
    best = {
        "absolute": float(np.median(amounts)),
        "relative": float(amounts[np.searchsorted(inverse, inverse[-1] / 2)]),  # the median by weights 1 / amount
        "rmse": float(amounts.mean()),
        "log_rmse": float(np.exp(logs.mean())),
    }
    for name, power in POWERS.items():  # the amounts that one constant reaches lie in a window of logarithms
        ends = np.searchsorted(logs, logs + 2 * power * math.log(STEP))
        first = int(np.argmax(ends - np.arange(len(logs))))
        best[name] = math.sqrt(amounts[first] * amounts[ends[first] - 1])
    return best


def error_sum(metric: str, guess: Tensor, truth: Tensor) -> float:
    """What a metric is the mean of (or the root of the mean), summed over pixels: amounts `N` float64.

    >>> error_sum("delta_1", torch.tensor([1.0, 2.0]), torch.tensor([1.2, 2.5]))
    1.0
    """
    ratio = guess.clamp(min=LEAST)
    if metric == "absolute":
        terms = (guess - truth).abs()
    elif metric == "relative":
        terms = (guess - truth).abs() / truth
    elif metric == "rmse":
        terms = (guess - truth).square()
    elif metric == "log_rmse":
        terms = (ratio.log() - truth.log()).square()
    else:
        terms = (torch.maximum(ratio / truth, truth / ratio) < STEP ** POWERS[metric]).double()
    return float(terms.sum())
