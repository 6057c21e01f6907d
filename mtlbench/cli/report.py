"""`mtlbench report`: what the results say, as a page."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import RESULTS, one_line_errors, pick, say, warn_of


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="File to write; default: report.html in the results.")
@pick
@RESULTS
@one_line_errors
def command(out: Path | None, results: Path, pair: str | None, dataset: str | None, recipe: str | None) -> None:
    """Write what the results say as one HTML page: a verdict in words, figures, tables, how it was made."""
    from mtlbench.analysis.selection import Selection
    from mtlbench.report.report import report as write_report
    from mtlbench.store.results import load_results
    from mtlbench.system.files import claim

    loaded = load_results(results)
    target = out or claim(results / "report.html")
    path = write_report(loaded, target, Selection(pair, dataset, recipe))
    warn_of(loaded.problems)
    say(str(path))
