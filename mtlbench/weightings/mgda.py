"""MGDA (Desideri 2012; Sener and Koltun 2018): the shortest of all weighted means of the tasks' gradients."""

from __future__ import annotations

from torch import Tensor

from mtlbench.weightings._torchjd import VERSION, aggregation, check_version


class Mgda:
    """T times the shortest mean of T gradients, by Frank-Wolfe (Sener and Koltun, Algorithm 2); equal gradients, and
    orthogonal ones of equal length, give the plain sum (the factor is ours). A longer gradient weighs less."""

    version = 1

    def __init__(self, epsilon: float = 1e-3, max_iters: int = 100, torchjd: str = VERSION) -> None:
        """Ends at a step below `epsilon` or after `max_iters`.

        `torchjd`: the minor version of the plan. Raises UserError where another is installed.
        """
        check_version(torchjd)
        self.epsilon, self.max_iters = epsilon, max_iters

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        found: Tensor = aggregation.MGDAWeighting(epsilon=self.epsilon, max_iters=self.max_iters)(gramian)
        return len(gramian) * found
