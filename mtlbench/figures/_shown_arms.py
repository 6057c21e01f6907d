"""Which arms a figure shows: each network under one name, variants where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from mtlbench.analysis.arms import Arms
from mtlbench.analysis.selection import arms_matching, one_name_each
from mtlbench.arm_names import BASELINE, arm_order
from mtlbench.figures import _style as style

MOST_NAMED = 6  # arms in a list of the caption


def marker_of(arms: Arms, arm: str) -> str:
    """The marker of an arm's means: that of its family and scheme, for a variant too."""
    kind = arms.kind(arm)
    return style.choose_marker(kind.family, kind.scheme)


def other_names(frame: pd.DataFrame, arms: Sequence[str]) -> dict[str, list[str]]:
    """{arm: its other names} in table order; arms with a trial in common are one network (`stats.one_name_each`)."""
    names = one_name_each(frame[frame["arm"].isin(set(arms))])
    return {
        arm: [other for other in arm_order(names) if names[other] == arm and other != arm]
        for arm in arm_order(names.values())
    }


def choose_arms(frame: pd.DataFrame, globs: Sequence[str] = (), every: bool = False) -> tuple[list[str], str]:
    """The arms that a figure shows, in table order, and a sentence on other names and what is left out, or "".

    With globs the arms that match one, and the baseline; else all if `every`, else all but variants: those of an arm
    that was not run stand in for it, the network with several names if there is one (the plain arm's own options,
    varied in several ways), else all. Raises UserError for a glob without an arm.
    """
    arms = Arms.of(frame)
    names = arm_order(arms.shown())
    matching = arms_matching(names, globs, "arm with results") if globs else names
    asked = [arm for arm in names if arm == BASELINE or arm in matching]
    known = other_names(frame, asked)
    shown = list(known)
    if not globs and not every:
        standing_in = _find_substitutes(arms, known)
        shown = [arm for arm in known if not arms.is_variant(arm) or arm in standing_in]
    texts = [" = ".join([arm, *known[arm]]) for arm in shown if known[arm]]
    text = f"One network each: {'; '.join(texts)}." if texts else ""
    if hidden := [arm for arm in known if arm not in shown]:
        text += f" Left out: {list_names(hidden, 'ablations')}."
    return shown, text.strip()


def _find_substitutes(arms: Arms, known: Mapping[str, Sequence[str]]) -> set[str]:
    """The variants that a figure shows in place of plain arms that were not run."""
    lacking: dict[str, list[str]] = {}
    for arm in known:
        if arms.is_variant(arm) and arms.plain(arm) not in known:
            lacking.setdefault(arms.plain(arm), []).append(arm)
    return {arm for own in lacking.values() for arm in [name for name in own if known[name]] or own}


def list_names(arms: Sequence[str], what: str = "arms") -> str:
    """Their names, or how many they are."""
    return ", ".join(arms) if len(arms) <= MOST_NAMED else f"{len(arms)} {what}"
