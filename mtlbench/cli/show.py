"""`mtlbench show`: predictions on test images beside the truth."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import RESULTS, USERS_FILES, one_line_errors, say


@click.command()
@click.argument("trial")
@click.option("--count", type=click.IntRange(1), default=4, show_default=True, help="Test images, at most 8.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the real data; default: the trial's.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write; default: show-ARM-KEY.png in the results folder."
)
@USERS_FILES
@RESULTS
@one_line_errors
def command(
    trial: str, count: int, data_root: Path | None, out: Path | None, files: tuple[Path, ...], results: Path
) -> None:
    """Draw what a finished trial predicts on the first test images beside the truth.

    TRIAL is ARM (its first seed), ARM:SEED, a key or its first digits, or a trial's folder.
    """
    from mtlbench.use.show import show as draw

    say(str(draw(results, trial, data_root, count, out, say, files)))
