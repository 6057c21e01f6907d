"""Colours, markers and sizes that figures share; colours from Okabe and Ito (2008), apart in grey as well."""

from __future__ import annotations

INK = "#1A1A1A"
FAINT = "#8A8A8A"
DOTS = "#5A5A5A"
SHARED = "#D9D9D9"  # weights that several tasks share
BAND = "#ECECEC"
TASK_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # blue, orange, green, purple: dark to light in grey
SMALL = 6.5  # points
NORMAL = 7.5
LARGE = 8.5
MARKERS = {  # by family, as `_arms.family` names it
    "split": "o",
    "one-task": "s",
    "one-task-longer": "P",
    "ensemble": "^",
    "mtl-shared": "v",
    "cross-stitch": "X",
    "nddr": "h",
    "sluice": "p",
    "mtan": "8",
    "soft-sharing": "d",
    "branching": "<",
    "one-task-wide": ">",
}
CUSTOM_MARKER = "D"


def task_colour(place: int) -> str:
    """The colour of the task at a place of its pair."""
    return TASK_COLOURS[place % len(TASK_COLOURS)]


def marker(family: str) -> str:
    """The marker of the means of a family of arms."""
    return MARKERS.get(family, CUSTOM_MARKER)
