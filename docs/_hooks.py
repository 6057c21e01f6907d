"""What the site says that is elsewhere: the commands' help, the frame's columns, the executed notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mtlbench.cli.main import COMMANDS, main
from mtlbench.store.columns import FRAME


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls it for every page: words in double brackets become what they name."""
    for word, write in {
        "[[commands]]": write_commands,
        "[[columns]]": write_columns,
        "[[notebook]]": write_notebook,
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


def write_notebook() -> str:
    """The cells of notebook.ipynb and what they gave: pictures, else text."""
    parts = []
    for cell in json.loads((Path(__file__).parent / "notebook.ipynb").read_text())["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if picture := data.get("image/png"):
                parts.append(f"![What the cell drew](data:image/png;base64,{''.join(picture.split())})")
            elif shown := "".join(output.get("text", data.get("text/plain", ""))):
                parts.append(f"```text\n{shown}\n```")
    return "\n\n".join(parts)
