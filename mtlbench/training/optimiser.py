"""The optimiser of a network: groups of parameters with their own rates, the schedule, groups that are clipped."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import nn

from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.spec import Recipe


def compute_rate(recipe: Recipe, i: int, iterations: int) -> float:
    """The factor on every group's base rate at step i of a run: warm-up, then the recipe's decay."""
    if i < recipe.warmup:
        return (i + 1) / (recipe.warmup + 1)
    match recipe.decay:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * i / iterations))
        case "poly":
            return float((1 - i / iterations) ** recipe.poly_power)
        case "step":
            return recipe.step_factor if i >= recipe.step_at * iterations else 1.0
    return 1.0


def make_optimiser(net: MultiTaskNet, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser with Caffe's groups: weights; biases at `bias_lr` times the rate, without weight decay;
    units at their own multiplier, without weight decay (Ours); under "adamw", scales of normalisation layers without
    weight decay, too. Each group keeps its factor in `scale`, and the schedule multiplies it, so that the ratio of
    rates holds at every step. The scheme's `rates` multiply those of the parameters that they name.

    A unit's multiplier is for SGD, whose steps are as large as gradients are. Adam's are as large as the rate: a
    multiplier of 1 is a good start there (Ours).

    Raises UserError where one of the scheme's rates names no parameter."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    rates: dict[str, float] = getattr(net.scheme, "rates", {})
    unused = set(rates)
    for stage in recipe.frozen:
        net.trunk[stage].requires_grad_(False)
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        scale, decay = 1.0, recipe.weight_decay
        if name.startswith("log_variances."):
            decay = 0.0
        elif name.startswith("units."):
            multiplier = getattr(net.units[name.split(".")[1]], "lr_multiplier", None)
            scale, decay = (multiplier, 0.0) if multiplier is not None else (scale, decay)
        elif name.endswith("bias"):
            scale, decay = recipe.bias_lr, 0.0
        if recipe.optimiser == "adamw" and parameter.ndim == 1:
            decay = 0.0
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
    grouped = [{"params": p, "scale": scale, "weight_decay": decay} for (scale, decay), p in groups.items()]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(grouped, lr=recipe.lr, momentum=recipe.momentum, fused=True)
    kind: type[torch.optim.Adam] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimiser]
    return kind(grouped, lr=recipe.lr, betas=(recipe.momentum, recipe.beta2), fused=True)


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
