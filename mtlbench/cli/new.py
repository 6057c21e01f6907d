"""`mtlbench new`: a plug-in of one's own begun from a template."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import PLUGIN_KINDS, one_line_errors, say


@click.command()
@click.argument("kind", type=PLUGIN_KINDS)
@click.argument("name")
@one_line_errors
def command(kind: str, name: str) -> None:
    """Write NAME.py into this folder: a short, commented scheme, weighting, task, data set or backbone that already
    works."""
    from mtlbench.authoring.new import new as write

    path, then = write(kind, name, Path())
    say("\n  ".join([f"wrote {path}; next:", *then]))
