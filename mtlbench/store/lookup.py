"""Finding a finished trial by its key, folder or arm."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.spec import Trial
from mtlbench.store.folders import groups, names_of, read_trial, trial_folders
from mtlbench.store.sealing import read_result
from mtlbench.store.shapes import NameOfTrial, Result
from mtlbench.store.store import Store

CANDIDATES = 5  # that an error names
SHORTEST_PREFIX = 4  # digits of a key


@dataclass(frozen=True)
class Finished:
    """A finished trial under one of its names."""

    folder: Path
    trial: Trial
    name: NameOfTrial
    result: Result

    @property
    def label(self) -> str:
        """`one-task normals seed 0  3f2a9c0d1e2f`."""
        task = f" {self.trial.task_names[0]}" if len(self.trial.task_names) == 1 else ""
        return f"{self.name.arm}{task} seed {self.name.seed}  {self.folder.name}"

    @property
    def headlines(self) -> str:
        """`semseg mIoU 38.2 %, normals mean 24.1 degrees` on test."""
        about = self.result.metrics
        return ", ".join(
            f"{row.task} {row.metric} {row.value:.1f} {about[row.task][row.metric].unit}"
            for row in self.result.scores
            if row.subset == "test" and not row.category and about[row.task][row.metric].headline
        )


def find_trials(results: Path, text: str, pair: str = "") -> list[Finished]:
    """The finished trial of a folder, of a key or of the first digits of a key; or the trials of `ARM` or `ARM:SEED`
    in the newest results of that arm (of its first seed; of that pair), one a task where the arm has one a task.

    Raises UserError that names candidates, and says what to type.
    """
    root = Store(results).root
    folder = os.path.expanduser(text)
    if os.path.isfile(os.path.join(folder, "trial.json")):
        return [_open_finished(Path(folder).resolve())]
    hits = {f.name: f for f in _folders(root) if f.name.startswith(text)} if _is_prefix(text) else {}
    if len(hits) > 1:
        raise UserError(f"{len(hits)} trials begin with {text!r}: {_list_folders(hits.values())}; type more digits")
    if hits:
        return [_open_finished(hits[min(hits)])]
    arm, colon, seed = text.partition(":")
    if colon and not re.fullmatch(r"\d{1,18}", seed):
        raise UserError(f"{text!r}: {seed!r} is no seed; type for example {arm or 'one-task'}:0")
    named: list[Finished] = []
    others: list[Finished] = []
    for found in _all_finished(root):
        wanted = found.name.arm == arm and seed in ("", str(found.name.seed)) and pair in ("", found.trial.pair)
        (named if wanted else others).append(found)
    if named:
        return _select_newest(named)
    raise _not_found(root, text, arm, seed, pair, others)


def _is_prefix(text: str) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{SHORTEST_PREFIX},12}}", text) is not None


def _folders(root: Path) -> list[Path]:
    return [folder for group in groups(root) for folder in trial_folders(group)]


def _open_finished(folder: Path) -> Finished:
    """Raises UserError for a trial that is not finished, or damaged."""
    trial = read_trial(folder)
    if not (folder / "result.json").exists():
        raise UserError(f"{trial.label} ({folder}) is not finished; mtlbench status tells how far it is")
    return Finished(folder, trial, names_of(folder)[0], read_result(folder / "result.json"))


def _all_finished(root: Path) -> list[Finished]:
    """Every finished trial under each of its names, the newest first; what is damaged is left out."""
    found = []
    for folder in _folders(root):
        try:
            own = _open_finished(folder)
            found += [Finished(folder, own.trial, name, own.result) for name in names_of(folder)]
        except UserError:
            continue
    return sorted(found, key=lambda one: one.result.finished, reverse=True)


def _select_newest(named: Sequence[Finished]) -> list[Finished]:
    """Those of the newest one's study (pair, data set, setting) and of the first seed there; by tasks."""
    newest = named[0]
    same = (newest.folder.parent, newest.name.setting)
    study = [one for one in named if (one.folder.parent, one.name.setting) == same]
    seed = min(one.name.seed for one in study)
    by_tasks: dict[tuple[str, ...], Finished] = {}
    for one in study:  # trained anew after a change of version: the newest counts
        if one.name.seed == seed:
            by_tasks.setdefault(one.trial.task_names, one)
    return [by_tasks[tasks] for tasks in sorted(by_tasks)]


def _not_found(root: Path, text: str, arm: str, seed: str, pair: str, others: Sequence[Finished]) -> UserError:
    """The error for an arm and seed (of a pair) without a finished trial."""
    for folder in _folders(root):
        if pair not in ("", folder.parent.parent.name):
            continue
        try:
            names = names_of(folder)
        except UserError:
            continue
        if not any(name.arm == arm and seed in ("", str(name.seed)) for name in names):
            continue
        if (folder / "result.json").exists():
            try:
                read_result(folder / "result.json")
            except UserError as error:  # its name was asked for: say what is wrong with it
                return error
        return UserError(f"{text} ({folder}) is not finished; mtlbench status tells how far it is")
    if not others:
        return UserError(f"no trial is finished in {root}; mtlbench run --pair det_attr makes some")
    near = [one for one in others if one.name.arm == arm] or others
    listed = "; ".join(one.label for one in near[:CANDIDATES]) + ("; ..." if len(near) > CANDIDATES else "")
    where = f"of {pair} in {root}" if pair else f"in {root}"
    return UserError(
        f"no finished trial {text!r} {where}; type a key, its first {SHORTEST_PREFIX} digits or more, ARM or ARM:SEED; "
        f"there are: {listed}"
    )


def _list_folders(folders: Iterable[Path]) -> str:
    labels = []
    for folder in folders:
        try:
            labels.append(f"{read_trial(folder).label}  {folder.name}")
        except UserError:
            labels.append(folder.name)
    return "; ".join(labels[:CANDIDATES]) + ("; ..." if len(labels) > CANDIDATES else "")
