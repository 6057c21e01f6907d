"""How many trials share a GPU."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mtlbench.execution import gpu_sharing
from mtlbench.execution.gpu_sharing import (
    CONTEXT_BYTES,
    Measured,
    find_costliest,
    measure,
    memory_share,
    trials_per_gpu,
)
from mtlbench.training import evaluation
from mtlbench.training.context import Context
from mtlbench.training.loader import Resident, loader_workers
from tests.support.samples import smoke

GIB = 1 << 30
CPU = torch.device("cpu")


# ---------------------------------------------------------------------------------------------------- choosing
@pytest.mark.parametrize(
    ("gib", "busy", "cpus", "trials"),
    [
        (1, 0.95, 16, 1),  # a busy GPU gains nothing from a second trial
        (1, 0.80, 16, 1),  # 1 / 0.8 = 1.25: a second one would gain a quarter, no more
        (1, 0.79, 16, 2),
        (1, 0.50, 16, 2),
        (1, 0.40, 16, 3),  # 2.5 fill it: the third gains a half
        (1, 0.10, 16, 8),  # 10 would fill it, 8 are the most
        (1, 0.00, 16, 8),
        (1, 0.10, 3, 3),  # a core each
        (1, 0.10, 0.5, 1),
        (20, 0.10, 16, 3),  # 72 of 80 GiB
        (24, 0.10, 16, 3),
        (25, 0.10, 16, 2),
        (36, 0.10, 16, 2),
        (37, 0.10, 16, 1),
        (80, 1.00, 16, 1),  # out of memory with the whole GPU: still one, it may be a user's mistake to be told
    ],
)
def test_trials_per_gpu(gib: int, busy: float, cpus: float, trials: int) -> None:
    assert trials_per_gpu(Measured(gib * GIB, 80 * GIB, busy, 0.01), cpus) == trials


@pytest.mark.parametrize("capacity", [6 * GIB, 80 * GIB])
def test_every_chosen_trial_fits_into_its_share(capacity: int) -> None:
    """What was measured, less the CUDA context that torch's limit does not count, is within the limit."""
    for tenths in range(8, 200):
        measured = Measured(tenths * GIB // 10, capacity, 0.01, 0.01)
        number = trials_per_gpu(measured, 16)
        if number > 1:
            assert memory_share(1 / number, capacity) * capacity >= measured.memory - CONTEXT_BYTES


def test_shares_leave_room_for_every_context() -> None:
    for number in range(1, 9):
        share = memory_share(1 / number, 80 * GIB)
        assert number * (share * 80 * GIB + CONTEXT_BYTES) == pytest.approx(80 * GIB)
    assert memory_share(0.5, GIB) == 0.25  # a context as large as the share: half of it


@pytest.mark.parametrize(
    ("cores", "threads", "workers"),
    [(1, 1, 0), (2, 1, 1), (2, 2, 0), (1, 4, 0), (4, 1, 3), (16, 1, 4), (0.5, 1, 0), (2.9, 1, 1), (3.0 - 1e-9, 1, 2)],
)
def test_loader_workers_are_the_cores_that_are_left(cores: float, threads: int, workers: int) -> None:
    assert loader_workers(cores, threads) == workers


def test_the_costliest_trial_has_the_most_work_a_step() -> None:
    """Cross-stitch runs few iterations, and each of them is the largest."""
    one, ensemble, stitched = (smoke("semseg_sn", (arm,))[-1] for arm in ("one-task", "ensemble", "cross-stitch"))
    work = {one.key: 15.0 * one.iterations, stitched.key: 25.0 * stitched.iterations, ensemble.key: 1e9}
    assert ensemble.average and stitched.iterations < one.iterations
    assert find_costliest([one, ensemble, stitched], lambda trial: work[trial.key]) is stitched
    assert find_costliest([ensemble], lambda trial: 1.0) is None


# ---------------------------------------------------------------------------------------------------- measuring
@pytest.mark.parametrize("pair", ["det_attr", "semseg_sn"])
def test_measuring_on_the_cpu(pair: str) -> None:
    """A cross-stitch trial is measured without its parents; a step is slower than nothing and faster than a second."""
    trial = smoke(pair, ("cross-stitch",))[-1]
    assert trial.parents
    measured = measure(trial, CPU)
    assert 0 < measured.step_seconds < 1 and measured.busy == 1.0
    assert 50 << 20 < measured.memory < measured.capacity  # torch alone is more than 50 MiB
    assert trials_per_gpu(measured, 16) == 1


def test_measuring_runs_real_steps_and_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"steps": 0, "evaluated": 0}
    true_step, true_evaluate = torch.optim.SGD.step, evaluation.evaluate

    def step(self: Any, *args: Any) -> Any:
        seen["steps"] += 1
        return true_step(self, *args)

    def evaluate(nets: Any, tasks: Any, subset: Any, view: Any, count: int) -> Any:
        seen["evaluated"] = count
        return true_evaluate(nets, tasks, subset, view, count)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    monkeypatch.setattr(gpu_sharing, "evaluate", evaluate)
    measure(smoke("semseg_sn", ("one-task",))[0], CPU)
    assert seen == {"steps": gpu_sharing.WARM_STEPS + gpu_sharing.TIMED_STEPS, "evaluated": 16}


def test_out_of_memory_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(gpu_sharing, "evaluate", full)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8 * GIB))
    measured = measure(smoke("semseg_sn", ("one-task",))[0], CPU)
    assert measured == Measured(8 * GIB, 8 * GIB, 1.0, 0.0) and trials_per_gpu(measured, 16) == 1


def test_maps_that_will_stay_on_the_device_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """48 images of 64 x 64, plain and mirrored: float32 image (3), uint8 classes, float32 normals (3)."""
    context = Context(smoke("semseg_sn", ("cross-stitch",))[-1])
    per_image = 64 * 64 * (3 * 4 + 1 + 3 * 4)
    for budget, expected in ((0, 0), (5000, 5000), (GIB, 2 * 48 * per_image)):
        monkeypatch.setattr(context, "resident", lambda device, budget=budget: Resident(device, budget))
        assert gpu_sharing.resident_to_come(context, CPU) == expected
    context.view = dataclasses.replace(context.view, colour=0.1)  # recoloured maps do not stay
    assert gpu_sharing.resident_to_come(context, CPU) == 0
