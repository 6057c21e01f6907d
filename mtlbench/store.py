"""The results store: one folder a trial, plain files, and a status that is derived from them.

    <root>/format.json                     the store's format
    <root>/<pair>/<dataset>/               .lock (held by the run that works there), .running.json (how far it is)
    <root>/<pair>/<dataset>/<key>/         trial.json, curve.csv, alphas.csv, predictions.npz, weights.pt, resume.pt,
                                           error.txt, result.json (renamed in last: its presence is what "done" means)
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlbench.board import Board, locked
from mtlbench.errors import UserError, printable
from mtlbench.files import UNSOUND, is_regular, own, write, writing
from mtlbench.folders import (
    Damaged,
    Outdated,
    State,
    check_names,
    check_trial,
    check_words,
    damaged,
    groups,
    lost_files,
    names_of,
    read_result,
    read_trial,
    states_of,
    trial_folders,
)
from mtlbench.sources import keep_sources
from mtlbench.spec import FORMAT, Options, Trial

if TYPE_CHECKING:  # the process that brings results to the store has no need of pandas
    import pandas as pd

COLUMNS = ["pair", "dataset", "backbone", "recipe", "arm", "seed", "key", "task", "subset", "metric", "headline",
           "category", "value", "unit", "higher_is_better", "finished", "setting"]  # fmt: skip
NAMING = ["pair", "dataset", "backbone", "recipe", "arm", "seed", "key", "finished", "setting"]  # of curves and alphas
UNITS = dict.fromkeys(
    ("seconds", "seconds_with_parents", "step_seconds", "evaluation_seconds", "training_seconds", "wait_seconds"), "s"
)


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
            if create and found < FORMAT:
                write(stamp, json.dumps({"format": FORMAT}) + "\n")
        except OSError as error:
            raise UserError(f"{self.root} cannot be used as a results folder: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{stamp} is damaged; remove it, or use another folder with --results") from error
        if found > FORMAT:
            raise UserError(
                f"{self.root} was written in format {found}, this mtlbench reads up to {FORMAT}: upgrade mtlbench"
            )

    @contextlib.contextmanager
    def open(self, pair: str, dataset: str) -> Iterator[Board]:
        """One run at a time works on a pair and a data set. Raises UserError while another one does; a dead run holds
        nothing. Raises StoreBroken."""
        folder = self._group(pair, dataset)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder) as file:
            board = Board(folder)
            with writing(folder):
                file.truncate(0)
                file.write((json.dumps(board.run) + "\n").encode())
            try:
                yield board
            finally:
                board.path.unlink(missing_ok=True)

    def _group(self, pair: str, dataset: str) -> Path:
        folder = self.root / pair / dataset
        for part in (folder.parent, folder):
            if part.is_symlink():
                raise UserError(f"{part} is a symbolic link; to have results elsewhere, use --results")
        return folder

    def folder(self, trial: Trial) -> Path:
        """Where a trial's files are. Raises UserError where a link would lead elsewhere."""
        return self._group(trial.pair, trial.dataset.name) / trial.key

    def result(self, trial: Trial) -> Options | None:
        """The finished result, or None where there is none that can be read. Raises UserError for a newer one."""
        try:
            return read_result(self.folder(trial) / "result.json")
        except (Damaged, Outdated):
            return None

    def done(self, trial: Trial) -> bool:
        """Whether the trial is finished, readable and has the files that its children need, in their sizes, and its
        weights where it is to keep them."""
        result = self.result(trial)
        if result is None or trial.keep_weights and "weights.pt" not in result["files"]:
            return False
        return not lost_files(self.folder(trial), result)

    def plan(self, trials: Iterable[Trial]) -> None:
        """Note the trials that will run, for `mtlbench status` and tables. Raises StoreBroken, and UserError for names
        that may not be."""
        for trial in trials:
            try:
                check_trial(trial)
            except UNSOUND as error:
                raise UserError(
                    f"{trial.pair!r}, {trial.arm!r}, {trial.recipe_name!r}: names of pairs, arms and recipes begin with"
                    " a letter or number and have no quotes, slashes or letters that a shell reads; change the name"
                ) from error
            folder = self.folder(trial)
            try:
                read_trial(folder)
            except Damaged:
                with writing(folder):
                    own(folder).mkdir(parents=True, exist_ok=True)
                    _write_trial(folder, trial)

    def begin(self, trial: Trial, again: bool = False) -> Path:
        """A clean folder for the trial, with trial.json; of what an earlier attempt left its names stay, and the file
        that it goes on from, unless it finished or is trained `again`. Raises StoreBroken."""
        folder = self.folder(trial)
        with writing(folder):
            own(folder).mkdir(parents=True, exist_ok=True)
            keep = {"names.json"} | (set() if again or (folder / "result.json").exists() else {"resume.pt"})
            for left_over in sorted(folder.iterdir(), key=lambda path: path.name != "result.json"):  # "done" goes first
                if left_over.is_dir() and not left_over.is_symlink():
                    shutil.rmtree(left_over)
                elif left_over.name not in keep or not is_regular(left_over):
                    left_over.unlink()
            _write_trial(folder, trial)
        return folder

    def name(self, trial: Trial) -> None:
        """Note the trial's arm, seed and recipe beside a finished result that was trained under another name.

        Raises StoreBroken."""
        path = self.folder(trial) / "names.json"
        own = {"arm": trial.arm, "seed": trial.seed, "recipe": trial.recipe_name, "setting": trial.setting}
        try:
            known = names_of(path.parent)
        except Damaged:  # the key in the folder's name says that this is the trial
            with writing(path.parent):
                _write_trial(path.parent, trial)
            known = names_of(path.parent)
        if own not in known:
            with writing(path.parent):
                write(path, json.dumps([*known, own]) + "\n")

    def fail(self, trial: Trial, traceback: str) -> None:
        """Keep why a trial failed; where that cannot be written, the failure itself is what has to be seen."""
        with contextlib.suppress(OSError):
            write(self.folder(trial) / "error.txt", traceback.encode(errors="backslashreplace").decode())

    def load(self) -> Results:
        """All that the store holds."""
        return Results(self.root)


def _write_trial(folder: Path, trial: Trial) -> None:
    write(folder / "trial.json", json.dumps(trial.to_json(), indent=1, sort_keys=True) + "\n")
    keep_sources(trial, folder)


@dataclass
class Results:
    """What a results folder holds, as frames; damaged files are listed in `problems` and skipped."""

    root: Path

    def __post_init__(self) -> None:
        self.problems: list[str] = []

    @cached_property
    def _finished(self) -> list[tuple[Path, Trial, Options]]:
        found, outdated = [], 0
        for folder in (folder for group in groups(self.root) for folder in trial_folders(group)):
            if not is_regular(folder / "result.json"):
                continue
            try:
                found.append((folder, read_trial(folder), read_result(folder / "result.json")))
            except Outdated:
                outdated += 1
            except UserError as error:
                self.problems.append(str(error))
        if outdated:
            self.problems.append(
                f"{outdated} trial{'s' * (outdated > 1)} of an older format; this mtlbench trains them anew; "
                "mtlbench clean removes them"
            )
        return sorted(found, key=lambda item: -len(item[1].tasks))  # joint trials know the order of the tasks

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a number; columns as in COLUMNS."""
        import pandas as pd

        rows: list[tuple[Any, ...]] = []
        for folder, trial, result in self._finished:
            try:
                rows += _rows(folder, trial, result)
            except UNSOUND:
                self.problems.append(str(damaged(folder / "result.json")))
        frame = pd.DataFrame(rows, columns=COLUMNS)
        return frame.astype({"headline": bool, "higher_is_better": bool, "value": float})

    @cached_property
    def curves(self) -> pd.DataFrame:
        """The headline on val and the loss during training: the frame's columns that name a trial, then iteration,
        task, train_loss (mean since the point before), val_headline."""
        return self._series("curve.csv", {"iteration": int, "task": str, "train_loss": float, "val_headline": float})

    @cached_property
    def alphas(self) -> pd.DataFrame:
        """The alphas of units during training (`channel` -1: means over channels) and of every unit at the end: the
        frame's columns that name a trial, then iteration, stage, receiver, giver, channel, alpha."""
        kinds = {"iteration": int, "stage": str, "receiver": str, "giver": str, "channel": int, "alpha": float}
        return self._series("alphas.csv", kinds)

    def _series(self, file: str, kinds: dict[str, type]) -> pd.DataFrame:
        """A file of every finished trial as one frame, under each of the trial's names; unsound ones are problems."""
        import pandas as pd

        parts: list[pd.DataFrame] = []
        heads: list[tuple[Any, ...]] = []  # of the parts; columns are made once for all, which is what takes time
        for folder, trial, result in self._finished:
            try:
                if not is_regular(folder / file):  # nothing was trained, or there are no units
                    continue
                rows = pd.read_csv(folder / file, dtype=kinds, usecols=list(kinds))[list(kinds)]
            except (OSError, *UNSOUND):
                self.problems.append(str(damaged(folder / file)))
                continue
            for name in names_of(folder):
                parts.append(rows)
                heads.append((trial.pair, trial.dataset.name, result["backbone"], name["recipe"], name["arm"],
                              name["seed"], folder.name, result["finished"], name["setting"]))  # fmt: skip
        if not parts:
            return pd.DataFrame(columns=[*NAMING, *kinds])
        named = pd.DataFrame(heads, columns=NAMING).loc[pd.RangeIndex(len(parts)).repeat([len(part) for part in parts])]
        return pd.concat([named.reset_index(drop=True), pd.concat(parts, ignore_index=True)], axis=1)

    def counts_of(self, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
        """{task: {category: how often it is labelled in train}} of the trials in `frame`."""
        keys = set(frame["key"])
        found: dict[str, dict[str, int]] = {}
        for folder, _, result in self._finished:
            if folder.name in keys:
                found |= {task: dict(counts) for task, counts in result["counts"].items() if counts}
        return found

    def provenance_of(self, frame: pd.DataFrame) -> list[Options]:
        """Of each trial in `frame`, once: key, arm, seed, tasks, fingerprint (of the data), data_root, recipe (its
        fields), dataset, backbone, scheme (labels), parents, environment (python, torch, device), finished, seconds."""
        keys = set(frame["key"])
        return [
            {
                "key": folder.name, "arm": trial.arm, "seed": trial.seed, "tasks": list(trial.tasks),
                "fingerprint": trial.fingerprint, "data_root": trial.data_root, "recipe": trial.recipe,
                "dataset": trial.dataset.label, "backbone": trial.backbone.label, "scheme": trial.scheme.label,
                "parents": list(trial.parents), "environment": result["environment"], "finished": result["finished"],
                "seconds": result["cost"]["seconds"],
            }
            for folder, trial, result in self._finished if folder.name in keys
        ]  # fmt: skip

    def architectures_of(self, frame: pd.DataFrame) -> dict[str, list[Options]]:
        """{arm: per stage its name, groups and whether a unit follows} of the trials in `frame`."""
        by_key = {folder.name: result["architecture"] for folder, _, result in self._finished}
        return {arm: by_key[key] for arm, key in zip(frame["arm"], frame["key"], strict=True) if key in by_key}

    @cached_property
    def states(self) -> list[State]:
        """Where every trial of the store stands, now."""
        return states_of(self.root)

    @cached_property
    def failures(self) -> list[Options]:
        """Trials that left an error.txt and no result, and those that wait for one of them: pair, dataset, recipe,
        backbone, setting, arm, seed, key, task ("" for joint ones), status, reason, failed (when; blocked: planned)."""
        found = []
        for state in sorted(self.states, key=lambda state: (state.state != "failed", state.label)):
            if state.state not in ("failed", "blocked"):
                continue
            if (trial := state.trial) is None:
                self.problems.append(f"{state.folder} has no readable trial.json; run the same command again")
                continue
            task = trial.tasks[0] if len(trial.tasks) == 1 else ""
            blocked = state.state == "blocked"
            file = "trial.json" if blocked else "error.txt"
            status, reason = (f"blocked by {state.reason}", "") if blocked else ("failed", printable(state.reason))
            found.append({"pair": trial.pair, "dataset": trial.dataset.name, "recipe": trial.recipe_name,
                          "backbone": trial.backbone.label, "setting": trial.setting, "arm": trial.arm,
                          "seed": trial.seed, "key": state.folder.name, "task": task, "status": status,
                          "reason": reason, "failed": _written(state.folder / file)})  # fmt: skip
        return found


def _written(path: Path) -> str:
    """When a file was written last, as results say when they finished; "" where it is gone."""
    try:
        return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(timespec="milliseconds")
    except OSError:
        return ""


def _rows(folder: Path, trial: Trial, result: Options) -> list[tuple[Any, ...]]:
    """A trial's rows of the frame. Raises one of UNSOUND for a result that makes no sense."""
    rows: list[tuple[Any, ...]] = []
    where = (trial.pair, trial.dataset.name, printable(result["backbone"]))
    check_names(result["backbone"].partition("(")[0])
    for name in names_of(folder):
        head = (*where, name["recipe"], name["arm"], name["seed"], folder.name)
        last = (printable(result["finished"]), name["setting"])
        for task, subset, metric, category, value in result["scores"]:
            about = result["metrics"][task][metric]
            check_words(subset, metric, category, about["unit"], *last)
            check_names(task)
            rows.append((*head, task, subset, metric, bool(about["headline"]), printable(category), float(value),
                         printable(about["unit"]), bool(about["higher_is_better"]), *last))  # fmt: skip
        task = trial.tasks[0] if len(trial.tasks) == 1 else ""
        for metric, value in result["cost"].items():
            check_words(metric)
            unit = UNITS.get(metric, "")
            rows.append((*head, task, "cost", metric, False, "", float(value), unit, False, *last))
    return rows


def load_results(root: str | Path = "results") -> pd.DataFrame:
    """All finished numbers of a results folder as one long frame, one row a number."""
    return Store(Path(root)).load().frame
