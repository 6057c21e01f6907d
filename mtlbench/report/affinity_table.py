"""The table of affinity: what every task changes by every other one, and what groupings are predicted to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtlbench.analysis.affinity import PURPOSES, Affinities, ArmAffinity, Grouping, affinities
from mtlbench.analysis.comparison import Difference
from mtlbench.analysis.frame import FEWEST_SEEDS
from mtlbench.analysis.selection import NEWEST, Selection, describe_failures
from mtlbench.contracts import Results
from mtlbench.report.table import Cell, Column, Group, Mark, Note, Row, Table, change

MOST_GROUPINGS = 12  # of an arm
LABELS = tuple(Column(name, is_text=True) for name in ("arm", "task", "together with")) + (Column("n"),)
CHANGE, WIDE = "change %", "change allowing for all %"
COLUMNS = (
    Column(CHANGE, "change, %", change),
    Column(WIDE, "allowing for all, %", change),
    Column("networks", "networks of all tasks, %", is_text=True, in_csv=False),
    Column("changes of networks of all tasks %", shown=False),
    *(Column(f"{name} {bound}", shown=False) for name in (CHANGE, WIDE) for bound in ("low", "high")),
)


def affinity_table(results: Results, selection: Selection = NEWEST) -> Table:
    """A row a task and partner: what the task changes against one-task in the network of the two; then a row a
    grouping: the mean change over the tasks that is predicted from these, and that of networks of all tasks.

    Shows the newest setting with networks of two tasks, or that of the selection. Raises UserError where there is none.
    """
    return table_of(affinities(results, selection), results.failures)


def table_of(found: Affinities, failures: Sequence[Mapping[str, Any]] = ()) -> Table:
    """The table of affinities that are known."""
    rows = [
        *(_effect_row(one, cell, effect) for one in found.found for cell, effect in one.effects.items()),
        *(_grouping_row(one, own) for one in found.found for own in one.leading(MOST_GROUPINGS)),
    ]
    return Table(found.note, LABELS, (Group(COLUMNS),), tuple(rows), tuple(map(Note, _notes(found, failures))))


def _effect_row(one: ArmAffinity, cell: tuple[str, str], effect: Difference) -> Row:
    task, partner = cell
    labels = {"arm": Cell(one.arm), "task": Cell(task), "together with": Cell(partner), "n": Cell(effect.seeds)}
    return Row({**labels, **_changes(effect)})


def _grouping_row(one: ArmAffinity, own: Grouping) -> Row:
    marks = frozenset({Mark.CHOSEN_FOR_PAIR} if own is one.suggested else ())
    what = "measured" if own.is_measured else "predicted"
    changes = sorted(network.change for network in own.networks)
    networks = [f"{value:+.1f}" for value in dict.fromkeys((*changes[:1], *changes[-1:]))]
    named = "; ".join(f"{network.arm} {network.change:+.6g}" for network in own.networks)
    labels = {
        "arm": Cell(one.arm),
        "task": Cell(own.text, marks=marks),
        "together with": Cell("one-task" if own.is_alone else what),
        "n": Cell(own.predicted.seeds),
    }
    cells = {
        "networks": Cell(f"{' to '.join(networks)} ({len(changes)})" if changes else None),
        "changes of networks of all tasks %": Cell(named or None),
    }
    return Row({**labels, **({} if own.is_alone else _changes(own.predicted)), **cells}, apart=True)


def _changes(found: Difference) -> dict[str, Cell]:
    """The cells of a change with both intervals."""
    bounds = {CHANGE: (found.low, found.high), WIDE: (found.wide_low, found.wide_high)}
    cells = {name: Cell(found.mean, *both) for name, both in bounds.items()}
    if not found.has_interval:
        cells[WIDE] = Cell()
    for name, both in bounds.items():
        cells |= {f"{name} {bound}": Cell(value) for bound, value in zip(("low", "high"), both, strict=True)}
    return cells


def _notes(found: Affinities, failures: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the numbers mean, and what failed."""
    contrasts = next((one.comparisons for each in found.found for one in each.effects.values()), 0)
    intervals = (
        f"with the 95 % interval of each for itself, then the one that allows for all {contrasts}"
        if any(one.has_interval for each in found.found for one in each.effects.values())
        else f"intervals from {FEWEST_SEEDS} seeds on"
    )
    notes = [
        "Change of the task's headline on test in the network that it shares with one other task alone, against"
        f" one-task with the same seed, in %, up is better, means over n seeds; {intervals}.",
    ]
    if any(each.groupings for each in found.found):
        notes.append(
            "Groupings, a network each group: mean change over all tasks; a task in a larger group is predicted to"
            " change by the mean of what it changes with each of the others alone (Standley et al. 2020). + best on"
            " val. Networks of all tasks: Splits and trees that part into the grouping at once, their mean changes."
        )
        if any(len(own.leading(MOST_GROUPINGS)) < len(own.groupings) for own in found.found):
            notes.append(f"The best {MOST_GROUPINGS} groupings of an arm are shown.")
    failed = describe_failures(found.rows, failures, PURPOSES)
    return [*notes, *([failed] if failed else [])]
