"""Colours and dashes of arms' lines: ramps for Splits, trees and variants, colours of their own for the others."""

from __future__ import annotations

import re
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from mtlbench.analysis.arms import Arms
from mtlbench.arm_names import arm_order
from mtlbench.spec import Family

SPLITS, TREES = "split", "tree"  # their ramps
RAMPS = ("Blues", "Greens", "Oranges", "Purples", "Reds", "YlOrBr")
RAMP_ENDS = (0.5, 0.97)  # light to dark; paler is hard to see on white
COLOURS: dict[str, str] = {  # by family, of its plain arm
    Family.BASELINE: "#000000",
    Family.LONGER: "#000000",
    Family.SHARED: "#CC79A7",
    Family.CROSS_STITCH: "#D55E00",
}
OWN_COLOURS = (  # of arms without a ramp or fixed colour; with more of them dash-dotted the second time
    "#009E73",
    "#8B5A2B",
    "#7F3C8D",
    "#F0027F",
    "#17A2B8",
    "#6B8E23",
    "#B8860B",
    "#708090",
    "#E9967A",
)


def choose_looks(names: Sequence[str], kinds: Arms) -> pd.DataFrame:
    """arm, colour, dashes, strong: Splits in one ramp from light (nearly separate) to dark (fully shared), trees and
    variants of an arm in ramps of their own, the others in their own colours."""
    arms = arm_order(names)
    groups: dict[str, list[str]] = {}
    for arm in arms:
        if ramp := _ramp_of(arm, kinds):
            groups.setdefault(ramp, []).append(arm)
    ramped = {name: members for name, members in groups.items() if len(members) > 1 or name == SPLITS}
    order = sorted(ramped, key=lambda name: name != SPLITS)
    hues = RAMPS if SPLITS in ramped else RAMPS[1:]  # blue is the Splits'
    fixed = {arm: COLOURS.get(kinds.kind(arm).family) for arm in arms if not kinds.is_variant(arm)}
    colours = {arm: colour for arm, colour in fixed.items() if colour}
    strong = set(colours)
    for place, name in enumerate(order):
        shades = matplotlib.colormaps[hues[place % len(hues)]](np.linspace(*RAMP_ENDS, len(ramped[name])))
        colours |= {arm: to_hex(shade) for arm, shade in zip(ramped[name], shades, strict=True)}
    free = [arm for arm in arms if arm not in colours]
    colours |= {arm: OWN_COLOURS[place % len(OWN_COLOURS)] for place, arm in enumerate(free)}
    again = set(free[len(OWN_COLOURS) :])
    dashed = {arm for arm in arms if kinds.kind(arm).family == Family.LONGER}
    dashes = {arm: "--" if arm in dashed else "-." if arm in again else "-" for arm in arms}
    rows = [(arm, colours[arm], dashes[arm], arm in strong) for arm in arms]
    return pd.DataFrame(rows, columns=["arm", "colour", "dashes", "strong"])


def _ramp_of(arm: str, kinds: Arms) -> str:
    """The colour ramp of a Split, a tree or a variant, "" for the others; variants whose names go on with the same word
    (`cross-stitch-rate-1`, `cross-stitch-rate-10`) have one."""
    if kinds.is_split(arm):
        return SPLITS
    if kinds.is_tree(arm):
        return TREES
    if not kinds.is_variant(arm):
        return ""
    plain = kinds.plain(arm)
    word = re.match(r"-[a-z]+(?=-.)", arm.removeprefix(plain))
    return plain + (word[0] if word else "")
