"""What the searcher makes of results, deaths and full disks; Ray runs in tests/cli and tests/stress."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mtlbench.errors import UserError
from mtlbench.execution import ray_executor
from mtlbench.execution.interrupts import interrupts
from mtlbench.execution.queue import Queue, Resources
from mtlbench.execution.ray_executor import ATTEMPTS, Outcome, QueueSearcher, Report, TrialActor
from mtlbench.spec import Trial
from mtlbench.store.results import load_results
from mtlbench.store.store import Store
from mtlbench.system.files import write
from tests.support.stores import TRIAL

pytestmark = pytest.mark.slow


class Watcher:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def note_start(self, trial: Trial) -> None:
        self.told.append(("started", trial.arm))

    def note_progress(self, trial: Trial, fraction: float) -> None: ...

    def note_end(self, trial: Trial, error: str) -> None:
        self.told.append(("ended", error))

    def again(self, trial: Trial, why: str) -> None:
        self.told.append(("again", why))

    def say(self, line: str) -> None:
        self.told.append(("say", line))


class Run:
    """A searcher and what Tune would do with it."""

    def __init__(self, root: Path, arms: tuple[str, ...] = ("a", "b"), gpus: float = 0.0, fresh: bool = False) -> None:
        self.trials = [dataclasses.replace(TRIAL, arm=arm, fingerprint=arm) for arm in arms]
        self.store, self.watcher = Store(root / "results", create=True), Watcher()
        self.queue = Queue(self.trials, (), lambda trial: 1.0)
        keys = {trial.key for trial in self.trials} if fresh else ()
        self.searcher = QueueSearcher(self.queue, self.store, self.watcher, {"gpus": gpus, "cpus": 1}, keys)
        self.count = 0

    def suggest(self) -> Any:
        self.count += 1
        return self.searcher.suggest(str(self.count))

    def complete(self, died: bool = False, **result: Any) -> None:
        told = {"done": True, "report": Report(**{"outcome": Outcome.DONE, "host": "h", **result})}
        if not died:
            self.searcher.on_trial_result(str(self.count), told)
        self.searcher.on_trial_complete(str(self.count), None if died else told, died)


@pytest.fixture(autouse=True)
def calm() -> None:
    interrupts.asked = False


def test_a_trial_whose_process_dies_is_tried_again_and_at_last_fails(tmp_path: Path) -> None:
    run = Run(tmp_path, ("a",))
    for _ in range(ATTEMPTS):
        assert run.suggest()["trial"]["arm"] == "a"
        run.complete(died=True)
    assert run.suggest() == QueueSearcher.FINISHED
    kinds = [kind for kind, _ in run.watcher.told]
    assert kinds == ["started", "again"] * (ATTEMPTS - 1) + ["started", "ended"]
    (failure,) = load_results(run.store.root).failures
    assert failure["reason"].startswith(f"its process ended {ATTEMPTS} times") and failure["kind"] == "lost"


def test_a_trial_that_was_stored_before_its_process_died_is_done(tmp_path: Path) -> None:
    run = Run(tmp_path, ("a",))
    run.suggest()
    run.store.done = lambda trial: True
    run.complete(died=True)
    assert run.queue.done == {run.trials[0].key} and run.watcher.told[-1] == ("ended", "")


def test_a_lost_trial_goes_on_from_its_resume_file_also_where_it_was_forced(tmp_path: Path) -> None:
    run = Run(tmp_path, ("a",), fresh=True)
    left = run.store.begin(run.trials[0]) / "resume.pt"
    write(left, "of another day")
    run.suggest()
    assert not left.exists()  # --force begins anew
    write(left, "of this run")
    run.complete(died=True)
    run.suggest()
    assert left.exists()


def test_out_of_memory_is_fewer_trials_on_a_gpu_and_with_a_whole_one_a_failure(tmp_path: Path) -> None:
    run = Run(tmp_path, ("a", "b"), gpus=0.25)
    shares = []
    for _ in range(3):
        shares.append(run.suggest()["gpus"])
        run.complete(error="OutOfMemoryError: 2 GiB", outcome=Outcome.OUT_OF_MEMORY)
        if shares[-1] == 1.0:
            break
    assert shares == [0.25, 0.5, 1.0]
    assert run.watcher.told[-1][0] == "ended" and set(run.queue.failed) == {run.trials[0].key}
    assert run.suggest()["gpus"] == 1.0  # the others were told
    assert ("again", "out of the GPU's memory; trials take 0.5 of a GPU from here on") in run.watcher.told


def test_a_gpu_that_torch_cannot_use_is_told_once(tmp_path: Path) -> None:
    run = Run(tmp_path, ("a", "b"), gpus=1.0)
    for _ in range(2):
        run.suggest()
        run.complete()
    assert [text for kind, text in run.watcher.told if kind == "say"] == [
        "Ray offers a GPU on h that torch cannot use: trials run on its CPU"
    ]


def test_a_store_that_breaks_ends_the_run_and_no_trial_fails(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.suggest()
    told = {"done": True, "report": Report(Outcome.STORE_BROKEN, "cannot write to x")}
    run.searcher.on_trial_complete("1", told)
    assert run.searcher.is_stopped() and str(run.searcher.broken) == "cannot write to x"
    assert run.suggest() == QueueSearcher.FINISHED and not run.queue.failed
    (run.store.root / "p").mkdir(exist_ok=True)
    other = Run(tmp_path / "other")
    (other.store.root / "p").touch()  # where the pair's folder should be
    assert other.suggest() == QueueSearcher.FINISHED and other.searcher.broken is not None


def test_after_an_interrupt_nothing_more_is_handed_out(tmp_path: Path) -> None:
    run = Run(tmp_path)
    interrupts.asked = True
    assert run.suggest() == QueueSearcher.FINISHED and run.searcher.is_stopped()


@pytest.mark.parametrize(
    ("machines", "cpus", "gpus", "slots"),
    [
        ([(2, 0)], 1, 0.0, 2),
        ([(16, 2)], 2, 0.25, 8),
        ([(16, 2)], 4, 0.25, 4),
        ([(16, 2)], 1, 1 / 3, 6),
        ([(1, 0), (2, 1), (2, 1)], 1, 0.5, 4),
        ([(0, 0), (4, 0)], 1, 0.0, 4),
        ([(8, 4)], 1, 1.0, 4),
    ],
)
def test_slots_are_counted_machine_by_machine(
    machines: list[tuple[float, float]], cpus: float, gpus: float, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "_list_machines", lambda: machines)
    assert ray_executor._count_slots(cpus, gpus) == slots


@pytest.mark.parametrize(
    ("machines", "cpus", "gpus", "message"),
    [
        ([(4, 0)], 1, 0.5, "there are 0 GPUs here"),
        ([(4, 1)], 8, 0.0, "takes 8 CPUs, and Ray offers no machine with as many"),
        ([(0, 0)], 1, 0.0, "takes 1 CPUs"),
        ([(0, 1), (4, 0)], 1, 1.0, "takes 1 CPUs"),  # the GPU's machine has no CPU to offer
    ],
)
def test_what_can_never_be_met_is_refused_at_once(
    machines: list[tuple[float, float]], cpus: float, gpus: float, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would only warn, and wait for ever."""
    monkeypatch.setattr(ray_executor, "_list_machines", lambda: machines)
    with pytest.raises(UserError, match=message):
        ray_executor._count_slots(cpus, gpus)


@pytest.mark.parametrize(
    ("machines", "asked", "expected"),
    [([(16, 2)], 0.25, (2, 0.25)), ([(64, 1)], 1.0, (8, 1.0)), ([(16, 2)], 0.0, (1, 0.0)), ([(4, 0)], None, (1, 0.0))],
)
def test_a_trial_on_a_gpu_takes_its_share_of_the_cores(
    machines: list[tuple[float, float]],
    asked: float | None,
    expected: tuple[int, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_executor, "_list_machines", lambda: machines)
    run = Run(tmp_path)
    found = ray_executor._request(run.queue, run.watcher, Resources(asked))
    assert (found["cpus"], found["gpus"]) == expected
    request = TrialActor.default_resource_request(found)
    assert request.required_resources == {k: v for k, v in (("CPU", expected[0]), ("GPU", expected[1])) if v}


def test_a_trial_that_was_not_assigned_a_gpu_stays_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since 2026 Ray leaves all GPUs visible to a process that has none."""
    import ray
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    assert ray_executor.get_device(0.0) == torch.device("cpu")
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    assert ray_executor.get_device(1.0) == torch.device("cuda")
