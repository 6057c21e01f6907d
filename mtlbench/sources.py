"""The text of users' plug-in files beside the results that they made: to read, never to run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtlbench.files import write
from mtlbench.folders import Damaged, read_trial
from mtlbench.plugins import file_of, is_file
from mtlbench.spec import Plugin, Trial

KINDS = ("dataset", "backbone", "scheme")  # a copy is called so, with .py


@dataclass(frozen=True)
class Change:
    """A file that is not what it was when some of its results were made, though its version is the same."""

    path: Path
    plugin: Plugin
    kept: int  # finished trials of the older text, which stay as they are
    held: tuple[Trial, ...]  # trials that must not run beside them

    @property
    def line(self) -> str:
        """For people."""
        trials = "trial" if self.kept == 1 else "trials"
        arms = sorted({trial.arm for trial in self.held})
        return (f"{self.path} has changed since {self.kept} finished {trials}, but its version is still "
                f"{self.plugin.version}: they stay as they are, and {len(self.held)} missing of "
                f"{', '.join(arms)} will not run, so that the two are never mixed. Raise `version` in the file, or "
                f"train all its seeds again with --force {arms[0]!r}")  # fmt: skip


def keep_sources(trial: Trial, folder: Path) -> None:
    """Put copies of the trial's user files into its folder; a file that cannot be read here is left out."""
    for kind in KINDS:
        if (text := _text_of(getattr(trial, kind))) is not None:
            write(folder / f"{kind}.py", text)


def changes(missing: Sequence[Trial], group: Path, again: Iterable[str]) -> list[Change]:
    """What may not run as things are: trials of a user's file whose text differs from the copy beside a finished result
    of the same plug-in and version in `group` (a pair and data set's folder), unless that trial is trained `again`."""
    found = []
    for kind in KINDS:
        plugins = {plugin.source: plugin for trial in missing if is_file((plugin := getattr(trial, kind)).source)}
        for plugin in plugins.values():
            text, kept = _text_of(plugin), 0
            for copy in group.glob(f"*/{kind}.py"):
                if copy.parent.name in again or not (copy.parent / "result.json").exists():
                    continue
                try:
                    old = getattr(read_trial(copy.parent), kind)
                except Damaged:
                    continue
                same = (old.name, old.version) == (plugin.name, plugin.version) and is_file(old.source)
                kept += same and copy.read_text() != text
            if kept and text is not None:
                held = tuple(trial for trial in missing if getattr(trial, kind).source == plugin.source)
                found.append(Change(file_of(plugin.source), plugin, kept, held))
    return found


def _text_of(plugin: Plugin) -> str | None:
    if not is_file(plugin.source):
        return None
    try:
        return file_of(plugin.source).read_text()
    except OSError:
        return None
