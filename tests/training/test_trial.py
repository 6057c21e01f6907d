"""One trial from start to end on the smoke recipe, for both pairs."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtlbench.execution.local import attempt
from mtlbench.spec import Plugin, Trial
from mtlbench.store import predictions
from mtlbench.store.sealing import read_failure, read_result
from mtlbench.store.shapes import FailureKind
from mtlbench.store.store import Store
from mtlbench.training.batches import evaluation_batch
from mtlbench.training.context import Context
from mtlbench.training.trial import run_trial
from tests.support.samples import smoke
from tests.support.trials import HERE, Study, finish

ARMS = ("one-task", "ensemble", "split-fc6", "cross-stitch")


def trials_of(pair: str, **changes: Any) -> list[Trial]:
    return smoke(pair, ARMS, **changes)


@pytest.fixture(scope="module", params=["det_attr", "semseg_sn"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return finish(trials_of(request.param), Store(tmp_path_factory.mktemp(request.param), create=True))


def of_one_task(scores: list[Any], subset: str = "test") -> dict[tuple[str, ...], float]:
    return {(task, metric, category): value for task, where, metric, category, value in scores if where == subset}


# ---------------------------------------------------------------------------------------------------- files
def test_a_finished_trial_leaves_its_files_and_nothing_else(study: Study) -> None:
    always = {"trial.json", "result.json", "predictions.npz"}
    expected = {
        "one-task": always | {"curve.csv", "weights.pt"},
        "ensemble-member": always | {"curve.csv", "weights.pt"},
        "ensemble": always,
        "split-fc6": always | {"curve.csv", "conflicts.csv"},
        "cross-stitch": always | {"curve.csv", "alphas.csv", "conflicts.csv"},
    }
    for trial in study.trials:
        assert set(os.listdir(study.folder(trial))) == expected[trial.arm], trial.label
        assert (study.folder(trial) / "predictions.npz").stat().st_size < 1_000_000
        assert study.store.done(trial)


def test_the_curve_has_eight_points_a_task_or_as_many_as_there_are_iterations(study: Study) -> None:
    for trial in study.of("one-task") + study.of("split-fc6") + study.of("cross-stitch"):
        rows = study.rows(trial, "curve.csv")
        for task in trial.task_names:
            iterations = [int(row["iteration"]) for row in rows if row["task"] == task]
            assert len(iterations) == min(8, trial.iterations)
            assert iterations == sorted(set(iterations)) and iterations[-1] == trial.iterations
        assert all(np.isfinite(float(row["train_loss"])) for row in rows)


def test_the_last_point_of_the_curve_is_the_headline_on_val_where_the_curve_sees_all_of_val(tmp_path: Path) -> None:
    trial = next(t for t in trials_of("semseg_sn", curve_images=1000) if t.task_names == ("semseg",))
    run = finish([trial], Store(tmp_path, create=True))
    assert (
        float(run.rows(trial, "curve.csv")[-1]["val_headline"])
        == of_one_task(run.scores(trial), "val")["semseg", "mIoU", ""]
    )


def test_alphas_start_at_the_paper_s_values_move_and_end_with_every_unit(study: Study) -> None:
    (trial,) = study.of("cross-stitch")
    rows = study.rows(trial, "alphas.csv")
    stages = {row["stage"] for row in rows}
    assert stages == {"pool1", "pool2", "pool5", "fc6", "fc7"}
    means = [row for row in rows if row["channel"] == "-1"]
    points = sorted({int(row["iteration"]) for row in means})
    assert len(points) == min(20, trial.iterations) + 1 and points[-1] == trial.iterations  # and the end
    for row in means:
        if row["iteration"] == "0":
            assert float(row["alpha"]) == pytest.approx(0.9 if row["receiver"] == row["giver"] else 0.1)
    last = [float(row["alpha"]) for row in means if int(row["iteration"]) == trial.iterations]
    assert any(abs(alpha - 0.9) > 1e-6 and abs(alpha - 0.1) > 1e-6 for alpha in last)
    units = [row for row in rows if row["channel"] != "-1" and row["stage"] == "fc7"]
    width = 1 if trial.pair == "det_attr" else trial.backbone.options["fc"]  # per layer, or per channel (Section 5)
    assert len(units) == 4 * width


def test_twenty_alpha_points_where_there_are_twenty_iterations(tmp_path: Path) -> None:
    trials = [t for t in trials_of("det_attr", extra_iterations=40) if t.arm in ("one-task", "cross-stitch")]
    run = finish(trials, Store(tmp_path, create=True))
    iterations = {int(row["iteration"]) for row in run.rows(run.of("cross-stitch")[0], "alphas.csv")}
    assert len(iterations) >= 20 and {0, 39, 40} <= iterations


def test_predictions_are_of_the_first_eight_test_images(study: Study) -> None:
    for trial in study.trials:
        kept = predictions.read(study.folder(trial) / predictions.FILE)
        assert {task: len(arrays) for task, arrays in kept.items()} == dict.fromkeys(trial.task_names, 8)


def test_the_result_is_written_last(study: Study, tmp_path: Path) -> None:
    trial = study.of("split-fc6")[0]
    *_, before_last, last = (
        (fraction, sorted(os.listdir(tmp_path))) for fraction in run_trial(trial, tmp_path, {}, HERE)
    )
    assert before_last[0] < 1.0 and "result.json" not in before_last[1]
    assert last == (1.0, ["conflicts.csv", "curve.csv", "predictions.npz", "result.json"])


def test_a_trial_that_fails_leaves_its_traceback_and_no_result(study: Study, tmp_path: Path) -> None:
    trial = dataclasses.replace(study.of("split-fc6")[0], scheme=Plugin("split", {"at": "conv9"}))
    store = Store(tmp_path, create=True)
    with pytest.raises(Exception, match="conv9"):
        list(attempt(trial, store, HERE))
    assert sorted(os.listdir(store.folder(trial))) == ["error.txt", "failure.json", "trial.json"]
    assert "Traceback" in (store.folder(trial) / "error.txt").read_text()
    failure = read_failure(store.folder(trial))
    assert failure.kind is FailureKind.REFUSED and "conv9" in failure.message and failure.traceback == "error.txt"


# ---------------------------------------------------------------------------------------------------- numbers
def test_the_same_trial_gives_the_same_numbers_twice(study: Study, tmp_path: Path) -> None:
    for arm in ("one-task", "cross-stitch"):
        trial = study.of(arm)[0]
        folder = tmp_path / arm
        folder.mkdir()
        assert study.again(trial, folder) == study.scores(trial)
        for name in {"curve.csv", "alphas.csv", "conflicts.csv"} & set(os.listdir(folder)):
            assert (folder / name).read_bytes() == (study.folder(trial) / name).read_bytes()
        if arm == "one-task":
            first, second = (torch.load(f / "weights.pt", weights_only=True) for f in (folder, study.folder(trial)))
            assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_an_ensemble_averages_what_its_members_predict(study: Study) -> None:
    for trial in study.of("ensemble"):
        (task,) = trial.task_names
        context = Context(trial)
        sample = context.subsets["test"][0]
        batch = evaluation_batch([sample], context.view)
        members = []
        for key in trial.parents:
            net = context.network().eval()
            net.load_state_dict(torch.load(study.folder(trial).parent / key / "weights.pt", weights_only=True))
            with torch.inference_mode():
                members.append(context.tasks[task].predict(net(batch.images, batch.regions)[task], batch))
        assert not torch.equal(members[0]["probability"], members[1]["probability"])
        mean = {name: (members[0][name] + members[1][name]) / 2 for name in members[0]}
        kept = predictions.read(study.folder(trial) / predictions.FILE)[task][0]
        np.testing.assert_allclose(kept, context.tasks[task].keep(mean, batch), rtol=1e-3, atol=1e-4)
        assert not np.array_equal(kept, context.tasks[task].keep(members[0], batch))


def test_an_ensemble_of_one_network_with_itself_is_that_network(study: Study, tmp_path: Path) -> None:
    trial, member = study.of("ensemble")[0], study.of("one-task")[0]
    assert trial.parents[0] == member.key and trial.parents[1] != member.key
    twice = study.again(trial, tmp_path, parents=(member.key, member.key))
    assert of_one_task(twice) == of_one_task(study.scores(member))
    assert of_one_task(study.scores(trial)) != of_one_task(study.scores(member))


def test_cross_stitch_that_keeps_to_itself_and_does_not_learn_equals_its_parents(study: Study, tmp_path: Path) -> None:
    (trial,) = study.of("cross-stitch")
    alone = Plugin("cross_stitch", {**trial.scheme.options, "own": 1.0})
    scores = study.again(trial, tmp_path, scheme=alone, recipe=dataclasses.replace(trial.recipe, lr=0.0))
    parents = {}
    for parent in study.of("one-task"):
        parents |= of_one_task(study.scores(parent))
    assert of_one_task(scores) == parents
    assert of_one_task(study.scores(trial)) != parents


def test_costs_are_those_of_the_networks(study: Study) -> None:
    cost = {t.key: read_result(study.folder(t) / "result.json").cost for t in study.trials}
    alone = study.of("one-task")
    for trial in alone:
        weights = torch.load(study.folder(trial) / "weights.pt", weights_only=True)
        assert cost[trial.key]["parameters"] == sum(value.numel() for value in weights.values())
        assert cost[trial.key]["image_visits"] == 8 * trial.recipe.images
    for trial in study.of("ensemble"):
        member = next(t for t in alone if t.tasks == trial.tasks)
        assert cost[trial.key]["parameters"] == 2 * cost[member.key]["parameters"]
        assert cost[trial.key]["flops"] == 2 * cost[member.key]["flops"]
        assert cost[trial.key]["image_visits"] == 0
    (stitched,) = study.of("cross-stitch")
    units = [row for row in study.rows(stitched, "alphas.csv") if row["channel"] != "-1"]
    columns = sum(cost[trial.key]["parameters"] for trial in alone)
    assert cost[stitched.key]["parameters"] == columns + len(units)
    (split,) = study.of("split-fc6")
    assert cost[split.key]["parameters"] < columns and cost[split.key]["flops"] < cost[stitched.key]["flops"]
    spent = sum(cost[trial.key]["seconds"] for trial in (*alone, stitched))
    assert cost[stitched.key]["seconds_with_parents"] == pytest.approx(spent)


def test_chance_stands_beside_the_baseline_only(study: Study) -> None:
    for trial in study.trials:
        has_chance = any(subset == "chance" for _, subset, *_ in study.scores(trial))
        assert has_chance == (trial.arm in ("one-task", "ensemble-member"))
