"""The last layers that tasks have in common, each with its start."""

from __future__ import annotations

import torch
from torch import nn


def linear_head(channels: int, outputs: int) -> nn.Linear:
    """Linear `N C` -> `N K` that starts N(0, .01), bias 0 (Girshick 2015)."""
    linear = nn.Linear(channels, outputs)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


def dense_head(channels: int, outputs: int) -> nn.Conv2d:
    """1x1 convolution `B C H W` -> `B K H W` that starts at 0, as FCN's score layer (Long et al. 2015)."""
    score = nn.Conv2d(channels, outputs, 1)
    nn.init.zeros_(score.weight)
    assert score.bias is not None
    nn.init.zeros_(score.bias)
    return score


def vector_head(channels: int) -> nn.Conv2d:
    """1x1 convolution `B C H W` -> `B 3 H W` that starts near (0, 0, 1), towards the camera: a vector of length 0 has
    no direction, and its gradient would be without bound (ours)."""
    score = nn.Conv2d(channels, 3, 1)
    nn.init.normal_(score.weight, std=0.01)
    assert score.bias is not None
    with torch.no_grad():
        score.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
    return score
