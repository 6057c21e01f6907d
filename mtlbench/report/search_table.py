"""The table of `mtlbench search`: regret of each method by what it has spent."""

from __future__ import annotations

from mtlbench.report.table import Cell, Column, Group, Note, Row, Table, decimals
from mtlbench.tabular.regret import MARKS, Regrets, describe_measure, describe_methods, describe_saving
from mtlbench.text import NOTHING, write_percent


def search_table(regrets: Regrets) -> Table:
    """A row a method: mean regret over seeds, lowest and highest seed, at shares of the brute force's cost; what it
    gives most often in the end. Then the arms that need no search."""
    marks = [mark for mark in MARKS if mark <= regrets.budget] or [regrets.budget]
    columns = tuple(Column(_name(mark), f"at {100 * mark:g} %", _range) for mark in marks)
    bounds = tuple(Column(f"{_name(mark)} {bound}", shown=False) for mark in marks for bound in ("low", "high"))
    labels = (Column("method", is_text=True),)
    regret = Group(columns, ("regret, %, once so much of the brute force's cost is spent",))
    ending = Group(
        (Column("gives", "most often gives", is_text=True), Column("times", "of its searches, %", decimals(0)))
    )
    rows = [_row(regrets, method, marks) for method in regrets.traces]
    fixed_cost = Column("cost", "cost, % of brute force", decimals(0))
    rows += [
        Row(
            {
                "method": Cell(f"{one.arm}, always"),
                "cost": Cell(100 * one.cost),
                _name(marks[-1]): Cell(one.regret),
                "gives": Cell(one.arm),
            },
            apart=True,
        )
        for one in regrets.fixed
    ]
    notes = [describe_measure(regrets), *describe_saving(regrets), describe_methods(regrets)]
    notes.append(
        f"Random methods: {regrets.repeats} searches of every seed's networks; in brackets the lowest and the"
        " highest seed. Cost of a method: where what it gives changed last."
    )
    title = f"Search of {len(regrets.space.depths)} architectures, replayed without training."
    return Table(
        title, labels, (Group((fixed_cost,)), regret, ending, Group(bounds)), tuple(rows), tuple(map(Note, notes))
    )


def _name(mark: float) -> str:
    return f"regret at {mark:g}"


def _row(regrets: Regrets, method: str, marks: list[float]) -> Row:
    cells = {"method": Cell(method), "cost": Cell(100 * _spent(regrets, method))}
    for mark in marks:
        found = regrets.curve(method, [mark])
        if len(found):
            _, mean, low, high = map(float, found.iloc[0])
            name = _name(mark)
            cells |= {name: Cell(mean, low, high), f"{name} low": Cell(low), f"{name} high": Cell(high)}
    given = regrets.at(method, regrets.budget)["arm"].value_counts(normalize=True)
    cells |= {"gives": Cell(str(given.index[0]) or NOTHING), "times": Cell(100 * float(given.iloc[0]))}
    return Row(cells)


def _spent(regrets: Regrets, method: str) -> float:
    """Mean cost at which what it gives changed last: what came after was spent in vain."""
    ends = [trace[-1].cost for traces in regrets.traces[method].values() for trace in traces if trace]
    return sum(ends) / len(ends) if ends else 0.0


def _range(cell: Cell) -> str:
    assert isinstance(cell.value, float)
    return write_percent(cell.value, cell.low, cell.high, signed=False, unit="")
