"""`mtlbench table`: the numbers of a study, or a table of the paper."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import FORMAT, RESULTS, one_line_errors, pick, say, warn_of


@click.command()
@click.argument("number", required=False)
@FORMAT
@click.option("--paper", is_flag=True, help="Add the published values to a table of the paper where they compare.")
@pick
@RESULTS
@one_line_errors
def command(
    number: str | None,
    format_: str,
    paper: bool,
    results: Path,
    pair: str | None,
    dataset: str | None,
    recipe: str | None,
) -> None:
    """Print all arms of a study: means, changes against one-task with intervals, size and time; or, with a NUMBER
    (1, 2, 3, 5, 6), that table of the paper; or libmtl or nash: the metrics of these protocols, on dense3; or front:
    every weighting of a --loss-weight-grid, which of them are on the Pareto front, and hypervolumes; or affinity: what
    --affinity networks of two tasks change, and groupings; or proxies: how well early numbers, FLOPs, alphas and
    gradients order the architectures."""
    from mtlbench.analysis.selection import Selection
    from mtlbench.report.render import render
    from mtlbench.store.results import load_results
    from mtlbench.use.results import make_table

    loaded = load_results(results)
    shown = make_table(loaded, number or "", paper, Selection(pair, dataset, recipe))
    warn_of(loaded.problems)
    say(render(shown, format_).removesuffix("\n"))
