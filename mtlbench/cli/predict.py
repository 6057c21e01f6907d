"""`mtlbench predict`: predictions on images from anywhere."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import RESULTS, USERS_FILES, one_line_errors, say, warn


@click.command()
@click.argument("trial")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--pair", default="", help="Of this pair; default: the newest results.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write to; default: predict-ARM-KEY in the results folder."
)
@USERS_FILES
@RESULTS
@one_line_errors
def command(
    trial: str, images: tuple[Path, ...], pair: str, out: Path | None, files: tuple[Path, ...], results: Path
) -> int:
    """Predict on images from anywhere with a finished trial that kept its weights: a picture and the numbers of each.

    TRIAL is what show takes. An image that cannot be read is a line; the exit status is then 1.
    """
    from mtlbench.use.predict import predict as run_predict

    return run_predict(results, trial, pair, images, out, say, warn, files)
