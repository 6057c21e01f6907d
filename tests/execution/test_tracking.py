"""What trackers are told of a trial, read back by their own libraries; a tracker that fails fails no trial."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from mtlbench.errors import UserError
from mtlbench.execution import tracking
from mtlbench.execution.tracking import Record, Tracking, add_trackers, record_of, track_finished
from mtlbench.store.sealing import seals_of, write_own
from mtlbench.store.store import Store
from mtlbench.system.files import write
from tests.support.stores import TRIAL, other, result
from tests.support.trials import Silent

CURVE = "iteration,task,train_loss,val_headline\n4,colour,0.75,30.0\n8,colour,0.5,40.0\n"


SCORES = [("val", "", 40.0), ("test", "", 50.0), ("test", "red", 1.0)]


class Heard(Silent):
    """Remembers what was said and which trials ended."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.ended: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def note_end(self, trial: object, error: str) -> None:
        self.ended.append(error)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two finished trials with a curve."""
    made = Store(tmp_path / "results", create=True)
    for trial in (TRIAL, other(4)):
        folder = made.begin(trial)
        write(folder / "curve.csv", CURVE)
        scores = [
            ["colour", "val", "acc", "", 40.0],
            ["colour", "test", "acc", "", 50.0],
            ["colour", "test", "acc", "red", 1.0],
        ]
        write_own(folder / "result.json", trial.key, result(scores=scores, files=seals_of(folder)))
    return made


def test_a_record_has_key_arm_curve_scores_and_no_path(store: Store) -> None:
    record = record_of(TRIAL, store.folder(TRIAL))
    assert (record.key, record.group, record.job) == (TRIAL.key, "one-task", "p/d")
    assert record.curve == {
        4: {"val_headline/colour": 30.0, "train_loss/colour": 0.75},
        8: {"val_headline/colour": 40.0, "train_loss/colour": 0.5},
    }
    assert record.scores["test/colour/acc"] == 50.0 and record.scores["cost/parameters"] == 7
    assert record.config["seed"] == 3 and record.config["recipe.lr"] == 0.1
    assert not any("/" in str(value) for value in record.config.values())
    assert {name.rpartition("/")[2] for name in record.scores} >= {"acc"} and len(record.scores) == 2 + 3


@pytest.mark.slow
def test_tensorboard_reads_every_trial_once(store: Store, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):
        assert track_finished(store.root, "tensorboard", "", print) == 2
    folders = list((store.root / "tensorboard").glob("*/*/*/*"))
    assert {folder.name for folder in folders} == {TRIAL.key, other(4).key}
    found = reader.EventAccumulator(str(store.root / "tensorboard/p/d/one-task" / TRIAL.key)).Reload()
    assert [(one.step, one.value) for one in found.Scalars("val_headline/colour")] == [(4, 30.0), (8, 40.0)]
    assert [one.value for one in found.Scalars("test/colour/acc")] == [50.0]


@pytest.mark.slow
def test_mlflow_reads_every_trial_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    where = str(tmp_path / "mlruns")
    for _ in range(2):
        assert track_finished(store.root, f"mlflow:{where}", "p", print) == 2
    client = mlflow.MlflowClient(where)
    experiment = client.get_experiment_by_name("p/d")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["mtlbench.key"] for run in runs} == {TRIAL.key, other(4).key} and len(runs) == 2
    run = next(run for run in runs if run.data.tags["mtlbench.key"] == TRIAL.key)
    assert run.data.metrics["test/colour/acc"] == 50.0 and run.data.params["arm"] == "one-task"
    history = client.get_metric_history(run.info.run_id, "val_headline/colour")
    assert [(one.step, one.value) for one in history] == [(4, 30.0), (8, 40.0)]


@pytest.mark.slow
def test_trackio_reads_every_trial_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "t")
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "t")
    for _ in range(2):
        assert track_finished(store.root, "trackio:mine", "", print) == 2
    with sqlite3.connect(next((tmp_path / "t").glob("*.db"))) as base:
        rows = base.execute("select run_name, step from metrics").fetchall()
    assert sorted(rows) == sorted((trial.key, step) for trial in (TRIAL, other(4)) for step in (4, 8, 8))


@pytest.mark.slow
def test_wandb_takes_every_trial_offline_under_its_key(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert track_finished(store.root, "wandb:mine", "", print) == 2
    files = {path.name for path in tmp_path.glob("wandb/offline-run-*/*.wandb")}
    assert files == {f"run-{trial.key}.wandb" for trial in (TRIAL, other(4))}
    path = next(tmp_path.glob(f"wandb/offline-run-*/run-{TRIAL.key}.wandb"))
    end = time.monotonic() + 20
    while b"test/colour/acc" not in path.read_bytes() and time.monotonic() < end:  # its own process writes it
        time.sleep(0.1)
    content = path.read_bytes()
    assert b"test/colour/acc" in content and b"one-task" in content


class Broken:
    """A tracker whose server is gone."""

    asked = 0

    def send(self, record: Record) -> None:
        self.asked += 1
        raise ConnectionError("no route to host\nand more")

    def close(self) -> None:
        raise AssertionError("a tracker that was given up is not closed")


def test_a_broken_tracker_is_one_line_and_no_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, heard = Broken(), Heard()
    monkeypatch.setattr(tracking, "open_tracker", lambda spec, results: broken)
    with add_trackers(heard, store, ("wandb:mine",)) as watcher:
        assert isinstance(watcher, Tracking)
        for error in ("", "", "too red"):
            watcher.note_end(TRIAL, error)
    assert heard.ended == ["", "", "too red"] and broken.asked == 1
    assert heard.said == [
        "--track wandb:mine failed (ConnectionError: no route to host); trials go on, and mtlbench track wandb:mine"
        " tells it of them later"
    ]


def test_finished_trials_are_told_and_failed_ones_are_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    class Kept:
        def send(self, record: Record) -> None:
            print("a tracker that prints")
            sent.append(record.key)

        def close(self) -> None:
            sent.append("closed")

    monkeypatch.setattr(tracking, "open_tracker", lambda spec, results: Kept())
    with add_trackers(Heard(), store, ("trackio",)) as watcher:
        watcher.note_end(TRIAL, "")
        watcher.note_end(other(4), "too red")
    assert sent == [TRIAL.key, "closed"]


def test_what_is_no_tracker_or_not_installed_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no tracker called 'comet'"):
        track_finished(store.root, "comet", "", print)
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install 'mtlbench\[wandb\]'"):
        track_finished(store.root, "wandb", "", print)
    with pytest.raises(UserError, match="cannot be opened"):
        monkeypatch.setattr("mtlbench.execution.trackers.TensorBoard.__init__", lambda self, where: 1 / 0)
        track_finished(store.root, "tensorboard", "", print)


def test_damaged_trials_are_skipped_and_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    (store.folder(TRIAL) / "curve.csv").write_text("changed")
    said: list[str] = []
    pytest.importorskip("tensorboardX")
    assert track_finished(store.root, "tensorboard", "", said.append) == 1
    assert len(said) == 1 and TRIAL.key in said[0]
