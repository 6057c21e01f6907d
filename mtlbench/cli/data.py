"""`mtlbench data prepare` and `mtlbench data verify`: the files of a data set, made ready and looked at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mtlbench.cli.terminal import print_table
from mtlbench.contracts import Dataset, Survey
from mtlbench.plan.data import opened
from mtlbench.plugins import blamed
from mtlbench.report.table import Column, simple_table
from mtlbench.spec import Options
from mtlbench.system.console import wide_console
from mtlbench.text import duration, printable
from mtlbench.vision.proposals import recall


def prepare(name: str, data_root: Path | None, options: Options) -> None:
    """Make the caches of a data set and say what its subsets hold. Raises UserError where a file is broken."""
    console = wide_console()
    start = time.monotonic()
    dataset = opened(name, options, data_root)[0]
    with blamed(name):
        dataset.prepare(lambda line: console.print(Text(printable(line)), soft_wrap=True))
    test = dataset.subset("test")
    pairs = ((one.boxes, one.proposals) for one in map(test.__getitem__, range(len(test))))
    found = recall((boxes, proposals) for boxes, proposals in pairs if boxes is not None and proposals is not None)
    if found.objects:
        console.print(
            Text(
                f"proposals hit {found.share:.1%} of the {found.objects} test objects at IoU .5, "
                f"{found.boxes:.0f} boxes an image"
            ),
            soft_wrap=True,
        )
    sizes = ", ".join(f"{subset} {len(dataset.subset(subset))}" for subset in ("train", "val", "test"))
    console.print(
        Text(
            f"{name} is ready: {sizes} images; fingerprint {dataset.fingerprint()}; "
            f"{duration(time.monotonic() - start)}"
        ),
        soft_wrap=True,
    )


def verify(name: str, data_root: Path | None, options: Options) -> int:
    """Look at every file, print counts and problems, and return 0, or 1 where something is broken or missing."""
    console = wide_console()
    dataset: Dataset = opened(name, options, data_root)[0]
    with blamed(name):
        survey = dataset.verify(lambda line: console.print(Text(printable(line)), soft_wrap=True))
    return report(name, survey, console)


def report(name: str, survey: Survey, console: Console) -> int:
    """Print a survey; 0 where all is whole and as published."""
    rows = []
    for what, found, published in survey.counts:
        differs = published is not None and found != published
        rows.append((what, found, "" if published is None else published, "differs" if differs else ""))
    heads = (Column("what", name, is_text=True), Column("found"), Column("published"), "")
    print_table(simple_table(heads, rows), console)
    for problem in survey.problems:
        console.print(Text(printable(problem)), soft_wrap=True)
    partial = [count for count in survey.counts if count.published is not None and count.found != count.published]
    console.print(Text(verdict(len(survey.problems), partial)), soft_wrap=True)
    return 1 if survey.problems or partial else 0


def verdict(problems: int, partial: Sequence[object]) -> str:
    """The last line of a verification."""
    if problems:
        return f"{problems} problem{'s' * (problems > 1)}"
    return "sound, but not the published data set" if partial else "complete and sound"
