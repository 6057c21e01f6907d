"""Each arm at the learning rate that is best on val."""

from __future__ import annotations

import pandas as pd
import pytest

from mtlbench.analysis.frame import relative_change
from mtlbench.analysis.selection import at_best_rates, select_newest
from tests.support.arms import with_facts
from tests.support.synthetic_results import results_frame


def at_rate(frame: pd.DataFrame, factor: str, val: float, test: float, task: str = "") -> pd.DataFrame:
    """The frame's trials again at another rate, with their headlines moved; of one task or of all."""
    other = frame.assign(arm=frame["arm"] + f"@{factor}", key=frame["key"] + factor)
    for subset, move in (("val", val), ("test", test)):
        rows = (other["subset"] == subset) & other["headline"].astype(bool) & (not task or other["task"] == task)
        other.loc[rows, "value"] += move
    return with_facts(other)


@pytest.fixture
def frame() -> pd.DataFrame:
    return results_frame(arms=("one-task", "split-conv4", "cross-stitch"), noise=0.0)


def test_without_a_grid_nothing_changes(frame: pd.DataFrame) -> None:
    same, said = at_best_rates(frame)
    assert same is frame and said == ""


def test_a_joint_arm_takes_the_rate_with_the_best_mean_over_tasks_on_val(frame: pd.DataFrame) -> None:
    """On test the other rate is better: val decides."""
    split = frame[frame["arm"] == "split-conv4"]
    grid = pd.concat([frame, at_rate(split, "3", val=2.0, test=-1.0), at_rate(split, "0.3", val=-2.0, test=5.0)])
    best, said = at_best_rates(grid.reset_index(drop=True))
    assert said == "learning rates chosen on val: split-conv4 at 3 x the rate"
    own = best[best["arm"] == "split-conv4"]
    assert set(own["key"]) == {f"{key}3" for key in split["key"]} and len(own) == len(split)
    pd.testing.assert_frame_equal(
        best[best["arm"] != "split-conv4"].reset_index(drop=True),
        frame[frame["arm"] != "split-conv4"].reset_index(drop=True),
    )


def test_one_task_takes_a_rate_for_each_task_with_its_costs(frame: pd.DataFrame) -> None:
    base = frame[frame["arm"] == "one-task"]
    grid = pd.concat([frame, at_rate(base, "3", val=2.0, test=2.0, task="attributes")])
    better = (grid["arm"] == "one-task@3") & (grid["task"] == "detection") & (grid["subset"] == "val")
    grid.loc[better, "value"] -= 1.0
    best, said = at_best_rates(grid.reset_index(drop=True))
    assert said == "learning rates chosen on val: one-task (attributes) at 3 x the rate"
    own = best[best["arm"] == "one-task"]
    for task, ending in (("detection", False), ("attributes", True)):
        keys = own.loc[own["task"] == task, "key"]
        assert len(keys) and all(key.endswith("3") == ending for key in keys)
    changes = relative_change(best)
    assert (changes.loc[changes["arm"] == "one-task", "change"] == 0).all()


def test_without_val_the_recipes_rate_stays(frame: pd.DataFrame) -> None:
    split = frame[frame["arm"] == "split-conv4"]
    grid = pd.concat([frame, at_rate(split, "3", val=2.0, test=9.0)])
    best, said = at_best_rates(grid[grid["subset"] != "val"].reset_index(drop=True))
    assert said == "learning rates chosen on val: the recipe's own for every arm"
    assert set(best.loc[best["arm"] == "split-conv4", "key"]) == set(split["key"])


def test_every_table_and_figure_sees_it(frame: pd.DataFrame) -> None:
    split = frame[frame["arm"] == "split-conv4"]
    shown, note = select_newest(pd.concat([frame, at_rate(split, "3", val=2.0, test=1.0)]).reset_index(drop=True))
    assert set(shown["arm"]) == set(frame["arm"]) and "split-conv4 at 3 x the rate" in note
