"""`mtlbench export-weights`: a trained network as one file."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import RESULTS, USERS_FILES, one_line_errors, say, warn


@click.command()
@click.argument("trial")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--pair", default="", help="Of this pair; default: the newest results.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@USERS_FILES
@RESULTS
@one_line_errors
def command(trial: str, file: Path, pair: str, force: bool, files: tuple[Path, ...], results: Path) -> None:
    """Write a finished trial's network as one file of plain tensors for use elsewhere (.pt, .pth or .safetensors).

    TRIAL is what show takes; mtlbench.load_network(FILE) gives the network back. A card
    beside it (FILE.md) says what it is and what it reaches.
    """
    from mtlbench.store.lookup import find_trials
    from mtlbench.use.export import export
    from mtlbench.use.model_card import write_card

    say(str(export(results, trial, pair, file, force, warn, files)))
    say(str(write_card(file, find_trials(results, trial, pair))))
