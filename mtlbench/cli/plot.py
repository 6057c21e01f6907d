"""`mtlbench plot`: figures from the results store, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtlbench.cli._shared import RESULTS, one_line_errors, pick, say, warn_of
from mtlbench.errors import UserError
from mtlbench.plugins import list_names
from mtlbench.system.files import write_picture
from mtlbench.text import strip_control

if TYPE_CHECKING:
    from mtlbench.analysis.selection import Selection
    from mtlbench.store.results import Results

ENDINGS, DPI = (".png", ".svg"), 200


@click.command()
@click.argument("figure")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write (a folder for all); default: FIGURE.png and FIGURE.svg in the results folder.",
)
@click.option("--paper", is_flag=True, help="Add the published values where they are comparable.")
@click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="GLOB",
    help="Only these arms (repeatable), also variants of cross-stitch and MTL-shared (left out by default).",
)
@pick
@RESULTS
@one_line_errors
def command(
    figure: str,
    out: Path | None,
    paper: bool,
    arms: tuple[str, ...],
    results: Path,
    pair: str | None,
    dataset: str | None,
    recipe: str | None,
) -> int:
    """Draw a figure from the results store: figure2, alphas (the paper's Table 4), figure5, figure6, curves, cost,
    front (what a --loss-weight-grid trades), affinity (who helps whom, of run --affinity); or all that the results
    allow."""
    from mtlbench.analysis.selection import Selection
    from mtlbench.store.results import load_results

    loaded = load_results(results)
    status = plot(figure, loaded, out, paper, arms, Selection(pair, dataset, recipe))
    warn_of(loaded.problems)
    return status


def plot(
    figure: str, results: Results, out: Path | None, paper: bool, arms: Sequence[str], selection: Selection
) -> int:
    """Draw one figure or `all`, and print where it is and its caption; 1 where none of all could be drawn.

    `arms` are globs, of figures that show arms. Raises UserError for a figure that the results do not allow, unless all
    were asked for.
    """
    from mtlbench.use.results import OTHER_NAMES

    if figure != "all":
        _draw(OTHER_NAMES.get(figure, figure), results, out, paper, arms, selection)
        return 0
    drawn = 0
    if out:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {out}: {error}; give a folder with --out") from error
    for name in list_names("figure"):
        try:
            _draw(name, results, out and out / f"{name}.png", paper, arms, selection)
            drawn += 1
        except UserError as error:
            click.echo(strip_control(f"{name} is left out: {error}"), err=True)
    return 0 if drawn else 1


def _draw(
    name: str, results: Results, out: Path | None, paper: bool, arms: Sequence[str], selection: Selection
) -> None:
    from matplotlib.figure import Figure

    from mtlbench.use.results import draw_figure

    canvas = Figure()
    caption = draw_figure(results, name, canvas, selection, arms, paper)
    paths = [out] if out else [results.root / f"{name}{ending}" for ending in ENDINGS]
    for path in paths:
        write_picture(path, canvas, DPI)
    say(" ".join(map(str, paths)))
    say(caption)
