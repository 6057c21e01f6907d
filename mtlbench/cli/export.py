"""`mtlbench export`: a study as a table in plain files, or in the form of another tool."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import RESULTS, one_line_errors, pick, say, warn_of

FORMS = ("table", "syne-tune", "optuna")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--form",
    type=click.Choice(FORMS),
    default="table",
    show_default=True,
    help="table: Parquet and JSON for mtlbench.Benchmark; syne-tune: a blackbox of Syne Tune; optuna: a study of Optuna"
    " for each seed.",
)
@click.option("--licence", help="Of the table, as its file says it; default: CC-BY-4.0.")
@click.option("--force", is_flag=True, help="Replace a table that is there.")
@pick
@RESULTS
@one_line_errors
def command(
    folder: Path,
    form: str,
    licence: str | None,
    force: bool,
    results: Path,
    pair: str | None,
    dataset: str | None,
    recipe: str | None,
) -> None:
    """Write the numbers of a study as a table that others can search without training: every arm, seed, metric and
    point of training, costs, and each arm's architecture. docs/table.md.

    \b
    mtlbench export det_attr_table
    python -c "import mtlbench; print(mtlbench.Benchmark('det_attr_table').query('cross-stitch'))"
    """
    from mtlbench.analysis.selection import Selection
    from mtlbench.store.results import load_results
    from mtlbench.tabular.export import LICENCE, tabulate, write_table
    from mtlbench.text import bytes_text, count

    loaded = load_results(results)
    content = tabulate(loaded, Selection(pair, dataset, recipe), licence or LICENCE)
    if form == "syne-tune":
        from mtlbench.tabular.syne_tune import write_blackbox

        write_blackbox(content, folder, force)
    elif form == "optuna":
        from mtlbench.tabular.optuna_studies import write_studies

        write_studies(content, folder, force)
    else:
        write_table(content, folder, force)
    warn_of(loaded.problems)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    arms, seeds = count(len(content.architectures), "arm"), count(len(content.about.seeds), "seed")
    say(f"{folder}: {arms}, {seeds}, {bytes_text(size)}; {content.about.note}")
