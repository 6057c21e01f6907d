"""The optimiser of a network: groups of parameters with their own rates, the schedule, groups that are clipped."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import nn

from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.spec import Options


def rate(recipe: Options, i: int, iterations: int) -> float:
    """The factor on every group's base rate at step i of a run: warm-up, then cosine or one step down."""
    if i < recipe["warmup"]:
        return (i + 1) / (recipe["warmup"] + 1)
    if recipe["decay"] == "cosine":
        return 0.5 * (1 + math.cos(math.pi * i / iterations))
    return 0.1 if i >= recipe["step_at"] * iterations else 1.0


def optimiser(net: MultiTaskNet, recipe: Options) -> torch.optim.Optimizer:
    """SGD with Caffe's groups: weights; biases at `bias_lr` times the rate, without decay; units at their own
    multiplier, without decay (Ours). Each group keeps its factor in `scale`, and the schedule multiplies it, so that
    the ratio of rates holds at every step. The scheme's `rates` multiply those of the parameters that they name.
    Raises UserError where one names none."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    rates: dict[str, float] = getattr(net.scheme, "rates", {})
    unused = set(rates)
    for stage in recipe["frozen"]:
        net.trunk[stage].requires_grad_(False)
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        scale, decay = 1.0, recipe["weight_decay"]
        if name.startswith("log_variances."):
            decay = 0.0
        elif name.startswith("units."):
            multiplier = getattr(net.units[name.split(".")[1]], "lr_multiplier", None)
            scale, decay = (multiplier, 0.0) if multiplier is not None else (scale, decay)
        elif name.endswith("bias"):
            scale, decay = recipe["bias_lr"], 0.0
        for glob, factor in rates.items():
            if fnmatchcase(name, glob):
                unused.discard(glob)
                scale *= factor
        groups.setdefault((scale, decay), []).append(parameter)
    if unused:
        known = sorted(name.rpartition(".")[0] for name, _ in net.named_parameters())
        raise UserError(
            f"scheme {type(net.scheme).__name__}: no parameter matches {min(unused)!r} of its rates; "
            f"they are called like {known[0]} and {known[-1]}"
        )
    return torch.optim.SGD(
        [{"params": p, "scale": scale, "weight_decay": decay} for (scale, decay), p in groups.items()],
        lr=recipe["lr"],
        momentum=recipe["momentum"],
        fused=True,
    )


def by_owner(net: MultiTaskNet) -> list[list[nn.Parameter]]:
    """Trained parameters grouped by the tasks whose columns and heads they are; units are a group of their own.

    Gradients are clipped group by group, so that a column that shares nothing trains as it would alone (Ours).
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        part, *places = name.split(".")
        owner = {"trunk": places[1], "heads": places[0]}.get(part, part) if len(places) > 1 else part
        if parameter.requires_grad:
            groups.setdefault(owner, []).append(parameter)
    return list(groups.values())
