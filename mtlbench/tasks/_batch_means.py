"""Scores as means of those of small batches, as some published protocols have them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from mtlbench.contracts import Batch, Meter, Score
from mtlbench.errors import UserError


class BatchMeans:
    """A meter of form `fcn` whose scores are the means, over batches of `size` images in the subset's order, of the
    scores of each batch; the last batch may be smaller, and batches without a label do not count.

    Medians, and means over images with unequally many labelled pixels, then are other numbers than over all pixels
    (Navon et al. 2022 and those who use their code, with batches of 2). `chance` stays that of all pixels together.
    """

    def __init__(self, make: Callable[[], Meter], size: int) -> None:
        self.make, self.size = make, size
        self.whole, self.current, self.held = make(), make(), 0
        self.found: list[list[Score]] = []

    def add(self, prediction: dict[str, Tensor], batch: Batch) -> None:
        """Add a batch of any size, image by image."""
        self.whole.add(prediction, batch)
        for place in range(len(batch.images)):
            self.current.add({name: x[place : place + 1] for name, x in prediction.items()}, _pick(batch, place))
            self.held += 1
            if self.held == self.size:
                self.found.append(self.current.scores())
                self.current, self.held = self.make(), 0

    def scores(self) -> list[Score]:
        """The means; NaN where no batch has a label."""
        batches = [*self.found, *([self.current.scores()] if self.held else [])]
        values: dict[tuple[str, str], list[float]] = {}
        for score in self.whole.scores():
            values[score.metric, score.category] = []
        for score in (score for batch in batches for score in batch if not math.isnan(score.value)):
            values[score.metric, score.category].append(score.value)
        return [Score(*name, sum(own) / len(own) if own else math.nan) for name, own in values.items()]

    def chance(self) -> list[Score]:
        """That of all pixels together."""
        return self.whole.chance()


def measure(make: Callable[[], Meter], batches: int) -> Meter:
    """The meter that `make` makes, of all pixels together, or, with `batches` above 0, of batches of so many images."""
    return BatchMeans(make, batches) if batches else make()


def check_batches(name: str, batches: int) -> None:
    """Raises UserError for what is no number of images."""
    if batches < 0:
        raise UserError(f"{name}: batches is {batches}; give how many images a batch has, or 0 for all pixels together")


def _pick(batch: Batch, place: int) -> Batch:
    """One image of a batch of form `fcn`, with its labels."""
    labels, masks = ({name: x[place : place + 1] for name, x in of.items()} for of in (batch.labels, batch.masks))
    return replace(batch, images=batch.images[place : place + 1], labels=labels, masks=masks)
