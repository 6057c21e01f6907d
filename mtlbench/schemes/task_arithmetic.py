"""Task arithmetic: the sum of what one-task networks have learned, without training (Ilharco et al., ICLR 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from mtlbench.contracts import Stage


class TaskArithmetic:
    """All weights but the heads' are start + scale * sum over the tasks of (finished - start): task vectors are added
    (Section 2). One-task networks of a seed start alike, from the weights that the task vectors are taken from. Each
    task keeps its own network's head (Section 3: as for image classifiers, whose heads are never merged).

    `scale` is 0.4, what Yadav et al. (2023, Section 6) give as the authors' advice where nothing chooses it: none here
    is chosen on val. 1 / T is the mean of T networks.
    """

    version = 1
    from_one_task = True

    def __init__(self, scale: float = 0.4) -> None:
        self.scale = scale

    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """One column for all tasks."""
        return [tasks]

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        """None."""
        return None

    def merge(self, start: dict[str, Tensor], finished: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
        """The weights of what several tasks share."""
        return {
            name: value + self.scale * sum((own[name] - value for own in finished.values()), start=value.new_zeros(()))
            for name, value in start.items()
        }
