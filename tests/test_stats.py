"""Statistics: the paper's own numbers recomputed, hand-worked cases, and scipy as the slow reference."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from synthetic_results import METRICS, results_frame

from mtlbench import stats
from mtlbench.errors import UserError


def table_of(values: dict[str, list[float]], higher: bool = True, subset: str = "test") -> pd.DataFrame:
    """A frame of one task from {arm: value per seed}."""
    frame = results_frame(seeds=(0,), arms=("one-task",)).query("subset == 'test' and task == 'detection' and headline")
    row = frame.iloc[0]
    rows = [
        {**row.to_dict(), "arm": arm, "seed": seed, "key": f"{arm}{seed}", "value": value, "subset": subset,
         "higher_is_better": higher}
        for arm, cells in values.items() for seed, value in enumerate(cells) if np.isfinite(value)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def paper(pair: str, table: str) -> pd.DataFrame:
    frame = stats.published()
    return frame[(frame["pair"] == pair) & (frame["source"] == table)]


@pytest.mark.parametrize(("arm", "by_task", "flat", "headline"), [("cross-stitch", 2.63, 2.54, 3.45),
                                                                  ("mtl-shared", -3.53, -2.72, -4.75)])  # fmt: skip
def test_the_papers_deltas_on_nyu_come_out_of_its_table_5(
    arm: str, by_task: float, flat: float, headline: float
) -> None:
    frame = paper("semseg_sn", "Table 5")
    metrics = [metric for task in ("normals", "semseg") for metric, *_ in METRICS[task]]
    changes = pd.concat([stats.relative_change(frame, metric=metric) for metric in metrics])
    of_arm = changes[changes["arm"] == arm]
    assert len(of_arm) == 8
    assert of_arm["change"].mean() == pytest.approx(flat, abs=0.005)
    assert of_arm.groupby("task")["change"].mean().mean() == pytest.approx(by_task, abs=0.005)
    headlines = stats.relative_change(frame)
    assert headlines.loc[headlines["arm"] == arm, "change"].mean() == pytest.approx(headline, abs=0.005)


@pytest.mark.parametrize(("arm", "expected"), [("cross-stitch", 2.06), ("mtl-shared", -8.03)])
def test_the_papers_deltas_on_voc_come_out_of_its_table_6(arm: str, expected: float) -> None:
    changes = stats.relative_change(paper("det_attr", "Table 6"))
    assert changes.loc[changes["arm"] == arm, "change"].mean() == pytest.approx(expected, abs=0.005)


def test_published_numbers_keep_the_papers_contradictions() -> None:
    frame = stats.published()
    assert frame.groupby("source").size().to_dict() == {
        "Section 6.5 (Figure 5)": 2, "Table 1": 32, "Table 2": 32, "Table 3": 16, "Table 5": 40, "Table 6": 12,
    }  # fmt: skip
    within = frame[frame["metric"] == "within_11.25"].set_index(["source", "arm"])["value"]
    assert within["Table 2", "cross-stitch-rate-1000"] == 39.2
    assert within["Table 5", "cross-stitch"] == within["Table 3", "cross-stitch-from-one-task"] == 39.0
    assert set(results_frame().columns) | {"source"} == set(frame.columns)


def test_lower_is_better_turns_the_sign() -> None:
    changes = stats.relative_change(table_of({"one-task": [20.0], "split-conv4": [19.0]}, higher=False))
    assert changes["change"].tolist() == [0.0, 5.0]


def test_changes_are_paired_by_seed_and_need_the_baseline() -> None:
    frame = table_of({"one-task": [10.0, 20.0, np.nan], "split-conv4": [11.0, 21.0, 31.0]})
    changes = stats.relative_change(frame).query("arm == 'split-conv4'")
    assert changes["change"].tolist() == pytest.approx([10.0, 5.0])


def test_a_baseline_of_zero_has_no_relative_change() -> None:
    assert stats.relative_change(table_of({"one-task": [0.0], "a": [1.0]}))["change"].isna().all()


def test_categories_and_ensemble_members_stay_out() -> None:
    changes = stats.relative_change(results_frame(), metric="AP")
    assert changes.empty
    assert "ensemble-member" not in set(stats.relative_change(results_frame())["arm"])


def test_pooled_residual_of_a_complete_table_is_the_textbook_one() -> None:
    changes = stats.relative_change(results_frame(seeds=range(4))).query("task == 'detection'")
    table = changes.pivot(index="arm", columns="seed", values="change").to_numpy()
    centred = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    noise, freedom = stats.pooled_residual(changes)
    assert freedom == (12 - 1) * (4 - 1)
    assert noise == pytest.approx(np.sqrt((centred**2).sum() / freedom))


def test_the_baselines_noise_falls_out_of_the_residual() -> None:
    """Differences to the baseline are values shifted per seed: their residual is that of the values themselves."""
    rng = np.random.default_rng(0)
    raw = pd.DataFrame(
        [(arm, seed, rng.normal()) for arm in "abcd" for seed in range(5)], columns=["arm", "seed", "change"]
    )
    base = raw[raw["arm"] == "a"].set_index("seed")["change"]
    against = raw.assign(change=raw["change"] - raw["seed"].map(base))
    assert stats.pooled_residual(against) == pytest.approx(stats.pooled_residual(raw))


def test_missing_cells_lower_the_degrees_of_freedom_one_each() -> None:
    changes = stats.relative_change(results_frame()).query("task == 'detection'")
    fewer = changes[~((changes["arm"] == "split-fc6") & (changes["seed"] == 2))]
    assert stats.pooled_residual(fewer)[1] == stats.pooled_residual(changes)[1] - 1
    found = stats.intervals(fewer).set_index("arm")
    assert found.loc["split-fc6", "n"] == 2 and np.isnan(found.loc["split-fc6", "low"])
    assert np.isfinite(found.loc["split-fc7", "low"])


def test_single_interval_is_the_paired_t_interval() -> None:
    base, arm = [100.0, 100.0, 100.0, 100.0], [101.0, 103.0, 102.0, 107.0]
    found = stats.intervals(stats.relative_change(table_of({"one-task": base, "a": arm}))).set_index("arm").loc["a"]
    reference = scipy.stats.ttest_rel(arm, base).confidence_interval(0.95)
    assert (found["low_single"], found["high_single"]) == pytest.approx((reference.low, reference.high))


def test_with_two_arms_pooled_and_single_intervals_agree() -> None:
    """Two arms, n seeds: the residual has n - 1 degrees of freedom and variance var(differences) / 2."""
    table = table_of({"one-task": [100.0, 100.0, 100.0], "a": [101.0, 103.0, 99.0]})
    found = stats.intervals(stats.relative_change(table)).set_index("arm").loc["a"]
    assert found["freedom"] == 2
    assert (found["low"], found["high"]) == pytest.approx((found["low_single"], found["high_single"]))


def test_no_interval_below_three_seeds_or_for_the_baseline() -> None:
    few = stats.intervals(stats.relative_change(results_frame(seeds=(0, 1))))
    assert few[["low", "high", "low_single", "high_single"]].isna().all(axis=None)
    many = stats.intervals(stats.relative_change(results_frame()))
    assert many.loc[many["low"].isna(), "arm"].unique().tolist() == ["one-task"]


def test_pooled_intervals_cover_and_are_about_half_as_wide_at_three_seeds() -> None:
    rng = np.random.default_rng(1)
    effects = dict(
        zip(["one-task", *(f"split-conv{i}" for i in range(2, 10))], [0, 1, 2, 0, -1, 3, 0, 1, -2], strict=True)
    )
    covered, ratios = [], []
    for _ in range(80):
        seeds = rng.normal(0, 2, 3)
        values = {arm: list(100 + effect + seeds + rng.normal(0, 1, 3)) for arm, effect in effects.items()}
        found = stats.intervals(stats.relative_change(table_of(values))).iloc[1:]
        truth = found["arm"].map(effects)
        covered += ((found["low"] < truth) & (truth < found["high"])).tolist()
        ratios.append((found["high"] - found["low"]).mean() / (found["high_single"] - found["low_single"]).mean())
    assert 0.92 < np.mean(covered) < 0.98
    assert 0.4 < np.mean(ratios) < 0.65


def test_noise_band_is_the_t_interval_of_the_baselines_mean() -> None:
    values = [40.0, 42.0, 41.0]
    band = stats.noise_band(table_of({"one-task": values, "a": [1.0, 2.0, 3.0]})).iloc[0]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert band["half_width"] == pytest.approx(100 * (high - low) / 2 / np.mean(values))
    assert band["sd"] == pytest.approx(100 / 41)
    assert np.isnan(stats.noise_band(table_of({"one-task": values[:2]}))["half_width"].iloc[0])


def test_the_split_is_chosen_on_val_and_reported_on_test() -> None:
    test = table_of({"one-task": [10.0], "split-conv2": [12.0], "split-fc8": [11.0], "tree": [13.0]})
    val = table_of({"one-task": [10.0], "split-conv2": [10.5], "split-fc8": [10.8], "tree": [13.0]}, subset="val")
    best = stats.best_split(pd.concat([test, val], ignore_index=True))
    assert best["scope"].tolist() == ["task", "pair"] and best["arm"].tolist() == ["split-fc8"] * 2
    assert best["val_change"].tolist() == pytest.approx([8.0] * 2)
    assert best["test_change"].tolist() == pytest.approx([10.0] * 2)
    assert stats.best_split(test).empty


def test_the_pairs_split_has_the_best_mean_over_tasks() -> None:
    frame = results_frame(noise=0.0)
    best = stats.best_split(frame).set_index("task")["arm"]
    assert best.to_dict() == {"detection": "split-fc8", "attributes": "split-conv4", "": "split-conv4"}


def test_rank_correlation_is_spearmans() -> None:
    frame = results_frame(seeds=range(6))
    halves = frame[frame["seed"] < 3], frame[frame["seed"] >= 3]
    found = stats.rank_correlation(*halves).set_index("task")
    for task in ("detection", "attributes"):
        changes = [stats.relative_change(half) for half in halves]
        means = [c[c["task"] == task].groupby("arm")["change"].mean() for c in changes]
        assert found.loc[task, "correlation"] == pytest.approx(scipy.stats.spearmanr(*means).statistic)
    assert found["arms"].tolist() == [12, 12]


def test_newest_never_mixes_and_says_what_it_left_out() -> None:
    frame = pd.concat([
        results_frame("semseg_sn", finished="2026-01-01T00:00:00"),
        results_frame("det_attr", finished="2026-01-03T00:00:00"),
        results_frame("det_attr", recipe="short", dataset="voc2008", finished="2026-01-02T00:00:00"),
    ], ignore_index=True)  # fmt: skip
    chosen, note = stats.newest(frame)
    assert len(chosen[["pair", "dataset", "recipe"]].drop_duplicates()) == 1
    assert note == (
        "det_attr on rooms, backbone caffenet, recipe quick (the newest results); left out: semseg_sn on rooms,"
        " backbone caffenet, recipe quick / det_attr on voc2008, backbone caffenet, recipe short."
    )
    assert stats.newest(frame, recipe="short")[0]["dataset"].unique().tolist() == ["voc2008"]
    assert stats.newest(chosen, "det_attr", "rooms", "quick", "caffenet")[1] == (
        "det_attr on rooms, backbone caffenet, recipe quick."
    )


def test_newest_keeps_the_last_setting_and_the_last_trial_with_its_costs() -> None:
    old = results_frame(seeds=(0, 1), finished="2026-01-01T00:00:00", setting="b2")
    current = results_frame(seeds=(0, 1), arms=("one-task", "split-conv4"))
    again = current[(current["arm"] == "split-conv4") & (current["seed"] == 0)]
    again = again.assign(key="newer", finished="2026-02-01T00:00:00", value=again["value"] + 1)
    chosen, note = stats.newest(pd.concat([old.assign(key="old " + old["key"]), current, again], ignore_index=True))
    assert set(chosen["setting"]) == {"a1"}
    first = chosen[(chosen["arm"] == "split-conv4") & (chosen["seed"] == 0)]
    assert set(first["key"]) == {"newer"} and (first["subset"] == "cost").any()
    assert len(chosen) == len(current)
    assert "older trials of other versions or options" in note


@pytest.mark.parametrize("asked", [{"pair": "det_att"}, {"dataset": "room"}, {"recipe": "quik"}, {"backbone": "x"}])
def test_a_wrong_choice_is_one_line_with_the_valid_names(asked: dict[str, str]) -> None:
    with pytest.raises(UserError, match="There are: ") as error:
        stats.newest(results_frame(), **asked)
    assert "\n" not in str(error.value)


def test_no_results_says_what_to_type() -> None:
    with pytest.raises(UserError, match="mtlbench run"):
        stats.newest(results_frame().iloc[:0])


def test_arms_stand_in_table_order() -> None:
    names = [
        "tree",
        "cross-stitch",
        "split-layer10",
        "split-fc8",
        "split-conv2",
        "split-layer2",
        "ensemble",
        "one-task",
    ]
    assert stats.arm_order(names) == ["one-task", "ensemble", "split-conv2", "split-fc8", "split-layer2",
                                      "split-layer10", "cross-stitch", "tree"]  # fmt: skip


def test_importing_stats_is_light() -> None:
    heavy = ("torch", "ray", "matplotlib", "scipy.stats")
    code = f"import mtlbench.stats, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
