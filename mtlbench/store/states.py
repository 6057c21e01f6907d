"""Where the trials of a results folder stand, read off their files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.spec import Trial
from mtlbench.store.board import run_of
from mtlbench.store.folders import PLANNED, groups, read_trial, trial_folders, without_collector
from mtlbench.store.sealing import FAILURE, TRACEBACK, Damaged, Outdated, find_lost, read_failure, read_result
from mtlbench.store.shapes import Failure, Run
from mtlbench.system.files import text_of


def _sizes(folder: Path | str, below: str = "") -> dict[str, int]:
    """{name: bytes} of the files in a folder, those of its folders too."""
    found: dict[str, int] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # gone by now
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    found |= _sizes(entry.path, f"{below}{entry.name}/")
                else:
                    found[below + entry.name] = entry.stat(follow_symlinks=False).st_size
    return found


@dataclass(frozen=True)
class State:
    """Where one trial stands, read off its folder.

    `state`: done, running, waiting, failed, blocked, interrupted or outdated. `reason`: a failure in a line, the
    label of the failed trial that blocks, the percentage of a running one, what is amiss with a done one.
    """

    folder: Path
    trial: Trial | None  # None: trial.json cannot be read
    state: str
    reason: str
    sizes: dict[str, int]  # bytes of its files
    failure: Failure | None = None  # of a failed one, where failure.json can be read
    problem: str = ""  # what is wrong with trial.json and what to do, as one line

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(self.sizes.values())

    @property
    def label(self) -> str:
        """For people."""
        return self.trial.label if self.trial else self.folder.name


def _state(folder: Path, running: Mapping[str, float]) -> State:
    sizes = _sizes(folder)
    trial, amiss, problem = None, "", ""
    try:
        trial = read_trial(folder)
    except Outdated:
        return State(folder, None, "outdated", "", sizes)
    except Damaged as error:
        amiss, problem = f"trial.json {error.fault}", str(error)
    state, reason = _verdict(folder, amiss, set(sizes), running)
    failure = _failure_in(folder) if state == "failed" else None
    if state == "failed":
        reason = str(failure).replace("\n", " ") if failure else f"{FAILURE} cannot be read"
    return State(folder, trial, state, reason, sizes, failure, problem)


def _verdict(folder: Path, amiss: str, names: set[str], running: Mapping[str, float]) -> tuple[str, str]:
    """State and reason; "blocked" is for others to see. `amiss` says what is wrong with trial.json."""
    if "result.json" in names:  # the first thing that a new attempt removes
        try:
            lost = find_lost(folder, read_result(folder / "result.json"))
            if lost:
                return "done", f"{' and '.join(lost)} damaged: the next run trains it anew"
            return "done", f"{amiss}: the next run writes it anew" if amiss else ""
        except Outdated:
            return "outdated", ""
        except Damaged as error:
            return "interrupted", f"result.json {error.fault}"
        except UserError as error:  # newer
            return "done", str(error)
    if folder.name in running:
        return "running", f"{100 * running[folder.name]:.0f} %"
    if FAILURE in names:
        return "failed", ""
    return ("interrupted" if names - {*PLANNED} else "waiting"), ""


def _failure_in(folder: Path) -> Failure | None:
    try:
        return read_failure(folder)
    except UserError:  # begun anew by now, or a stranger's
        return None


def traceback_of(state: State) -> str:
    """Why a trial failed, at length, never empty."""
    with contextlib.suppress(OSError):
        if state.failure and state.failure.traceback:
            return text_of(state.folder / TRACEBACK, "replace").strip() or state.reason
    return f"{state.reason}; {state.failure.details}" if state.failure and state.failure.details else state.reason


def states_of(root: Path) -> list[State]:
    """Where every trial of a results folder stands, now."""
    with without_collector():
        return [state for group in groups(root) for state in states_in(group, run_of(group))]


def states_in(group: Path, run: Run | None) -> list[State]:
    """Where the trials of <root>/<pair>/<dataset> stand, if `run` is working there."""
    running = dict(run.running) if run else {}
    states = [_state(folder, running) for folder in trial_folders(group)]
    by_key = {state.folder.name: state for state in states}
    found = []
    for state in states:
        culprit = _find_failed_ancestor(state, by_key) if state.state == "waiting" else None
        found.append(dataclasses.replace(state, state="blocked", reason=culprit.label) if culprit else state)
    return found


def _find_failed_ancestor(state: State, by_key: Mapping[str, State]) -> State | None:
    seen: set[str] = set()
    todo = [state]
    while todo:
        one = todo.pop()
        if one.folder.name in seen:  # a foreign trial may be its own ancestor
            continue
        seen.add(one.folder.name)
        if one.state == "failed":
            return one
        parents = one.trial.parents if one.trial and one.state != "done" else ()
        todo += [by_key[key] for key in reversed(parents) if key in by_key]
    return None
