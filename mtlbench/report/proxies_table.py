"""The table of proxies: what orders architectures as their numbers on test do."""

from __future__ import annotations

import math

from mtlbench.analysis.selection import NEWEST, Selection
from mtlbench.contracts import Results
from mtlbench.report.table import Cell, Column, Group, Note, Row, Table
from mtlbench.tabular.proxies import Proxy, find_proxies


def proxies_table(results: Results, selection: Selection = NEWEST) -> Table:
    """A row a measure: its rank correlation with the mean change on test. Raises UserError with too few
    architectures."""
    found = find_proxies(results, selection)
    rho = Column("rho", "rank correlation", _write)
    bounds = (Column("low", shown=False), Column("high", shown=False))
    labels = (Column("measure", is_text=True),)
    groups = (Group((Column("arms", "architectures"), Column("n", "seeds"), rho)), Group(bounds))
    rows = [*map(_row, found.early), *(_row(one, apart=True) for one in found.others)]
    notes = (
        f"Spearman's rank correlation with the mean change on test, over {found.arms} architectures (one-task, Splits,"
        " trees): mean over seeds with the 95 % t interval. The truth has noise of its own, so that even val after all"
        " of training does not reach 1.",
        "Val during training is of its first images; after all of it of all.",
        "Cosine: mean over training, of joint networks. Alphas: high where an architecture shares the layers at which"
        " cross-stitch mixes most and parts the others (Ours). FLOPs and parameters are the same for every seed.",
        "Affinity, from networks of two tasks alone: what they predict of the groups at each layer, mean over layers"
        " (Ours).",
    )
    return Table(found.note, labels, groups, tuple(rows), tuple(map(Note, notes)))


def _row(one: Proxy, apart: bool = False) -> Row:
    seeds = Cell(one.n) if one.n else Cell()
    cells = {"measure": Cell(one.name), "arms": Cell(one.arms), "n": seeds, "rho": Cell(one.rho, one.low, one.high)}
    return Row({**cells, "low": Cell(one.low), "high": Cell(one.high)}, apart=apart)


def _write(cell: Cell) -> str:
    assert isinstance(cell.value, float)
    bounds = "" if math.isnan(cell.low) else f" [{cell.low:+.2f}, {cell.high:+.2f}]"
    return f"{cell.value:+.2f}{bounds}"
