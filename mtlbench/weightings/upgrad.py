"""UPGrad (Quinton and Rey 2024): each task's gradient is projected so that it raises no loss, then all are added."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from mtlbench.weightings._torchjd import VERSION, aggregation, check_version, linalg


class Upgrad:
    """The sum of the projected gradients (preferences of 1, where the paper's mean has 1 / T: ours); the plain sum
    where no two gradients conflict."""

    version = 1

    def __init__(self, torchjd: str = VERSION) -> None:
        """`torchjd`: the minor version of the plan. Raises UserError where another is installed."""
        check_version(torchjd)

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        ones = torch.ones(len(gramian), dtype=gramian.dtype)
        found: Tensor = aggregation.UPGradWeighting(pref_vector=ones, projector=NnlsProjector())(gramian)
        return found


class NnlsProjector(linalg.DualConeProjector):  # type: ignore[misc] # TorchJD is optional, its types are not looked at
    """TorchJD's projection by scipy: its own needs a library under the GPL.

    The least v G v with v >= u is u + x, x the non-negative least squares solution of R x = -R u with R'R = G.
    """

    def __call__(self, U: Tensor, G: Tensor) -> Tensor:
        """Vectors `... T` and the Gramian `T T` -> weights `... T`."""
        gramian = G.detach().cpu().double().numpy()
        values, vectors = np.linalg.eigh(gramian)
        root = np.sqrt(values.clip(0))[:, None] * vectors.T
        flat = U.detach().cpu().double().numpy().reshape(-1, len(gramian))
        found = [u + nnls(root, -root @ u)[0] for u in flat]
        return torch.as_tensor(np.stack(found)).reshape(U.shape).to(U)
