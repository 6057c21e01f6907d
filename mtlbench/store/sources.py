"""Users' plug-in files: which of them a finished trial needs, and their text beside its results, to read, never to run.

A trial.json and an exported file may be anybody's. No file is run because one of them names it: who wants to use such
a trial names the file himself."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.plugins import class_of, file_of, find, make_unknown
from mtlbench.spec import KINDS, Trial, is_file
from mtlbench.store.folders import read_trial
from mtlbench.store.sealing import read_own, write_own
from mtlbench.store.shapes import Sources
from mtlbench.system.schema import as_plain

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
        return (
            f"{self.path} has changed since {self.kept} finished {trials}, but its version is still "
            f"{self.version}: they stay as they are, and {len(self.held)} missing of {', '.join(arms)} will not "
            f"run, so that the two are never mixed. Raise `version` in the file, or train all its seeds again "
            f"with --force {arms[0]!r}"
        )


def keep_sources(trial: Trial, folder: Path) -> None:
    """Write the texts of the trial's user files into its folder; a file that cannot be read here is left out."""
    texts = {name: _text(place) for name, (place, _) in _files(trial).items()}
    if known := {name: text for name, text in texts.items() if text is not None}:
        write_own(folder / FILE, trial.key, as_plain(Sources(known)))


def read_texts(folder: Path) -> dict[str, str]:
    """The texts that `keep_sources` wrote. Raises UserError."""
    return read_own(folder / FILE, Sources, "the next run of this trial writes it anew").texts


def changes(missing: Sequence[Trial], group: Path, again: Iterable[str]) -> list[Change]:
    """What may not run as things are: trials of a user's file whose text differs from that beside a finished result of
    the same class and version in `group` (a pair and data set's folder), unless that trial is trained `again`."""
    wanted = dict.fromkeys((name, *found) for trial in missing for name, found in _files(trial).items())
    kept = dict.fromkeys(wanted, 0)
    for result in group.glob("*/result.json") if wanted else ():
        if result.parent.name in again:
            continue
        try:
            files, texts = _files(read_trial(result.parent)), read_texts(result.parent)
        except UserError:
            continue
        for name, place, version in wanted:
            old, old_version = files.get(name, ("", 0))
            same = (class_of(old), old_version) == (class_of(place), version) if old else False
            kept[name, place, version] += same and texts.get(name) != _text(place)
    return [
        Change(file_of(place), version, count, tuple(t for t in missing if _files(t).get(name) == (place, version)))
        for (name, place, version), count in kept.items()
        if count
    ]


def with_files(
    trial: Trial,
    given: Iterable[str | Path],
    ask: Callable[[str], str],
    kinds: Collection[str] = (*KINDS, "weighting", "task"),
) -> Trial:
    """The trial with its users' files of these kinds where they are `given`, matched by their names; other plug-ins of
    users are left for nobody to open. Raises UserError that says `ask(FILE.py:Class as recorded)` where one is not
    given, and for a class that is no plug-in."""
    places = {Path(path).name: path for path in given}

    def at_hand(kind: str, source: str) -> str:
        if not is_file(source) or kind not in kinds:
            return source
        if (name := file_of(source).name) not in places:
            raise UserError(ask(source))
        place = f"{places[name]}:{class_of(source)}"
        if not hasattr(find(kind, place), "version"):  # the class, too, is named by the trial
            raise make_unknown(f"{kind} in {places[name]}", class_of(source), ())
        return place

    return trial.map_plugins(lambda kind, plugin: dataclasses.replace(plugin, source=at_hand(kind, plugin.source)))


def command_for(trial: Trial) -> Callable[[str], str]:
    """What to say to who has not given a file that a trial of a results folder needs."""
    return lambda source: (
        f"{trial.label} was trained with {file_of(source)}, which is code: if you know whose it is, type the same "
        f"with --plugin {shlex.quote(str(file_of(source)))}"
    )


def _files(trial: Trial) -> dict[str, tuple[str, int]]:
    """{"scheme" and the like: (FILE.py:Class, version)} of a trial's user files."""
    return {name: (plugin.source, plugin.version) for name, plugin in trial.plugins.items() if is_file(plugin.source)}


def _text(place: str) -> str | None:
    try:
        return file_of(place).read_text()
    except OSError:
        return None
