"""When published numbers compare with ours, and where they contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mtlbench.analysis.frame import IDENTITY, list_records
from mtlbench.arm_names import BASELINE
from mtlbench.contracts import Results
from mtlbench.errors import UserError

FILES = ("paper.csv", "protocols.csv")  # the paper's numbers; those of other published protocols


def read_published() -> pd.DataFrame:
    """The paper's numbers, and others' by the protocols that recipes have, in the frame's columns plus `source`; the
    seed is empty."""
    return pd.concat(map(_read, FILES), ignore_index=True)


def _read(name: str) -> pd.DataFrame:
    package = Path(__file__).parents[1]
    places = (package / "results" / name, package.parent / "results" / name)  # installed; checkout
    for place in places:
        if place.is_file():
            return pd.read_csv(place, keep_default_na=False, na_values={"seed": [""]}, dtype={"key": str})
    raise UserError(f"{name} is missing: looked at {places[0]} and {places[1]}; reinstall mtlbench")


@dataclass(frozen=True)
class Terms:
    """What else must agree for published numbers to compare: how many categories tasks have, the images' shortest and
    longest sides in pixels by pair (0 = as they are), whether networks start from ImageNet."""

    categories: Mapping[str, int]
    sides: Mapping[str, tuple[int, int]]
    from_imagenet: bool = True


TERMS = {  # by recipe
    # Sections 5 and 6, Long et al. 2015, Girshick 2015
    "paper": Terms({"semseg": 40, "detection": 20, "attributes": 64}, {"semseg_sn": (0, 0), "det_attr": (600, 1000)}),
    "libmtl": Terms({"semseg": 13}, {"dense3": (0, 0)}),
    "nash": Terms({"semseg": 13}, {"dense3": (0, 0)}, from_imagenet=False),
}
ONE_RUN = {"Table 2": "cross-stitch-rate-1000", "Table 3": "cross-stitch-from-one-task", "Table 5": "cross-stitch"}


def select_comparable(frame: pd.DataFrame, results: Results) -> tuple[pd.DataFrame, str]:
    """The published numbers for the frame's pair, by its recipe where there are such, or none and a sentence that says
    why they do not compare.

    They do on the same data set, backbone and recipe, and with the same categories, image sides, precision and start
    of the networks. `frame` is of one setting (`selection.select_newest`), `results` a `store.Results`, of which
    counts_of, provenance_of and states are asked. Whoever shows published numbers beside ours asks here.
    """
    ours = list_records(frame.head(1))[0]
    theirs = read_published()
    theirs = theirs[theirs["pair"] == ours["pair"]]
    if theirs.empty:
        return theirs, f"The paper has no numbers for {ours['pair']}."
    theirs = theirs[theirs["recipe"] == _nearest(ours["recipe"], theirs)]
    asked = list_records(theirs.head(1))[0]
    terms = TERMS[asked["recipe"]]
    reasons = [f"{name} {ours[name]}, not {asked[name]}" for name in IDENTITY if ours[name] != asked[name]]
    for task, counts in results.counts_of(frame).items():
        if len(counts) != terms.categories.get(task, len(counts)):
            reasons.append(f"{len(counts)} categories of {task}, not {terms.categories[task]}")
    trials = results.provenance_of(frame[frame["arm"] == BASELINE])
    sides = {(trial["recipe"].get("short_side", 0), trial["recipe"].get("long_side", 0)) for trial in trials}
    theirs_have = terms.sides[ours["pair"]]
    reasons += [f"{_sides(*own)}, not {_sides(*theirs_have)}" for own in sorted(sides - {theirs_have})]
    precisions = {str(trial["recipe"].get("precision", "fp32")) for trial in trials}
    reasons += [f"precision {own}, not fp32" for own in sorted(precisions - {"fp32"})]
    if terms.from_imagenet and _from_scratch({trial["key"] for trial in trials}, results):
        reasons.append("networks that start from scratch, not from ImageNet")
    if reasons:
        return theirs.iloc[:0], f"Published values are not shown, they do not compare: {'; '.join(reasons)}."
    return theirs, ""


def _nearest(recipe: str, published: pd.DataFrame) -> str:
    """The recipe itself where something is published by it, else the first that something is published by."""
    known = list(dict.fromkeys(published["recipe"]))
    return recipe if recipe in known else known[0]


def _from_scratch(keys: set[str], results: Results) -> bool:
    """Whether one of the trials had no pretrained weights; labels of backbones do not say it (`spec.Plugin`)."""
    trials = [state.trial for state in results.states if state.folder.name in keys and state.trial]
    return any("weights" not in trial.backbone.options for trial in trials)


def _sides(short: int, long: int) -> str:
    return f"images with sides of {short} to {long} pixels" if short or long else "images in full size"


def describe_contradiction(number: str) -> str:
    """Where the paper's tables give one run two values, a sentence for the tables concerned, else "".

    Tables 2 (scale 1000), 3 (one-task) and 5 (cross-stitch) show what should be one run (Sections 5.2, 5.3, 6.2).
    """
    if f"Table {number}" not in ONE_RUN:
        return ""
    theirs = read_published()
    theirs = theirs[theirs["arm"] == theirs["source"].map(ONE_RUN)]
    cells = theirs.pivot_table(index=["task", "metric"], columns="source", values="value", sort=False)
    differs = cells[cells.nunique(axis=1) > 1]
    said = [
        "{} {}: {}".format(*cell, ", ".join(f"{name} {value}" for name, value in row.items()))
        for cell, row in zip(differs.index, list_records(differs), strict=True)
    ]
    return f"What should be one run differs between the paper's tables ({'; '.join(said)})." if said else ""
