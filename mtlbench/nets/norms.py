"""Batch normalisation in columns that several tasks share: each task may have its own (Bilen and Vedaldi 2017)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

OF_COLUMN = "of_column"  # in names of parameters: what follows is the column that has it


class NormOfColumn(nn.Module):
    """A batch normalisation of each column for itself; `column` is the one that passes."""

    def __init__(self, norm: nn.Module, columns: Sequence[str]) -> None:
        super().__init__()
        self.of_column = nn.ModuleDict({column: copy.deepcopy(norm) for column in columns})
        self.column = columns[0]

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W` -> `B C H W`."""
        y: Tensor = self.of_column[self.column](x)
        return y


def part_norms(stage: nn.Module, columns: Sequence[str]) -> list[NormOfColumn]:
    """Give each of the columns that share a stage its own batch normalisations, which start alike; returns them."""
    parted = []
    for path, module in list(stage.named_modules()):
        if isinstance(module, _BatchNorm):
            parted.append(NormOfColumn(module, columns))
            stage.set_submodule(path, parted[-1])
    return parted


def owner_of(name: str) -> tuple[str, str]:
    """The name that a parameter has where norms are not parted, and the column that it is of ("" = of all).

    >>> owner_of("layer1.bn1.of_column.semseg.weight"), owner_of("layer1.conv1.weight")
    (('layer1.bn1.weight', 'semseg'), ('layer1.conv1.weight', ''))
    """
    before, parted, rest = name.partition(f".{OF_COLUMN}.")
    column, _, kind = rest.partition(".")
    return (f"{before}.{kind}", column) if parted else (name, "")
