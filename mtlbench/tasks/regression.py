"""Regression: one number an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlbench.contracts import Batch, Metric, Sample, Score, Subset
from mtlbench.plugins import make_unknown
from mtlbench.tasks._words import INK, draw_under

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LOSSES = ("squared", "huber")


class Regression:
    """A number in deviations of train from its mean; NaN is not labelled.

    `loss`: "squared", or "huber", which grows linearly from one standard deviation on and so minds outliers less. The
    headline is `nRMSE`, the root mean squared error in percent of train's standard deviation (about 100 for the mean of
    train): it compares across columns of any unit, and a change of it in percent is one of RMSE. R2 would not do, since
    it may be 0 or below for a weak network, where changes in percent mean nothing. `MAE` and `RMSE` are in the column's
    own unit. `chance`: the mean of train everywhere. Raises UserError for another loss.
    """

    version = 1
    form = "image"
    weight = 1.0
    metrics = {
        "MAE": Metric("", False),
        "RMSE": Metric("", False),
        "nRMSE": Metric("%", False),
        "R2": Metric("%", True),
    }
    headline = "nRMSE"

    def __init__(self, categories: tuple[str, ...], facts: dict[str, Any], loss: str = "squared") -> None:
        if loss not in LOSSES:
            raise make_unknown("loss of regression", loss, LOSSES)
        self.kind, self.mean, self.std = loss, float(facts["mean"]), float(facts["std"])

    @staticmethod
    def fit(categories: tuple[str, ...], train: Subset) -> dict[str, Any]:
        """`mean` and standard deviation `std` of train's numbers; 1 where they are all equal."""
        samples = (train[index] for index in range(len(train)))
        found = np.array([float(one.labels["regression"]) for one in samples if "regression" in one.labels])
        found = found[np.isfinite(found)]
        if not len(found):
            return {"mean": 0.0, "std": 1.0}
        return {"mean": float(found.mean()), "std": float(found.std()) or 1.0}

    @staticmethod
    def mirror(label: np.ndarray) -> np.ndarray:
        """A number does not change."""
        return label

    def head(self, channels: int) -> nn.Module:
        """Linear `B C` -> `B 1` that starts at 0, the mean of train."""
        linear = nn.Linear(channels, 1)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        return linear

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Of `B 1` in squared standard deviations, averaged over the labelled images."""
        labelled = _find_labelled(batch)
        goal = ((batch.labels["regression"].double() - self.mean) / self.std).float()
        goal = torch.where(labelled, goal, 0.0)  # NaN times 0 would be NaN
        error = F.huber_loss if self.kind == "huber" else F.mse_loss
        errors: Tensor = error(output[:, 0].float(), goal, reduction="none")
        return (errors * labelled).sum() / labelled.sum().clamp(min=1)

    def count(self, batch: Batch) -> Tensor:
        """The labelled images."""
        return _find_labelled(batch).sum()

    def predict(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`number` `B` in the column's unit."""
        return {"number": self.mean + self.std * output[:, 0].float()}

    def meter(self) -> RegressionMeter:
        """An empty meter."""
        return RegressionMeter(self.mean, self.std)

    def keep(self, prediction: dict[str, Tensor], batch: Batch) -> np.ndarray:
        """The number `1` float32 of one image."""
        return prediction["number"][:1].cpu().numpy().astype(np.float32)

    def draw(self, axes: Axes, sample: Sample, kept: np.ndarray | None) -> None:
        """The image, and under it its number, or what was kept of the prediction with what is right."""
        truth = float(sample.labels.get("regression", math.nan))
        if kept is None:
            text = f"{truth:.4g}" if math.isfinite(truth) else "not labelled"
        else:
            text = f"{float(kept[0]):.4g}" + (f" (truth {truth:.4g})" if math.isfinite(truth) else "")
        draw_under(axes, sample.image, [(text, INK)])


def _find_labelled(batch: Batch) -> Tensor:
    """`B` bool: images with a number."""
    return batch.labels["regression"].isfinite() & batch.masks["regression"]


class RegressionMeter:
    """Scores of the labelled images of a subset, from scikit-learn."""

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std
        self.guesses = [np.zeros(0)]
        self.truths = [np.zeros(0)]

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add the labelled images of a batch."""
        labelled = _find_labelled(batch).cpu()
        self.guesses.append(prediction["number"].cpu()[labelled].double().numpy())
        self.truths.append(batch.labels["regression"].cpu()[labelled].double().numpy())

    def scores(self) -> list[Score]:
        """All metrics; R2 from two images on."""
        return self._scores(np.concatenate(self.guesses))

    def chance(self) -> list[Score]:
        """Of the mean of train everywhere."""
        return self._scores(np.full(sum(map(len, self.truths)), self.mean))

    def _scores(self, guess: np.ndarray) -> list[Score]:
        from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error  # takes a second

        truth = np.concatenate(self.truths)
        if not len(truth):
            return [Score(name, "", float("nan")) for name in Regression.metrics]
        rmse = float(root_mean_squared_error(truth, guess))
        r2 = float(r2_score(truth, guess)) if len(truth) > 1 else float("nan")
        return [
            Score("MAE", "", float(mean_absolute_error(truth, guess))),
            Score("RMSE", "", rmse),
            Score("nRMSE", "", 100 * rmse / self.std),
            Score("R2", "", 100 * r2),
        ]
