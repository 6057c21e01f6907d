"""What is known of the names of arms: the baseline, hidden arms, families, their order in tables."""

from __future__ import annotations

import re
from collections.abc import Iterable


def named(arm: str) -> str:
    """`Split conv4`, `MTL-shared`, else the arm's name."""
    return f"Split {arm.removeprefix('split-')}" if is_split(arm) else arm.replace("mtl-", "MTL-")


BASELINE = "one-task"
MEMBER = "ensemble-member"  # trained for the ensemble only, hidden from tables and figures
SEARCH = "branching-search"  # trained for the tree only, hidden too
SPLIT_POINTS = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")  # Section 1.1, Figure 2
ABLATED = ("cross-stitch", "mtl-shared")  # arms whose variants have names that begin with theirs
FAMILIES = (
    "one-task-longer",
    "one-task-wide",
    "one-task",
    "ensemble",
    "nddr",
    "sluice",
    "mtan",
    "soft-sharing",
    "branching",
    *ABLATED,
)


def family(arm: str) -> str:
    """The arm of which this is a variant (`cross-stitch-rate-1`, `nddr@10`), `split`, or its own name."""
    if is_split(arm):
        return "split"
    plain = arm.partition("@")[0]
    return next((name for name in FAMILIES if plain == name or plain.startswith(f"{name}-")), plain)


def is_reserved(arm: str) -> bool:
    """Whether an arm of this name is taken for one of ours: for a Split, a variant, a control, a hidden arm."""
    begins = (*FAMILIES, *HIDDEN_ARMS, "split")
    return "@" in arm or any(arm == begin or arm.startswith(f"{begin}-") for begin in begins)


def is_ablation(arm: str) -> bool:
    """Whether an arm is a variant of an arm that has several: of cross-stitch or MTL-shared, or at another rate."""
    return "@" in arm or (family(arm) in ABLATED and arm not in ABLATED)


def short(arm: str) -> str:
    """A name in one short line: `Split conv4`, `CS-rate-10`, `MTL-1-16`."""
    for begin, brief in (("split-", "Split "), ("cross-stitch-", "CS-"), ("mtl-shared-", "MTL-")):
        if arm.startswith(begin):
            return brief + arm.removeprefix(begin)
    return arm.replace("mtl-", "MTL-")


HIDDEN_ARMS = ("ensemble-member", "branching-search")  # parents only: in the frame, never in a table or figure
_LEADING = ("one-task", "ensemble", "one-task-longer", "mtl-shared")
_VARIED = ("mtl-shared", "cross-stitch")  # arms whose variants have names that begin with theirs


def is_split(arm: str) -> bool:
    """Whether an arm is of the Split family: `split-fc8`, but no wide control and no other rate of one."""
    return re.fullmatch(r"split-[^-@]+", arm) is not None


def arm_order(arms: Iterable[str]) -> list[str]:
    """The arms in table order: baseline and controls, mtl-shared, Splits from early to late, cross-stitch, others.

    Variants (`cross-stitch-rate-10`) stand after the arm whose name they begin with; numbers in names count as numbers,
    and 1-16 as a sixteenth.
    """

    def position(arm: str) -> tuple[int, int, list[str | float]]:
        family = next((name for name in (*_VARIED, arm) if arm.startswith(name)), arm)
        if family in _LEADING:
            return 0, _LEADING.index(family), _natural(arm)
        if is_split(arm):  # conv2 .. conv5, fc6 .. fc8, and layer2 before layer10
            return 1, 0, _natural(arm)
        return 2 if family in _VARIED else 3, 0, _natural(arm)

    return sorted(set(arms), key=position)


def _natural(name: str) -> list[str | float]:
    """Texts and numbers in turn, which sort as people do: `rate-`, 10.0, ``."""
    fractions = re.sub(r"(?<![\d.])(\d+)-([1-9]\d*)(?![\d.])", lambda f: f"{int(f[1]) / int(f[2]):.9f}", name)
    parts = re.split(r"(\d+(?:\.\d+)?)", fractions)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]
