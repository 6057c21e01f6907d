"""`mtlbench check`: what is wrong with a plug-in of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from mtlbench.cli._shared import PLUGIN_KINDS, one_line_errors


@click.command()
@click.argument("plugin", metavar="FILE.py[:CLASS]")
@click.option("--kind", type=PLUGIN_KINDS, help="What it is to be; default: what the class has tells it.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the data, for a data set.")
@one_line_errors
def command(plugin: str, kind: str | None, data_root: Path | None) -> int:
    """Say in plain words what is wrong with your scheme, task, data set or backbone, in seconds; the exit status is 1
    where something is.

    \b
    mtlbench check gated.py
    mtlbench check 'gated.py:Gated(start=0.5)'
    mtlbench check my_data.py --data-root ~/photos
    """
    from mtlbench.authoring.check import check as check_plugin

    return check_plugin(plugin, kind or "", data_root)
