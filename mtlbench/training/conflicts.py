"""Gradients of tasks that share parameters: which those are, how long the gradients are, whether they conflict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

Gradients = dict[nn.Parameter, Tensor]  # {parameter: the gradient of a task's loss}
OfTasks = dict[str, Gradients]


def find_reached(loss: Tensor) -> dict[nn.Parameter, None]:
    """The parameters that a loss depends on, from its graph: nothing is computed."""
    found: dict[nn.Parameter, None] = {}
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(parameter := getattr(node, "variable", None), nn.Parameter):
            found[parameter] = None
        waiting += [following for following, _ in node.next_functions]
    return found


def list_shared(reach: Iterable[Collection[nn.Parameter]]) -> list[nn.Parameter]:
    """The trained parameters that are in two of the collections, in the order in which they are found."""
    count: dict[nn.Parameter, int] = {}
    for parameters in reach:
        for parameter in parameters:
            if parameter.requires_grad:
                count[parameter] = count.get(parameter, 0) + 1
    return [parameter for parameter, number in count.items() if number > 1]


def multiply(rows: Sequence[Gradients], parameters: Sequence[nn.Parameter]) -> Tensor:
    """The products of the rows with each other over these parameters, `T T` float64 on the processor."""
    found = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=parameters[0].device)
    for parameter in parameters:
        flat = [in_memory_order(row[parameter], parameter) if parameter in row else None for row in rows]
        for i, one in enumerate(flat):
            for j, other in enumerate(flat[: i + 1]):
                if one is not None and other is not None:
                    found[i, j] += one.dot(other)
    return (found + found.tril(-1).T).cpu()


def in_memory_order(gradient: Tensor, parameter: nn.Parameter) -> Tensor:
    """The gradient as a vector, mostly without a copy: its numbers as the parameter's lie in memory."""
    if parameter.dim() == 4 and not parameter.is_contiguous():  # channels last
        gradient = gradient.permute(0, 2, 3, 1)
    return gradient.reshape(-1)


class Conflicts:
    """The gradients of the tasks' weighted losses, of what two tasks or more reach, in one step, piece after piece."""

    def __init__(self) -> None:
        self._rows: OfTasks = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Those of a piece, by a backward pass a task beside the training's own, which they leave as it is."""
        reach = {name: find_reached(loss) for name, loss in losses.items()}
        common = list_shared(reach.values())
        for name, loss in losses.items():
            own = [parameter for parameter in common if parameter in reach[name]]
            found = torch.autograd.grad(loss, own, retain_graph=True, allow_unused=True) if own else ()
            row = self._rows.setdefault(name, {})
            for parameter, gradient in zip(own, found, strict=True):
                if gradient is not None:
                    row[parameter] = row[parameter] + gradient if parameter in row else gradient

    def rows(self, iteration: int) -> list[dict[str, Any]]:
        """For each two tasks the cosine between their gradients and both norms, over what two tasks or more share; no
        row for tasks of which one has no gradient there."""
        names = list(self._rows)
        common = list_shared(self._rows.values())
        if not common:
            return []
        gramian = multiply(list(self._rows.values()), common)
        norms = gramian.diagonal().sqrt().tolist()
        return [
            {
                "iteration": iteration,
                "task": names[i],
                "other": names[j],
                "cosine": float(gramian[i, j]) / (norms[i] * norms[j]),
                "norm": norms[i],
                "other_norm": norms[j],
            }
            for i, j in combinations(range(len(names)), 2)
            if norms[i] > 0 and norms[j] > 0
        ]
