"""`mtlbench clean`: removes what finished and dead runs left behind, never a result or the reason of a failure."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from mtlbench.cli._shared import RESULTS, one_line_errors, say
from mtlbench.cli.terminal import print_table
from mtlbench.errors import UserError
from mtlbench.report.table import Column, Table, simple_table
from mtlbench.store.board import lock, run_of
from mtlbench.store.folders import MADE, PLANNED, groups
from mtlbench.store.states import State, states_in
from mtlbench.store.store import Store
from mtlbench.system.console import wide_console
from mtlbench.system.scratch import dead_scratch, kill_marked
from mtlbench.text import bytes_text

FINISHED_RESUME, RESUME = "resume files of finished trials", "resume files of unfinished trials"
INTERRUPTED, ONLY_PLANNED = "interrupted attempts", "trials that were only planned"
OUTDATED, TEMPORARY_FILES, SCRATCH = "trials of an older format", "temporary files", "scratch folders of dead runs"
KINDS = (FINISHED_RESUME, RESUME, INTERRUPTED, ONLY_PLANNED, OUTDATED, TEMPORARY_FILES, SCRATCH)
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")  # as tempfile.mkstemp names them


@dataclass(frozen=True)
class Item:
    """A file or folder that may go."""

    kind: str
    path: Path
    size: int  # bytes


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@RESULTS
@one_line_errors
def command(yes: bool, results: Path) -> None:
    """Remove resume files, interrupted and old trials and dead runs' scratch; lists them and asks first."""
    clean(results, yes)


def clean(results: Path, yes: bool) -> None:
    """List what may go and remove it once that is confirmed. Raises UserError."""
    store = Store(results)
    for group in groups(store.root):
        if run := run_of(group):
            say(f"left alone: {group}, where a run is working ({run})")
    items = find_removable(store.root) + find_scratch()
    if not items:
        say(f"nothing to clean in {store.root}")
        return
    print_table(_tabulate(items), wide_console())
    lost = sum(item.kind == RESUME for item in items)
    if lost:
        say(f"this costs the progress of {lost} unfinished trial{'s' * (lost > 1)}")
    if not yes and not click.confirm("Remove all this?", default=False):
        say("nothing was removed")
        return
    gone = remove(store.root, items)
    say(f"removed {len(gone)} of {len(items)}, {bytes_text(sum(i.size for i in gone))}")


def find_removable(root: Path) -> list[Item]:
    """What may go from a results folder, without what a living run holds."""
    return [item for group in groups(root) if not run_of(group) for item in _of_group(group)]


def _of_group(group: Path) -> list[Item]:
    """What may go from <root>/<pair>/<dataset>, where no run is working."""
    with os.scandir(group) as entries:  # what runs that were killed left beside the trials' folders
        beside = [
            Item(TEMPORARY_FILES, group / entry.name, entry.stat(follow_symlinks=False).st_size)
            for entry in sorted(entries, key=lambda entry: entry.name)
            if entry.name == ".running.json" or TEMPORARY.fullmatch(entry.name)
            if entry.is_file(follow_symlinks=False)
        ]
    return [item for state in states_in(group, None) for item in _of_trial(state)] + beside


def _of_trial(state: State) -> list[Item]:
    sizes = dict(state.sizes)
    items = []
    if "resume.pt" in sizes and state.state != "outdated":
        kind = FINISHED_RESUME if state.state == "done" else RESUME
        items.append(Item(kind, state.folder / "resume.pt", sizes.pop("resume.pt")))
    whole = {"interrupted": INTERRUPTED, "waiting": ONLY_PLANNED, "blocked": ONLY_PLANNED, "outdated": OUTDATED}.get(
        state.state
    )
    # A folder with files of someone else stays, and so does a result that cannot be read: it may be the disk's fault.
    foreign = any(name not in (*PLANNED, *MADE) and not TEMPORARY.fullmatch(name) for name in sizes)
    unread = "result.json" in sizes and state.state == "interrupted"
    if whole and not foreign and not unread:
        return [*items, Item(whole, state.folder, sum(sizes.values()))]
    return items + [
        Item(TEMPORARY_FILES, state.folder / name, size) for name, size in sizes.items() if TEMPORARY.fullmatch(name)
    ]


def find_scratch() -> list[Item]:
    """This user's scratch folders of runs whose process is dead."""
    return [Item(SCRATCH, path, _bytes_below(path)) for path in dead_scratch()]


def _bytes_below(folder: Path) -> int:
    return sum(Path(where, name).lstat().st_size for where, _, names in os.walk(folder) for name in names)


def remove(root: Path, items: list[Item]) -> list[Item]:
    """Remove what still may go: since it was listed, a run may have begun. Raises UserError."""
    gone = []
    for group in groups(root):
        own = [item for item in items if group in item.path.parents]
        if own and not run_of(group):
            with lock(group):
                still = {(item.kind, item.path) for item in _of_group(group)}
                gone += [item for item in own if (item.kind, item.path) in still and _remove(item.path)]
    for item in items:
        if item.kind == SCRATCH:
            kill_marked(str(item.path), os.getpid())
            gone += [item] if _remove(item.path) else []
    return gone


def _remove(path: Path) -> bool:
    """Links are removed, never followed."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"cannot remove {path}: {error.strerror}") from error
    return True


def _tabulate(items: list[Item]) -> Table:
    """Counts and sizes by kind."""
    rows = []
    for kind in KINDS:
        own = [item for item in items if item.kind == kind]
        if own:
            rows.append((kind, len(own), bytes_text(sum(item.size for item in own))))
    return simple_table(("what may go", Column("count"), Column("space")), rows)
