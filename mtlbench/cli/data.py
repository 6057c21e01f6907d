"""`mtlbench data prepare` and `mtlbench data verify`: the files of a data set, made ready and looked at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtlbench.cli._shared import ASSIGNMENT, Parsed, one_line_errors, say
from mtlbench.text import write_duration

if TYPE_CHECKING:
    from mtlbench.contracts import Dataset, Survey
    from mtlbench.spec import Options


@click.group()
def command() -> None:
    """Make the files of a data set ready, or look for what is missing or broken in them."""


def data_arguments(function: Any) -> Any:
    """A data set, where it is, and its options."""
    for option in (
        click.option(
            "--data-option",
            "data_options",
            multiple=True,
            type=ASSIGNMENT,
            metavar="NAME=VALUE",
            help="Option of the data set (repeatable), for example broken=leave-out.",
        ),
        click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the real data."),
        click.option(
            "--csv",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Of data set table, its table.",
        ),
        click.option(
            "--images", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Folder of its images."
        ),
        click.option(
            "--column",
            "columns",
            multiple=True,
            type=Parsed("COLUMN:KIND[:TASK]", "parse_column"),
            metavar="COLUMN:KIND[:TASK]",
            help="What a column of it is (repeatable).",
        ),
        click.option("--group", default="", metavar="COLUMN", help="Column of groups that stay in one subset."),
        click.argument("dataset", default=""),
    ):
        function = option(function)
    return function


@command.command("prepare")
@data_arguments
@one_line_errors
def data_prepare(**values: Any) -> None:
    """Decode, derive normals and propose boxes once, in parallel; `run` does it too, where it has not been done."""
    prepare(*resolve_dataset(**values))


@command.command("verify")
@data_arguments
@one_line_errors
def data_verify(**values: Any) -> int:
    """Count what is there, compare it with what was published, and name every missing or broken file in a line each;
    the exit status is 1 where something is missing or broken."""
    return verify(*resolve_dataset(**values))


def resolve_dataset(
    dataset: str,
    data_root: Path | None,
    data_options: Sequence[tuple[str, object]],
    csv: Path | None,
    images: Path | None,
    columns: Sequence[tuple[str, str]],
    group: str,
) -> tuple[str, Path | None, Options]:
    """The data set, its folder and its options; of a table, what says where that is. Raises UserError."""
    from mtlbench.errors import UserError
    from mtlbench.plan.tables import DATASET, root_of

    options: Options = dict(data_options)
    if csv and dataset in ("", DATASET):
        return DATASET, root_of(csv, images), options | {"columns": dict(columns), "group": group}
    if csv or images or columns or group or not dataset:
        raise UserError("name a data set, for example voc2008, or give --csv FILE --images DIR")
    return dataset, data_root, options


def prepare(name: str, data_root: Path | None, options: Options) -> None:
    """Make the caches of a data set and say what its subsets hold. Raises UserError where a file is broken."""
    from mtlbench.plan.data import open_options
    from mtlbench.plugins import blame
    from mtlbench.vision.proposals import measure_recall

    start = time.monotonic()
    dataset = open_options(name, options, data_root)[0]
    with blame(name):
        dataset.prepare(say)
    test = dataset.subset("test")
    pairs = ((one.boxes, one.proposals) for one in map(test.__getitem__, range(len(test))))
    found = measure_recall(
        (boxes, proposals) for boxes, proposals in pairs if boxes is not None and proposals is not None
    )
    if found.objects:
        say(
            f"proposals hit {found.share:.1%} of the {found.objects} test objects at IoU .5, "
            f"{found.boxes:.0f} boxes an image"
        )
    sizes = ", ".join(f"{subset} {len(dataset.subset(subset))}" for subset in ("train", "val", "test"))
    seconds = time.monotonic() - start
    say(f"{name} is ready: {sizes} images; fingerprint {dataset.fingerprint()}; {write_duration(seconds)}")


def verify(name: str, data_root: Path | None, options: Options) -> int:
    """Look at every file, print counts and problems, and return 0, or 1 where something is broken or missing."""
    from mtlbench.plan.data import open_options
    from mtlbench.plugins import blame

    dataset: Dataset = open_options(name, options, data_root)[0]
    with blame(name):
        survey = dataset.verify(say)
    return report(name, survey)


def report(name: str, survey: Survey) -> int:
    """Print a survey; 0 where all is whole and as published."""
    from mtlbench.cli.terminal import print_table
    from mtlbench.report.table import Column, simple_table
    from mtlbench.system.console import wide_console

    rows = []
    for what, found, published in survey.counts:
        differs = published is not None and found != published
        rows.append((what, found, "" if published is None else published, "differs" if differs else ""))
    heads = (Column("what", name, is_text=True), Column("found"), Column("published"), "")
    print_table(simple_table(heads, rows), wide_console())
    for problem in survey.problems:
        say(problem)
    partial = [count for count in survey.counts if count.published is not None and count.found != count.published]
    say(write_verdict(len(survey.problems), partial))
    return 1 if survey.problems or partial else 0


def write_verdict(problems: int, partial: Sequence[object]) -> str:
    """The last line of a verification."""
    if problems:
        return f"{problems} problem{'s' * (problems > 1)}"
    return "sound, but not the published data set" if partial else "complete and sound"
