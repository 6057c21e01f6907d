"""Which arms a figure shows: each network under one name, ablations where they are asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import pandas as pd

from mtlbench.plugins import unknown
from mtlbench.stats import BASELINE, HIDDEN_ARMS, arm_order

ABLATED = ("cross-stitch", "mtl-shared")  # arms whose variants have names that begin with theirs
FAMILIES = ("one-task-longer", "one-task-wide", "one-task", "ensemble", "nddr", "sluice", "mtan", "soft-sharing",
            "branching", *ABLATED)  # fmt: skip
SPECTRUM = re.compile(r"split-[^-@]+")  # the paper's Splits; not split-fc8-wide, nor split-conv4@10 at another rate
MOST_NAMED = 6  # arms in a list of the caption


def on_spectrum(arm: str) -> bool:
    """Whether an arm is one of the Splits between fully shared and fully separate."""
    return SPECTRUM.fullmatch(arm) is not None


def family(arm: str) -> str:
    """The arm of which this is a variant (`cross-stitch-rate-1`, `nddr@10`), `split`, or its own name."""
    if on_spectrum(arm):
        return "split"
    plain = arm.partition("@")[0]
    return next((name for name in FAMILIES if plain == name or plain.startswith(f"{name}-")), plain)


def is_ablation(arm: str) -> bool:
    """Whether an arm is a variant of an arm that has several: of cross-stitch or MTL-shared, or at another rate."""
    return "@" in arm or (family(arm) in ABLATED and arm not in ABLATED)


def one_name_each(frame: pd.DataFrame, arms: Sequence[str]) -> dict[str, list[str]]:
    """{arm: its other names} in table order; arms with a trial in common are one network.

    The name with most trials is kept, of equals the plain one before those of ablations.
    """
    rows = frame[frame["arm"].isin(set(arms))]
    keys = {str(arm): set(own) for arm, own in rows.groupby("arm", sort=False)["key"]}
    order = arm_order(keys)
    kept: dict[str, list[str]] = {}
    for arm in sorted(order, key=lambda arm: (-len(keys[arm]), is_ablation(arm))):
        first = next((name for name in kept if keys[name] & keys[arm]), None)
        if first is None:
            kept[arm] = []
        else:
            kept[first].append(arm)
    return {arm: arm_order(kept[arm]) for arm in order if arm in kept}


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
    known = one_name_each(frame, asked)
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


def short(arm: str) -> str:
    """A name in one short line: `Split conv4`, `CS-rate-10`, `MTL-1-16`."""
    for begin, brief in (("split-", "Split "), ("cross-stitch-", "CS-"), ("mtl-shared-", "MTL-")):
        if arm.startswith(begin):
            return brief + arm.removeprefix(begin)
    return arm.replace("mtl-", "MTL-")
