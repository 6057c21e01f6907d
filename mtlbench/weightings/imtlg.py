"""IMTL-G (Liu et al. 2021): the weighted mean of gradients with equal projections on all of them."""

from __future__ import annotations

from torch import Tensor

from mtlbench.weightings._torchjd import VERSION, aggregation, check_version


class Imtlg:
    """T times that mean of T gradients; equal gradients, and orthogonal ones of equal length, give the plain sum (the
    factor is ours). Weights may be negative, and the step is 0 where the gradients have no such mean."""

    version = 1

    def __init__(self, torchjd: str = VERSION) -> None:
        """`torchjd`: the minor version of the plan. Raises UserError where another is installed."""
        check_version(torchjd)

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        found: Tensor = aggregation.IMTLGWeighting()(gramian)
        return len(gramian) * found
