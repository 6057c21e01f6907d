"""Equal tuning: every arm gets as many settings of learning rate and loss weights, and the same rule chooses on val.

Two rounds, successive halving (Jamieson and Talwalkar 2016): every setting trains for a part of the iterations, with
its whole schedule in them, then the best of them for all. A round is trials like any others: cached, resumed, the same
under every executor. Ours: Tune's ASHA stops trials in the middle of their schedule, by an order of arrival that is
not the same twice, and leave nothing to be cached.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

RATES = (1 / 4, 4.0)  # times the recipe's rate (Ours)
RATIOS = (1 / 4, 4.0)  # of each task's weight, before their mean is made 1 (Ours)
FIRST_ROUND = 1 / 3  # of the iterations; and of the settings, what goes on to the second (Ours)


@dataclass(frozen=True)
class Setting:
    """Factors on the recipe's learning rate and on the tasks' loss weights; absent tasks keep theirs. `best_of`: how
    many settings it was chosen from."""

    rate: float = 1.0
    loss_weight: Mapping[str, float] = field(default_factory=dict)
    best_of: int = 0


def draw_settings(tasks: Sequence[str], number: int, seed: int = 0) -> tuple[Setting, ...]:
    """The recipe's own setting, then `number` - 1 others, log-uniform in RATES and RATIOS and spread evenly.

    A task alone has a rate only. A joint network's factors on its tasks' weights have the mean 1, so that their sum,
    which acts like a rate, stays. Points of a scrambled Halton sequence (Owen 2017): the first n are the same whatever
    `number` is, so a larger budget later adds settings and keeps the old ones.
    """
    from scipy.stats import qmc  # slow to import, and figures and reports need only `weight_lattice`

    joint = len(tasks) > 1
    points = qmc.Halton(1 + (len(tasks) if joint else 0), rng=np.random.default_rng(seed)).random(max(0, number - 1))
    settings = [Setting()]
    for rate, *places in points.tolist():
        ratios = np.array([_spread(place, RATIOS) for place in places])
        weights = ratios / ratios.mean() if joint else ratios
        factors = dict(zip(tasks, (float(f"{weight:.4g}") for weight in weights.tolist()), strict=False))
        settings.append(Setting(float(f"{_spread(rate, RATES):.4g}"), factors))
    return tuple(settings[:number])


def _spread(place: float, limits: tuple[float, float]) -> float:
    """The number at a place in 0 .. 1 of a logarithmic axis."""
    low, high = map(math.log, limits)
    return math.exp(low + place * (high - low))


def count_survivors(number: int) -> int:
    """How many settings of the first round train for all iterations."""
    return max(1, math.ceil(FIRST_ROUND * number))


def choose_best(scores: Sequence[float], number: int) -> list[int]:
    """The places of the best scores (more is better), best first; NaN (diverged, failed) is worst, ties go to the
    earlier one."""
    order = sorted(range(len(scores)), key=lambda i: (math.inf if math.isnan(scores[i]) else -scores[i], i))
    return order[:number]


def mean_gains(scores: Sequence[Mapping[str, float]]) -> list[float]:
    """How good each of an arm's settings is for all tasks: the mean over tasks of the score over the median size of
    that score among the settings; NaN where a task has none.

    The settings of one arm are ranked among themselves, so that no other arm has to be trained first (Ours).

    >>> mean_gains([{"a": 10.0, "b": 4.0}, {"a": 20.0, "b": 5.0}, {}])[:2]
    [0.7777777777777777, 1.2222222222222223]
    """
    tasks = sorted({task for found in scores for task in found})
    sizes = {task: float(np.median([abs(found[task]) for found in scores if task in found])) for task in tasks}
    counting = [task for task in tasks if sizes[task] > 0]
    return [
        float(np.mean([found.get(task, math.nan) / sizes[task] for task in counting]))
        if found and counting
        else math.nan
        for found in scores
    ]


def first_round_iterations(iterations: int) -> int:
    """Of a network that trains for so many in the study."""
    return max(1, round(FIRST_ROUND * iterations))


def weight_lattice(tasks: Sequence[str], levels: int) -> tuple[dict[str, float], ...]:
    """Factors on the tasks' loss weights with the mean 1, evenly over the inside of the simplex: for two tasks `levels`
    of them, (2k + 1) : (2 levels - 2k - 1); no task's is 0, since an untrained task says nothing (Ours).

    >>> [tuple(round(w, 2) for w in point.values()) for point in weight_lattice(("a", "b"), 5)]
    [(0.2, 1.8), (0.6, 1.4), (1.0, 1.0), (1.4, 0.6), (1.8, 0.2)]
    """
    parts = [p for p in itertools.product(range(levels), repeat=len(tasks)) if sum(p) == levels - 1]
    total = 2 * (levels - 1) + len(tasks)
    return tuple(
        {task: len(tasks) * (2 * part + 1) / total for task, part in zip(tasks, point, strict=True)} for point in parts
    )
