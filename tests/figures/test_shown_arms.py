"""Which arms figures show, under which names, and what lies off their axes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtlbench.arm_names import family, is_ablation, is_split, short
from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._arms import other_names, shown_arms
from mtlbench.figures._panels import far_off


def trials(**keys: str) -> pd.DataFrame:
    """A frame with a row per arm (`_` for `-`) and trial; a letter a key."""
    rows = [(arm.replace("_", "-"), key) for arm, own in keys.items() for key in own]
    return pd.DataFrame(rows, columns=["arm", "key"])


def test_families_of_known_and_unknown_names() -> None:
    names = {
        "split-conv4": "split",
        "split-fc8-wide": "split-fc8-wide",
        "split-conv4@10": "split-conv4",
        "one-task": "one-task",
        "one-task-longer": "one-task-longer",
        "one-task-wide": "one-task-wide",
        "one-task-from-imagenet": "one-task",
        "cross-stitch-rate-10": "cross-stitch",
        "nddr@0.1": "nddr",
        "mtl-shared-1-16": "mtl-shared",
        "my-tree": "my-tree",
        "crossing": "crossing",
    }
    assert {name: family(name) for name in names} == names
    ablations = {name for name in names if is_ablation(name)}
    assert ablations == {"cross-stitch-rate-10", "mtl-shared-1-16", "nddr@0.1", "split-conv4@10"}
    assert [name for name in names if is_split(name)] == ["split-conv4"]


def test_known_families_have_a_marker_each() -> None:
    known = [*style.MARKERS]
    assert len({style.marker(name) for name in known}) == len(known)
    assert style.marker("my-tree") not in {style.marker(name) for name in known}


def test_arms_that_share_a_trial_are_one_network_under_the_name_with_most_trials() -> None:
    frame = trials(cross_stitch="ab", cross_stitch_rate_100="ab", cross_stitch_per_channel="a", nddr="c")
    names = other_names(frame, frame["arm"].unique().tolist())
    assert names == {"cross-stitch": ["cross-stitch-per-channel", "cross-stitch-rate-100"], "nddr": []}
    fuller = trials(cross_stitch="a", cross_stitch_rate_100="ab")
    names = other_names(fuller, ["cross-stitch", "cross-stitch-rate-100"])
    assert names == {"cross-stitch-rate-100": ["cross-stitch"]}


def test_ablations_are_left_out_unless_asked_for() -> None:
    frame = trials(
        one_task="a",
        cross_stitch="b",
        cross_stitch_rate_1="c",
        cross_stitch_rate_100="b",
        nddr_10="d",
        my_tree="e",
        ensemble_member="f",
    )
    shown, text = shown_arms(frame)
    assert shown == ["one-task", "cross-stitch", "my-tree", "nddr-10"]
    assert text == "One network each: cross-stitch = cross-stitch-rate-100. Left out: cross-stitch-rate-1."
    assert shown_arms(frame, ["*rate*"]) == (["one-task", "cross-stitch-rate-1", "cross-stitch-rate-100"], "")
    assert shown_arms(frame, every=True)[0] == ["one-task", "cross-stitch", "cross-stitch-rate-1", "my-tree", "nddr-10"]
    with pytest.raises(UserError, match="no arm with results called 'nddr'.*nddr-10"):
        shown_arms(frame, ["nddr"])


def test_without_the_plain_arm_its_network_stands_in_under_another_name() -> None:
    frame = trials(one_task="a", cross_stitch_rate_1="c", cross_stitch_rate_100="b", cross_stitch_alpha_0="b")
    assert shown_arms(frame)[0] == ["one-task", "cross-stitch-alpha-0"]
    unclear = trials(one_task="a", mtl_shared_1_1="c", mtl_shared_1_4="b")
    assert set(shown_arms(unclear)[0]) == {"one-task", "mtl-shared-1-1", "mtl-shared-1-4"}


def test_short_names_stay_apart() -> None:
    names = ["split-conv4", "split-fc8-wide", "cross-stitch", "cross-stitch-rate-1", "mtl-shared", "mtl-shared-1-4"]
    assert len({short(name) for name in names}) == len(names)
    assert short("cross-stitch-rate-1") == "CS-rate-1" and short("split-conv4") == "Split conv4"


@pytest.mark.parametrize(("sign", "count"), [(1, 1), (1, 3), (-1, 1), (-1, 3)])
def test_far_arms_are_those_beyond_a_gap_wider_than_all_others(sign: int, count: int) -> None:
    near = np.linspace(0, 10, 9)
    rows = pd.DataFrame({"mean": sign * np.append(near, np.full(count, -12.0)), "low": np.nan, "high": np.nan})
    assert far_off(rows).tolist() == [False] * 9 + [True] * count
    rows.loc[9:, "mean"] = sign * -9.0  # closer than the others are wide
    assert not far_off(rows).any()
    wide = rows.assign(low=rows["mean"] - 5, high=rows["mean"] + 5)
    wide.loc[9:, "mean"] = sign * -12.0  # whiskers count
    assert not far_off(wide).any()


def test_of_few_arms_none_is_far() -> None:
    rows = pd.DataFrame({"mean": [0.0, 0.1, 0.2, -100.0], "low": np.nan, "high": np.nan})
    assert not far_off(rows).any()
