"""GradDrop (Chen et al. 2020): each coordinate keeps the gradients of one sign, drawn by how much of it there is."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlbench.weightings._torchjd import VERSION, aggregation, check_version


class Graddrop:
    """Coordinates on which all gradients have one sign have the plain sum."""

    version = 1

    def __init__(self, leak: float = 0.0, torchjd: str = VERSION) -> None:
        """`leak`: the share 0 to 1 of every gradient that is always kept.

        `torchjd`: the minor version of the plan. Raises UserError where another is installed.
        """
        check_version(torchjd)
        self.leak = leak

    def aggregate(self, gradients: Tensor) -> Tensor:
        """`T P` -> `P`."""
        leak = torch.full_like(gradients[:, 0], self.leak)
        found: Tensor = aggregation.GradDrop(leak=leak)(gradients)
        return found
