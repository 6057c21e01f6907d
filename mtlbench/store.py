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
from typing import TYPE_CHECKING, NamedTuple

from mtlbench.board import Board, locked
from mtlbench.errors import UserError, printable
from mtlbench.files import UNSOUND, is_regular, own, write, writing
from mtlbench.folders import (
    Damaged,
    Outdated,
    State,
    all_folders,
    check_trial,
    damaged,
    lost_files,
    names_in,
    names_of,
    read_result,
    read_trial,
    states_of,
    without_collector,
)
from mtlbench.frames import NAMING, Head, LongFrame, head_of, named, read_tables, taken
from mtlbench.sources import keep_sources
from mtlbench.spec import FORMAT, Options, Trial

if TYPE_CHECKING:  # the process that brings results to the store has no need of pandas
    import pandas as pd


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


class Finished(NamedTuple):
    """A finished trial as its folder tells."""

    folder: Path
    trial: Trial
    names: list[Options]
    result: Options

    def heads(self) -> list[Head]:
        """What every row of its numbers begins with, one for each of its names. Raises one of UNSOUND."""
        return [head_of(self.trial, self.folder.name, name, self.result) for name in self.names]


@dataclass
class Results:
    """What a results folder holds, as frames; damaged files are listed in `problems` and skipped."""

    root: Path

    def __post_init__(self) -> None:
        self.problems: list[str] = []

    @cached_property
    def _finished(self) -> list[Finished]:
        found, outdated = [], 0
        with without_collector():
            for folder in all_folders(self.root):
                path = os.path.join(folder, "result.json")  # five times as fast as folder / "result.json"
                if not os.path.lexists(path):
                    continue
                try:
                    trial = read_trial(folder)
                    found.append(Finished(folder, trial, names_in(folder, trial), read_result(path)))
                except Outdated:
                    outdated += 1
                except UserError as error:
                    self.problems.append(str(error))
        if outdated:
            self.problems.append(
                f"{outdated} trial{'s' * (outdated > 1)} of an older format; this mtlbench trains them anew; "
                "mtlbench clean removes them"
            )
        return sorted(found, key=lambda one: -len(one.trial.tasks))  # joint trials know the order of the tasks

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a number; columns as in frames.COLUMNS."""
        long = LongFrame()
        for one in self._finished:
            try:
                long.add(one.trial, one.result, one.heads())
            except UNSOUND:
                self.problems.append(str(damaged(one.folder / "result.json")))
        return long.made()

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

        paths = {os.path.join(one.folder, file): one for one in self._finished}
        having = {path: one for path, one in paths.items() if is_regular(path)}  # others have no units, say
        rows, places = read_tables(list(having), kinds)
        heads: list[Head] = []
        shown: list[range] = []  # of each head's rows
        for one, place in zip(having.values(), places, strict=True):
            try:
                own = one.heads()
            except UNSOUND:
                own, place = [], None
            if place is None:
                self.problems.append(str(damaged(one.folder / file)))
            else:
                heads += own
                shown += [place] * len(own)
        if not heads:
            return pd.DataFrame(columns=[*NAMING, *kinds])
        return pd.concat([named(heads, list(map(len, shown))), taken(rows, shown)], axis=1)

    def counts_of(self, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
        """{task: {category: how often it is labelled in train}} of the trials in `frame`."""
        keys = set(frame["key"])
        found: dict[str, dict[str, int]] = {}
        for one in self._finished:
            if one.folder.name in keys:
                found |= {task: dict(counts) for task, counts in one.result["counts"].items() if counts}
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
            for folder, trial, _, result in self._finished if folder.name in keys
        ]  # fmt: skip

    def architectures_of(self, frame: pd.DataFrame) -> dict[str, list[Options]]:
        """{arm: per stage its name, groups and whether a unit follows} of the trials in `frame`."""
        by_key = {one.folder.name: one.result["architecture"] for one in self._finished}
        return {arm: by_key[key] for arm, key in zip(frame["arm"], frame["key"], strict=True) if key in by_key}

    @cached_property
    def states(self) -> list[State]:
        """Where every trial of the store stands, now."""
        return states_of(self.root)

    @cached_property
    def failures(self) -> list[Options]:
        """Trials that left an error.txt and no result, and those that wait for one of them: pair, dataset, recipe,
        backbone, setting, arm, seed, key, task ("" for joint ones), status, reason, failed (when; blocked: planned)."""
        if not any(os.path.exists(os.path.join(folder, "error.txt")) for folder in all_folders(self.root)):
            return []  # most stores: nothing else has to be read
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


def load_results(root: str | Path = "results") -> pd.DataFrame:
    """All finished numbers of a results folder as one long frame, one row a number."""
    return Store(Path(root)).load().frame
