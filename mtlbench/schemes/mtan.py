"""Attention over a shared stream: MTAN (Liu, Johns and Davison, CVPR 2019)."""

from __future__ import annotations

from itertools import takewhile

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtlbench.contracts import Pass, Stage
from mtlbench.errors import UserError


class Mtan:
    """One trunk through the convolutional part, of which every task picks its own features by soft attention masks.

    A block is what lies between two pooling stages (here: stages without parameters). In block j, with u the output of
    its first stage and p that of its last one, task t attends to a_t * p, where
    a_t = sigmoid(h_t(g_t([u; pooled f(a_t * p of block j - 1)]))), without the second part in the first block (Section
    3.2, equations 1 and 2). g_t and h_t are 1x1 convolutions; f is a 3x3 one, common to the tasks, which comes before
    the pooling and gives as many channels as the next block's u, as in the authors' code. Batch norm follows each.

    Ours: what comes after the last pooling (fc6, fc7) is each task's own, and its input is the task's last pooled
    a_t * p, without another f; convolutions before a batch norm have no bias, which it would take out again. A batch
    that comes in parts is normalised part by part. Of a trunk without pooling stages (residual networks, transformers)
    every stage is a block, up to those of which each form has its own, which are each task's; u is p, and f's output is
    pooled to the next stage's size. Raises UserError for a trunk without such blocks.
    """

    version = 1

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """All tasks up to the last pooling, every task for itself from there on."""
        return [tasks] if stage.name in _find_shared(stage) else [(task,) for task in tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """The masks of a block after the pooling that ends it; inside, what remembers the shared maps."""
        shared = _find_shared(stage)
        if stage.name not in shared:
            return None
        if stage.trunk.pools_inside:
            names, widths = list(shared), list(shared.values())
            place = names.index(stage.name)
            return StageAttention(tasks, widths[place], dict(enumerate(widths)).get(place + 1, 0), bool(place))
        if stage.has_parameters:
            return Remember()
        names = list(shared)
        before, after = names[: names.index(stage.name)], names[names.index(stage.name) + 1 :]
        block = [*takewhile(lambda name: name not in stage.trunk.pooling, reversed(before))][::-1]
        earlier = [name for name in before[: len(before) - len(block)] if name not in stage.trunk.pooling]
        if not block:
            return PoolStreams(returns_streams=not after) if earlier else None
        following = [name for name in after if name not in stage.trunk.pooling]
        return Attention(
            tasks,
            shared[block[0]],
            shared[block[-1]],
            shared[following[0]] if following else 0,
            has_previous=bool(earlier),
            returns_streams=not after,
        )


def _find_shared(stage: Stage) -> dict[str, int]:
    """The stages up to the last pooling, with their channels; without any up to where forms part. Raises UserError."""
    trunk = stage.trunk.names
    if stage.trunk.pools_inside and stage.trunk.parted[0] != trunk[0]:
        return dict(zip(trunk[: trunk.index(stage.trunk.parted[0])], stage.trunk.widths, strict=False))
    shared = {
        name: width
        for place, (name, width) in enumerate(zip(trunk, stage.trunk.widths, strict=True))
        if any(later in stage.trunk.pooling for later in trunk[place:])
    }
    if all(name in stage.trunk.pooling for name in shared):
        raise UserError(f"scheme Mtan needs convolutions that end in pooling; the stages are {', '.join(trunk)}")
    return shared


class Remember(nn.Module):
    """Leaves the block's first and latest shared map in the memory of the pass."""

    sees_pass = True

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """Shared `B C H W`, unchanged."""
        this.memory["p"] = next(iter(xs.values()))
        this.memory.setdefault("u", this.memory["p"])
        return xs


class Attention(nn.Module):
    """The masks of one block, and each task's attended map pooled as the shared one has been.

    `first` and `last` are the widths of u and p, `next_first` that of the next block's u (0: there is none).
    """

    sees_pass = True

    def __init__(
        self, tasks: tuple[str, ...], first: int, last: int, next_first: int, has_previous: bool, returns_streams: bool
    ) -> None:
        super().__init__()
        self.returns_streams = returns_streams
        self.masks = nn.ModuleDict(
            {
                task: nn.Sequential(
                    *_make_normalised(first * (2 if has_previous else 1), last, 1),
                    nn.ReLU(inplace=True),
                    *_make_normalised(last, last, 1),
                    nn.Sigmoid(),
                )
                for task in tasks
            }
        )
        self.pass_on: nn.Module = nn.Identity()  # f
        if next_first:
            self.pass_on = nn.Sequential(*_make_normalised(last, next_first, 3), nn.ReLU(inplace=True))

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """Shared `B C H W`, unchanged; after the last pooling {task: its own stream}, `B C H W` or `R C H W`."""
        u, p = this.memory.pop("u"), this.memory.pop("p")
        previous = this.memory.get("streams", {})
        streams = {}
        for task, mask in self.masks.items():
            seen = [u, previous[task]] if previous else [u]
            if any(x.shape[-2:] != p.shape[-2:] for x in seen):
                sizes = ", ".join(f"{x.shape[-2]} x {x.shape[-1]}" for x in (*seen, p))
                raise UserError(f"scheme Mtan: the maps of a block have different sizes ({sizes}); only pooling may")
            streams[task] = this.again(self.pass_on(mask(torch.cat(seen, 1)) * p))
        this.memory["streams"] = streams
        return streams if self.returns_streams else xs


class StageAttention(Attention):
    """The masks of a block that is one stage; `next_width` is that of the next one's output (0: there is none, and the
    tasks' streams leave)."""

    def __init__(self, tasks: tuple[str, ...], width: int, next_width: int, has_previous: bool) -> None:
        super().__init__(tasks, width, width, next_width, has_previous, returns_streams=not next_width)

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """Shared `B C H W`, unchanged; after the last block {task: its own stream}, `B C H W`."""
        previous, streams = this.memory.get("streams", {}), {}
        for task, mask in self.masks.items():
            p = xs[task]
            seen = [p, functional.adaptive_max_pool2d(previous[task], p.shape[-2:])] if previous else [p]
            streams[task] = self.pass_on(mask(torch.cat(seen, 1)) * p)
        this.memory["streams"] = streams
        return streams if self.returns_streams else xs


class PoolStreams(nn.Module):
    """Takes the tasks' streams through a further stage without parameters."""

    sees_pass = True

    def __init__(self, returns_streams: bool) -> None:
        super().__init__()
        self.returns_streams = returns_streams

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """As Attention."""
        this.memory["streams"] = {task: this.again(x) for task, x in this.memory["streams"].items()}
        return this.memory["streams"] if self.returns_streams else xs


def _make_normalised(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.xavier_normal_(convolution.weight)  # the authors' start
    return convolution, nn.BatchNorm2d(outputs)
