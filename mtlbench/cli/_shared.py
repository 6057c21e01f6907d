"""What the commands share: options, types of options, lines of output, errors. Only click is imported at first, since
`mtlbench --help` must not wait for torch or ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from mtlbench.errors import UserError
from mtlbench.text import strip_control

RESULTS = click.option(
    "--results",
    type=click.Path(path_type=Path, readable=False),
    default=Path("results"),
    show_default=True,
    help="Folder of the results store.",
)
USERS_FILES = click.option(
    "--plugin",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="A file of yours that the trial was trained with (repeatable): its code is run, and no other file's.",
)
FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "csv", "markdown", "latex", "html"]),
    default="text",
    show_default=True,
)
PICK = [
    click.option("--pair", help="Pair to show; default: that of the newest results."),
    click.option("--dataset", help="Data set to show; default: that of the newest results."),
    click.option("--recipe", help="Recipe to show; default: that of the newest results."),
]
PLUGIN_KINDS = click.Choice(["scheme", "weighting", "task", "dataset", "backbone"])


class Parsed(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click alone
    """Words that a function of `plan.options` reads (`parse`, its name); what it refuses is a usage error."""

    def __init__(self, name: str, parse: str) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that the words stand for."""
        if not isinstance(value, str):
            return value  # a default
        try:
            from mtlbench.plan import options

            return getattr(options, self.parse)(value)
        except UserError as error:
            self.fail(strip_control(str(error)), param, ctx)


ASSIGNMENT = Parsed("NAME=VALUE", "parse_assignment")


def pick(command: Any) -> Any:
    """The options that say which results to show."""
    for option in reversed(PICK):
        command = option(command)
    return command


def say(line: str) -> None:
    """Print a line, which may come from files."""
    click.echo(strip_control(line))


def warn(line: str) -> None:
    """The same on standard error."""
    click.echo(strip_control(f"mtlbench: {line}"), err=True)


def warn_of(problems: Iterable[str]) -> None:
    """Say on standard error what of a results folder was skipped."""
    for problem in problems:
        warn(f"skipped: {problem}")


def one_line_errors(command: Callable[..., int | None]) -> Callable[..., None]:
    """A UserError is one line on standard error and exit status 2; a returned number is the exit status."""

    @wraps(command)
    def call(**options: Any) -> None:
        try:
            status = command(**options)
        except UserError as error:
            warn(str(error))
            sys.exit(2)
        except KeyboardInterrupt:
            from mtlbench.execution.interrupts import INTERRUPTED

            click.echo(f"mtlbench: {INTERRUPTED}", err=True)
            sys.exit(130)
        sys.exit(status or 0)

    return call
