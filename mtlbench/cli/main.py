"""The command line. Only click is imported here at first: `mtlbench --help` must not wait for torch or ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mtlbench.cli._shared import (
    ASSIGNMENT,
    PLUGIN_KINDS,
    RESULTS,
    USERS_FILES,
    one_line_errors,
    pick,
    say,
    warn,
    warn_of,
)
from mtlbench.cli.run import run
from mtlbench.store.results import load_results


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
    \b
    Start with:
      mtlbench run --pair det_attr --all-splits
      mtlbench plot figure2
      mtlbench report
    """,
)
@click.version_option(package_name="mtlbench")
def main() -> None:
    """How much should these tasks share? Train every Split architecture of a pair of tasks beside one-task, ensemble,
    MTL-shared and cross-stitch networks, and compare them."""
    if Path("matplotlibrc").exists():  # of whoever made this folder; it can have LaTeX run for every word
        import matplotlib

        matplotlib.rcdefaults()


main.add_command(run)


@main.command("list")
@click.argument("kind")
@click.option("--pair", default="", help="Only of this search space (recipes, spaces, arms).")
@one_line_errors
def list_(kind: str, pair: str) -> None:
    """List recipes (with the source of each value), spaces, arms, datasets, tasks, backbones, schemes or figures."""
    from mtlbench.cli.list import print_listing

    print_listing(kind, pair)


@main.command()
@click.argument("kind", type=PLUGIN_KINDS)
@click.argument("name")
@one_line_errors
def new(kind: str, name: str) -> None:
    """Write NAME.py into this folder: a short, commented scheme, task, data set or backbone that already works."""
    from mtlbench.authoring.new import new as write

    path, then = write(kind, name, Path())
    click.echo("\n  ".join([f"wrote {path}; next:", *then]))


@main.command()
@click.argument("plugin", metavar="FILE.py[:CLASS]")
@click.option("--kind", type=PLUGIN_KINDS, help="What it is to be; default: what the class has tells it.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the data, for a data set.")
@one_line_errors
def check(plugin: str, kind: str | None, data_root: Path | None) -> int:
    """Say in plain words what is wrong with your scheme, task, data set or backbone, in seconds; the exit status is 1
    where something is.

    \b
    mtlbench check gated.py
    mtlbench check 'gated.py:Gated(start=0.5)'
    mtlbench check my_data.py --data-root ~/photos
    """
    from mtlbench.authoring.check import check as check_plugin

    return check_plugin(plugin, kind or "", data_root)


@main.group()
def data() -> None:
    """Make the files of a data set ready, or look for what is missing or broken in them."""


def data_arguments(command: Any) -> Any:
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
        click.argument("dataset"),
    ):
        command = option(command)
    return command


@data.command("prepare")
@data_arguments
@one_line_errors
def data_prepare(dataset: str, data_root: Path | None, data_options: tuple[tuple[str, object], ...]) -> None:
    """Decode, derive normals and propose boxes once, in parallel; `run` does it too, where it has not been done."""
    from mtlbench.cli.data import prepare

    prepare(dataset, data_root, dict(data_options))


@data.command("verify")
@data_arguments
@one_line_errors
def data_verify(dataset: str, data_root: Path | None, data_options: tuple[tuple[str, object], ...]) -> int:
    """Count what is there, compare it with what was published, and name every missing or broken file in a line each;
    the exit status is 1 where something is missing or broken."""
    from mtlbench.cli.data import verify

    return verify(dataset, data_root, dict(data_options))


@main.command()
@click.argument("figure")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write (a folder for all); default: FIGURE.png and FIGURE.svg in the results folder.",
)
@click.option("--paper", is_flag=True, help="Add the published values where they are comparable.")
@click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="GLOB",
    help="Only these arms (repeatable), also variants of cross-stitch and MTL-shared, which are not shown else.",
)
@pick
@RESULTS
@one_line_errors
def plot(figure: str, out: Path | None, paper: bool, arms: tuple[str, ...], results: Path, **chosen: str | None) -> int:
    """Draw a figure from the results store: figure2, alphas (the paper's Table 4), figure5, figure6, curves, cost; or
    all that the results allow."""
    from mtlbench.cli.plot import plot as draw

    loaded = load_results(results)
    status = draw(figure, loaded, out, paper, arms, **chosen)
    warn_of(loaded.problems)
    return status


@main.command()
@click.argument("number", required=False)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "csv", "markdown", "latex", "html"]),
    default="text",
    show_default=True,
)
@click.option("--paper", is_flag=True, help="Add the published values to a table of the paper where they compare.")
@pick
@RESULTS
@one_line_errors
def table(number: str | None, format_: str, paper: bool, results: Path, **chosen: str | None) -> None:
    """Print all arms of a study: means, changes against one-task with intervals, size and time; or, with a NUMBER
    (1, 2, 3, 5, 6), that table of the paper."""
    from mtlbench.analysis.selection import Selection
    from mtlbench.report.render import render
    from mtlbench.use.results import make_table

    loaded = load_results(results)
    shown = make_table(loaded, number or "", paper, Selection(chosen["pair"], chosen["dataset"], chosen["recipe"]))
    warn_of(loaded.problems)
    say(render(shown, format_).removesuffix("\n"))


@main.command()
@click.option("--out", type=click.Path(path_type=Path), help="File to write; default: report.html in the results.")
@pick
@RESULTS
@one_line_errors
def report(out: Path | None, results: Path, **chosen: str | None) -> None:
    """Write what the results say as one HTML page: a verdict in words, figures, tables, how it was made."""
    from mtlbench.analysis.selection import Selection
    from mtlbench.report.report import report as write_report
    from mtlbench.system.files import own

    loaded = load_results(results)
    target = out or own(results / "report.html")
    path = write_report(loaded, target, Selection(chosen["pair"], chosen["dataset"], chosen["recipe"]))
    warn_of(loaded.problems)
    say(str(path))


@main.command()
@click.argument("trial")
@click.option("--count", type=click.IntRange(1), default=4, show_default=True, help="Test images, at most 8.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the real data; default: the trial's.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write; default: show-ARM-KEY.png in the results folder."
)
@USERS_FILES
@RESULTS
@one_line_errors
def show(
    trial: str, count: int, data_root: Path | None, out: Path | None, files: tuple[Path, ...], results: Path
) -> None:
    """Draw what a finished trial predicts on the first test images beside the truth.

    TRIAL is ARM (its first seed), ARM:SEED, a key or its first digits, or a trial's folder.
    """
    from mtlbench.use.show import show as draw

    say(str(draw(results, trial, data_root, count, out, say, files)))


@main.command()
@click.argument("trial")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--pair", default="", help="Of this pair; default: the newest results.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write to; default: predict-ARM-KEY in the results folder."
)
@USERS_FILES
@RESULTS
@one_line_errors
def predict(
    trial: str, images: tuple[Path, ...], pair: str, out: Path | None, files: tuple[Path, ...], results: Path
) -> int:
    """Predict on images from anywhere with a finished trial that kept its weights: a picture and the numbers of each.

    TRIAL is what show takes. An image that cannot be read is a line; the exit status is then 1.
    """
    from mtlbench.use.predict import predict as run_predict

    return run_predict(results, trial, pair, images, out, say, warn, files)


@main.command("export-weights")
@click.argument("trial")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--pair", default="", help="Of this pair; default: the newest results.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@USERS_FILES
@RESULTS
@one_line_errors
def export_weights(trial: str, file: Path, pair: str, force: bool, files: tuple[Path, ...], results: Path) -> None:
    """Write a finished trial's network as one file of plain tensors for use elsewhere (.pt, .pth or .safetensors).

    TRIAL is what show takes; mtlbench.load_network(FILE) gives the network back.
    """
    from mtlbench.use.export import export

    say(str(export(results, trial, pair, file, force, warn, files)))


@main.command()
@click.option("--failed", is_flag=True, help="Only the failed trials, each with its traceback.")
@RESULTS
@one_line_errors
def status(failed: bool, results: Path) -> None:
    """Show by pair and arm what is done, running, waiting, failed or blocked, and the space on disk."""
    from mtlbench.cli.status import show_status

    show_status(results, failed)


@main.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@RESULTS
@one_line_errors
def clean(yes: bool, results: Path) -> None:
    """Remove resume files, interrupted and old trials and dead runs' scratch; lists them and asks first."""
    from mtlbench.cli.clean import clean as clean_results

    clean_results(results, yes)


if __name__ == "__main__":
    main()
