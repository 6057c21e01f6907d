"""Aligned-MTL (Senushkin et al. 2023): the gradients are made orthogonal and of equal length before they are added."""

from __future__ import annotations

import torch
from torch import Tensor

from mtlbench.errors import UserError
from mtlbench.weightings._torchjd import VERSION, aggregation, check_version

SCALES = ("min", "median", "rmse")


class AlignedMtl:
    """Preferences of 1 where the paper's mean has 1 / T (Ours): equal gradients, and orthogonal ones of equal length,
    give the plain sum."""

    version = 1

    def __init__(self, scale: str = "min", torchjd: str = VERSION) -> None:
        """`scale` of the aligned gradients: "min" (the least singular value, as in the paper), "median" or "rmse".

        `torchjd`: the minor version of the plan. Raises UserError where another is installed.
        """
        check_version(torchjd)
        if scale not in SCALES:
            raise UserError(f"aligned_mtl: scale is {scale!r}, must be {' or '.join(SCALES)}")
        self.scale = scale

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        ones = torch.ones(len(gramian), dtype=gramian.dtype)
        found: Tensor = aggregation.AlignedMTLWeighting(pref_vector=ones, scale_mode=self.scale)(gramian)
        return found
