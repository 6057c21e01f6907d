"""Comparisons as words."""

from __future__ import annotations

from mtlbench.analysis.comparison import AHEAD, BEHIND, NOISE, Case, Difference
from mtlbench.text import count, percent, probability


def compared(found: Difference, other: str, likely: bool = True) -> str:
    """What follows the relation: `one-task by 1.2 % [0.3, 2.1] (P > 0.99)`, `one-task (+0.4 % [-0.5, +1.3], P = 0.7)`,
    `+0.4 % against one-task`; P is the probability that the first arm is the better one."""
    chance = probability(found.probability) if likely else ""
    if not found.relation:
        return f"{percent(found.mean)} against {other}"
    if found.relation == NOISE:
        return f"{other} ({', '.join(filter(None, [percent(found.mean, found.low, found.high), chance]))})"
    sign = 1 if found.mean > 0 else -1
    low, high = sorted((sign * found.low, sign * found.high))
    notes = [chance] if chance else []
    if found.relation in (AHEAD, BEHIND):
        wide_low, wide_high = sorted((sign * found.wide_low, sign * found.wide_high))
        bounds = percent(abs(found.mean), wide_low, wide_high, signed=False).partition(" % ")[2]
        notes.append(f"{bounds} where {count(found.comparisons, 'comparison')} at once are allowed for")
    text = f"{other} by {percent(abs(found.mean), low, high, signed=False)}"
    return f"{text} ({', '.join(notes)})" if notes else text


def in_words(scope: str) -> str:
    """`normals`, `the pair`."""
    return scope or "the pair"


def command(case: Case, space: str) -> str:
    """What trains a search space (with the options that follow it) on the data and with the recipe that are judged."""
    name, _, options = space.partition(" ")
    setting = f"--dataset {case.pick['dataset']} --recipe {case.pick['recipe']}"
    return f"mtlbench run --pair {name} {setting} {options}".rstrip()
