"""What a weighting makes of a step: a weight for each task's loss, or one gradient of several."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet, fix_seed
from mtlbench.spec import Options, derive_seed
from mtlbench.training.conflicts import Gradients, OfTasks, find_reached, list_shared, multiply
from mtlbench.training.losses import Losses, Pieces, add, add_plain

Reach = Mapping[str, Collection[nn.Parameter]]  # {task: the parameters that its loss depends on}


class Weigher:
    """Asks a weighting (`LossWeighting` or `GradientWeighting` of the contracts) once a step.

    It is asked about the tasks that are labelled in the batch, in the order of their names, and only where at least two
    of them reach a common parameter: everything else is trained as without a weighting, bit for bit.
    """

    def __init__(self, weighting: Any, net: MultiTaskNet) -> None:
        self.weighting, self.net = weighting, net
        if hasattr(weighting, "start"):
            with fix_seed(net.seed, "weighting"):
                weighting.start(tuple(sorted(net.tasks)))
        if isinstance(weighting, nn.Module):
            weighting.to(next(net.parameters()).device)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those of the weighting that the optimiser trains."""
        found = self.weighting.parameters() if isinstance(self.weighting, nn.Module) else ()
        return [parameter for parameter in found if parameter.requires_grad]

    def state(self) -> Options:
        """What a resume file needs."""
        return dict(self.weighting.state_dict()) if hasattr(self.weighting, "state_dict") else {}

    def restore(self, state: Options) -> None:
        """Goes on from what `state` gave."""
        if hasattr(self.weighting, "load_state_dict"):
            self.weighting.load_state_dict(state)

    def add_gradients(self, pieces: Pieces) -> Losses:
        """Add the step's gradient to the parameters'; returns the losses. Raises UserError."""
        first, labelled = pieces.losses(0), sorted(pieces.batch.labels.keys() & pieces.tasks.keys())
        reach = {name: find_reached(loss) for name, loss in first.items()}
        if len(labelled) < 2 or not list_shared(reach[name] for name in labelled):
            return add_plain(self.net, pieces, first)
        if hasattr(self.weighting, "combine"):
            return self._weigh_losses(pieces, first, labelled)
        return self._weigh_gradients(pieces, first, labelled, reach)

    def after(self, pieces: Pieces) -> None:
        """Tell a weighting with `after` the batch's losses after the step."""
        labelled = sorted(pieces.batch.labels.keys() & pieces.tasks.keys())
        if hasattr(self.weighting, "after") and len(labelled) > 1:
            totals = pieces.totals()
            self.weighting.after({name: totals[name] for name in labelled})

    def _weigh_losses(self, pieces: Pieces, first: Losses, labelled: Sequence[str]) -> Losses:
        """One backward pass for all tasks; a batch in several pieces passes the network once more beforehand, since the
        weights may depend on the losses of the whole batch."""
        totals = add([first]) if len(pieces) == 1 else pieces.totals()
        leaves = {name: totals[name].clone().requires_grad_() for name in labelled}
        with self._randomness(pieces.iteration):
            value = self.weighting.combine(leaves)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise UserError(f"{self._name}.combine must return one number that depends on the losses, as a tensor")
        value.backward()
        weights = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        for number in range(len(pieces)):
            found = first if number == 0 else pieces.losses(number)
            weighted = [loss if name not in labelled else loss * weights.get(name, 0.0) for name, loss in found.items()]
            torch.stack(weighted).sum().backward()
        return totals

    def _weigh_gradients(self, pieces: Pieces, first: Losses, labelled: Sequence[str], reach: Reach) -> Losses:
        """One backward pass a task; the pieces' gradients of a task are summed, so that a step is weighed once."""
        rows: OfTasks = {name: {} for name in labelled}
        losses: list[Losses] = []
        for number in range(len(pieces)):
            found = first if number == 0 else pieces.losses(number)
            for name in labelled:
                wanted = [parameter for parameter in reach[name] if parameter.requires_grad]
                keep = name != labelled[-1]
                parts = torch.autograd.grad(found[name], wanted, retain_graph=keep, allow_unused=True)
                for parameter, part in zip(wanted, parts, strict=True):
                    if part is not None:
                        before = rows[name].get(parameter)
                        rows[name][parameter] = part if before is None else before + part
            losses.append({name: loss.detach() for name, loss in found.items()})
        totals = add(losses)
        for parameter, gradient in self._of_step(rows, totals, pieces.iteration).items():
            add_gradient(parameter, gradient)
        for parameter in {parameter for parameters in reach.values() for parameter in parameters}:
            if parameter.requires_grad and parameter.grad is None:  # of a task without labels, as in a plain sum
                add_gradient(parameter, torch.zeros_like(parameter))
        return totals

    def _of_step(self, rows: OfTasks, losses: Losses, iteration: int) -> dict[nn.Parameter, Tensor]:
        """The gradient of each parameter: of those that several tasks reach what the weighting makes of theirs.

        A task whose gradient is 0 has no say: it has no direction, and the shortest of all means would be 0. Where
        fewer than two are left, or a gradient is no number (the watch over losses then ends the training), it is the
        sum. Raises UserError."""
        gradients = {parameter: own for row in rows.values() for parameter, own in row.items()}
        common = list_shared(rows.values())
        gramian = multiply(list(rows.values()), common)
        places = gramian.diagonal().nonzero().flatten().tolist()
        told, weights = [name for place, name in enumerate(rows) if place in places], dict.fromkeys(rows, 1.0)
        if gramian.isfinite().all() and len(told) > 1:
            if hasattr(self.weighting, "see"):
                self.weighting.see({name: losses[name] for name in told})
            with self._randomness(iteration), torch.no_grad():
                if hasattr(self.weighting, "aggregate"):
                    return gradients | self._aggregated([rows[name] for name in told], common)
                found = self._checked("weights", self.weighting.weights(gramian[places][:, places]), len(told))
                weights |= zip(told, found.tolist(), strict=True)
        return gradients | {parameter: weighted_sum(rows, weights, parameter) for parameter in common}

    def _aggregated(self, rows: Sequence[Gradients], common: Sequence[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
        """The common parameters' gradients, made of all of them at once. Raises UserError."""
        flat = [[row[p].flatten() if p in row else torch.zeros_like(p).flatten() for p in common] for row in rows]
        matrix = torch.stack([torch.cat(parts) for parts in flat])
        step = self._checked("aggregate", self.weighting.aggregate(matrix), matrix.shape[1])
        parts = step.split([parameter.numel() for parameter in common])
        return {one: part.view(one.shape) for one, part in zip(common, parts, strict=True)}

    def _checked(self, method: str, found: Any, length: int) -> Tensor:
        """What the weighting returned. Raises UserError unless it is a vector of that length, of finite numbers."""
        if not isinstance(found, Tensor) or found.shape != (length,):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UserError(f"{self._name}.{method} returned {shape}, not a tensor of shape ({length},)")
        if method == "weights" and not found.isfinite().all():
            raise UserError(f"{self._name}.weights returned {found.tolist()}, which are not all finite numbers")
        return found

    @property
    def _name(self) -> str:
        return f"weighting {type(self.weighting).__name__}"

    @contextmanager
    def _randomness(self, iteration: int) -> Iterator[None]:
        """Torch's global generators, also the network's GPU's, as a function of (network seed, iteration) inside."""
        device = next(self.net.parameters()).device
        gpus = [device] if device.type == "cuda" else []
        with fix_seed(self.net.seed, "weighting", str(iteration)), torch.random.fork_rng(gpus, enabled=bool(gpus)):
            if gpus:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(derive_seed(self.net.seed, "weighting", str(iteration)))
            yield


def weighted_sum(rows: OfTasks, weights: Mapping[str, float], parameter: nn.Parameter) -> Tensor:
    """Of the tasks' gradients of a parameter, those that there are."""
    first, *others = [(weights[name], row[parameter]) for name, row in rows.items() if parameter in row]
    total = first[0] * first[1]
    for weight, gradient in others:
        total = total.add(gradient, alpha=weight)
    return total


def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to the parameter's gradient, which lies in memory as the parameter does: torch's fused steps take that for
    granted."""
    laid = torch.empty_like(parameter).copy_(gradient)
    parameter.grad = laid if parameter.grad is None else parameter.grad + laid
