"""`mtlbench check`: what is wrong with a plug-in of one's own."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mtlbench.cli._shared import PLUGIN_KINDS, one_line_errors
from mtlbench.text import strip_control


@click.command()
@click.argument("plugin", metavar="FILE.py[:CLASS]")
@click.option("--kind", type=PLUGIN_KINDS, help="What it is to be; default: what the class has tells it.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the data, for a data set.")
@one_line_errors
def command(plugin: str, kind: str | None, data_root: Path | None) -> int:
    """Say in plain words what is wrong with your scheme, weighting, task, data set or backbone, in seconds; the exit
    status is 1 where something is.

    \b
    mtlbench check gated.py
    mtlbench check 'gated.py:Gated(start=0.5)'
    mtlbench check my_data.py --data-root ~/photos
    """
    from rich.text import Text

    from mtlbench.authoring import check  # with torch: when a plug-in is checked, not when the help is shown
    from mtlbench.system.console import wide_console

    console, start = wide_console(), time.monotonic()
    found: list[bool] = []
    for told in check.check(plugin, kind or "", data_root):
        if isinstance(told, check.Finding):
            found.append(told.ok)
            word, style = ("ok", "green") if told.ok else ("wrong", "bold red")
            console.print(Text.assemble((f"{word:5}", style), "  ", strip_control(told.text)), soft_wrap=True)
        else:
            console.print(Text(f"{told}: {_summarise(found)} ({time.monotonic() - start:.0f} s)"), soft_wrap=True)
    return 0 if all(found) else 1


def _summarise(found: list[bool]) -> str:
    wrong = found.count(False)
    return f"{wrong} of {len(found)} checks found something wrong" if wrong else f"all {len(found)} checks hold"
