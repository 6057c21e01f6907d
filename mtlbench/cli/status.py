"""`mtlbench status`: where every trial of a results folder stands, read off its files; a run may be going on."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import click

from mtlbench.cli._shared import RESULTS, one_line_errors, say
from mtlbench.cli.terminal import print_table
from mtlbench.report.table import Column, Table, simple_table
from mtlbench.spec import Purpose, Trial
from mtlbench.store.board import run_of
from mtlbench.store.folders import groups
from mtlbench.store.results import load_results
from mtlbench.store.states import State, traceback_of
from mtlbench.store.store import Store
from mtlbench.system.console import wide_console
from mtlbench.text import bytes_text, write_duration

COUNTED = ("done", "running", "waiting", "failed", "blocked", "interrupted", "outdated")


@click.command()
@click.option("--failed", is_flag=True, help="Only the failed trials, each with its traceback.")
@RESULTS
@one_line_errors
def command(failed: bool, results: Path) -> None:
    """Show by pair and arm what is done, running, waiting, failed or blocked, and the space on disk."""
    show_status(results, failed)


def show_status(results: Path, failed: bool) -> None:
    """Print the state of a results folder, or only why trials failed. Raises UserError."""
    store = Store(results)
    states = load_results(store.root).states
    if not states:
        say(f"no trials in {store.root}; mtlbench run --pair det_attr makes some")
    elif failed:
        _print_tracebacks([state for state in states if state.state == "failed"])
    else:
        print_table(_tabulate(states), wide_console())
        _print_trials(states)
    if not failed:
        _print_runs(store.root)
    if states and not failed:
        _print_space(store.root, states)


def _tabulate(states: list[State]) -> Table:
    """One row a pair, data set, recipe and arm; states that no trial is in have no column."""
    rows: dict[tuple[str, str, str, str], list[State]] = defaultdict(list)
    for state in states:
        trial = state.trial
        study = (state.folder.parent.parent.name, state.folder.parent.name, trial.recipe_name if trial else "?")
        rows[*study, _name_arm(trial) if trial else "?"].append(state)
    columns = [name for name in COUNTED if any(state.state == name for state in states)]
    numbers = [Column(name) for name in ("trials", *columns, "space")]
    cells = []
    for names, own in sorted(rows.items(), key=lambda row: (row[0][:3], row[0][3] != "one-task", row[0][3])):
        counts = [sum(state.state == column for state in own) for column in columns]
        size = bytes_text(sum(state.size for state in own))
        cells.append((*names, len(own), *(count or "" for count in counts), size))
    return simple_table(["pair", "data set", "recipe", "arm", *numbers], cells)


def _name_arm(trial: Trial) -> str:
    """Under which a trial is counted: those that choose an arm's setting together."""
    return f"{trial.variant_of or trial.arm} (tuning)" if trial.purpose == Purpose.TUNING else trial.arm


def _print_trials(states: list[State]) -> None:
    """A line for each trial that there is something to say of."""
    for state in _in_order(states):
        if state.state == "running":
            say(f"running: {state.label}: {state.reason}")
        elif state.state == "failed":
            say(f"failed: {state.label}: {state.reason}  (mtlbench status --failed tells more)")
        elif state.state == "blocked":
            say(f"blocked: {state.label} waits for {state.reason}, which failed")
        elif state.reason:
            say(f"damaged: {state.label}: {state.reason}  ({state.folder})")
    if any(state.state == "interrupted" for state in states):
        say("interrupted trials go on or start anew with the next mtlbench run; mtlbench clean removes what they left")
    if any(state.state == "outdated" for state in states):
        say("outdated trials are of an older format: mtlbench run trains them anew, mtlbench clean removes them")


def _in_order(states: list[State]) -> list[State]:
    return sorted(states, key=lambda state: (COUNTED.index(state.state), state.label))


def _print_runs(root: Path) -> None:
    """A line for each run that is going on."""
    for group in groups(root):
        if run := run_of(group):
            left = "" if run.seconds_left is None else f", about {write_duration(run.seconds_left)} left"
            say(f"a run is working on {group.parent.name}, {group.name}: {run}{left}")


def _print_space(root: Path, states: list[State]) -> None:
    """Bytes in all, in weights and in resume files, and what the disk has left."""
    weights, resume = (sum(state.sizes.get(name, 0) for state in states) for name in ("weights.pt", "resume.pt"))
    free = shutil.disk_usage(root).free
    say(
        f"{root}: {bytes_text(sum(state.size for state in states))}, of it weights {bytes_text(weights)} and resume "
        f"files {bytes_text(resume)}; {bytes_text(free)} free on that disk"
    )


def _print_tracebacks(failed: list[State]) -> None:
    """Why each failed trial failed, in full."""
    for state in _in_order(failed):
        say(f"{state.label}  ({state.folder})")
        say(f"{traceback_of(state)}\n")
    if not failed:
        say("no trial failed")
