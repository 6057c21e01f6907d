"""`mtlbench run`: train what is missing of a study."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtlbench.cli._shared import ASSIGNMENT, RESULTS, Parsed, one_line_errors, say

if TYPE_CHECKING:
    from mtlbench.execution.study import Study
    from mtlbench.report.table import Table


@click.command()
@click.option(
    "--pair",
    default="",
    help="A built-in search space (det_attr, semseg_sn, image3 ...) or a file with a SPACE.",
)
@click.option(
    "--csv",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="In place of a pair, a table (CSV or Parquet) with a row an image: its columns are the tasks (docs/csv.md).",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of its images; default: images beside it, or its own.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    type=Parsed("COLUMN:KIND[:TASK]", "parse_column"),
    metavar="COLUMN:KIND[:TASK]",
    help="What a column of it is, where it does not look so: regression, classification, multilabel, file, group,"
    " subset or skip (repeatable).",
)
@click.option("--group", default="", metavar="COLUMN", help="Images with equal cells there are in one subset.")
@click.option("--space", default="", help="The same as --pair.")
@click.option("--dataset", default="", help="Data set; default: the space's first (rooms, embedded).")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of the real data (docs/data.md).")
@click.option(
    "--data-option",
    "data_options",
    multiple=True,
    type=ASSIGNMENT,
    metavar="NAME=VALUE",
    help="Option of the data set (repeatable), for example axes=right-in-up.",
)
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 0.9),
    help="Share of the official train list that is kept for"
    " val (real data); 0 trains on all of it and chooses nothing.",
)
@click.option(
    "--recipe",
    default="",
    help="smoke (seconds), quick (minutes), short, long (real data), paper (a GPU); mtlbench list recipes.",
)
@click.option(
    "--backbone",
    default="",
    help="caffenet, alexnet, timm:NAME or FILE.py, with options as in timm:resnet18(cells=7); default: the recipe's.",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["shared", "frozen", "per-task"]),
    help="Of a timm backbone: trained with its column, as the weights have it, or each task's own.",
)
@click.option(
    "--init",
    multiple=True,
    type=Parsed("[ARM=]START", "parse_start"),
    metavar="[ARM=]START",
    help="Where networks without parents start: scratch, pretrained (a trunk that comes with rooms), imagenet;"
    " cross-stitch=imagenet: one arm, without its parents (repeatable).",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of ImageNet weights; default: torchvision's, where it has some (docs/weights.md).",
)
@click.option(
    "--decoder",
    type=click.Choice(["linear", "deeplab", "fpn"]),
    help="What dense tasks have before their heads; default: the recipe's.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="Of products and convolutions; default: the recipe's, fp32.",
)
@click.option(
    "--balance",
    type=float,
    metavar="0-1",
    help="Where tasks have images of their own: 0 draws all images equally often (the default), 1 those of all tasks.",
)
@click.option(
    "--task-option",
    "task_options",
    multiple=True,
    type=Parsed("TASK.NAME=VALUE", "parse_task_assignment"),
    metavar="TASK.NAME=VALUE",
    help="Option of a task (repeatable), for example normals.decoding=nearest.",
)
@click.option(
    "--loss-weight",
    "loss_weights",
    multiple=True,
    type=Parsed("TASK=WEIGHT", "parse_loss_weights"),
    metavar="TASK=WEIGHT,...",
    help="Weights of the tasks' losses; or equal; or uncertainty: joint networks learn them.",
)
@click.option(
    "--lr-grid",
    default="",
    type=Parsed("FACTORS", "parse_factors"),
    metavar="0.3,1,3",
    help="Train every arm at these times the recipe's rate, too; each is shown at the one that is best on val.",
)
@click.option(
    "--loss-weight-grid",
    type=click.IntRange(2),
    callback=lambda context, option, value: value or 0,
    metavar="K",
    help="Train every joint arm at K weightings of the losses, too, for plot front and table front"
    " (of T tasks: a lattice with K levels).",
)
@click.option(
    "--tune",
    type=click.IntRange(0, 64),
    default=0,
    metavar="N",
    help="Try N settings of learning rate and loss weights for every arm on val, with seeds of their own, and train it"
    " at the best one.",
)
@click.option(
    "--all-splits",
    is_flag=True,
    help="Every Split, ensemble, MTL-shared, cross-stitch and the controls;"
    " without it the space's short list: one-task, three Splits, cross-stitch.",
)
@click.option(
    "--all-schemes",
    is_flag=True,
    help="The same, and known alternatives (NDDR, Sluice, MTAN, MMoE ...) and wide controls.",
)
@click.option(
    "--all-trees",
    is_flag=True,
    help="Every way in which the tasks branch off over the layers, beside what else is asked for;"
    " of two tasks these are the Splits.",
)
@click.option(
    "--max-arms",
    type=click.IntRange(2),
    default=None,
    help="Of the trees at most so many, drawn at random with the two ends; needed where there are more than 40.",
)
@click.option(
    "--affinity",
    multiple=True,
    metavar="GLOB",
    help="Train these joint arms for every two of the tasks, too, for plot affinity: split-fc8, say (repeatable).",
)
@click.option("--arm", "arms", multiple=True, metavar="GLOB", help="Only these arms (repeatable); parents come along.")
@click.option(
    "--scheme",
    "schemes",
    multiple=True,
    metavar="FILE.py:Class",
    help="Add an arm with your sharing scheme (repeatable); 'my.py:Gated(rank=4)' sets its options.",
)
@click.option(
    "--weighting",
    "weightings",
    multiple=True,
    metavar="NAME",
    help="Train every joint arm with this weighting of its tasks, too (repeatable): mtlbench list weightings,"
    " 'cagrad(c=0.2)', FILE.py:Class.",
)
@click.option(
    "--seeds",
    default="0-2",
    type=Parsed("SEEDS", "parse_seeds"),
    metavar="TEXT",
    show_default=True,
    help="For example 0-2 or 0,3,7; more can be added later.",
)
@click.option("--force", default="", metavar="GLOB", help="Train these arms again even where they are finished.")
@click.option(
    "--keep-weights",
    multiple=True,
    metavar="GLOB",
    help="Keep the trained weights of these arms, for"
    " predict and export-weights (repeatable); one-task networks always keep them.",
)
@click.option(
    "--executor",
    type=click.Choice(["ray", "local"]),
    default="ray",
    show_default=True,
    help="Ray Tune, or one trial after the other in this process.",
)
@click.option(
    "--gpus-per-trial",
    type=click.FloatRange(0, 1),
    default=None,
    help="May be a fraction; default: chosen from a measured step where there are GPUs, else 0.",
)
@click.option(
    "--resume-every",
    "resume_minutes",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    metavar="MINUTES",
    help="Longer trials keep a resume file this often, and go on from it after an interrupt.",
)
@click.option(
    "--track",
    multiple=True,
    metavar="NAME[:WHERE]",
    help="Tell a tracker of every trial that finishes: tensorboard[:DIR], wandb[:PROJECT], mlflow[:URI] or"
    " trackio[:PROJECT] (repeatable); default: none.",
)
@click.option(
    "--address", default="", help="HOST:PORT of a running Ray cluster, or auto; default: a private one on this machine."
)
@click.option("--dry-run", is_flag=True, help="Only list the trials: size, FLOPs, cached or what they wait for.")
@RESULTS
@one_line_errors
def command(dry_run: bool, **values: Any) -> int:
    """Train what is missing of a study; finished trials are never trained again.

    \b
    mtlbench run --pair det_attr --all-splits
    mtlbench run --pair semseg_sn --arm 'split-*' --seeds 0-4
    mtlbench run --pair det_attr --dataset voc2008 --data-root ~/voc2008
    """
    from mtlbench.execution.interrupts import interrupts

    interrupts.begin()  # before torch is imported, which takes seconds
    try:
        return run_study(dry_run, values)
    finally:
        interrupts.end()


def run_study(dry_run: bool, values: dict[str, Any]) -> int:
    """Plan a study and train it, with lines on what happens; the exit status: 0, or 1 where trials failed."""
    from mtlbench.cli.terminal import print_table
    from mtlbench.execution.display import execute_shown, print_line
    from mtlbench.execution.study import plan
    from mtlbench.plan.options import RunOptions, by_task, merge_loss_weights
    from mtlbench.system.console import wide_console

    space = values.pop("space")
    if values["pair"] and space and values["pair"] != space:
        raise click.UsageError("--pair and --space mean the same: give one of them")
    values["pair"] = values["pair"] or space
    values["data_options"], values["columns"] = dict(values["data_options"]), dict(values["columns"])
    values["batch_norm"], values["decoder"] = values["batch_norm"] or "", values["decoder"] or ""
    values["task_options"] = by_task(values["task_options"])
    values["loss_weights"] = merge_loss_weights(values["loss_weights"])
    console = wide_console()
    study = plan(RunOptions(**values), partial(print_line, console), create=not dry_run)
    if not dry_run:
        return 0 if execute_shown(study, console).complete else 1
    for note in study.notes:
        say(note)
    print_table(tabulate_plan(study), console)
    say(summary_of_missing(study))
    return 0


def summary_of_missing(study: Study) -> str:
    """How many trials --dry-run would run, and what they would write."""
    from mtlbench.execution.preflight import bytes_of
    from mtlbench.text import bytes_text

    written = bytes_text(bytes_of(study.missing, study.costs))
    return f"{len(study.missing)} trials to run, which write about {written}"


def tabulate_plan(study: Study) -> Table:
    """The table of --dry-run."""
    from mtlbench.report.table import Column, large, simple_table

    costs = (Column("parameters", write=large), Column("FLOPs", write=large))
    rows = []
    names = {trial.key: trial for trial in study.trials}
    for trial in study.trials:
        parameters, flops = study.costs.of(trial)
        waits = [names[p].label for p in trial.parents if p not in study.done]
        state = "cached" if trial.key in study.done else f"waits for {' and '.join(waits)}" if waits else "ready"
        task = trial.task_names[0] if len(trial.task_names) == 1 else "all"
        rows.append((trial.arm, task, trial.seed, trial.key, trial.iterations, parameters, flops, state))
    return simple_table(("arm", "task", "seed", "key", Column("iterations"), *costs, "state"), rows)
