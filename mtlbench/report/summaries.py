"""Tables of the report alone: single numbers for all tasks, what choosing on test would claim, costs."""

from __future__ import annotations

from mtlbench.analysis.choice import measure_optimism
from mtlbench.analysis.comparison import Case
from mtlbench.analysis.deltas import DELTAS, OF_PROTOCOL, compute_deltas, read_published_deltas
from mtlbench.analysis.frame import list_records
from mtlbench.analysis.inference import describe_intervals
from mtlbench.analysis.paper import select_comparable
from mtlbench.arm_names import arm_order, name_in_prose
from mtlbench.contracts import Results
from mtlbench.report.sentences import in_words
from mtlbench.report.table import Cell, Column, Group, Mark, Note, Row, Table, change_with_unit, decimals, large
from mtlbench.text import DAGGER, count

HEADINGS = {  # column of `Case.costs` -> what stands over it
    "parameters": "parameters",
    "flops": "FLOPs an image",
    "image_visits": "image visits",
    "image_visits_with_parents": "with parents",
    "training_flops_with_parents": "training FLOPs with parents",
    "seconds_with_parents": "seconds with parents",
}
ARM = Column("arm", is_text=True)


def delta_table(case: Case, results: Results) -> Table:
    """Arms against the deltas of the field, the published ones where they compare."""
    found = compute_deltas(case.unique)
    cells: dict[str, dict[str, Cell]] = {}
    for row in list_records(found):
        marks = frozenset({Mark.PAIRED} if row["paired"] else ())
        cells.setdefault(row["arm"], {})[row["delta"]] = Cell(row["mean"], row["low"], row["high"], marks=marks)
    rows = [Row({"arm": Cell(case.kinds.label(arm)), **cells[arm]}) for arm in arm_order(cells)]
    metrics = found.drop_duplicates("delta").set_index("delta")["metrics"]
    names = {**DELTAS, **{delta: source for delta, source in OF_PROTOCOL.items() if delta in metrics}}
    notes = [f"{delta}: {metrics[delta]} ({source})." for delta, source in names.items() if delta in metrics]
    theirs, remark = select_comparable(case.frame, results)
    if len(theirs):
        table = read_published_deltas()
        table = table[(table["pair"] == case.pair) & table["source"].isin(theirs["source"])].pivot_table(
            index=["arm", "source"], columns="delta", values="change"
        )
        for (arm, source), values in zip(table.index, list_records(table), strict=True):
            label = Cell(f"{name_in_prose(arm)}, published ({source})")
            rows.append(Row({"arm": label, **{delta: Cell(value) for delta, value in values.items()}}))
    if which := describe_intervals(found, DAGGER):
        notes.append(f"95 % intervals: {which}.")
    notes += [remark] if remark else []
    title = "Single numbers for all tasks, by their full names; change against one-task in %, up is better."
    columns = tuple(Column(delta, write=change_with_unit) for delta in names)
    return Table(title, (ARM,), (Group(columns),), tuple(rows), tuple(map(Note, notes)))


def optimism_table(case: Case) -> Table:
    """What choosing the Split on test would have claimed."""
    labels = (Column("for", is_text=True),)
    columns = (
        Column("arm_val", "chosen on val", is_text=True),
        Column("test_of_val", "its change on test", change_with_unit),
        Column("arm_test", "chosen on test", is_text=True),
        Column("test_of_test", "its change on test", change_with_unit),
        Column("optimism", write=change_with_unit),
        Column("error", "standard error", decimals(1)),
    )
    rows = []
    for found in list_records(measure_optimism(case.unique)):
        if found["task"] in case.scopes:
            cells = {"for": Cell(in_words(found["task"]))}
            cells |= {name: Cell(name_in_prose(found[name])) for name in ("arm_val", "arm_test")}
            cells |= {name: Cell(found[name]) for name in ("test_of_val", "test_of_test", "optimism", "error")}
            rows.append(Row(cells))
    splits = case.splits
    best = f"The best of {count(len(splits), 'Split')} on the reported numbers"
    note = Note(f"{best} looks better than it is; the paper chooses so.")
    title = "What choosing the Split on test would have claimed."
    return Table(title, labels, (Group(columns),), tuple(rows), (note,))


def cost_table(case: Case) -> Table:
    """What each arm costs for the pair with the training of its parents, and its ratio to one-task's."""
    rows = []
    for found in list_records(case.costs.reset_index()):
        if case.names.get(found["arm"], found["arm"]) == found["arm"]:  # no second name
            cells = {name: Cell(found[name], ratio=found[f"{name}_ratio"]) for name in HEADINGS if found[name] > 0}
            rows.append(Row({"arm": Cell(case.kinds.label(found["arm"])), **cells}))
    note = Note(
        "In brackets: over one-task's. FLOPs: forward, of one image through all networks; training: three times"
        " that for every image visit."
    )
    title = "What each arm costs for the pair, the training of its parents included."
    columns = tuple(Column(name, heading, large) for name, heading in HEADINGS.items())
    return Table(title, (ARM,), (Group(columns),), tuple(rows), (note,))
