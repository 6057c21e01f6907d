"""MGDA (Desideri 2012; Sener and Koltun 2018): the shortest of all weighted means of the tasks' gradients."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor


class Mgda:
    """T times the shortest mean of T gradients (Sener and Koltun, equation 3); equal gradients, and orthogonal ones of
    equal length, give the plain sum (the factor is ours). A longer gradient weighs less.

    The shortest mean is that of the weights w >= 0 that minimise |mean|^2 + (sum of w - 1)^2, over their sum: a problem
    of least squares that scipy solves exactly. Ours: Sener and Koltun's Algorithm 2, by Frank-Wolfe, ends before.
    """

    version = 2

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        matrix = gramian.numpy() / float(gramian.diagonal().mean())
        values, vectors = np.linalg.eigh(matrix)
        root = np.sqrt(values.clip(min=0))[:, None] * vectors.T  # of the matrix: root' root
        tasks = len(matrix)
        found, _ = nnls(np.vstack([root, np.ones(tasks)]), np.append(np.zeros(tasks), 1.0))
        return torch.as_tensor(tasks * found / found.sum())
