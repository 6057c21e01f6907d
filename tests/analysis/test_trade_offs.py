"""Points, fronts and hypervolumes of arms at several weightings; which setting and names are taken."""

from __future__ import annotations

import pandas as pd
import pytest

from mtlbench.analysis.frame import relative_change
from mtlbench.analysis.selection import Selection, failures_of, select_newest
from mtlbench.analysis.trade_offs import PURPOSES, has_grid, trade_offs
from mtlbench.errors import UserError
from tests.support.arms import make_failure
from tests.support.grids import BEND, THREE, grid_frame
from tests.support.synthetic_results import results_frame

FOUR = {"split-fc8": (1.0, 2.0), "split-conv4": (3.0, 1.5), "cross-stitch": (3.5, 4.0), "mtl-shared": (-1.0, -2.0)}


def test_points_are_means_by_weighting_from_the_first_tasks_least_weight_on() -> None:
    found = trade_offs(grid_frame(FOUR, noise=0.0))
    assert found.tasks == ("detection", "attributes")
    assert found.varied == ["mtl-shared", "split-conv4", "split-fc8", "cross-stitch"]
    own = found.points[found.points["arm"] == "split-fc8"].pivot(index="weights", columns="task", values="mean")
    assert list(found.points.loc[found.points["arm"] == "split-fc8", "weights"].unique()) == [
        "0.2 : 1.8",
        "0.6 : 1.4",
        "1 : 1",
        "1.4 : 0.6",
        "1.8 : 0.2",
    ]
    assert own.loc["0.2 : 1.8", "detection"] == pytest.approx(1.0 - BEND * 0.9**2)
    assert own.loc["0.2 : 1.8", "attributes"] == pytest.approx(2.0 - BEND * 0.1**2)
    assert own.loc["1 : 1"].tolist() == pytest.approx([2.0 - BEND / 4, 1.0 - BEND / 4])
    base = found.points[found.points["arm"] == "one-task"]
    assert (base["mean"] == 0).all() and base["low"].isna().all() and not base["front"].any()
    front = found.points[found.points["front"]]
    assert set(front["arm"]) == {"cross-stitch"} and len(front) == 10  # it is better in both tasks at every weighting


def test_one_task_is_on_the_front_where_nothing_is_better_in_both() -> None:
    found = trade_offs(grid_frame({"split-fc8": 0.0}))
    front = found.points[found.points["front"]].drop_duplicates("name")
    assert front["name"].tolist() == ["one-task"]


def test_hypervolumes_are_seed_by_seed_from_the_worst_change_of_all_with_their_interval() -> None:
    found = trade_offs(grid_frame({"split-fc8": (0.0, 0.0)}, levels=2, noise=1.0, seeds=range(4)))
    table = found.test[found.test["arm"] != "one-task"].pivot(index=["seed", "name"], columns="task", values="change")
    worst = found.test.groupby("task")["change"].min()
    assert (worst < 0).all()
    volumes = found.volumes.set_index(["arm", "seed"])["volume"]
    assert volumes["one-task", 0] == pytest.approx(worst["detection"] * worst["attributes"])
    for seed, own in table.groupby(level="seed"):
        cells = sorted((own - worst).to_numpy().tolist(), reverse=True)
        total, height = 0.0, 0.0
        for x, y in cells:  # strips from the farthest point on
            total += x * max(0.0, y - height)
            height = max(height, y)
        assert volumes["split-fc8", seed] == pytest.approx(total)
    row = found.mean_volumes.set_index("arm").loc["split-fc8"]
    own = volumes["split-fc8"]
    assert row["mean"] == pytest.approx(own.mean()) and row["n"] == 4 and row["points"] == 3
    assert row["high"] - row["mean"] == pytest.approx(3.182446 * own.std() / 2)
    assert found.mean_volumes.set_index("arm").loc["one-task", ["low", "high"]].isna().all()


def test_a_weighting_that_diverged_is_no_point_and_its_seeds_do_not_count() -> None:
    frame = grid_frame(FOUR, noise=0.5)
    lost = (frame["arm"] == "cross-stitch~0.2:1.8") | ((frame["arm"] == "split-fc8~1.8:0.2") & (frame["seed"] == 1))
    found = trade_offs(frame[~lost])
    assert "cross-stitch~0.2:1.8" not in set(found.points["name"])
    volumes = found.mean_volumes.set_index("arm")
    assert (volumes.loc["cross-stitch", "points"], volumes.loc["split-fc8", "points"]) == (4, 5)
    assert (volumes.loc["cross-stitch", "n"], volumes.loc["split-fc8", "n"]) == (3, 2)
    one_task_lost = frame[(frame["arm"] != "cross-stitch~0.2:1.8") | (frame["task"] != "detection")]
    assert "cross-stitch~0.2:1.8" not in set(trade_offs(one_task_lost).points["name"])


def test_three_tasks_have_one_front() -> None:
    found = trade_offs(grid_frame({"split-fc8": 1.0, "cross-stitch": (2.0, 0.5, 1.5)}, THREE, levels=3))
    assert found.tasks == THREE and found.points["name"].nunique() == 1 + 2 * 7
    assert found.points.groupby("name")["front"].nunique().eq(1).all()
    points = found.points.pivot(index="name", columns="task", values="mean")
    front = {str(name) for name, row in found.points.set_index("name").iterrows() if row["front"]}
    slow = {
        str(name)
        for name, row in points.iterrows()
        if not any((other >= row).all() and (other > row).any() for _, other in points.iterrows())
    }
    assert front == slow and {"split-fc8", "cross-stitch"} & {name.partition("~")[0] for name in front}


def test_the_newest_setting_with_a_grid_is_taken_and_what_is_newer_is_named() -> None:
    old = grid_frame(FOUR)
    new = results_frame(arms=("one-task", "split-fc8"), setting="b2", finished="2027-01-02T03:04:05")
    frame = pd.concat([old, new.assign(weighting="", purpose="", roots=new["key"])], ignore_index=True)
    found = trade_offs(frame)
    assert set(found.rows["setting"]) == {"a1"} and found.note.endswith("Newer results have no grid of loss weights.")
    assert "Newer" not in trade_offs(old).note
    assert set(select_newest(frame)[0]["arm"]) == {"one-task", "split-fc8", "ensemble-member"}


def test_arms_without_a_grid_and_second_names_are_left_out() -> None:
    frame = grid_frame({"cross-stitch": 1.0, "split-fc8": 0.0}, noise=1.0)
    twins = frame[frame["arm"].str.startswith("cross-stitch")]
    twins = twins.assign(
        arm=twins["arm"].str.replace("cross-stitch", "cross-stitch-per-channel"),
        variant_of=twins["variant_of"].str.replace("cross-stitch", "cross-stitch-per-channel"),
    )
    alone = frame[frame["arm"] == "split-fc8"].assign(arm="split-conv2", key="other")
    both = trade_offs(pd.concat([frame, twins, alone], ignore_index=True))
    assert both.varied == ["split-fc8", "cross-stitch"]
    pd.testing.assert_frame_equal(both.points, trade_offs(frame).points)


def test_globs_choose_arms() -> None:
    frame = grid_frame(FOUR)
    found = trade_offs(frame, globs=["split-*"])
    assert found.varied == ["split-conv4", "split-fc8"] and found.points["front"].any()
    with pytest.raises(UserError, match="no arm at several weightings of the losses called 'split-fc6'"):
        trade_offs(frame, globs=["split-fc6"])


def test_without_a_grid_the_error_says_what_to_type() -> None:
    frame = results_frame(arms=("one-task", "split-fc8"))
    assert not has_grid(frame) and has_grid(grid_frame(FOUR))
    with pytest.raises(UserError, match="type: mtlbench run --pair det_attr --loss-weight-grid 5$") as error:
        trade_offs(frame)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no pair with results called 'nothing'"):
        trade_offs(grid_frame(FOUR), Selection(pair="nothing"))
    grid = grid_frame(FOUR)
    with pytest.raises(UserError, match=r"needs one-task on test in every task; type: mtlbench run --pair det_attr$"):
        trade_offs(grid[grid["arm"] != "one-task"])


def test_changes_are_those_against_one_task_with_the_same_seed() -> None:
    frame = grid_frame(FOUR, noise=1.0)
    found = trade_offs(frame)
    for subset, changes in (("val", found.val), ("test", found.test)):
        plain = relative_change(frame, subset=subset).set_index(["arm", "seed", "task"])["change"]
        own = changes.set_index(["name", "seed", "task"])["change"]
        pd.testing.assert_series_equal(own.sort_index(), plain.sort_index(), check_names=False)


def test_a_weighting_that_failed_is_no_failed_arm_of_a_table() -> None:
    frame = grid_frame(FOUR)
    failure = make_failure("cross-stitch~0.2:1.8", pair="det_attr", seed=9, task="", status="failed", failed="")
    assert failures_of(frame, [failure]) == []
    assert failures_of(frame, [failure], PURPOSES) == [failure]
