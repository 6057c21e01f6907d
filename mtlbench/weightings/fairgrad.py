"""FairGrad (Ban and Ji 2024): the step that shares its use among tasks alpha-fairly."""

from __future__ import annotations

from torch import Tensor

from mtlbench.errors import UserError
from mtlbench.weightings._torchjd import VERSION, aggregation, check_version


class Fairgrad:
    """Weights that solve G w = w ** (-1 / alpha), of mean 1 (ours: the paper's depend on the gradients' scale); equal
    gradients, and orthogonal ones of equal length, give the plain sum."""

    version = 1

    def __init__(self, alpha: float = 2.0, torchjd: str = VERSION) -> None:
        """`alpha` above 0: 1 is proportional fairness (Nash-MTL), the larger the more the worst task counts (Ours: 2).

        `torchjd`: the minor version of the plan. Raises UserError where another is installed, and for an alpha of 0.
        """
        check_version(torchjd)
        if alpha <= 0:
            raise UserError(f"fairgrad: alpha is {alpha}, must be above 0")
        self.alpha = alpha

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        scale = gramian.diagonal().mean()  # weights are of any scale until they are normalised
        found: Tensor = aggregation.FairGradWeighting(alpha=self.alpha)(gramian / scale)
        return len(gramian) * found / found.sum()
