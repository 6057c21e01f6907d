"""Nash-MTL (Navon et al. 2022): the tasks bargain for the step, and agree on the Nash solution."""

from __future__ import annotations

from torch import Tensor

from mtlbench.weightings._torchjd import VERSION, aggregation, check_version


class NashMtl:
    """Weights that solve G w = 1 / w, of mean 1 (Ours: the paper's depend on the gradients' scale): equal gradients,
    and orthogonal ones of equal length, give the plain sum.

    Solved at every step as FairGrad with alpha 1, the same equation (Ours: the paper solves a sequence of convex
    problems, with cvxpy and ecos).
    """

    version = 1

    def __init__(self, torchjd: str = VERSION) -> None:
        """`torchjd`: the minor version of the plan. Raises UserError where another is installed."""
        check_version(torchjd)

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        scale = gramian.diagonal().mean()  # weights are of any scale until they are normalised
        found: Tensor = aggregation.FairGradWeighting(alpha=1.0)(gramian / scale)
        return len(gramian) * found / found.sum()
