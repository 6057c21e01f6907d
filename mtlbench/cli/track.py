"""`mtlbench track`: finished results to a tracker."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import RESULTS, one_line_errors, say, warn


@click.command()
@click.argument("tracker", metavar="NAME[:WHERE]")
@click.option("--pair", default="", help="Only trials of this pair; default: all.")
@RESULTS
@one_line_errors
def command(tracker: str, pair: str, results: Path) -> None:
    """Tell a tracker of every finished trial: tensorboard[:DIR], wandb[:PROJECT], mlflow[:URI] or trackio[:PROJECT].
    A trial's key is its run's id, so that nothing is there twice. `mtlbench run --track` does it while it runs.

    \b
    mtlbench track tensorboard
    WANDB_MODE=offline mtlbench track wandb:mtl
    mtlbench track mlflow:http://localhost:5000
    """
    from mtlbench.execution.tracking import track_finished
    from mtlbench.store.store import Store
    from mtlbench.text import count

    sent = track_finished(Store(results).root, tracker, pair, warn)
    say(f"{tracker} was told of {count(sent, 'trial')}")
