"""What trials cost, counted before any is trained: parameters, operations, bytes."""

from __future__ import annotations

import contextlib
import io

from mtlbench.plugins import find
from mtlbench.spec import Trial, is_file


class Costs:
    """Parameters and FLOPs of trials, each network counted once; 0 where a network cannot be built."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[int, int]] = {}

    def of(self, trial: Trial) -> tuple[int, int]:
        """Parameters, and FLOPs of one image forward."""
        same = (
            trial.task_names,
            trial.scheme.label,
            trial.scheme.source,
            trial.backbone.label,
            trial.backbone.options.get("widen"),
            len(trial.parents) if trial.average else 0,
        )
        if same not in self._known:
            self._known[same] = self._count(trial)
        return self._known[same]

    @staticmethod
    def _count(trial: Trial) -> tuple[int, int]:
        from mtlbench.training.context import Context
        from mtlbench.training.process import guard_process

        try:
            with guard_process(), contextlib.redirect_stdout(io.StringIO()):  # it may print
                return Context(trial).cost()
        except Exception:  # a user's scheme: its trials fail, with the reason each, and the others go on
            if not is_file(trial.scheme.source):
                raise
            return 0, 0

    def work(self, trial: Trial) -> float:
        """Floating-point operations of training (forward and backward = 3 forward; with a weighting of gradients a
        backward pass a task) and of about 400 evaluations."""
        visits = trial.iterations * trial.recipe.images
        passes = 1.0 + 2.0 * (len(trial.tasks) if weighs_gradients(trial) else 1)
        return float(self.of(trial)[1] * (passes * visits + 400.0))


def weighs_gradients(trial: Trial) -> bool:
    """Whether each task has a backward pass of its own."""
    method = trial.method
    return method is not None and not hasattr(find("weighting", method.source or method.name), "combine")
