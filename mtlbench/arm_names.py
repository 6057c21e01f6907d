"""Names of arms: the few that others are compared with, labels for people, the order in tables. What an arm is stands
in its scheme, family and variant_of (`spec.Family`), never in its name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mtlbench.spec import Family

BASELINE = "one-task"
SPLIT_POINTS = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")  # Section 1.1, Figure 2
_LEADING = ("one-task", "ensemble", "one-task-longer", "mtl-shared")
_VARIED = ("mtl-shared", "cross-stitch")  # arms whose variants have names that begin with theirs


def name_in_prose(arm: str, family: str = "") -> str:
    """For sentences: `Split conv4`, `MTL-shared`, else the arm's name; a user's arm (family "own") keeps its name."""
    if family == Family.OWN:
        return arm
    return f"Split {arm.removeprefix('split-')}" if arm.startswith("split-") else arm.replace("mtl-", "MTL-")


def shorten(arm: str, family: str = "") -> str:
    """For little room.

    >>> shorten("split-conv4"), shorten("cross-stitch-rate-10"), shorten("tree-conv3:sem+nor-fc7")
    ('Split conv4', 'CS-rate-10', 'conv3:sem+nor-fc7')
    """
    if family != Family.OWN:
        for begin, brief in (("cross-stitch-", "CS-"), ("mtl-shared-", "MTL-"), ("tree-", "")):
            if arm.startswith(begin):
                return brief + arm.removeprefix(begin)
    return name_in_prose(arm, family)


def arm_order(arms: Iterable[str]) -> list[str]:
    """The arms in table order: baseline and controls, mtl-shared, Splits from early to late, trees, cross-stitch, then
    others.

    By name alone, for nothing follows from it. Variants (`cross-stitch-rate-10`) stand after the arm whose name they
    begin with; numbers in names count as numbers, and 1-16 as a sixteenth.

    >>> arm_order(["mtan", "cross-stitch-rate-10", "cross-stitch-rate-2", "cross-stitch", "split-conv4", "one-task"])
    ['one-task', 'split-conv4', 'cross-stitch', 'cross-stitch-rate-2', 'cross-stitch-rate-10', 'mtan']
    """

    def position(arm: str) -> tuple[int, int, list[str | float]]:
        begin = next((name for name in (*_VARIED, arm) if arm.startswith(name)), arm)
        if begin in _LEADING:
            return 0, _LEADING.index(begin), _split_numbers(arm)
        if arm == "split-fc8":  # the heads, whatever stages are called
            return 1, 0, ["split-~"]
        if re.fullmatch(r"split-[^-@]+", arm):  # conv2 .. conv5, fc6 .. fc8, and layer2 before layer10
            return 1, 0, _split_numbers(arm)
        if arm.startswith("tree-"):
            return 1, 1, _split_numbers(arm)
        return 2 if begin in _VARIED else 3, 0, _split_numbers(arm)

    return sorted(set(arms), key=position)


def expected_splits(trained: Iterable[str]) -> list[str]:
    """The Splits that a comparison should have beside those that are there: of CaffeNet's layers, unless these are at
    the stages of another backbone.

    >>> expected_splits(["split-fc8"])[:2], expected_splits(["split-stage2", "split-fc8"])
    (['split-conv2', 'split-conv3'], [])
    """
    usual = [f"split-{point}" for point in SPLIT_POINTS]
    return usual if {*trained} <= {*usual} else []


def _split_numbers(name: str) -> list[str | float]:
    """Texts and numbers in turn, which sort as people do: `rate-`, 10.0, ``."""
    fractions = re.sub(r"(?<![\d.])(\d+)-([1-9]\d*)(?![\d.])", lambda f: f"{int(f[1]) / int(f[2]):.9f}", name)
    parts = re.split(r"(\d+(?:\.\d+)?)", fractions)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]
