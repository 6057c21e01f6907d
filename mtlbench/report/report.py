"""One self-contained HTML file with all that the results of a pair say: no network, one script of its own that sorts
tables and tells the figures' numbers, prints well."""

from __future__ import annotations

import base64
import datetime
import hashlib
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mtlbench._version import __version__
from mtlbench.analysis.comparison import Case, case_of
from mtlbench.analysis.frame import FEWEST_SEEDS
from mtlbench.analysis.selection import NEWEST, Selection
from mtlbench.contracts import Results
from mtlbench.errors import UserError
from mtlbench.report.affinity_table import table_of as affinity_table_of
from mtlbench.report.commands import affinity_command, commands_of, grid_commands, seeds_of
from mtlbench.report.front_table import table_of
from mtlbench.report.paper_layouts import PROTOCOLS, TABLES
from mtlbench.report.paper_tables import paper_table
from mtlbench.report.pictures import draw_pictures
from mtlbench.report.provenance import facts_of, fields_of
from mtlbench.report.render_html import render_html
from mtlbench.report.results_table import results_table
from mtlbench.report.sentences import (
    affinity_sentences,
    answer_sentences,
    claim_sentences,
    front_sentences,
    gap_sentences,
    resolution_sentences,
    weighting_sentences,
)
from mtlbench.report.short_answer import short_answer
from mtlbench.report.summaries import cost_table, delta_table, optimism_table
from mtlbench.report.table import Table
from mtlbench.report.verdict import verdict_on
from mtlbench.text import strip_control


def report(results: Results, out: Path, selection: Selection = NEWEST) -> Path:
    """Write the report on the newest results, or on those selected, to the file `out` and return it.

    `results` is `store.Results`. Published numbers stand beside where they compare. Raises UserError where there are no
    results or the file cannot be written.
    """
    case = case_of(results, selection)
    text = strip_control(write_page(case, results))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; name another file with --out") from error
    return out


def write_page(case: Case, results: Results) -> str:
    """The report as HTML. Everything that comes from results is escaped by the template."""
    selection = case.selection
    tables, missing = _paper_tables(results, selection)
    found = verdict_on(case, results)
    commands = commands_of(case)
    more = grid_commands(case, found.trades) if found.trades else []
    more += [affinity_command(case, found.affinities)] if found.affinities else []
    environment = Environment(
        loader=PackageLoader("mtlbench.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        case=case,
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        short_answer=short_answer(found.answer),
        tasks=[task for task in case.scopes if task],
        seeds=seeds_of(case),
        answer=answer_sentences(found.answer),
        resolution=resolution_sentences(found.resolution, case),
        front=front_sentences(found.beyond, case) if found.beyond else [],
        front_table=table_of(found.trades, results.failures) if found.trades else None,
        weighted=weighting_sentences(found.weighed, case),
        affinity=affinity_sentences(found.affinities) if found.affinities else [],
        affinity_table=affinity_table_of(found.affinities, results.failures) if found.affinities else None,
        claims=claim_sentences(found.claims, case),
        gaps=gap_sentences(found.gaps, case),
        facts=facts_of(case),
        fields=fields_of(case),
        commands=[*commands[:-1], *more, commands[-1]],
        figures=draw_pictures(case, results),
        table=results_table(results.frame, selection, results.failures),
        tables=[*tables, delta_table(case, results), optimism_table(case), cost_table(case)],
        missing_tables=missing,
        render_html=render_html,
        problems=results.problems,
        fewest=FEWEST_SEEDS,
        version=__version__,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _paper_tables(results: Results, selection: Selection) -> tuple[list[Table], list[str]]:
    """The paper's tables of this pair that have numbers, or the protocol's whose recipe this is, and why the others are
    not there."""
    tables, missing = [], []
    for number, layout in {**TABLES, **PROTOCOLS}.items():
        if layout.pair != selection.pair or layout.recipe not in ("", selection.recipe):
            continue
        try:
            table = paper_table(number, results, selection, paper=True)
        except UserError as error:
            missing.append(f"Table {number}: {error}")
            continue
        if table.says_something:
            tables.append(table)
        else:
            missing.append(f"Table {number}, {layout.title}: none of its arms was trained.")
    return tables, missing
