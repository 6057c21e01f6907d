"""A trial that is interrupted and gone on with is the trial that was not: bit for bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mtlbench.execution.local import attempt
from mtlbench.spec import Trial
from mtlbench.store.sealing import read_failure, read_result
from mtlbench.store.shapes import FailureKind
from mtlbench.store.store import Store
from mtlbench.system.files import write
from mtlbench.training.loop import LossWatch
from mtlbench.training.record import ResumeFile
from mtlbench.training.trial import Errand, run_trial
from tests.support.samples import smoke
from tests.support.trials import NEVER, OFTEN, same

pytestmark = pytest.mark.slow


def trials(pair: str, **changes: Any) -> dict[str, Trial]:
    backbone = {"small": True, "width": 0.1, "fc": 32, "dropout": 0.5}
    found = smoke(pair, ("one-task", "cross-stitch"), backbone_options=backbone, extra_iterations=6, **changes)
    return {f"{trial.arm} {trial.task_names[0]}": trial for trial in found}


def finish(trial: Trial, folder: Path, root: Path, errand: Errand = NEVER) -> Path:
    for _ in run_trial(trial, folder, {key: root / key for key in trial.parents}, errand):
        pass
    return folder


@pytest.fixture(scope="module", params=["det_attr", "semseg_sn"])
def straight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Trial], Path]:
    """The trials of a pair, and a folder with all of them run through."""
    root = tmp_path_factory.mktemp(request.param)
    found = trials(request.param)
    for trial in found.values():
        (root / trial.key).mkdir()
        finish(trial, root / trial.key, root)
    return found, root


def test_a_resume_file_of_another_memory_format_goes_on_all_the_same(
    straight: tuple[dict[str, Trial], Path], tmp_path: Path
) -> None:
    """As one from a GPU would be; torch's fused step would mix up momenta that lie in another order than weights."""
    found, root = straight
    trial = next(iter(found.values()))
    for _ in itertools.islice(run_trial(trial, tmp_path, {}, OFTEN), 4):
        pass
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    buffers = state["optimiser"]["state"].values()
    assert any(not kept["momentum_buffer"].is_contiguous() for kept in buffers)  # channels last
    for kept in buffers:
        kept["momentum_buffer"] = kept["momentum_buffer"].contiguous()
    torch.save(state, tmp_path / "resume.pt")
    finish(trial, tmp_path, root)
    same(tmp_path, root / trial.key)


@pytest.mark.parametrize("arm", ["one-task", "cross-stitch"])
@pytest.mark.parametrize("steps", [1, 4, 6])
def test_killed_at_any_iteration_and_gone_on_with_is_the_straight_run(
    straight: tuple[dict[str, Trial], Path], tmp_path: Path, arm: str, steps: int
) -> None:
    """Dropout is on: its masks, the order of the images and the momentum go on too."""
    found, root = straight
    trial = next(trial for trial in found.values() if trial.arm == arm)
    work = run_trial(trial, tmp_path, {key: root / key for key in trial.parents}, OFTEN)
    for _ in itertools.islice(work, steps):
        pass
    del work  # as a kill would: nothing more is written
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["done"] == steps
    again = run_trial(trial, tmp_path, {key: root / key for key in trial.parents}, NEVER)
    if steps < trial.iterations:
        assert next(again) == pytest.approx(0.9 * (steps + 1) / trial.iterations)
    for _ in again:
        pass
    same(tmp_path, root / trial.key)


def test_both_moments_of_adam_go_on_too(tmp_path: Path) -> None:
    trial = next(iter(trials("det_attr", optimiser="adamw", lr=1e-3).values()))
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for folder in (straight, stopped):
        folder.mkdir()
    finish(trial, straight, tmp_path)
    for _ in itertools.islice(run_trial(trial, stopped, {}, OFTEN), 4):
        pass
    assert torch.load(stopped / "resume.pt", weights_only=True)["done"] == 4
    finish(trial, stopped, tmp_path)
    same(stopped, straight)


def test_seconds_before_the_interrupt_count(straight: tuple[dict[str, Trial], Path], tmp_path: Path) -> None:
    found, root = straight
    trial = next(iter(found.values()))
    list(itertools.islice(run_trial(trial, tmp_path, {}, OFTEN), 4))
    state = torch.load(tmp_path / "resume.pt", weights_only=True)
    torch.save(state | {"seconds": 1000.0}, tmp_path / "resume.pt")
    finish(trial, tmp_path, root)
    assert 1000 < read_result(tmp_path / "result.json").cost["seconds"] < 1100


def test_a_short_training_writes_no_resume_file(straight: tuple[dict[str, Trial], Path], tmp_path: Path) -> None:
    found, _ = straight
    for _ in run_trial(next(iter(found.values())), tmp_path, {}, NEVER):
        assert not (tmp_path / "resume.pt").exists()


@pytest.mark.parametrize("keep", [0, 100, 20_000, -1])
def test_a_truncated_or_foreign_resume_file_is_ignored(
    straight: tuple[dict[str, Trial], Path], tmp_path: Path, keep: int
) -> None:
    found, root = straight
    trial = next(iter(found.values()))
    list(itertools.islice(run_trial(trial, tmp_path, {}, OFTEN), 4))
    whole = (tmp_path / "resume.pt").read_bytes()
    (tmp_path / "resume.pt").write_bytes(b"not a resume file" if keep < 0 else whole[:keep])
    assert ResumeFile(tmp_path / "resume.pt", 1.0).load() is None
    finish(trial, tmp_path, root)
    same(tmp_path, root / trial.key)


def test_a_resume_file_never_runs_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"net": Evil()}, tmp_path / "resume.pt")
    assert ResumeFile(tmp_path / "resume.pt", 1.0).load() is None
    assert not (tmp_path / "evil").exists()


def test_force_starts_anew_and_an_interrupted_trial_does_not(
    straight: tuple[dict[str, Trial], Path], tmp_path: Path
) -> None:
    found, _ = straight
    trial, store = next(iter(found.values())), Store(tmp_path, create=True)

    def first_fraction(fresh: bool) -> float:
        return next(attempt(trial, store, OFTEN, fresh))

    one = 0.9 / trial.iterations
    assert [first_fraction(fresh) for fresh in (False, False, True)] == pytest.approx([one, 2 * one, one])


def test_a_finished_trial_begins_without_a_resume_file(straight: tuple[dict[str, Trial], Path], tmp_path: Path) -> None:
    found, _ = straight
    trial, store = next(iter(found.values())), Store(tmp_path, create=True)
    folder = store.begin(trial)
    for name in ("resume.pt", "result.json"):
        write(folder / name, json.dumps({}))
    assert os.listdir(store.begin(trial)) == ["trial.json"]


# ---------------------------------------------------------------------------------------------------- diverged losses
class Net:
    def alphas(self) -> dict[str, torch.Tensor]:
        return {"pool1": torch.tensor([[[0.9], [0.1]], [[0.1], [0.9]]])}


def looks(values: Iterator[float] | list[float], at_once: int) -> int:
    """The step, from 1, whose look raised."""
    watch = LossWatch(("semseg",), at_once)
    values = list(values)
    for i, value in enumerate(values):
        try:
            watch.look(i, {"semseg": torch.tensor(value)}, Net(), now=i == len(values) - 1)
        except Exception as error:
            assert "semseg" in str(error) and "alphas {'pool1': [[0.9, 0.1], [0.1, 0.9]]}" in str(error)
            return int(str(error).split("iteration ")[1].split(";")[0])
    return 0


@pytest.mark.parametrize("at_once", [1, 20])  # CPU, GPU
def test_a_loss_that_is_no_number_or_too_large_is_told_with_its_very_iteration(at_once: int) -> None:
    nan, inf = float("nan"), float("inf")
    assert looks([3.0, nan, nan, 3.0], at_once) == 2
    assert looks([3.0] * 30 + [inf], at_once) == 31
    assert looks([nan], at_once) == 1
    assert looks([2.0, 1.9e4, 2.1e4, 1.0], at_once) == 3  # 10 000 times the first one
    assert looks([1e-6, 0.5, 9e3, 1.0], at_once) == 0  # a loss that starts at nothing is measured against 1
    assert looks([3.0] * 50, at_once) == 0


def test_a_diverged_trial_is_a_failure_with_its_iteration_and_alphas(
    straight: tuple[dict[str, Trial], Path], tmp_path: Path
) -> None:
    found, root = straight
    stitched = list(found.values())[-1]
    trial = dataclasses.replace(stitched, recipe=dataclasses.replace(stitched.recipe, lr=1e30, clip=0.0))
    store = Store(tmp_path, create=True)
    for parent in trial.parents:
        folder = store.folder(trial).parent / parent
        shutil.copytree(root / parent, folder)
    with pytest.raises(Exception, match="(loss is|predictions of) .* at iteration [123]; alphas .*pool1"):
        list(attempt(trial, store, NEVER))
    failure = read_failure(store.folder(trial))
    assert failure.kind is FailureKind.DIVERGED and "at iteration" in failure.message
    assert "pool1" in failure.details and "pool1" not in str(failure)


def test_a_resume_file_of_another_trial_is_ignored(tmp_path: Path) -> None:
    """Shapes may be equal: the same network with another seed, say."""
    ResumeFile(tmp_path / "resume.pt", 1.0, "0123456789ab").save({"iteration": 7})
    assert ResumeFile(tmp_path / "resume.pt", 1.0, "0123456789ab").load() == {"iteration": 7, "key": "0123456789ab"}
    assert ResumeFile(tmp_path / "resume.pt", 1.0, "ba9876543210").load() is None
