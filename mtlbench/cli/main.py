"""The command line. A command's file is imported when the command is called: `mtlbench --help` waits for none."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

COMMANDS = {  # in the order in which one needs them: the first sentence of each one's help
    "run": "Train what is missing of a study; finished trials are never trained again.",
    "status": "Show by pair and arm what is done, running, waiting, failed or blocked, and the space on disk.",
    "table": "Print all arms of a study, or a table of the paper.",
    "plot": "Draw a figure from the results store.",
    "report": "Write what the results say as one HTML page.",
    "export": "Write the numbers of a study as a table that others can search without training.",
    "search": "Replay searches for the best Split or tree on the numbers of a study, without training.",
    "track": "Tell a tracker of every finished trial: tensorboard, wandb, mlflow or trackio.",
    "list": "List recipes, spaces, arms, datasets, tasks, backbones, schemes, weightings, figures or tables.",
    "new": "Write a short, commented scheme, weighting, task, data set or backbone that already works.",
    "check": "Say in plain words what is wrong with your scheme, weighting, task, data set or backbone.",
    "data": "Make the files of a data set ready, or look for what is missing or broken in them.",
    "show": "Draw what a finished trial predicts on the first test images beside the truth.",
    "predict": "Predict on images from anywhere with a finished trial that kept its weights.",
    "export-weights": "Write a finished trial's network as one file of plain tensors for use elsewhere.",
    "clean": "Remove resume files, interrupted and old trials and dead runs' scratch.",
}


class Commands(click.Group):
    """A group whose commands are the files beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """`command` of the file of that name, imported now; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"mtlbench.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their list, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
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


if __name__ == "__main__":
    main()
