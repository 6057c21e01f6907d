"""PLE, progressive layered extraction, and its single level, CGC (Tang et al., RecSys 2020)."""

from __future__ import annotations

from torch import Tensor, nn

from mtlbench.contracts import Pass, Stage
from mtlbench.schemes._experts import INPUT, Gate, Remember, count_inputs, find_first, mix, name_experts


class Ple:
    """A shared trunk that ends in experts, some of all tasks and some of one; a task's gate mixes its own ones with the
    common ones (Section 4.1, equations 1 to 3), level after level.

    Experts are the last `depth` stages with parameters: `shared` common ones and one of each task (theirs: any number;
    ours: one). With `progressive` there are gates after each of these stages (PLE, Section 4.2): tasks go on with what
    their gates mix, common experts with what one more gate mixes of all experts; without, after the last alone (CGC).
    A gate sees what went into its level, through softmax(W x). Ours: the mean of a map or region over its places, so
    that an image or region has one mixture; tasks' own experts start alike, as all columns of tasks do.
    """

    version = 1

    def __init__(self, shared: int = 1, depth: int = 2, progressive: bool = True) -> None:
        self.shared, self.depth, self.progressive = name_experts(shared, "ple"), depth, progressive

    def extra_columns(self, tasks: tuple[str, ...]) -> tuple[str, ...]:
        """The common experts."""
        return self.shared

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """All together, then every expert for itself. Raises UserError for a depth that leaves no shared stage."""
        columns = (*tasks, *self.shared)
        return [columns] if stage.before(find_first(stage, self.depth, "ple")) else [(name,) for name in columns]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """The gates of a level, and before one what remembers its input."""
        first, names = find_first(stage, self.depth, "ple"), stage.trunk.names
        is_last = stage.name == names[-1]
        if is_last or (self.progressive and stage.has_parameters and not stage.before(first)):
            width = count_inputs(stage, stage.name if self.progressive else first)
            sees_images = stage.trunk.pools_inside and (not self.progressive or stage.name == first)
            return Extraction(tasks, self.shared, width, has_next=not is_last, per_image=sees_images)
        is_input = names.index(stage.name) == names.index(first) - 1
        return Remember() if is_input or (self.progressive and not stage.before(first)) else None


class Extraction(nn.Module):
    """The gates of one level: each task's over its own expert and the common ones, and where there is a next level one
    over all experts for the common ones."""

    sees_pass = True

    def __init__(
        self, tasks: tuple[str, ...], shared: tuple[str, ...], channels: int, has_next: bool, per_image: bool
    ) -> None:
        super().__init__()
        self.shared, self.per_image = shared, per_image
        self.gates = nn.ModuleDict({task: Gate(channels, 1 + len(shared)) for task in tasks})
        self.common = Gate(channels, len(tasks) + len(shared)) if has_next else None

    def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """{column: `B C H W` or `R C`} -> the same shapes."""
        seen, common = this.memory[INPUT], [xs[name] for name in self.shared]
        owners = this.owners if self.per_image else None
        own = {task: mix(gate(seen[task]), [xs[task], *common], owners) for task, gate in self.gates.items()}
        after = {**xs, **own}
        if self.common is not None:
            everything = mix(self.common(seen[self.shared[0]]), list(xs.values()), owners)
            after.update(dict.fromkeys(self.shared, everything))
            this.memory[INPUT] = after
        return after
