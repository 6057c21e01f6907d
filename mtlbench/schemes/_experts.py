"""What schemes with experts have in common: the last stages in several columns, and what gates weigh them by."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.contracts import Pass, Stage
from mtlbench.errors import UserError

INPUT = "what gates see"  # in a pass's memory


def name_experts(count: int, scheme: str) -> tuple[str, ...]:
    """`expert-1`, `expert-2` ... Raises UserError."""
    if count < 1:
        raise UserError(f"{scheme}: {count} experts; there must be one or more")
    return tuple(f"expert-{number + 1}" for number in range(count))


def find_first(stage: Stage, depth: int, scheme: str) -> str:
    """Where experts begin that are the last `depth` stages with parameters; of a trunk whose stages pool inside those
    of which each form has its own, if these are fewer (Ours). Raises UserError."""
    layers = [name for name in stage.trunk.names if name not in stage.trunk.pooling]
    if not 0 < depth < len(layers):
        raise UserError(f"{scheme}: experts of depth {depth}; of {len(layers)} layers, 1 to {len(layers) - 1} may be")
    parted = stage.trunk.parted
    return max(layers[-depth], parted[0], key=layers.index) if stage.trunk.pools_inside else layers[-depth]


def group_experts(
    stage: Stage, tasks: tuple[str, ...], experts: tuple[str, ...], depth: int, scheme: str
) -> list[tuple[str, ...]]:
    """All together, then every expert for itself; tasks go with the first. Raises UserError for a depth that leaves no
    shared stage."""
    if stage.before(find_first(stage, depth, scheme)):
        return [(*tasks, *experts)]
    first, *others = experts
    return [(*tasks, first), *((name,) for name in others)]


def count_inputs(stage: Stage, name: str) -> int:
    """Channels that the stage of that name sees."""
    return stage.trunk.widths[stage.trunk.names.index(name) - 1]


class Remember(nn.Module):
    """Leaves what follows' gates see in the memory of the pass."""

    sees_pass = True

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """{column: `B C H W` or `R C ..`}, unchanged."""
        this.memory[INPUT] = xs
        return xs


class Gate(nn.Module):
    """softmax(W x) over some experts, where x is the mean of `B C H W` or `R C ..` over its places (Ours)."""

    def __init__(self, channels: int, experts: int) -> None:
        super().__init__()
        self.choose = nn.Linear(channels, experts, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`B E` or `R E`."""
        weights: Tensor = self.choose(x.flatten(2).mean(2) if x.dim() > 2 else x).softmax(1)
        return weights


def mix(weights: Tensor, experts: Sequence[Tensor], owners: Tensor | None = None) -> Tensor:
    """The sum of the experts' `B C H W` or `R C`, weighed by `B E` or `R E`, or by `E`; where experts pool regions, by
    `B E` of the images that these are of, their `owners`. Raises UserError."""
    x = experts[0]
    if owners is not None and len(owners) == len(x) and weights.dim() > 1:
        weights = weights[owners]
    if weights.dim() > 1 and len(weights) != len(x):
        raise UserError(f"gates see {len(weights)} images, and experts end in {len(x)} regions: take a smaller depth")
    places = weights.reshape(*weights.shape, *(1,) * (x.dim() - 1))
    total = places.select(weights.dim() - 1, 0) * x
    for number, other in enumerate(experts[1:], start=1):
        total = total + places.select(weights.dim() - 1, number) * other
    return total
