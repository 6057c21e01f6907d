"""How a run shows where it stands: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from functools import partial

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from mtlbench.execution.queue import Queue
from mtlbench.execution.study import Outcome, Study, execute
from mtlbench.spec import Purpose, Trial
from mtlbench.store.board import Board
from mtlbench.text import strip_control, write_duration

NOTHING_TO_DO = "nothing to do; mtlbench table and mtlbench plot figure2 show the results"
LINE_SECONDS = 60.0  # between two plain progress lines, which go to a log


class Display:
    """A Watcher that prints, and keeps the store's board up to date; use it as a context."""

    def __init__(self, queue: Queue, board: Board, console: Console) -> None:
        self.queue, self.cost, self.board, self.console = queue, queue.cost, board, console
        self.start = self.spoken = time.monotonic()
        self.total = sum(self.cost(t) for k, t in queue.trials.items() if k not in queue.done)
        self.fractions: dict[str, float] = {}
        self.worked = 0.0
        columns = (
            TextColumn("  {task.description:<34}", markup=False),
            BarColumn(30),
            TextColumn("{task.percentage:3.0f} %"),
        )
        self.bars = Progress(*columns, console=console)
        self.ids: dict[str, TaskID] = {}
        self.live = (
            Live(get_renderable=self._view, console=console, refresh_per_second=2, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Display:
        self.console.file = self.console.file  # this one, whatever trials here make of sys.stdout
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.live.stop()

    def note_start(self, trial: Trial) -> None:
        """A trial was handed to a worker."""
        self.fractions[trial.key] = 0.0
        self.ids[trial.key] = self.bars.add_task(trial.label, total=1.0)
        self._note()

    def note_progress(self, trial: Trial, fraction: float) -> None:
        """A trial went on."""
        self.fractions[trial.key] = fraction
        self.bars.update(self.ids[trial.key], completed=fraction)
        self._note()

    def note_end(self, trial: Trial, error: str) -> None:
        """A trial finished or failed."""
        self.worked += self.cost(trial)
        if error and trial.purpose == Purpose.TUNING:
            self.say(f"not chosen: {trial.label} ({trial.key}): {error}", "yellow")
        elif error:
            self.say(f"failed: {trial.label} ({trial.key}): {error}", "red")
        self._off(trial)

    def again(self, trial: Trial, why: str) -> None:
        """A trial was lost and is tried again; without a reason all are, and that was told once."""
        if why:
            self.say(f"again: {trial.label} ({trial.key}): {why}", "yellow")
        self._off(trial)

    def say(self, line: str, style: str = "") -> None:
        """Print a line."""
        self.spoken = time.monotonic()
        print_line(self.console, line, style)

    def _off(self, trial: Trial) -> None:
        self.fractions.pop(trial.key, None)
        if trial.key in self.ids:
            self.bars.remove_task(self.ids.pop(trial.key))
        self._note()

    def _note(self) -> None:
        self.board.note(self.fractions, self.seconds_left())
        if not self.live and time.monotonic() - self.spoken > LINE_SECONDS:
            self.say(self.state())

    def state(self) -> str:
        """`12 of 54 trials done, 2 running, 40 waiting, about 6 min left`."""
        queue = self.queue
        done = len(queue.done & set(queue.trials))
        waiting = len(queue.trials) - done - len(queue.running) - len(queue.failed)
        parts = [f"{done} of {len(queue.trials)} trials done", f"{len(queue.running)} running", f"{waiting} waiting"]
        if queue.failed:
            parts.append(f"{len(queue.failed)} failed")
        if (left := self.seconds_left()) is not None:
            parts.append(f"about {write_duration(left)} left")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """At the rate of work so far; None at the very beginning."""
        worked = self.worked + sum(f * self.cost(self.queue.trials[k]) for k, f in self.fractions.items())
        if worked <= 0.02 * self.total:
            return None
        return (time.monotonic() - self.start) * (self.total - worked) / worked

    def _view(self) -> Group:
        return Group(Text(self.state()), self.bars)


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line, which may come from files, as it is."""
    console.print(strip_control(line), style=style or None, highlight=False, markup=False, soft_wrap=True)


def execute_shown(study: Study, console: Console) -> Outcome:
    """Execute a study and say what it is, how it goes, and how it ended. Raises what `execute` raises."""
    for line in (*study.notes, write_headline(study)):
        print_line(console, line)
    outcome = execute(study, partial(Display, console=console))
    for line in write_conclusion(study, outcome) if study.missing else [NOTHING_TO_DO]:
        print_line(console, line)
    return outcome


def write_headline(study: Study) -> str:
    """What is about to be run, and how much of it is done."""
    work = f"{len(study.distinct)} trials, {len(study.done)} of them done"
    if study.is_tuning:
        work = f"each first tuned on val over {study.recipe.tune} settings"
    return (
        f"{study.space.pair.name} on {study.data.plugin.name}, recipe {study.recipe.name}, {study.backbone.label}: "
        f"{len(study.compared)} arms, {len(study.options.seeds)} seeds, {work}; results in {study.store.root}"
    )


def write_conclusion(study: Study, outcome: Outcome) -> list[str]:
    """How the run ended, as lines."""
    lines = [
        f"failed: {trial.label}: {reason}  ({study.store.folder(trial) / 'error.txt'})"
        for trial, reason in outcome.failed
    ]
    lines += [
        f"blocked: {blocked.trial.label} waits for {blocked.because_of.label}, which failed"
        for blocked in outcome.blocked
    ]
    return [
        *lines,
        f"{outcome.done} of {outcome.trials} trials done, {write_duration(outcome.seconds)}; see mtlbench table and"
        " mtlbench plot figure2",
    ]
