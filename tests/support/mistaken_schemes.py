"""Sharing schemes with a mistake each, and how the first wrong finding on them begins."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Stage
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.split import Split


class Units(Separate):
    """Separate columns with a module of the class's own after fc6."""

    Unit: Any = None

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        return self.Unit() if stage.name == "fc6" else None


class Merging(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tasks] if stage.name == "fc7" else [(task,) for task in tasks]


class Bare(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return list(tasks)


class Twice(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tasks, tasks[:1]]


class Raises(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tuple(task for task in tasks if {}[task])]


class Function(Separate):
    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> Any:
        return lambda xs: xs


class EarlyWidth(Units):
    class Unit(nn.Module):
        channels = 3


class ToldApart(Units):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tasks]

    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: 2 * x for task, x in xs.items()}


class Zeroed(Units):
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.ones(1))

        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x + 0 * self.gate for task, x in xs.items()}


class Steep(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x + (x - x).sum().sqrt() for task, x in xs.items()}


class InPlace(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            roots = {task: x.exp() for task, x in xs.items()}
            for root in roots.values():
                root += 1
            return roots


class Drawn(Units):
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.tensor(random.random()))

        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x * self.gate for task, x in xs.items()}


class Dropping(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: nn.functional.dropout(x, 0.5, self.training) for task, x in xs.items()}


class AlwaysDropping(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x if self.training else nn.functional.dropout(x) for task, x in xs.items()}


class Neighbours(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x - x.mean(0, keepdim=True) / 2 for task, x in xs.items()}


class Unkept(Units):
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            self.calls += self.training
            return {task: x * (1 + self.calls) for task, x in xs.items()}


class FlatAlphas(Units):
    class Unit(nn.Module):
        def alphas(self) -> Tensor:
            return torch.ones(2, 2)

        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return xs


class Valued(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x if x.sum() > -1 else -x for task, x in xs.items()}


class NumberPenalty(Separate):
    def penalty(self, columns: dict[str, dict[str, nn.Module]]) -> Any:
        return 0.5


class DetachedPenalty(Separate):
    def penalty(self, columns: dict[str, dict[str, nn.Module]]) -> Any:
        return (
            next(columns["fc7"]["attributes" if "attributes" in columns["fc7"] else "semseg"].parameters())
            .detach()
            .sum()
            if len(columns["fc7"]) > 1
            else None
        )


class Misnamed(Separate):
    rates = {"units.pool9.*": 2.0}


class Listed(Separate):
    rates = ("units.*", 10.0)


class Unwritable(CrossStitch):
    def outcome(self, units: dict[str, nn.Module]) -> Any:
        return {"alphas": torch.ones(2)}


class SharedParents(Split):
    from_one_task = True

    def __init__(self) -> None:
        super().__init__("fc6")


class Versionless:
    groups, unit = Separate.groups, Separate.unit


class Unitless:
    version, groups = 1, Separate.groups


class NoDefault(Separate):
    def __init__(self, rank: int) -> None:
        self.rank = rank


class Unplain(Separate):
    def __init__(self, act: Any = nn.functional.relu) -> None:
        self.act = act


MISTAKES = {
    Merging: r"mistaken_schemes\.py:\d+: fc7 merges columns again \(semseg\+normals\); groups may only split",
    Bare: r".*groups at conv1 returns \['semseg', 'normals'\]; return a list of tuples of task names, such as",
    Twice: r".*semseg is in 2 groups; every task must be in one group",
    Raises: r"mistaken_schemes\.py:\d+.*: KeyError: 'semseg'",
    Function: r".*unit after conv1 returns a function; return an nn.Module, or None",
    EarlyWidth: r".*the unit after fc6 has an attribute `channels`.*only one after the last stage, fc7, may",
    ToldApart: r".*the unit after fc6 gives semseg and normals a tensor each, but they are one group at the next stage",
    Zeroed: r".*parameter gate of the unit after fc6 gets a gradient of 0 in each of 10 steps",
    Steep: r".*gets a gradient of NaN or infinity in step 1; look for a root, norm or logarithm of 0",
    InPlace: r"something changes a tensor in place that the gradient still needs; write x = x \+ y",
    Drawn: r"two networks of one seed start with different units\.fc6\.gate; draw starting values with torch",
    Dropping: r"two trainings of one seed differ in trunk\..*: derive the module from mtlbench\.authoring\.Seeded",
    AlwaysDropping: r"two evaluations of one network differ for semseg; draw nothing at random unless self\.training",
    Neighbours: r"in evaluation the output for semseg changes with the other images of the batch",
    Unkept: r"a network that is read back from its state dict predicts other numbers for semseg; keep what",
    FlatAlphas: r".*alphas\(\) of the unit after fc6 has the shape 2 x 2, not 2 x 2 x 24 or 2 x 2 x 1",
    Valued: r".*\.item\(\) cannot be called on meta tensors; operations are counted with tensors that have no values",
    NumberPenalty: r".*penalty returns a float \(0\.5\); return one number as a tensor",
    DetachedPenalty: r".*penalty returns \S+, on which no weight has an influence; make it of the columns' parameters",
    Misnamed: r"scheme Misnamed: no parameter matches 'units\.pool9\.\*' of its rates",
    Listed: r"rates is \('units\.\*', 10\.0\); write \{glob of parameter names: factor\}",
    Unwritable: r".*what outcome returns is no plain JSON data \(Object of type Tensor",
    SharedParents: r"from_one_task is True, but the parents' weights do not fit: missing .*; give every task a column",
    Versionless: r"version is None; write `version = 1` in the class, and raise it when you change",
    Unitless: r"Unitless has no unit",
    NoDefault: r".*option rank has no default: give it one, or say what to check it with, such as 'NoDefault\(rank",
    Unplain: r".*option act is <function relu.*> by default; results are told apart by options, so write numbers",
}
