"""Equal weights: the plain sum of the recipe's weighted losses, as without any weighting; a control of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Equal:
    """The plain sum; its numbers are those of the arm without a weighting."""

    version = 1

    def combine(self, losses: dict[str, Tensor]) -> Tensor:
        """{task: loss} -> scalar."""
        first, *others = losses.values()
        for loss in others:
            first = first + loss
        return first
