"""Which arms figures show, under which names, and what lies off their axes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtlbench.analysis.arms import Arms
from mtlbench.arm_names import name_in_prose, shorten
from mtlbench.errors import UserError
from mtlbench.figures import _style as style
from mtlbench.figures._panels import far_off
from mtlbench.figures._shown_arms import choose_arms, other_names
from mtlbench.spec import Family
from tests.support.arms import with_facts


def trials(**keys: str) -> pd.DataFrame:
    """A frame with a row per arm (`_` for `-`) and trial; a letter a key."""
    rows = [(arm.replace("_", "-"), key) for arm, own in keys.items() for key in own]
    return with_facts(pd.DataFrame(rows, columns=["arm", "key"]))


def test_what_an_arm_is_stands_in_its_columns_and_not_in_its_name() -> None:
    rows = [
        ("split-conv4", "split", Family.SPLIT, ""),
        ("mine", "split", Family.SPLIT, ""),
        ("split-conv4@10", "split", Family.SPLIT, "split-conv4"),
        ("split-fc8-wide", "split", Family.WIDE, ""),
        ("split-tree", "SplitTree", Family.OWN, ""),
        ("cross-stitch-gated", "CrossStitchGated", Family.OWN, ""),
        ("x", "cross_stitch", Family.CROSS_STITCH, "cross-stitch"),
        ("x@3", "cross_stitch", Family.CROSS_STITCH, "x"),
        ("secret", "branching_search", Family.PARENT, ""),
    ]
    arms = Arms.of(pd.DataFrame(rows, columns=["arm", "scheme", "family", "variant_of"]))
    assert arms.splits() == ["split-conv4", "mine"]
    assert [arm for arm, *_ in rows if arms.is_variant(arm)] == ["split-conv4@10", "x", "x@3"]
    assert arms.plain("x@3") == "cross-stitch" and arms.plain("split-tree") == "split-tree"
    assert "secret" not in arms.shown() and len(arms.shown()) == 8
    assert (arms.label("split-conv4"), arms.label("split-tree")) == ("Split conv4", "split-tree")
    assert arms.short("cross-stitch-gated") == "cross-stitch-gated"
    round_trip = [("a", "s", Family.OTHER, "b"), ("b", "s", Family.OTHER, "a")]  # of a foreign store
    assert Arms.of(pd.DataFrame(round_trip, columns=["arm", "scheme", "family", "variant_of"])).plain("a") == "b"


def test_families_and_other_schemes_have_a_marker_each() -> None:
    known = [(family, "") for family in style.MARKERS] + [(Family.OTHER, scheme) for scheme in style.OTHER_MARKERS]
    shapes = [style.choose_marker(*kind) for kind in known]
    assert len({*shapes}) == len(known)
    assert style.choose_marker(Family.OWN, "nddr") == style.choose_marker(Family.OTHER, "new") not in shapes


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
        nddr="d",
        my_tree="e",
        ensemble_member="f",
    )
    shown, text = choose_arms(frame)
    assert shown == ["one-task", "cross-stitch", "my-tree", "nddr"]
    assert text == "One network each: cross-stitch = cross-stitch-rate-100. Left out: cross-stitch-rate-1."
    assert choose_arms(frame, ["*rate*"]) == (["one-task", "cross-stitch-rate-1", "cross-stitch-rate-100"], "")
    assert choose_arms(frame, every=True)[0] == ["one-task", "cross-stitch", "cross-stitch-rate-1", "my-tree", "nddr"]
    with pytest.raises(UserError, match="no arm with results called 'ndr'.*nddr"):
        choose_arms(frame, ["ndr"])


def test_without_the_plain_arm_its_network_stands_in_under_another_name() -> None:
    frame = trials(one_task="a", cross_stitch_rate_1="c", cross_stitch_rate_100="b", cross_stitch_alpha_0="b")
    assert choose_arms(frame)[0] == ["one-task", "cross-stitch-alpha-0"]
    unclear = trials(one_task="a", mtl_shared_1_1="c", mtl_shared_1_4="b")
    assert set(choose_arms(unclear)[0]) == {"one-task", "mtl-shared-1-1", "mtl-shared-1-4"}


def test_short_names_stay_apart() -> None:
    names = ["split-conv4", "split-fc8-wide", "cross-stitch", "cross-stitch-rate-1", "mtl-shared", "mtl-shared-1-4"]
    assert len({shorten(name) for name in names}) == len(names)
    assert shorten("cross-stitch-rate-1") == "CS-rate-1" and shorten("split-conv4") == "Split conv4"
    assert name_in_prose("cross-stitch-rate-1") == "cross-stitch-rate-1" and name_in_prose("mtl-shared") == "MTL-shared"


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
