"""`mtlbench plot`: figures from the results store, as files."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mtlbench.contracts import Figure as Drawer
from mtlbench.errors import UserError
from mtlbench.plugins import create, names
from mtlbench.system.files import own
from mtlbench.text import printable

OTHER_NAMES = {"table4": "alphas"}  # the paper's name of that figure
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
    drawer: Drawer = create("figure", name)
    some = {"arms": arms} if arms else {}
    if arms and "arms" not in inspect.signature(drawer.data).parameters:
        raise UserError(f"{name} shows no arms to choose from; leave --arm out")
    data = drawer.data(results, paper=paper, **some, **chosen)
    from matplotlib.figure import Figure

    canvas = Figure()
    drawer.draw(data, canvas)
    paths = [out] if out else [own(results.root / f"{name}{ending}") for ending in ENDINGS]
    for path in paths:
        try:
            canvas.savefig(path, dpi=200)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot write {path}: {error}") from error
    click.echo(" ".join(map(str, paths)))
    click.echo(printable(data.caption))
