"""What compares, changes paired by seed, costs with parents: the paper's own numbers and hand-worked cases."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mtlbench import arm_names
from mtlbench.analysis import costs, paper, selection
from mtlbench.analysis.frame import mean_over_tasks, relative_change
from mtlbench.analysis.selection import Selection
from mtlbench.errors import UserError
from tests.support.arms import with_facts
from tests.support.synthetic_results import results_frame, table_of


def test_published_numbers_keep_the_papers_contradictions() -> None:
    frame = paper.read_published().query("recipe == 'paper'")
    assert frame.groupby("source").size().to_dict() == {
        "Section 6.5 (Figure 5)": 2,
        "Table 1": 32,
        "Table 2": 32,
        "Table 3": 16,
        "Table 5": 40,
        "Table 6": 12,
    }
    within = frame[frame["metric"] == "within_11.25"].set_index(["source", "arm"])["value"]
    assert within["Table 2", "cross-stitch-rate-1000"] == 39.2
    assert within["Table 5", "cross-stitch"] == within["Table 3", "cross-stitch-from-one-task"] == 39.0
    assert set(results_frame().columns) | {"source"} == set(frame.columns)


def test_lower_is_better_turns_the_sign() -> None:
    changes = relative_change(table_of({"one-task": [20.0], "split-conv4": [19.0]}, higher=False))
    assert changes["change"].tolist() == [0.0, 5.0]


def test_changes_are_paired_by_seed_and_need_the_baseline() -> None:
    frame = table_of({"one-task": [10.0, 20.0, np.nan], "split-conv4": [11.0, 21.0, 31.0]})
    changes = relative_change(frame).query("arm == 'split-conv4'")
    assert changes["change"].tolist() == pytest.approx([100 / 15, 100 / 15])


def test_equal_arms_change_by_nothing_in_the_mean() -> None:
    """The ratio to the same seed's run is too high by its variance: 0.95 % at 9.5 %; lower where lower is better."""
    runs = np.random.default_rng(0).normal(100, 9.5, (2, 100_000))
    ratio = 100 * (runs[1] / runs[0] - 1)
    assert ratio.mean() == pytest.approx(0.95, abs=0.15)
    for higher in (True, False):
        changes = relative_change(table_of({"one-task": list(runs[0]), "split-conv4": list(runs[1])}, higher=higher))
        assert changes.loc[changes["arm"] == "split-conv4", "change"].mean() == pytest.approx(0.0, abs=0.15)


def test_a_baseline_of_zero_has_no_relative_change() -> None:
    assert relative_change(table_of({"one-task": [0.0], "a": [1.0]}))["change"].isna().all()


def test_mean_over_tasks_needs_all_tasks_of_a_seed() -> None:
    rows = [("a", 0, "x", 1.0), ("a", 0, "y", 3.0), ("a", 1, "x", 5.0), ("b", 0, "y", 7.0)]
    changes = pd.DataFrame(rows, columns=["arm", "seed", "task", "change"])
    assert mean_over_tasks(changes, "both")[["arm", "seed", "change"]].to_numpy().tolist() == [["a", 0, 2.0]]


def test_categories_and_ensemble_members_stay_out() -> None:
    changes = relative_change(results_frame(), metric="AP")
    assert changes.empty
    assert "ensemble-member" not in set(relative_change(results_frame())["arm"])


def test_newest_never_mixes_and_says_what_it_left_out() -> None:
    frame = pd.concat(
        [
            results_frame("semseg_sn", finished="2026-01-01T00:00:00"),
            results_frame("det_attr", finished="2026-01-03T00:00:00"),
            results_frame("det_attr", recipe="short", dataset="voc2008", finished="2026-01-02T00:00:00"),
        ],
        ignore_index=True,
    )
    chosen, note = selection.select_newest(frame)
    assert len(chosen[["pair", "dataset", "recipe"]].drop_duplicates()) == 1
    assert note == (
        "det_attr on rooms, backbone caffenet, recipe quick, untuned (the newest results); left out:"
        " semseg_sn on rooms, backbone caffenet, recipe quick / det_attr on voc2008, backbone caffenet, recipe short."
    )
    assert selection.select_newest(frame, Selection(recipe="short"))[0]["dataset"].unique().tolist() == ["voc2008"]
    assert selection.select_newest(chosen, Selection("det_attr", "rooms", "quick", "caffenet"))[1] == (
        "det_attr on rooms, backbone caffenet, recipe quick, untuned."
    )


def test_newest_keeps_the_last_setting_and_the_last_trial_with_its_costs() -> None:
    old = results_frame(seeds=(0, 1), finished="2026-01-01T00:00:00", setting="b2")
    current = results_frame(seeds=(0, 1), arms=("one-task", "split-conv4"))
    again = current[(current["arm"] == "split-conv4") & (current["seed"] == 0)]
    again = again.assign(key="newer", finished="2026-02-01T00:00:00", value=again["value"] + 1)
    chosen, note = selection.select_newest(
        pd.concat([old.assign(key="old " + old["key"]), current, again], ignore_index=True)
    )
    assert set(chosen["setting"]) == {"a1"}
    first = chosen[(chosen["arm"] == "split-conv4") & (chosen["seed"] == 0)]
    assert set(first["key"]) == {"newer"} and (first["subset"] == "cost").any()
    assert len(chosen) == len(current)
    assert "older trials of other versions or options" in note


def costs_of(trials: list[tuple[str, int, str, str, float, float, float]]) -> pd.DataFrame:
    """Cost rows from arm, seed, task, key, flops, image visits and seconds with parents; 10 parameters each."""
    rows = [
        (arm, seed, task, key, "cost", metric, value)
        for arm, seed, task, key, flops, visits, seconds in trials
        for metric, value in (
            ("parameters", 10.0),
            ("flops", flops),
            ("image_visits", visits),
            ("seconds", 1.0),
            ("seconds_with_parents", seconds),
        )
    ]
    return with_facts(pd.DataFrame(rows, columns=["arm", "seed", "task", "key", "subset", "metric", "value"]))


TRIALS = [
    ("one-task", 0, "a", "a0", 2.0, 100.0, 5.0),
    ("one-task", 0, "b", "b0", 3.0, 200.0, 6.0),
    ("ensemble-member", 0, "a", "m0", 2.0, 100.0, 5.0),
    ("ensemble-member", 0, "b", "n0", 3.0, 200.0, 6.0),
    ("ensemble", 0, "a", "e0", 4.0, 0.0, 11.0),
    ("ensemble", 0, "b", "f0", 6.0, 0.0, 13.0),
    ("one-task-longer", 0, "a", "l0", 2.0, 50.0, 8.0),
    ("one-task-longer", 0, "b", "k0", 3.0, 50.0, 9.0),
    ("cross-stitch", 0, "", "x0", 5.0, 50.0, 20.0),
    ("cross-stitch-from-scratch", 0, "", "s0", 5.0, 250.0, 25.0),
]


PARENTS = {
    "e0": ["a0", "m0"],
    "f0": ["b0", "n0"],
    "l0": ["a0"],
    "k0": ["b0"],
    "x0": ["a0", "b0"],
    "e1": ["a1", "m1"],
    "f1": ["b1", "n1"],
    "l1": ["a1"],
    "k1": ["b1"],
    "x1": ["a1", "b1"],
}


def test_compute_counts_the_parents_training_once() -> None:
    """By hand: one-task 2 * 100 + 3 * 200 = 800 FLOPs forward, cross-stitch 5 * 50 more, the ensemble twice 800."""
    found = costs.compute_matched(costs_of(TRIALS), PARENTS).set_index("arm")
    assert found.index.tolist() == [
        "one-task",
        "ensemble",
        "one-task-longer",
        "cross-stitch",
        "cross-stitch-from-scratch",
    ]
    assert found["image_visits"].tolist() == [300, 0, 100, 50, 250]
    assert found["image_visits_with_parents"].tolist() == [300, 600, 400, 350, 250]
    assert found["training_flops_with_parents"].tolist() == [2400, 4800, 3 * 1050, 3 * 1050, 3750]
    assert found["parameters_ratio"].tolist() == [1, 1, 1, 0.5, 0.5] and found["flops_ratio"]["ensemble"] == 2
    assert found["seconds_with_parents"].tolist() == [11, 24, 17, 20, 25] and set(found["n"]) == {1}


def test_the_parents_parents_count_too() -> None:
    parents = {"x0": ["l0", "k0"], "l0": ["a0"], "k0": ["b0"]}
    found = costs.compute_matched(costs_of(TRIALS), parents).set_index("arm")["image_visits_with_parents"]
    assert found["cross-stitch"] == 50 + 100 + 300 and found["ensemble"] == 0


def test_a_parent_without_costs_leaves_a_hole_and_not_a_lower_number() -> None:
    frame = costs_of([trial for trial in TRIALS if trial[3] != "b0"])
    found = costs.compute_matched(frame, PARENTS).set_index("arm")
    assert np.isnan(found["image_visits_with_parents"]["cross-stitch"])
    assert np.isnan(found["training_flops_with_parents"]["ensemble"])
    assert found["image_visits_with_parents"]["cross-stitch-from-scratch"] == 250


def test_seeds_with_a_failed_trial_stay_out_of_costs() -> None:
    again = [(arm, 1, task, key[0] + "1", *rest) for arm, _, task, key, *rest in TRIALS if key != "k0"]
    found = costs.compute_matched(costs_of([*TRIALS, *again]), PARENTS).set_index("arm")  # type: ignore[list-item]
    assert found["n"]["one-task-longer"] == 1 and found["n"]["cross-stitch"] == 2
    assert found["image_visits_with_parents"]["one-task-longer"] == 400


def test_costs_without_one_task_have_no_ratios_and_without_trials_no_rows() -> None:
    found = costs.compute_matched(costs_of([trial for trial in TRIALS if trial[0] != "one-task"]), PARENTS)
    assert found["parameters_ratio"].isna().all() and found["parameters"].notna().all()
    assert costs.compute_matched(costs_of([]), {}).empty


@pytest.mark.parametrize("asked", [{"pair": "det_att"}, {"dataset": "room"}, {"recipe": "quik"}, {"backbone": "x"}])
def test_a_wrong_choice_is_one_line_with_the_valid_names(asked: dict[str, str]) -> None:
    with pytest.raises(UserError, match="There are: ") as error:
        selection.select_newest(results_frame(), Selection(**asked))
    assert "\n" not in str(error.value)


def test_no_results_says_what_to_type() -> None:
    with pytest.raises(UserError, match="mtlbench run"):
        selection.select_newest(results_frame().iloc[:0])


def test_arms_stand_in_table_order_variants_beside_their_arm_and_numbers_as_numbers() -> None:
    ordered = [
        "one-task",
        "ensemble",
        "mtl-shared",
        "mtl-shared-1-16",
        "mtl-shared-1-4",
        "mtl-shared-1-1",
        "split-conv2",
        "split-layer2",
        "split-layer10",
        "split-fc8",  # the heads come last whatever the backbone's stages are called
        "cross-stitch",
        "cross-stitch-alpha-0.1-0.9",
        "cross-stitch-alpha-0.9-0.1",
        "cross-stitch-rate-1",
        "cross-stitch-rate-10",
        "cross-stitch-rate-1000",
        "branching",
        "tree",
    ]
    assert arm_names.arm_order(reversed(ordered)) == ordered


def test_arms_that_share_trials_are_one_network_by_the_name_with_most_trials() -> None:
    frame = results_frame(seeds=(0, 1), arms=("one-task", "cross-stitch", "mtl-shared"))
    own = frame[frame["arm"] == "cross-stitch"]
    names = selection.one_name_each(pd.concat([frame, own.assign(arm="a-tree"), own[own["seed"] == 1].assign(arm="b")]))
    assert names == {
        "one-task": "one-task",
        "mtl-shared": "mtl-shared",
        "cross-stitch": "cross-stitch",
        "a-tree": "cross-stitch",
        "b": "cross-stitch",
        "ensemble-member": "ensemble-member",
    }


def test_failures_of_other_settings_and_those_that_were_mended_later_are_left_out() -> None:
    frame = results_frame(seeds=(0,), arms=("one-task", "split-conv4"))  # finished 2026-01-02T03:04:05
    late, early = "2026-01-03T00:00:00.000+00:00", "2026-01-01T00:00:00.000+00:00"
    one = {"setting": "a1", "arm": "split-conv4", "seed": 0, "task": "", "failed": early}
    elsewhere = {"arm": "one-task", "seed": 1, "task": "detection"}
    kept = [one | {"failed": late}, one | {"seed": 1}, one | {"arm": "tree"}, one | elsewhere]
    gone = [one, one | {"arm": "tree", "setting": "b2"}, one | {"arm": "one-task", "task": "detection"}]
    assert selection.failures_of(frame, [*gone, *kept]) == kept


def test_importing_statistics_is_light() -> None:
    heavy = ("torch", "ray", "matplotlib", "scipy.stats")
    code = (
        f"import mtlbench.analysis.frame, mtlbench.analysis.deltas, sys;print([m for m in {heavy} if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
