"""Intervals, families, power and choices: hand-worked cases, scipy and slow loops as references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mtlbench.analysis import choice, inference
from mtlbench.analysis.frame import relative_change
from tests.support.synthetic_results import results_frame, table_of


def changes_of(cells: dict[str, list[float]]) -> pd.DataFrame:
    """Changes of one task from {arm: change per seed}, NaN = missing."""
    rows = [("t", "m", arm, seed, change) for arm, values in cells.items() for seed, change in enumerate(values)]
    return pd.DataFrame(rows, columns=["task", "metric", "arm", "seed", "change"]).dropna()


def runs_of(arms: int, seeds: int, sd: dict[int, float] | None = None, start: int = 0) -> np.ndarray:
    """Runs of sd 1, or what `sd` gives for an arm (`arms seeds`)."""
    scale = np.array([(sd or {}).get(arm, 1.0) for arm in range(arms)])[:, None]
    return scale * np.random.default_rng(start).normal(size=(arms, seeds))


def table_of_runs(runs: np.ndarray, roots: dict[str, str] | None = None) -> pd.DataFrame:
    """Changes against the first arm, one-task; the others are arm1, arm2 ...; `roots` of arms, else their own names."""
    names = ["one-task", *(f"arm{place}" for place in range(1, len(runs)))]
    changes = changes_of({name: list(run - runs[0]) for name, run in zip(names, runs, strict=True)})
    where = {name: (roots or {}).get(name, name) for name in names}
    keys = changes["arm"] + changes["seed"].astype(str)
    return changes.assign(key=keys, roots=changes["arm"].map(where) + changes["seed"].astype(str))


# ---------------------------------------------------------------------------------------------------- one contrast
def test_the_error_of_a_contrast_is_welchs_about_the_mean_of_the_others() -> None:
    """By hand: variances about the others' mean, less that mean's own noise, put together as Welch does."""
    runs = runs_of(6, 4)
    found = inference.Runs(table_of_runs(runs)).contrast("arm1", "one-task")
    assert found is not None and (found.seeds, found.paired) == (4, False)
    others = runs[2:]
    centre = others.mean(axis=0)
    residual = others - others.mean(axis=1, keepdims=True) - centre + centre.mean()
    of_centre = (residual**2).sum() / (3 * 3) / 4
    first, second = (
        max(scipy.stats.tvar(run - centre) - of_centre, scipy.stats.tvar(run - centre) / 2) for run in runs[[1, 0]]
    )
    assert found.mean == pytest.approx((runs[1] - runs[0]).mean())
    assert found.error == pytest.approx(np.sqrt((first + second) / 4))
    assert found.freedom == pytest.approx((first + second) ** 2 / (first**2 / 3 + second**2 / 3))
    reference = scipy.stats.t.interval(0.95, found.freedom, found.mean, found.error)
    assert found.interval() == pytest.approx(reference)


def test_what_a_seed_does_to_all_arms_falls_out() -> None:
    runs = runs_of(6, 4)
    shifted = runs + np.array([0.0, 50.0, -20.0, 3.0])
    plain, moved = (inference.Runs(table_of_runs(table)).contrast("arm1", "arm2") for table in (runs, shifted))
    assert plain is not None and moved is not None and moved == pytest.approx(plain)


def test_kin_have_the_paired_interval() -> None:
    base, arm = [100.0, 100.0, 100.0, 100.0], [101.0, 103.0, 102.0, 107.0]
    reference = scipy.stats.ttest_rel(arm, base).confidence_interval(0.95)
    table = relative_change(table_of({"one-task": base, "a": arm}))
    alone = inference.compute_intervals(table).set_index("arm").loc["a"]
    assert (alone["low"], alone["high"]) == pytest.approx((reference.low, reference.high)) and alone["paired"]
    many = table_of_runs(np.vstack([[base, arm], 100 + runs_of(5, 4)]))
    kin = many.assign(roots=many["roots"].str.replace("arm1", "one-task"))
    found = inference.compute_intervals(kin).set_index("arm")
    assert (found["low"]["arm1"], found["high"]["arm1"]) == pytest.approx((reference.low, reference.high))
    assert found["paired"].tolist() == [False, True, False, False, False, False, False]
    assert not inference.compute_intervals(many).set_index("arm")["paired"]["arm1"]


def test_kin_through_one_of_several_parents_and_through_a_grandparent() -> None:
    roots = {"arm1": "one-task", "arm2": "member", "arm3": "member"}
    table = table_of_runs(runs_of(7, 3), roots)
    table.loc[table["arm"] == "arm2", "roots"] += " one-task0"
    runs = inference.Runs(table)
    kin = {(a, b) for a in runs.arms for b in runs.arms if a < b and runs.are_kin(a, b)}
    assert kin == {("arm1", "one-task"), ("arm1", "arm2"), ("arm2", "one-task"), ("arm2", "arm3")}


def test_kin_of_others_are_no_references() -> None:
    """Three arms that are one network's children count as no independent look at a seed's effect."""
    runs = runs_of(8, 4)
    table = table_of_runs(runs, {"arm5": "x", "arm6": "x", "arm7": "x"})
    found = inference.Runs(table).contrast("arm1", "one-task")
    without = inference.Runs(table_of_runs(runs[:5])).contrast("arm1", "one-task")
    assert found is not None and found == pytest.approx(without)


def test_with_fewer_than_two_references_the_interval_is_paired() -> None:
    for arms, paired in ((3, True), (4, False)):
        found = inference.Runs(table_of_runs(runs_of(arms, 3))).contrast("arm1", "one-task")
        assert found is not None and found.paired is paired


def test_seeds_that_one_of_two_arms_lacks_go_and_arms_that_lack_a_seed_are_no_references() -> None:
    runs = runs_of(6, 5)
    table = table_of_runs(runs)
    table = table[
        ~((table["arm"] == "arm1") & (table["seed"] == 4)) & ~((table["arm"] == "arm2") & (table["seed"] == 0))
    ]
    found = inference.Runs(table).contrast("arm1", "one-task")
    kept = table_of_runs(runs[[0, 1, 3, 4, 5]][:, :4])
    assert found is not None and found.seeds == 4
    assert found == pytest.approx(inference.Runs(kept).contrast("arm1", "one-task"))
    assert inference.Runs(table).contrast("arm1", "nobody") is None


def test_no_interval_below_three_seeds_or_of_what_is_the_same() -> None:
    few = inference.compute_intervals(relative_change(results_frame(seeds=(0, 1))))
    assert few[["low", "high", "error", "freedom"]].isna().all(axis=None)
    many = inference.compute_intervals(relative_change(results_frame()))
    assert many.loc[many["low"].isna(), "arm"].unique().tolist() == ["one-task"]
    still = inference.compute_intervals(changes_of({"one-task": [0.0] * 3, "a": [0.0] * 3, "b": [0.0] * 3}))
    assert set(still["mean"]) == {0.0} and still["low"].isna().all()


def test_arms_that_differ_always_by_the_same_have_an_interval_without_width() -> None:
    table = changes_of({"one-task": [0.0] * 3, **{f"a{place}": [float(place)] * 3 for place in range(1, 5)}})
    found = inference.compute_intervals(table).set_index("arm").loc["a2"]
    assert (found["low"], found["high"]) == (2.0, 2.0)


def test_a_network_with_two_names_counts_once() -> None:
    table = table_of_runs(runs_of(6, 3))
    twin = table[table["arm"] == "arm2"].assign(arm="other-name")
    both = pd.concat([table, twin])
    plain = inference.compute_intervals(table).set_index("arm")
    found = inference.compute_intervals(both).set_index("arm")
    for name in ("low", "high"):
        assert found[name]["other-name"] == found[name]["arm2"] == pytest.approx(plain[name]["arm2"])
        assert found[name]["arm1"] == pytest.approx(plain[name]["arm1"])


def test_equal_numbers_of_different_trials_are_no_twins() -> None:
    """Two collapsed networks have the same score; keys tell them apart."""
    table = table_of_runs(runs_of(6, 3))
    collapsed = table[table["arm"] == "arm2"].assign(arm="other")
    keyed = collapsed.assign(key="other" + collapsed["seed"].astype(str))
    assert inference.Runs(pd.concat([table, keyed])).twins["other"] == "other"
    nameless = pd.concat([table, collapsed]).drop(columns="key")
    assert inference.Runs(nameless).twins["other"] == "arm2"


# ---------------------------------------------------------------------------------------------------- many contrasts
def test_the_pools_error_is_the_textbooks_of_a_complete_table() -> None:
    """Two arms of the pool: the residual of arm + seed; one of them: the pool's mean and the other's own variance."""
    runs = runs_of(6, 4)
    table = inference.Runs(table_of_runs(runs))
    pool = runs[1:]
    residual = pool - pool.mean(0) - pool.mean(1, keepdims=True) + pool.mean()
    noise = (residual**2).sum() / (4 * 3)
    inside = table.contrast("arm1", "arm2")
    assert inside is not None and inside.pooled_freedom == 12
    assert inside.pooled_error == pytest.approx(np.sqrt(2 * noise / 4))
    against = table.contrast("arm1", "one-task")
    own = scipy.stats.tvar(runs[0] - pool.mean(0))
    assert against is not None and against.pooled_error == pytest.approx(np.sqrt((0.8 * noise + own) / 4))
    freedom = (0.8 * noise + own) ** 2 / ((0.8 * noise) ** 2 / 12 + own**2 / 3)
    assert against.pooled_freedom == pytest.approx(freedom)


def test_kin_and_small_pools_have_no_other_error() -> None:
    kin = inference.Runs(table_of_runs(runs_of(7, 3), {"arm1": "one-task"})).contrast("arm1", "one-task")
    small = inference.Runs(table_of_runs(runs_of(3, 3))).contrast("arm1", "one-task")
    for found in (kin, small):
        assert found is not None and (found.pooled_error, found.pooled_freedom) == (found.error, found.freedom)


def test_simultaneous_intervals_are_bonferronis_and_never_narrower_than_the_contrasts_own() -> None:
    found = inference.Contrast(1.0, 0.5, 4.0, 0.4, 12.0, 3, False)
    low, high = found.simultaneous(50)
    own, pooled = (0.5 * scipy.stats.t.ppf(0.995, 4), 0.4 * scipy.stats.t.ppf(1 - 0.025 / 50, 12))
    assert own > pooled and (low, high) == pytest.approx((1 - own, 1 + own))
    wild = found._replace(pooled_error=2.0)
    assert wild.simultaneous(50)[1] == pytest.approx(1 + 2 * scipy.stats.t.ppf(1 - 0.025 / 50, 12))
    paired = found._replace(pooled_error=0.5, pooled_freedom=4.0)
    assert paired.simultaneous(50)[1] == pytest.approx(1 + 0.5 * scipy.stats.t.ppf(1 - 0.025 / 50, 4))
    assert paired.simultaneous(1) == pytest.approx(paired.interval())


def test_a_contrast_can_be_made_again_from_its_interval() -> None:
    values = pd.Series([1.0, 2.0, 4.0, 2.5])
    mean, low, high, seeds = inference.mean_interval(values)
    found = inference.make_paired_contrast(mean, high, seeds)
    assert found.error == pytest.approx(scipy.stats.sem(values)) and found.interval() == pytest.approx((low, high))
    assert np.isnan(inference.make_paired_contrast(1.0, float("nan"), 2).error)


def test_which_intervals_were_used_is_said() -> None:
    table = table_of_runs(runs_of(7, 3), {"arm1": "one-task"})
    said = inference.describe_intervals(inference.compute_intervals(table))
    assert "degrees of freedom" in said and said.endswith("for arm1 the paired t interval")
    alone = inference.compute_intervals(table_of_runs(runs_of(2, 3)))
    assert inference.describe_intervals(alone) == "paired t intervals over seeds"
    assert inference.describe_intervals(inference.compute_intervals(table_of_runs(runs_of(7, 2)))) == ""


def test_half_width_is_scipys_t_interval() -> None:
    low, high = scipy.stats.t.interval(0.9, 4, 0.0, 1.7)
    assert inference.half_width(1.7, 4, 0.9) == pytest.approx(high) == pytest.approx(-low)


# ---------------------------------------------------------------------------------------------------- power
def test_detectable_is_scipys_power_and_seeds_for_turns_it_round() -> None:
    noise, n = 1.3, 3
    least = inference.find_detectable(noise, 4, n)
    shift, limit = least / (noise * np.sqrt(2 / n)), scipy.stats.t.ppf(0.975, 4)
    reference = scipy.stats.nct.sf(limit, 4, shift) + scipy.stats.nct.cdf(-limit, 4, shift)
    assert reference == pytest.approx(0.8, abs=1e-6)
    assert inference.seeds_for(least, noise, 2.0) == 3
    assert inference.seeds_for(0.99 * least, noise, 2.0) == 4
    for freedom in (1.0, 1.7):
        enough = inference.seeds_for(0.8, noise, freedom)
        powers = [inference.power_of(0.8, noise, freedom * (n - 1), n) for n in (enough - 1, enough)]
        assert powers[0] < 0.8 <= powers[1]
    assert inference.seeds_for(1e-6, noise) == 10_000 and inference.seeds_for(1.0, 0.0) == 3
    assert np.isnan(inference.find_detectable(noise, 4, 2)) and np.isnan(inference.find_detectable(float("nan"), 4, 3))
    with pytest.raises(ValueError, match="difference of 0"):
        inference.seeds_for(0.0, noise)


def test_power_of_no_difference_is_the_share_of_false_alarms() -> None:
    assert inference.power_of(0.0, 1.0, 22, 3) == pytest.approx(0.05)


# ---------------------------------------------------------------------------------------------------- choices
def test_optimism_is_what_choosing_on_test_adds() -> None:
    test = table_of({"one-task": [10.0] * 3, "split-conv2": [11.0, 11.2, 11.4], "split-fc8": [10.1, 10.5, 10.3]})
    val = table_of({"one-task": [10.0] * 3, "split-conv2": [10.0] * 3, "split-fc8": [10.8] * 3}, subset="val")
    found = choice.measure_optimism(pd.concat([test, val], ignore_index=True))
    assert found["scope"].tolist() == ["task", "pair"]
    row = found.iloc[0]
    assert (row["arm_val"], row["arm_test"]) == ("split-fc8", "split-conv2")
    assert (row["test_of_val"], row["test_of_test"], row["optimism"]) == pytest.approx((3.0, 12.0, 9.0))
    assert row["error"] == pytest.approx(np.std([9.0, 7.0, 11.0], ddof=1) / np.sqrt(3))
    same = choice.measure_optimism(pd.concat([test, test.assign(subset="val")], ignore_index=True)).iloc[0]
    assert same["optimism"] == 0 and np.isnan(same["error"])
    assert choice.measure_optimism(test).empty


def test_noise_band_is_the_t_interval_of_the_baselines_mean() -> None:
    values = [40.0, 42.0, 41.0]
    band = inference.noise_band(table_of({"one-task": values, "a": [1.0, 2.0, 3.0]})).iloc[0]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert band["half_width"] == pytest.approx(100 * (high - low) / 2 / np.mean(values))
    assert band["sd"] == pytest.approx(100 / 41)
    assert np.isnan(inference.noise_band(table_of({"one-task": values[:2]}))["half_width"].iloc[0])


def test_the_split_is_chosen_on_val_and_reported_on_test() -> None:
    test = table_of({"one-task": [10.0], "split-conv2": [12.0], "split-fc8": [11.0], "tree": [13.0]})
    val = table_of({"one-task": [10.0], "split-conv2": [10.5], "split-fc8": [10.8], "tree": [13.0]}, subset="val")
    best = choice.best_split(pd.concat([test, val], ignore_index=True))
    assert best["scope"].tolist() == ["task", "pair"] and best["arm"].tolist() == ["split-fc8"] * 2
    assert best["val_change"].tolist() == pytest.approx([8.0] * 2)
    assert best["test_change"].tolist() == pytest.approx([10.0] * 2)
    assert choice.best_split(test).empty


def test_a_users_arm_that_is_called_like_a_split_is_never_the_best_split() -> None:
    values = {"one-task": [10.0], "split-conv2": [12.0], "split-tree": [13.0]}
    frame = pd.concat([table_of(values), table_of(values, subset="val")], ignore_index=True)
    assert choice.best_split(frame)["arm"].tolist() == ["split-tree"] * 2  # as one of ours
    frame.loc[frame["arm"] == "split-tree", ["scheme", "family"]] = ["SplitTree", "own"]
    assert choice.best_split(frame)["arm"].tolist() == ["split-conv2"] * 2


def test_the_pairs_split_has_the_best_mean_over_tasks() -> None:
    frame = results_frame(noise=0.0)
    best = choice.best_split(frame).set_index("task")["arm"]
    assert best.to_dict() == {"detection": "split-fc8", "attributes": "split-conv4", "": "split-conv4"}


def test_rank_correlation_is_spearmans() -> None:
    frame = results_frame(seeds=range(6))
    halves = frame[frame["seed"] < 3], frame[frame["seed"] >= 3]
    found = choice.rank_correlation(*halves).set_index("task")
    for task in ("detection", "attributes"):
        changes = [relative_change(half) for half in halves]
        means = [c[c["task"] == task].groupby("arm")["change"].mean() for c in changes]
        assert found.loc[task, "correlation"] == pytest.approx(scipy.stats.spearmanr(*means).statistic)
    assert found["arms"].tolist() == [12, 12]


def test_without_splits_nothing_is_chosen() -> None:
    frame = results_frame(arms=("one-task", "cross-stitch"))
    assert choice.best_split(frame).empty and choice.measure_optimism(frame).empty
    assert choice.best_split(results_frame(arms=("split-conv2", "split-fc8"))).empty  # no baseline


def test_the_pairs_choice_needs_all_tasks() -> None:
    frame = results_frame(noise=0.0)
    frame = frame[~((frame["arm"] == "split-conv4") & (frame["task"] == "detection") & (frame["subset"] == "val"))]
    assert choice.best_split(frame).set_index("scope").loc["pair", "arm"] == "split-conv3"
    frame = frame[(frame["arm"] != "split-fc8") | (frame["subset"] != "test")]
    row = choice.best_split(frame).set_index("task").loc["detection"]
    assert row["arm"] == "split-fc8" and np.isnan(row["test_change"])
    assert choice.measure_optimism(frame)["task"].tolist() == ["attributes", ""]
