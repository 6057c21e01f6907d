"""`mtlbench search`: searches for the best architecture, replayed on the numbers of a study."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import FORMAT, RESULTS, one_line_errors, pick, say, warn_of


@click.command()
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="random, grid, asha, hyperband, tpe or bohb (repeatable; the last two need the extra search); default: all"
    " that can run.",
)
@click.option(
    "--budget",
    type=float,
    default=1.0,
    show_default=True,
    help="What a search may spend: 1 is what training every architecture costs.",
)
@click.option(
    "--repeats", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Searches for each seed."
)
@click.option(
    "--table",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A table that mtlbench export wrote, or the name of one of the package (mtlbench list tables), in place of"
    " results.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw regret against cost into FILE.png or FILE.svg.",
)
@FORMAT
@pick
@RESULTS
@one_line_errors
def command(
    methods: tuple[str, ...],
    budget: float,
    repeats: int,
    table: Path | None,
    out: Path | None,
    format_: str,
    results: Path,
    **picked: str | None,
) -> None:
    """Replay searches for the best Split or tree on the numbers of a study, without training: regret against cost, and
    what cross-stitch saves of the brute force. `mtlbench plot regret` draws it.

    \b
    mtlbench search --method asha --method random --budget 0.5
    mtlbench search --table dense3_trees --out regret.png
    """
    from mtlbench.analysis.selection import Selection
    from mtlbench.report.render import render
    from mtlbench.report.search_table import search_table
    from mtlbench.store.results import load_results
    from mtlbench.tabular.benchmark import Benchmark
    from mtlbench.tabular.export import tabulate
    from mtlbench.tabular.regret import find_regrets

    if table:
        benchmark = Benchmark(table)
    else:
        loaded = load_results(results)
        benchmark = Benchmark.of(tabulate(loaded, Selection(**picked)))
        warn_of(loaded.problems)
    found = find_regrets(benchmark, methods, budget, repeats)
    say(render(search_table(found), format_).removesuffix("\n"))
    if out:
        from matplotlib.figure import Figure

        from mtlbench.cli.plot import DPI
        from mtlbench.plugins import create
        from mtlbench.system.files import write_picture

        canvas, drawer = Figure(), create("figure", "regret")
        drawer.draw(drawer.data_of(found, benchmark.about.note), canvas)
        write_picture(out, canvas, DPI)
