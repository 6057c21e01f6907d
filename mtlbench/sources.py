"""The text of users' plug-in files beside the results that they made: to read, never to run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlbench.files import write
from mtlbench.folders import Damaged, read_trial
from mtlbench.plugins import class_of, file_of, is_file
from mtlbench.spec import KINDS, Trial

FILE = "sources.json"  # in a trial's folder


@dataclass(frozen=True)
class Change:
    """A file that is not what it was when some of its results were made, though its version is the same."""

    path: Path
    version: int
    kept: int  # finished trials of the older text, which stay as they are
    held: tuple[Trial, ...]  # trials that must not run beside them

    @property
    def line(self) -> str:
        """For people."""
        trials = "trial" if self.kept == 1 else "trials"
        arms = sorted({trial.arm for trial in self.held})
        return (f"{self.path} has changed since {self.kept} finished {trials}, but its version is still "
                f"{self.version}: they stay as they are, and {len(self.held)} missing of {', '.join(arms)} will not "
                f"run, so that the two are never mixed. Raise `version` in the file, or train all its seeds again "
                f"with --force {arms[0]!r}")  # fmt: skip


def keep_sources(trial: Trial, folder: Path) -> None:
    """Write the texts of the trial's user files into its folder; a file that cannot be read here is left out."""
    texts = {name: _text(place) for name, (place, _) in _files(trial).items()}
    if known := {name: text for name, text in texts.items() if text is not None}:
        write(folder / FILE, json.dumps(known, indent=1) + "\n")


def changes(missing: Sequence[Trial], group: Path, again: Iterable[str]) -> list[Change]:
    """What may not run as things are: trials of a user's file whose text differs from that beside a finished result of
    the same class and version in `group` (a pair and data set's folder), unless that trial is trained `again`."""
    wanted = dict.fromkeys((name, *found) for trial in missing for name, found in _files(trial).items())
    kept = dict.fromkeys(wanted, 0)
    for result in group.glob("*/result.json") if wanted else ():
        if result.parent.name in again:
            continue
        try:
            files, texts = _files(read_trial(result.parent)), json.loads((result.parent / FILE).read_text())
        except (Damaged, OSError, ValueError):
            continue
        for name, place, version in wanted:
            old, old_version = files.get(name, ("", 0))
            same = (class_of(old), old_version) == (class_of(place), version) if old else False
            kept[name, place, version] += same and texts.get(name) != _text(place)
    return [
        Change(file_of(place), version, count, tuple(t for t in missing if _files(t).get(name) == (place, version)))
        for (name, place, version), count in kept.items() if count
    ]  # fmt: skip


def _files(trial: Trial) -> dict[str, tuple[str, int]]:
    """{"scheme" and the like: (FILE.py:Class, version)} of a trial's user files."""
    plugins = {kind: (plugin.source, plugin.version) for kind, plugin in zip(KINDS, trial.plugins, strict=True)}
    tasks = {f"task {task}": (place, trial.task_versions[task]) for task, place in trial.task_files.items()}
    return {name: found for name, found in (plugins | tasks).items() if is_file(found[0])}


def _text(place: str) -> str | None:
    try:
        return file_of(place).read_text()
    except OSError:
        return None
