"""Which arms a figure shows: each network under one name, ablations where they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import pandas as pd

from mtlbench.analysis.selection import one_name_each
from mtlbench.arm_names import ABLATED, BASELINE, HIDDEN_ARMS, arm_order, family, is_ablation, is_split
from mtlbench.figures import _style as style
from mtlbench.plugins import unknown

MOST_NAMED = 6  # arms in a list of the caption


def are_splits(arms: Iterable[str]) -> list[bool]:
    """Which arms are Splits."""
    return [is_split(arm) for arm in arms]


def on_spectrum(arms: Iterable[str]) -> list[bool]:
    """Which arms lie between fully shared and fully separate: the Splits and one-task."""
    return [is_split(arm) or arm == BASELINE for arm in arms]


def marker_of(arm: str) -> str:
    """The marker of an arm's means, that of its family."""
    return style.marker(family(arm))


def other_names(frame: pd.DataFrame, arms: Sequence[str]) -> dict[str, list[str]]:
    """{arm: its other names} in table order; arms with a trial in common are one network (`stats.one_name_each`)."""
    names = one_name_each(frame[frame["arm"].isin(set(arms))])
    return {
        arm: [other for other in arm_order(names) if names[other] == arm and other != arm]
        for arm in arm_order(names.values())
    }


def shown_arms(frame: pd.DataFrame, globs: Sequence[str] = (), every: bool = False) -> tuple[list[str], str]:
    """The arms that a figure shows, in table order, and a sentence on other names and what is left out, or "".

    With globs the arms that match one, and the baseline; else all if `every`, else all but ablations: of cross-stitch
    and MTL-shared their variants stand in where the plain one was not run, the network with several names if there is
    one (the plain arm's own options, varied in several ways), else all. Raises UserError for a glob without an arm.
    """
    names = [arm for arm in arm_order(frame["arm"].unique()) if arm not in HIDDEN_ARMS]
    for glob in globs:
        if not any(fnmatchcase(arm, glob) for arm in names):
            raise unknown("arm with results", glob, names)
    asked = [arm for arm in names if arm == BASELINE or any(fnmatchcase(arm, glob) for glob in globs or "*")]
    known = other_names(frame, asked)
    shown = list(known)
    if not globs and not every:
        standing_in = {arm for name in ABLATED for arm in _standing_in(name, known)}
        shown = [arm for arm in known if not is_ablation(arm) or arm in standing_in]
    texts = [" = ".join([arm, *known[arm]]) for arm in shown if known[arm]]
    text = f"One network each: {'; '.join(texts)}." if texts else ""
    if hidden := [arm for arm in known if arm not in shown]:
        text += f" Left out: {listed(hidden, 'ablations')}."
    return shown, text.strip()


def _standing_in(name: str, known: Mapping[str, Sequence[str]]) -> list[str]:
    """The variants that a figure shows in place of a plain arm that was not run."""
    if name in known:
        return []
    variants = [arm for arm in known if family(arm) == name and "@" not in arm]
    several = [arm for arm in variants if known[arm]]
    return several or variants


def listed(arms: Sequence[str], what: str = "arms") -> str:
    """Their names, or how many they are."""
    return ", ".join(arms) if len(arms) <= MOST_NAMED else f"{len(arms)} {what}"
