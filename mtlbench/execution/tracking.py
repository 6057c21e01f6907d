"""Finished trials told to a tracker (TensorBoard, Weights & Biases, MLflow, Trackio), here in the run's own process.

Opt-in: without `--track` nothing is sent anywhere. What is told is read from the store, so that `mtlbench track` tells
older results the same. A tracker that fails is told of in one line, and no trial fails for it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mtlbench.errors import UserError
from mtlbench.execution.queue import Watcher
from mtlbench.plugins import make_unknown
from mtlbench.spec import Trial, as_data
from mtlbench.store.folders import all_folders, read_trial
from mtlbench.store.sealing import read_result, read_sealed
from mtlbench.store.shapes import Result
from mtlbench.store.store import Store
from mtlbench.system.files import UNSOUND
from mtlbench.text import Say, strip_control

CURVE = "curve.csv"
LONGEST = 160  # letters of what a tracker's failure says
PLAIN = (bool, int, float, str)
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
Numbers = dict[str, float]


@dataclass(frozen=True)
class Record:
    """A finished trial. key: of the trial, and of its run there; group: its arm; job: `PAIR/DATASET`; config: plain
    values, without paths; curve: numbers by iteration during training; scores: numbers after it, and costs."""

    key: str
    name: str
    group: str
    job: str
    config: dict[str, bool | int | float | str]
    curve: dict[int, Numbers]
    scores: Numbers
    iterations: int


class Tracker(Protocol):
    """Where records go. A key that is there already is written anew or left as it is, never doubled."""

    def send(self, record: Record) -> None: ...
    def close(self) -> None: ...


def open_tracker(spec: str, results: Path) -> Tracker:
    """The tracker that `NAME` or `NAME:WHERE` names; `results` is where TensorBoard's files go unless WHERE says so.
    Raises UserError for another name and where its package is not installed."""
    from mtlbench.execution import trackers

    name, _, where = spec.partition(":")
    if name not in TRACKERS:
        raise make_unknown("tracker", name, TRACKERS)
    makers: dict[str, Callable[[str], Tracker]] = {
        "tensorboard": trackers.TensorBoard,
        "wandb": trackers.WeightsAndBiases,
        "mlflow": trackers.MlFlow,
        "trackio": trackers.Trackio,
    }
    usual = {"tensorboard": str(results / "tensorboard"), "mlflow": ""}.get(name, "mtlbench")
    try:
        return makers[name](where or usual)
    except ImportError as error:
        raise UserError(f"--track {name}: its package is not installed; type pip install 'mtlbench[{name}]'") from error
    except Exception as error:  # a tracker is somebody else's program
        hint = "; a database works everywhere: --track mlflow:sqlite:///mlflow.db" if name == "mlflow" else ""
        raise UserError(f"--track {spec} cannot be opened ({in_a_line(error)}){hint}") from error


def record_of(trial: Trial, folder: Path) -> Record:
    """What the trial's folder says. Raises UserError and OSError where that cannot be read."""
    result = read_result(folder / "result.json")
    recipe = {f"recipe.{name}": value for name, value in as_data(trial.recipe).items()}
    facts = {
        "pair": trial.pair,
        "arm": trial.arm,
        "seed": trial.seed,
        "recipe": trial.recipe_name,
        "tasks": " ".join(trial.task_names),
        "dataset": trial.dataset.label,
        "backbone": trial.backbone.label,
        "scheme": trial.scheme.label,
        "weighting": trial.method.label if trial.method else "",
        "family": trial.family,
        "purpose": trial.purpose,
        "iterations": trial.iterations,
        "setting": trial.setting,
        "finished": result.finished,
        **recipe,
    }
    return Record(
        key=trial.key,
        name=strip_control(trial.label),
        group=trial.arm,
        job=f"{trial.pair}/{trial.dataset.name}",
        config={name: value if isinstance(value, PLAIN) else str(value) for name, value in facts.items()},
        curve=_curve_of(folder, result),
        scores=_scores_of(result),
        iterations=trial.iterations,
    )


def _curve_of(folder: Path, result: Result) -> dict[int, Numbers]:
    """`val_headline/TASK` and `train_loss/TASK` by iteration."""
    if CURVE not in result.files:
        return {}
    found: dict[int, Numbers] = {}
    for row in csv.DictReader(io.StringIO(read_sealed(str(folder / CURVE), result.files[CURVE]))):
        numbers = found.setdefault(int(row["iteration"]), {})
        numbers |= {f"{name}/{row['task']}": float(row[name]) for name in ("val_headline", "train_loss") if row[name]}
    return found


def _scores_of(result: Result) -> Numbers:
    """`test/TASK/METRIC` of whole tasks, and `cost/NAME`."""
    scores = {f"{row.subset}/{row.task}/{row.metric}": row.value for row in result.scores if not row.category}
    return {**scores, **{f"cost/{name}": value for name, value in result.cost.items()}}


class Tracking:
    """A Watcher that passes all on and tells a tracker of every trial that finished."""

    def __init__(self, watcher: Watcher, store: Store, spec: str, tracker: Tracker) -> None:
        self.watcher, self.store, self.spec = watcher, store, spec
        self.tracker: Tracker | None = tracker

    def note_start(self, trial: Trial) -> None:
        self.watcher.note_start(trial)

    def note_progress(self, trial: Trial, fraction: float) -> None:
        self.watcher.note_progress(trial, fraction)

    def again(self, trial: Trial, why: str) -> None:
        self.watcher.again(trial, why)

    def say(self, line: str) -> None:
        self.watcher.say(line)

    def note_end(self, trial: Trial, error: str) -> None:
        """A trial finished or failed; the first failure of the tracker ends the telling."""
        self.watcher.note_end(trial, error)
        if self.tracker and not error:
            try:
                with silence():
                    self.tracker.send(record_of(trial, self.store.folder(trial)))
            except Exception as problem:  # a tracker is somebody else's program
                self._give_up(problem)

    def close(self) -> None:
        """No more trials come."""
        if self.tracker:
            try:
                with silence():
                    self.tracker.close()
            except Exception as problem:
                self._give_up(problem)

    def _give_up(self, problem: Exception) -> None:
        self.tracker = None
        self.watcher.say(
            f"--track {self.spec} failed ({in_a_line(problem)}); trials go on, and mtlbench track {self.spec} tells it"
            " of them later"
        )


@contextlib.contextmanager
def add_trackers(watcher: Watcher, store: Store, specs: tuple[str, ...]) -> Iterator[Watcher]:
    """The watcher, with these trackers told, too. Raises UserError for one that is none or not installed."""
    found: list[Tracking] = []
    for spec in specs:
        watcher = Tracking(watcher, store, spec, open_tracker(spec, store.root))
        found.append(watcher)
    try:
        yield watcher
    finally:
        for one in found:
            one.close()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """What a tracker prints is dropped: it would stand between the lines of a run."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def in_a_line(problem: Exception) -> str:
    """What an exception says first."""
    line = strip_control(f"{type(problem).__name__}: {problem}".partition("\n")[0])
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def track_finished(root: Path, spec: str, pair: str, say: Say) -> int:
    """Tell a tracker of every finished trial of a results folder (of `pair`, unless ""); how many. Raises UserError,
    also where the tracker fails."""
    tracker, sent = open_tracker(spec, root), 0
    try:
        for folder in map(Path, all_folders(root)):
            if not (folder / "result.json").is_file():
                continue
            try:
                record = record_of(trial := read_trial(folder), folder)
            except (UserError, OSError, *UNSOUND) as problem:
                say(f"skipped: {folder}: {problem}")
                continue
            if pair in ("", trial.pair):
                with silence():
                    tracker.send(record)
                sent += 1
        with silence():
            tracker.close()
    except UserError:
        raise
    except Exception as problem:  # a tracker is somebody else's program
        raise UserError(f"{spec} failed after {sent} trials ({in_a_line(problem)}); type the same again") from problem
    return sent
