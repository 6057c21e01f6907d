"""What the site says that the package knows itself: the commands' help and the frame's columns."""

from __future__ import annotations

from typing import Any

import click

from mtlbench.cli.main import COMMANDS, main
from mtlbench.plugins import list_names
from mtlbench.store.columns import FRAME


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls it for every page: words in double brackets become what they name."""
    for word, write in {
        "[[commands]]": write_commands,
        "[[columns]]": write_columns,
        "[[figures]]": write_figures,
    }.items():
        if word in markdown:
            markdown = markdown.replace(word, write())
    return markdown


def write_commands() -> str:
    """Every command's help, as the command line prints it."""
    context = click.Context(main, info_name="mtlbench")
    parts = []
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        text = command.get_help(click.Context(command, info_name=name, parent=context, terminal_width=100))
        parts.append(f"## mtlbench {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def write_columns() -> str:
    """A table of the columns of `Results.frame`."""
    rows = [f"| `{one.name}` | {one.dtype} | {one.unit} | {one.meaning.replace('|', chr(92) + '|')} |" for one in FRAME]
    return "\n".join(["| column | type | unit | meaning |", "|---|---|---|---|", *rows])


def write_figures() -> str:
    """A table of the figures with their commands."""
    import importlib

    rows = []
    for name in list_names("figure"):
        about = " ".join((importlib.import_module(f"mtlbench.figures.{name}").__doc__ or "").split("\n\n")[0].split())
        rows.append(f"| `mtlbench plot {name}` | {about} |")
    return "\n".join(["| command | what it shows |", "|---|---|", *rows])
