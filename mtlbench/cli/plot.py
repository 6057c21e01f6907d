"""`mtlbench plot`: figures from the results store, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mtlbench.analysis.selection import Selection
from mtlbench.errors import UserError
from mtlbench.plugins import names
from mtlbench.system.files import own
from mtlbench.text import printable
from mtlbench.use.results import OTHER_NAMES, draw_figure

ENDINGS = (".png", ".svg")


def plot(figure: str, results: Any, out: Path | None, paper: bool, arms: Sequence[str], **chosen: str | None) -> int:
    """Draw one figure or `all`, and print where it is and its caption; 1 where none of all could be drawn.

    `arms` are globs, of figures that show arms; `chosen` are pair, dataset and recipe. Raises UserError for a figure
    that the results do not allow, unless all were asked for.
    """
    if figure != "all":
        _draw(OTHER_NAMES.get(figure, figure), results, out, paper, arms, chosen)
        return 0
    drawn = 0
    if out:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {out}: {error}; give a folder with --out") from error
    for name in names("figure"):
        try:
            _draw(name, results, out and out / f"{name}.png", paper, arms, chosen)
            drawn += 1
        except UserError as error:
            click.echo(printable(f"{name} is left out: {error}"), err=True)
    return 0 if drawn else 1


def _draw(
    name: str, results: Any, out: Path | None, paper: bool, arms: Sequence[str], chosen: dict[str, str | None]
) -> None:
    from matplotlib.figure import Figure

    canvas = Figure()
    selection = Selection(chosen["pair"], chosen["dataset"], chosen["recipe"])
    caption = draw_figure(results, name, canvas, selection, arms, paper)
    paths = [out] if out else [own(results.root / f"{name}{ending}") for ending in ENDINGS]
    for path in paths:
        try:
            canvas.savefig(path, dpi=200)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot write {path}: {error}") from error
    click.echo(" ".join(map(str, paths)))
    click.echo(printable(caption))
