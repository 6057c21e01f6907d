"""Counting the operations of a network: those of its definition, however they are computed here.

Floating-point operations; a multiply-add is two. Counted are products and convolutions (torch's own counter; biases
come with them) and element-wise products, each as a multiply-add with the sum that it goes into: units mix by them.
Batch normalisation is one multiply-add an element. Not counted: comparisons (ReLU, pooling), additions alone, and
functions of an element (sigmoid) (Ours).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mtlbench.nets.layers import LocalResponseNorm

MULTIPLY_ADD = 2
UPSAMPLED = 4 * MULTIPLY_ADD  # a pixel of a bilinearly upsampled map: the weighted mean of four cells


class Counted:
    """What was counted, filled when `count` ends."""

    operations = 0


class NormStandIn(nn.Module):
    """Response normalisation while it is counted: by its formula, since it is computed as a dense product.

    An element takes size + 4: a square, the sum of `size` squares (size - 1), the scale, + 1, the power, the product.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.operations = size, 0

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, unchanged."""
        self.operations += (self.size + 4) * x.numel()
        return x


@contextmanager
def count(net: nn.Module) -> Iterator[Counted]:
    """Counts what the network, which is not to be used for anything else, computes inside."""
    norms = {path: NormStandIn(m.size) for path, m in net.named_modules() if isinstance(m, LocalResponseNorm)}
    for path, norm in norms.items():
        net.set_submodule(path, norm)
    counted = Counted()
    with FlopCounterMode(display=False, custom_mapping=ELEMENT_WISE) as counter:
        yield counted
    counted.operations = counter.get_total_flops() + sum(norm.operations for norm in norms.values())


def _product(*shapes: Any, out_shape: Sequence[int], **options: Any) -> int:
    return MULTIPLY_ADD * math.prod(out_shape)


def _normalisation(shape: Sequence[int], *shapes: Any, **options: Any) -> int:
    return MULTIPLY_ADD * math.prod(shape)


aten = torch.ops.aten
PRODUCTS = (aten.mul, aten.mul_, aten.addcmul, aten.addcmul_)
NORMALISATIONS = (aten.native_batch_norm, aten._native_batch_norm_legit_no_training)
ELEMENT_WISE = dict.fromkeys(PRODUCTS, _product) | dict.fromkeys(NORMALISATIONS, _normalisation)
