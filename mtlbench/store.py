"""The results store: one folder a trial, plain files, and a status that is derived from them.

    <root>/format.json                     the store's format
    <root>/<pair>/<dataset>/<key>/         trial.json, curve.csv, alphas.csv, predictions.npz, weights.pt, error.txt,
                                           result.json (renamed in last: its presence is what "done" means)
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mtlbench.errors import UserError
from mtlbench.spec import FORMAT, Options, Trial

COLUMNS = ["pair", "dataset", "backbone", "recipe", "arm", "seed", "key", "task", "subset", "metric", "headline",
           "category", "value", "unit", "higher_is_better", "finished", "setting"]  # fmt: skip
RESULT = ("format", "files", "scores", "metrics", "cost", "backbone", "architecture", "finished")
UNITS = {"parameters": "", "flops": "", "seconds": "s", "seconds_with_parents": "s", "image_visits": "",
         "iterations": "", "step_seconds": "s", "evaluation_seconds": "s"}  # fmt: skip


def write(path: Path, text: str) -> None:
    """Write a file that is either there whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_csv(path: Path, rows: Sequence[Options]) -> None:
    """Rows with equal columns; nothing is written for none."""
    if not rows:
        return
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


class Store:
    """A results folder. Raises UserError where it cannot be used or was written in a newer format."""

    def __init__(self, root: Path, create: bool = False) -> None:
        self.root = root.expanduser().resolve()
        stamp = self.root / "format.json"
        try:
            if create and not stamp.exists():
                self.root.mkdir(parents=True, exist_ok=True)
                write(stamp, json.dumps({"format": FORMAT}) + "\n")
            found = int(json.loads(stamp.read_text())["format"]) if stamp.exists() else FORMAT
            if create and not os.access(self.root, os.W_OK):
                raise UserError(f"{self.root} cannot be written; use another folder with --results")
        except OSError as error:
            raise UserError(f"{self.root} cannot be used as a results folder: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{stamp} is damaged; remove it, or use another folder with --results") from error
        if found > FORMAT:
            raise UserError(
                f"{self.root} was written in format {found}, this mtlbench reads up to {FORMAT}: upgrade mtlbench"
            )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One run at a time works in a store. Raises UserError while another one does; a dead run holds nothing."""
        with open(self.root / ".lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise UserError(
                    f"another run (process {file.read().strip() or '?'}) is working in {self.root}; "
                    "wait for it, or use another folder with --results"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def folder(self, trial: Trial) -> Path:
        """Where a trial's files are."""
        return self.root / trial.pair / trial.dataset.name / trial.key

    def result(self, trial: Trial) -> Options | None:
        """The finished result, or None where there is none that can be read. Raises UserError for a newer one."""
        try:
            return read_result(self.folder(trial) / "result.json")
        except (OSError, Damaged):
            return None

    def done(self, trial: Trial) -> bool:
        """Whether the trial is finished, readable and has the weights that its children need."""
        result = self.result(trial)
        return result is not None and all((self.folder(trial) / name).exists() for name in result["files"])

    def begin(self, trial: Trial) -> Path:
        """A clean folder for the trial, with trial.json; what an earlier attempt left is removed, but not its names."""
        folder = self.folder(trial)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in sorted(folder.iterdir(), key=lambda path: path.name != "result.json"):  # "done" goes first
                if left_over.is_dir() and not left_over.is_symlink():
                    shutil.rmtree(left_over)
                elif left_over.name != "names.json":
                    left_over.unlink()
            write(folder / "trial.json", json.dumps(trial.to_json(), indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from error
        return folder

    def name(self, trial: Trial) -> None:
        """Note the trial's arm, seed and recipe beside a finished result that was trained under another name."""
        path = self.folder(trial) / "names.json"
        own = {"arm": trial.arm, "seed": trial.seed, "recipe": trial.recipe_name, "setting": trial.setting}
        known = names_of(path.parent)
        if own not in known:
            try:
                write(path, json.dumps([*known, own]) + "\n")
            except OSError as error:
                raise UserError(f"cannot write to {path.parent}: {error.strerror}") from error

    def fail(self, trial: Trial, traceback: str) -> None:
        """Keep why a trial failed."""
        write(self.folder(trial) / "error.txt", traceback)

    def load(self) -> Results:
        """All that the store holds."""
        return Results(self.root)


class Damaged(UserError):
    """A file of the store that cannot be understood; training the trial anew replaces it."""


def read_result(path: Path) -> Options:
    """A parsed result.json. Raises Damaged for one that cannot be read, UserError for a newer one."""
    try:
        result = json.loads(path.read_text())
        newer = result["format"] > FORMAT
        if not newer and (lost := [name for name in RESULT if name not in result]):
            raise KeyError(*lost)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged; run the same command again to train it anew") from error
    if newer:
        raise UserError(f"{path} was written in format {result['format']}: upgrade mtlbench")
    return result


def read_trial(folder: Path) -> Trial:
    """The trial that a folder belongs to. Raises Damaged."""
    try:
        return Trial.from_json(json.loads((folder / "trial.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{folder} has no readable trial.json; run the same command again") from error


def names_of(folder: Path) -> list[Options]:
    """The names that a trial goes by: its own first. Raises Damaged."""
    trial = read_trial(folder)
    own = {"arm": trial.arm, "seed": trial.seed, "recipe": trial.recipe_name, "setting": trial.setting}
    names = [own]
    with contextlib.suppress(OSError, ValueError, TypeError):
        names += [name for name in json.loads((folder / "names.json").read_text())
                  if isinstance(name, dict) and name.keys() == own.keys() and name != own]  # fmt: skip
    return names


@dataclass
class Results:
    """What a results folder holds, as frames; damaged files are listed in `problems` and skipped."""

    root: Path

    def __post_init__(self) -> None:
        self.problems: list[str] = []

    @cached_property
    def _finished(self) -> list[tuple[Path, Trial, Options]]:
        found = []
        for path in sorted(self.root.glob("*/*/*/result.json")):
            try:
                found.append((path.parent, read_trial(path.parent), read_result(path)))
            except UserError as error:
                self.problems.append(str(error))
        return sorted(found, key=lambda item: -len(item[1].tasks))  # joint trials know the order of the tasks

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a number; columns as in COLUMNS."""
        rows: list[tuple[Any, ...]] = []
        for folder, trial, result in self._finished:
            where = (trial.pair, trial.dataset.name, result["backbone"])
            for name in names_of(folder):
                head = (*where, name["recipe"], name["arm"], name["seed"], folder.name)
                for task, subset, metric, category, value in result["scores"]:
                    about = result["metrics"][task][metric]
                    rows.append((*head, task, subset, metric, about["headline"], category, value, about["unit"],
                                 about["higher_is_better"], result["finished"], name["setting"]))  # fmt: skip
                task = trial.tasks[0] if len(trial.tasks) == 1 else ""
                for metric, value in result["cost"].items():
                    rows.append((*head, task, "cost", metric, False, "", value, UNITS[metric], False,
                                 result["finished"], name["setting"]))  # fmt: skip
        frame = pd.DataFrame(rows, columns=COLUMNS)
        return frame.astype({"headline": bool, "higher_is_better": bool, "value": float})

    def architectures_of(self, frame: pd.DataFrame) -> dict[str, list[Options]]:
        """{arm: per stage its name, groups and whether a unit follows} of the trials in `frame`."""
        by_key = {folder.name: result["architecture"] for folder, _, result in self._finished}
        return {arm: by_key[key] for arm, key in zip(frame["arm"], frame["key"], strict=True) if key in by_key}

    @cached_property
    def failures(self) -> list[Options]:
        """Trials that left an error.txt and no result."""
        found = []
        for path in sorted(self.root.glob("*/*/*/error.txt")):
            if (path.parent / "result.json").exists():
                continue
            try:
                trial = read_trial(path.parent)
            except Damaged as error:
                self.problems.append(str(error))
                continue
            task = trial.tasks[0] if len(trial.tasks) == 1 else ""
            lines = path.read_text().strip().splitlines() or ["(no message)"]
            found.append({"pair": trial.pair, "dataset": trial.dataset.name, "recipe": trial.recipe_name,
                          "backbone": trial.backbone.label, "arm": trial.arm, "seed": trial.seed, "task": task,
                          "status": "failed", "reason": lines[-1]})  # fmt: skip
        return found


def load_results(root: str | Path = "results") -> pd.DataFrame:
    """All finished numbers of a results folder as one long frame, one row a number."""
    return Store(Path(root)).load().frame
