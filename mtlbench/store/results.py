"""What a results folder holds, as frames."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtlbench.errors import UserError
from mtlbench.spec import Options, Purpose, Trial
from mtlbench.store.folders import all_folders, names_in, own_name, read_trial, without_collector
from mtlbench.store.frames import NAMING, Head, LongFrame, head_of, read_tables, repeat_heads, roots_of, take_ranges
from mtlbench.store.sealing import FAILURE, Damaged, Outdated, read_result, read_sealed
from mtlbench.store.shapes import FailureKind, NameOfTrial, Result
from mtlbench.store.states import State, states_of
from mtlbench.store.store import Store
from mtlbench.system.schema import as_plain
from mtlbench.text import strip_control

if TYPE_CHECKING:
    import pandas as pd


class Finished(NamedTuple):
    """A finished trial as its folder tells."""

    folder: Path
    trial: Trial
    names: list[NameOfTrial]
    result: Result

    def heads(self) -> list[Head]:
        """What every row of its numbers begins with, one for each of its names."""
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
                    result, trial = read_result(path), read_trial(folder)
                    found.append(Finished(folder, trial, self._names(folder, trial), result))
                except Outdated:
                    outdated += 1
                except UserError as error:
                    self.problems.append(str(error))
        if outdated:
            self.problems.append(
                f"{outdated} trial{'s' * (outdated > 1)} of an older format; this mtlbench trains them anew; "
                "mtlbench clean removes them"
            )
        return sorted(found, key=lambda one: -len(one.trial.task_names))  # joint trials know the order of the tasks

    def _names(self, folder: Path, trial: Trial) -> list[NameOfTrial]:
        try:
            return names_in(folder, trial)
        except Damaged as error:  # its numbers are sound, and so is its own name
            self.problems.append(str(error))
            return [own_name(trial)]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a number; columns as in frames.COLUMNS."""
        long = LongFrame()
        for one in self._finished:
            long.add(one.trial, one.result, one.heads())
        return long.make(roots_of({one.folder.name: one.trial.parents for one in self._finished}))

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

    @cached_property
    def conflicts(self) -> pd.DataFrame:
        """Gradients of the tasks' weighted losses by what they share, at the curve's points, for each two tasks of
        joint arms: the frame's columns that name a trial, then iteration, task, other, cosine, norm (of task),
        other_norm."""
        kinds = {"iteration": int, "task": str, "other": str, "cosine": float, "norm": float, "other_norm": float}
        return self._series("conflicts.csv", kinds)

    def _series(self, file: str, kinds: dict[str, type]) -> pd.DataFrame:
        """A file of every finished trial as one frame, under each of the trial's names; unsound ones are problems."""
        import pandas as pd

        having = {os.path.join(one.folder, file): one for one in self._finished if file in one.result.files}
        seals = {path: one.result.files[file] for path, one in having.items()}
        rows, places = read_tables(list(having), kinds, lambda path: read_sealed(path, seals[path]))
        heads: list[Head] = []
        shown: list[range] = []  # of each head's rows
        for one, place in zip(having.values(), places, strict=True):
            if place is None:
                self.problems.append(
                    f"{one.folder / file} is damaged or another trial's; type mtlbench run ... --force "
                    f"{one.trial.arm} to train it anew"
                )
            else:
                heads += one.heads()
                shown += [place] * len(one.names)
        if not heads:
            return pd.DataFrame(columns=[*NAMING, *kinds])
        return pd.concat([repeat_heads(heads, list(map(len, shown))), take_ranges(rows, shown)], axis=1)

    def counts_of(self, frame: pd.DataFrame) -> dict[str, dict[str, int]]:
        """{task: {category: how often it is labelled in train}} of the trials in `frame`."""
        keys = set(frame["key"].unique())
        found: dict[str, dict[str, int]] = {}
        for one in self._finished:
            if one.folder.name in keys:
                found |= {task: dict(counts) for task, counts in one.result.counts.items() if counts}
        return found

    def provenance_of(self, frame: pd.DataFrame) -> list[Options]:
        """Of each trial in `frame`, once: key, arm, seed, tasks, fingerprint (of the data), data_root, recipe (its
        fields), dataset, backbone, scheme, method (labels), has_weights (whether it, or what it goes on from, started
        from a file of weights), parents, environment (python, torch, device), finished, seconds."""
        keys = set(frame["key"].unique())
        return [dict(one) for one in self._provenance if one["key"] in keys]

    @cached_property
    def _provenance(self) -> list[Options]:
        """That of every finished trial."""
        return [
            {
                "key": folder.name,
                "arm": trial.arm,
                "seed": trial.seed,
                "tasks": list(trial.task_names),
                "fingerprint": trial.fingerprint,
                "data_root": trial.data_root,
                "recipe": trial.identity()["recipe"],
                "dataset": trial.dataset.label,
                "backbone": trial.backbone.label,
                "scheme": trial.scheme.label,
                "method": trial.method.label if trial.method else "",
                "has_weights": "weights" in trial.backbone.options,
                "parents": list(trial.parents),
                "environment": result.environment,
                "finished": result.finished,
                "seconds": result.cost["seconds"],
            }
            for folder, trial, _, result in self._finished
        ]

    def architectures_of(self, frame: pd.DataFrame) -> dict[str, list[Options]]:
        """{arm: per stage its name, groups and whether a unit follows} of the trials in `frame`."""
        arms = frame[["arm", "key"]].drop_duplicates().itertuples(index=False, name=None)
        return {arm: as_plain(self._by_key[key].architecture) for arm, key in arms if key in self._by_key}

    @cached_property
    def _by_key(self) -> dict[str, Result]:
        return {one.folder.name: one.result for one in self._finished}

    @cached_property
    def states(self) -> list[State]:
        """Where every trial of the store stands, now."""
        return states_of(self.root)

    @cached_property
    def failures(self) -> list[Options]:
        """Trials that left a failure.json and no result, and those that wait for one of them: pair, dataset, recipe,
        backbone, setting, arm, scheme, family, variant_of, purpose, seed, key, task ("" for joint ones), status, kind
        (of FailureKind), reason, failed (when; blocked: planned)."""
        if not any(os.path.lexists(os.path.join(folder, FAILURE)) for folder in all_folders(self.root)):
            return []  # most stores: nothing else has to be read
        found = []
        for state in sorted(self.states, key=lambda state: (state.state != "failed", state.label)):
            if state.state not in ("failed", "blocked"):
                continue
            if (trial := state.trial) is None:
                self.problems.append(state.problem)
                continue
            if trial.purpose == Purpose.TUNING:  # a setting that cannot be trained is not chosen, the arm has others
                continue
            task = trial.task_names[0] if len(trial.task_names) == 1 else ""
            blocked = state.state == "blocked"
            file = "trial.json" if blocked else FAILURE
            kind = state.failure.kind if state.failure else FailureKind.ERROR
            status, reason = (f"blocked by {state.reason}", "") if blocked else ("failed", strip_control(state.reason))
            found.append(
                {
                    "pair": trial.pair,
                    "dataset": trial.dataset.name,
                    "recipe": trial.recipe_name,
                    "backbone": trial.backbone.label,
                    "setting": trial.setting,
                    "arm": trial.arm,
                    "scheme": trial.scheme.name,
                    "family": trial.family,
                    "variant_of": trial.variant_of,
                    "purpose": trial.purpose,
                    "seed": trial.seed,
                    "key": state.folder.name,
                    "task": task,
                    "status": status,
                    "kind": "" if blocked else kind.value,
                    "reason": reason,
                    "failed": _get_time(state.folder / file),
                }
            )
        return found


def _get_time(path: Path) -> str:
    """When a file was written last, as results say when they finished; "" where it is gone."""
    try:
        return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(timespec="milliseconds")
    except OSError:
        return ""


def load_results(root: str | Path = "results") -> Results:
    """All that a results folder holds. Raises UserError where it is none, or of a newer format."""
    return Results(Store(Path(root)).root)
