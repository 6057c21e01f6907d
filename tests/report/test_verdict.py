"""The verdict: on made-up results whose right verdict is known, every sentence says it, with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from mtlbench.analysis.comparison import case_of
from mtlbench.analysis.inference import detectable, seeds_for
from mtlbench.errors import UserError
from mtlbench.report.claims import claims
from mtlbench.report.verdict import answer, gaps, resolution, verdict
from tests.support.synthetic_results import ARMS, results_frame
from tests.support.worlds import ABLATIONS, TWINS, World, found, world


def exact(
    test: Mapping[str, Sequence[float]], val: Mapping[str, Sequence[float]] | None = None, higher: bool = True
) -> World:
    """One task, detection, with the given values per arm and seed (NaN: no trial)."""
    row = results_frame(seeds=(0,), arms=("one-task",)).query("subset == 'test' and task == 'detection' and headline")
    rows = [
        {
            **row.iloc[0].to_dict(),
            "arm": arm,
            "seed": seed,
            "key": f"{arm}{seed}",
            "value": value,
            "subset": subset,
            "higher_is_better": higher,
        }
        for subset, table in (("test", test), ("val", val or test))
        for arm, cells in table.items()
        for seed, value in enumerate(cells)
        if np.isfinite(value)
    ]
    return World(pd.DataFrame(rows))


FLAT = [100.0, 101.0, 99.0, 100.0]


# ---------------------------------------------------------------------------------------------------- the answer
def test_val_chooses_and_test_is_reported() -> None:
    test = {"one-task": FLAT, "split-conv2": [105.1, 105.9, 104.1, 104.9], "split-fc8": [110.0, 111.0, 109.0, 110.0]}
    val = test | {"split-conv2": [120.0, 121.0, 119.0, 120.0]}
    line = found(answer(case_of(exact(test, val))), "val chooses")
    assert line.startswith("For detection, val chooses Split conv2 of 2 Splits (+20.0 % there); on test it beats one-")
    assert "by 5.0 % [4." in line and "Split fc8" not in line


def test_beats_needs_the_interval_that_allows_for_all_comparisons() -> None:
    """Three seeds, one Split with a clear gain, one whose plain interval alone excludes 0, one about 0."""
    case = case_of(world("det_attr"))
    lines = answer(case)
    table = case.changes.query("task == 'detection' and arm == 'split-fc8'")["change"]
    line = found(lines, "For detection, val chooses")
    assert f"is ahead of one-task by {table.mean():.2f} %" in line and "11 comparisons at once are allowed for" in line
    assert "on test it beats one-task by 3.6 %" in found(lines, "For attributes, val chooses")
    assert "is within noise of one-task" in found(lines, "For the pair (mean over its tasks), val chooses")


def test_lower_is_better_is_told_as_a_gain() -> None:
    test = {"one-task": [20.0, 21.0, 20.5], "split-conv4": [18.0, 18.9, 18.5], "cross-stitch": [22.0, 23.1, 22.6]}
    lines = answer(case_of(exact(test, higher=False)))
    assert "on test it beats one-task by 9.9 %" in found(lines, "val chooses")
    assert "loses to one-task by 10.1 %" in found(lines, "For detection, cross-stitch")


def test_ties_are_within_noise_of_each_other() -> None:
    test = {"one-task": FLAT, "split-conv2": [101.0, 100.0, 100.0, 99.0], "cross-stitch": [99.5, 100.5, 101.0, 99.0]}
    lines = answer(case_of(exact(test)))
    assert "on test it is within noise of one-task (+0.0 % [-1.5, +1.5])" in found(lines, "val chooses")
    line = found(lines, "For detection, cross-stitch")
    assert line.startswith("For detection, cross-stitch is within noise of one-task (") and "beats" not in line
    assert "P = 0.5" in line and "P is the probability that cross-stitch is the better one." in lines


def test_the_same_numbers_have_no_interval_and_are_not_called_better() -> None:
    test = {"one-task": FLAT, "cross-stitch": FLAT, "split-conv2": [103.0, 105.0, 104.0, 103.0]}
    line = found(answer(case_of(exact(test))), "For detection, cross-stitch")
    assert "stands at +0.0 % against one-task (no interval)" in line and "loses to Split conv2" in line


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_interval_below_three_seeds(seeds: int) -> None:
    results = world("det_attr", seeds=range(seeds))
    lines = verdict(results)
    assert not [line for line in answer(case_of(results)) if "[" in line or "beats" in line or "noise" in line]
    for words in ("For detection, val chooses", "For detection, cross-stitch"):
        assert "stands at" in found(lines, words) and found(lines, words).endswith("(no interval).")
    noun = "1 seed" if seeds == 1 else "2 seeds"
    assert found(lines, "none of these differences").startswith(f"With {noun} there is no interval")
    assert not [line for line in claims(case_of(results), results) if "holds for" in line or "does not hold" in line]


def test_without_cross_stitch_the_splits_are_judged_and_the_gap_is_named() -> None:
    lines = verdict(world("det_attr", arms=[arm for arm in ARMS if arm != "cross-stitch"]))
    assert len([line for line in lines if "val chooses" in line]) == 3
    assert not [line for line in lines if line.startswith(("For detection, cross", "For the pair, cross"))]
    assert found(lines, "not trained") == (
        "Not compared, since not trained: cross-stitch; type: mtlbench run --pair det_attr --dataset rooms --recipe"
        " quick --all-splits"
    )


def test_a_failed_arm_is_named_with_its_seeds_and_reason_and_is_not_missing() -> None:
    failure = {
        "pair": "det_attr",
        "dataset": "rooms",
        "recipe": "quick",
        "backbone": "caffenet",
        "task": "",
        "arm": "cross-stitch",
        "status": "failed",
        "reason": "ValueError: no",
    }
    other = {**failure, "dataset": "voc2008", "arm": "split-fc6"}
    results = world(
        "det_attr",
        arms=[arm for arm in ARMS if arm != "cross-stitch"],
        failures=[{**failure, "seed": seed} for seed in (0, 2)] + [{**other, "seed": 1}],
    )
    assert gaps(case_of(results)) == ["Not compared: cross-stitch, seeds 0 and 2: failed: ValueError: no"]


def test_an_arm_with_fewer_seeds_is_named() -> None:
    results = world("det_attr")
    results.frame = results.frame[~((results.frame["arm"] == "split-fc7") & (results.frame["seed"] == 2))]
    assert gaps(case_of(results)) == ["Fewer than the 3 seeds of one-task: Split fc7 2."]
    assert gaps(case_of(world("det_attr"))) == []


def test_without_val_or_splits_or_one_task_it_says_so() -> None:
    results = world("det_attr")
    results.frame = results.frame[results.frame["subset"] != "val"]
    assert answer(case_of(results))[0] == "No Split is chosen: there is no val to choose on."
    assert answer(case_of(world("det_attr", arms=("one-task", "cross-stitch"))))[0].endswith("there are no Splits.")
    (line,) = answer(case_of(world("det_attr", arms=("split-conv2", "cross-stitch"))))
    assert line.startswith("Nothing can be said: one-task has no headline")
    with pytest.raises(UserError, match="mtlbench run"):
        verdict(World(results_frame().iloc[:0]))


def test_costs_count_the_parents() -> None:
    """Joint networks of the made-up frame have the FLOPs of one-task's two, and see half of their images in all."""
    lines = answer(case_of(world("det_attr")))
    assert found(lines, "Parameters of cross-stitch").endswith("one-task-longer and MTL-shared; 0.5 x ensemble.")
    assert "2.0 x Split fc8" in found(lines, "Training FLOPs with parents of cross-stitch for the pair: ")


def test_second_names_of_a_network_count_once() -> None:
    arms = ("one-task", "cross-stitch", *TWINS, "split-conv4")
    case = case_of(world(arms=arms))
    assert sorted(case.arms) == ["cross-stitch", "one-task", "split-conv4"]
    assert case.arm("cross-stitch-per-channel") == "cross-stitch" and case.arm("cross-stitch-per-layer") is None
    alone = case_of(world(arms=("one-task", "cross-stitch", "split-conv4")))
    assert answer(case) == answer(alone)
    alone.frame["arm"] = alone.frame["arm"].replace({"cross-stitch": "cross-stitch-from-one-task"})
    assert found(answer(case_of(World(alone.frame))), "For semseg, cross").startswith("For semseg, cross-stitch-from-")


# ---------------------------------------------------------------------------------------------------- what seeds show
def test_what_the_seeds_can_show_is_what_inference_says() -> None:
    case = case_of(world("det_attr"))
    (line,) = resolution(case)
    table = case.changes[case.changes["task"] == "detection"].pivot(index="arm", columns="seed", values="change")
    centred = (table.sub(table.mean(axis=1), axis=0) - table.mean(axis=0) + table.to_numpy().mean()).to_numpy()
    noise = float(np.sqrt((centred**2).sum() / 22))
    least = detectable(noise, 22, 3)
    assert f"{least:.1f} % (detection)" in line and line.startswith("With 3 seeds, differences between two arms under ")
    assert f"{seeds_for(least / 2, noise, 12)} seeds would show half of that" in line
    limit = scipy.stats.t.ppf(0.975, 22)
    assert scipy.stats.nct.sf(limit, 22, least / (noise * np.sqrt(2 / 3))) == pytest.approx(0.8, abs=0.01)


def test_seeds_are_asked_for_as_many_arms_as_the_noise_is_pooled_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wild arm has no part in the noise and lends no degrees of freedom."""
    results = world("det_attr")
    wild = (results.frame["arm"] == "split-fc6") & (results.frame["subset"] == "test")
    results.frame.loc[wild, "value"] *= 1 + results.frame.loc[wild, "seed"]
    without = world("det_attr", arms=[arm for arm in ARMS if arm != "split-fc6"])
    case = case_of(results)
    assert len(case.arms) == 12 and resolution(case) == resolution(case_of(without))
    asked: list[int] = []
    monkeypatch.setattr("mtlbench.report.verdict.seeds_for", lambda *_, arms, power: asked.append(arms))
    resolution(case)
    assert asked == [11, 11, 11]


# ---------------------------------------------------------------------------------------------------- the claims
def claimed(results: World) -> list[str]:
    return claims(case_of(results), results)


def test_claims_hold_fail_or_stay_open_task_by_task() -> None:
    effects = {"cross-stitch": 8.0, "split-conv4": 2.0, "split-fc8": -2.0}  # normals: turned and shrunk by the frame
    arms = ("one-task", "split-conv4", "split-fc8", "ensemble", "cross-stitch")
    results = world(arms=arms, effects=effects, noise=0.4)
    line = found(claimed(results), "Cross-stitch beats one-task")
    assert line.startswith("Cross-stitch beats one-task (Section 6.2): holds for ")
    assert "holds for the pair (+" in line and "semseg (+" in line and "; does not hold for normals (-" in line
    assert "Split conv4" in found(claimed(results), "the best Split (Section 6.2)").split("semseg")[1]
    still = world(arms=("one-task", "cross-stitch"), effects={"cross-stitch": 0.0})
    assert found(claimed(still), "Cross-stitch beats one-task").count("is open for") == 1


def test_best_splits_that_differ_are_compared_on_each_others_task() -> None:
    line = found(claimed(world("det_attr")), "differs between tasks")
    assert line.startswith("The best Split differs between tasks (Section 1.1): holds for detection (Split fc8 against")
    assert "attributes (Split conv4 against Split fc8: +7.1 %" in line
    one = world("det_attr", arms=("one-task", "split-conv4", "cross-stitch"))
    assert found(claimed(one), "differs between tasks").endswith("not seen here, val chooses Split conv4 for both.")


def test_pairs_on_the_same_data_are_compared_by_what_they_choose() -> None:
    ours, theirs = world("det_attr"), world("semseg_sn", finished="2025-01-01T00:00:00")
    both = World(pd.concat([ours.frame, theirs.frame], ignore_index=True))
    line = found(claimed(both), "between det_attr and semseg_sn")
    assert "this pair (Split conv5 against Split conv2: " in line and "detection" not in line
    elsewhere = World(pd.concat([ours.frame, theirs.frame.assign(dataset="nyuv2")], ignore_index=True))
    assert not [line for line in claimed(elsewhere) if "between det_attr and" in line]


def test_every_claim_of_the_ablations_is_tested_where_its_arms_are() -> None:
    lines = claimed(world(arms=(*ARMS, *ABLATIONS)))
    for words in (
        "at 100 times the network's rate than at 1 (Table 2)",
        "at 1000 times the network's rate than at 1 (Table 2)",
        "beats one from scratch (Section 5.3, ours)",
        "after convolutions (Section 5)",
        "per channel beats one per layer",
        "robust to the start",
        "pool5 is more task",
    ):
        assert "[" in found(lines, words)
    imagenet = found(lines, "Not tested", "ImageNet")
    assert "(no cross-stitch-from-imagenet, needs weights of ImageNet, docs/weights.md)" in imagenet
    assert imagenet.endswith("--arm cross-stitch --init cross-stitch=imagenet")
    failure = {"arm": "cross-stitch-rate-1", "seed": 0, "task": "", "status": "failed", "reason": "x"}
    failed = claimed(world(arms=[*ARMS, *(arm for arm in ABLATIONS if arm != failure["arm"])], failures=[failure]))
    assert "than at 1 (cross-stitch-rate-1 failed); " in found(failed, "Not tested", "--pair ablations")
    missing = found(claimed(world()), "Not tested", "ablations")
    assert "robust to the start of the alphas (no two starts)" in missing and "above 1000" in missing
    assert missing.endswith("Type: mtlbench run --pair ablations --dataset rooms --recipe quick --all-splits")


@pytest.mark.parametrize(
    ("effect", "noise", "word"),
    [(0.0, 0.05, "holds for"), (-12.0, 0.05, "does not hold for"), (0.0, 1.5, "is open for")],
)
def test_starts_are_robust_within_the_papers_own_spread(effect: float, noise: float, word: str) -> None:
    effects = {"cross-stitch-alpha-0.1-0.9": effect, "cross-stitch": 0.0}
    results = world(arms=("one-task", "cross-stitch", *ABLATIONS[:4]), effects=effects, noise=noise)
    line = found(claimed(results), "robust")
    assert line.startswith(f"Cross-stitch is robust to the start of the alphas (Table 1): {word} normals (farthest: (")
    assert "the paper's own spread is 1.8 %" in line and "the paper's own spread is 3.7 %" in line  # Table 1, by hand
    assert pytest.approx(1.8, abs=0.05) == 100 * (34.6 - 34.0) / 34.0
    assert pytest.approx(3.7, abs=0.05) == 100 * (18.9 - 18.2) / 18.9


def test_divergence_is_counted_by_seeds_and_other_failures_are_not() -> None:
    failure = {
        "pair": "semseg_sn",
        "dataset": "rooms",
        "recipe": "quick",
        "backbone": "caffenet",
        "task": "",
        "arm": "cross-stitch-rate-10000",
        "status": "failed",
    }
    diverged = [
        {**failure, "seed": seed, "reason": "mtlbench.training.evaluation.Diverged: the loss is nan"}
        for seed in range(3)
    ]
    arms = ("one-task", "cross-stitch", "cross-stitch-rate-1000")
    line = found(claimed(world(arms=arms, failures=diverged)), "Section 5.2")
    assert line.endswith("(Section 5.2): holds: x 10000 diverged in 3 of 3 seeds.")
    broken = [{**failure, "seed": 0, "reason": "OSError: disk full"}]
    assert not [line for line in claimed(world(arms=arms, failures=broken)) if "(Section 5.2)" in line]
    trained = found(claimed(world(arms=(*arms, "cross-stitch-rate-10000"))), "Section 5.2")
    assert "does not hold: x 10000 diverged in 0 of 3 seeds; normals " in trained and "against x 1000" in trained


def test_few_labels_and_alphas_are_tested() -> None:
    lines = claimed(world(categories=12))
    assert "holds for semseg (6 least minus 6 most labelled categories: +3." in found(lines, "Data-starved")
    assert "Section 6.5" in found(claimed(world("det_attr", categories=30)), "Data-starved")
    assert "holds for normals (alpha_s - alpha_d differs by +0." in found(lines, "pool5 is more task-specific")
    assert "is open for normals" in found(lines, "normals shares more")
