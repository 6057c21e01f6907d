"""What tasks with a label at every pixel have in common."""

from __future__ import annotations

from torch import Tensor

from mtlbench.contracts import Batch

IGNORED = 255  # of classes
KEPT_SIDE = 320  # pixels, at most, of what is kept to be drawn


def find_labelled(batch: Batch, name: str) -> Tensor:
    """`B H W` bool: pixels with a class, in the images that are labelled."""
    return (batch.labels[name] != IGNORED) & batch.masks[name][:, None, None]


def thin_out(pixels: Tensor) -> Tensor:
    """Every n-th pixel of `... H W`, so that the longest side is at most 320."""
    step = -(-max(pixels.shape[-2:]) // KEPT_SIDE)
    return pixels[..., ::step, ::step]
