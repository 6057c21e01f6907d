"""How wide a wide arm has to be, so that it has the parameters of all one-task networks together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from mtlbench.execution.costs import Costs
from mtlbench.plan.arms import one_task
from mtlbench.spec import Arm, Trial


def find_widths(arms: Sequence[Arm], planned: Callable[[Sequence[Arm]], list[Trial]], costs: Costs) -> tuple[Arm, ...]:
    """The arms with the width of wide ones found: each network has the parameters of all one-task networks together,
    within 1 %, by a secant search over the backbone's option `widen` (Ours). Raises UserError where it has none."""
    if not any(arm.wide for arm in arms):
        return tuple(arms)
    target = math.log(sum(costs.of(trial)[0] for trial in planned([one_task()])))

    def excess(arm: Arm, log_width: float) -> float:
        at_width = dataclasses.replace(arm, backbone=arm.backbone | {"widen": round(math.exp(log_width), 3)})
        return math.log(max(costs.of(trial)[0] for trial in planned([at_width]))) - target

    def fit(arm: Arm) -> Arm:
        before, now = 0.0, math.log(2) / 2  # parameters grow with the square of the width, nearly
        error_before, error = excess(arm, before), excess(arm, now)
        for _ in range(6):
            if abs(error) < 0.01 or error == error_before:
                break
            before, now = now, now - error * (now - before) / (error - error_before)
            error_before, error = error, excess(arm, now)
        return dataclasses.replace(arm, backbone=arm.backbone | {"widen": round(math.exp(now), 3)})

    return tuple(fit(arm) if arm.wide else arm for arm in arms)
