"""CAGrad (Liu et al. 2021): the step near the mean gradient that helps the worst task most."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from mtlbench.errors import UserError

TOLERANCE = 1e-12  # of the small problem over the weights


class Cagrad:
    """The step within `c` times the length of the mean gradient g0 of g0: g0 + c |g0| gw / |gw|, where the mean gw of
    the gradients minimises gw g0 + c |g0| |gw| (equation 4); times T / (1 + c), so that equal gradients, and orthogonal
    ones of equal length, give the plain sum (ours; their code's rescale 2, times T).

    The problem over T weights is solved by scipy (as theirs), since TorchJD's needs cvxpy.
    """

    version = 1

    def __init__(self, c: float = 0.4) -> None:
        """`c` from 0 (the plain sum) to below 1; 0.4 is the paper's for NYU-v2. Raises UserError."""
        if not 0 <= c < 1:
            raise UserError(f"cagrad: c is {c}, must be from 0 to below 1")
        self.c = c

    def weights(self, gramian: Tensor) -> Tensor:
        """`T T` -> `T`."""
        matrix = gramian.numpy() / float(gramian.diagonal().mean())
        tasks = len(matrix)
        uniform = np.full(tasks, 1 / tasks)
        toward = matrix @ uniform
        radius = self.c * np.sqrt(max(uniform @ toward, 0.0))

        def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
            length = np.sqrt(max(w @ matrix @ w, TOLERANCE))
            return float(w @ toward + radius * length), toward + radius * (matrix @ w) / length

        one = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}
        found = minimize(
            objective,
            uniform,
            jac=True,
            bounds=[(0, 1)] * tasks,
            constraints=[one],
            options={"ftol": TOLERANCE, "maxiter": 200},
        ).x
        length = np.sqrt(max(found @ matrix @ found, TOLERANCE))
        return torch.as_tensor(tasks / (1 + self.c) * (uniform + radius / length * found))
