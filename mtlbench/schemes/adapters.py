"""Adapters of low rank for each task in a trunk that all share, after MTLoRA (Agiza, Neseem and Reda, CVPR 2024)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mtlbench.contracts import Stage


class Adapters:
    """All weights are shared but the heads' and, after every stage with parameters, a task's own x + scale * B A x: A
    (`rank` rows, torch's start of a linear layer) and B (0 at the start) work on channels, at every place alike.

    Every task passes the shared trunk with features of its own: a step costs about as much as one-task networks. Rank 4
    and scale 4 are those of the released configurations with adapters a task. MTLoRA adapts the layers of a frozen Swin
    Transformer, whose shared features go on to the next block. Ours: the adapter stands behind the stage and its
    rectifier, as the residual adapters of Rebuffi et al. (2018) do; a task's features go on; and the trunk is trained,
    too, at `trunk` times the rate (theirs: 0, with low-rank changes for all tasks).
    """

    version = 1
    streams = True

    def __init__(self, rank: int = 4, scale: float = 4.0, trunk: float = 1.0) -> None:
        self.rank, self.scale = rank, scale
        self.rates = {"trunk.*": trunk}

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """One column for all tasks."""
        return [tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """An Adapter a task; none after pooling."""
        if not stage.has_parameters:
            return None
        return Adapted({task: Adapter(stage.channels, self.rank, self.scale) for task in tasks})


class Adapted(nn.Module):
    """Each task's own adapter."""

    any_shape = True

    def __init__(self, of_tasks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.of_tasks = nn.ModuleDict(of_tasks)

    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{task: `B C H W` or `R C`} -> the same shapes."""
        return {task: adapter(xs[task]) for task, adapter in self.of_tasks.items()}


class Adapter(nn.Module):
    """x + scale * B A x over channels."""

    def __init__(self, channels: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Linear(channels, rank, bias=False)
        self.up = nn.Linear(rank, channels, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """`B C H W` or `R C` -> the same shape."""
        if x.dim() == 4:
            low = functional.conv2d(x, self.down.weight[:, :, None, None])
            return x + self.scale * functional.conv2d(low, self.up.weight[:, :, None, None])
        changed: Tensor = x + self.scale * self.up(self.down(x))
        return changed
