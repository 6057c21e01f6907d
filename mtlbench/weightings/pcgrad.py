"""PCGrad (Yu et al. 2020): a gradient loses its part along another one that it conflicts with, in random order."""

from __future__ import annotations

from torch import Tensor

from mtlbench.weightings._torchjd import VERSION, aggregation, check_version


class Pcgrad:
    """The sum of the projected gradients; the plain sum where no two conflict."""

    version = 1

    def __init__(self, torchjd: str = VERSION) -> None:
        """`torchjd`: the minor version of the plan. Raises UserError where another is installed."""
        check_version(torchjd)

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        found: Tensor = aggregation.PCGradWeighting()(gramian)
        return found
