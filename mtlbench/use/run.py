"""`mtlbench run` from Python: the same study, the same options, and its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from mtlbench.plan.options import (
    RESUME_MINUTES,
    SEEDS,
    LossWeights,
    RunOptions,
    Start,
    check_positive,
    parse_loss_weights,
    parse_start,
)
from mtlbench.spec import Options
from mtlbench.use.results import Results, load_results


def run(
    pair: str = "",
    *,
    csv: str | Path | None = None,
    images: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    group: str = "",
    dataset: str = "",
    data_root: str | Path | None = None,
    data_options: Mapping[str, object] | None = None,
    val_fraction: float | None = None,
    recipe: str = "",
    backbone: str = "",
    batch_norm: Literal["", "shared", "frozen", "per-task"] = "",
    init: str | Mapping[str, str] = "",
    weights: str | Path | None = None,
    decoder: Literal["", "linear", "deeplab", "fpn"] = "",
    precision: Literal["fp32", "bf16"] | None = None,
    balance: float | None = None,
    task_options: Mapping[str, Options] | None = None,
    loss_weights: str | Mapping[str, float] = "",
    lr_grid: Sequence[float] = (),
    loss_weight_grid: int = 0,
    tune: int = 0,
    all_splits: bool = False,
    all_schemes: bool = False,
    all_trees: bool = False,
    max_arms: int | None = None,
    affinity: str | Sequence[str] = (),
    arms: str | Sequence[str] = (),
    schemes: str | Sequence[str] = (),
    weightings: str | Sequence[str] = (),
    seeds: Iterable[int] = SEEDS,
    force: str = "",
    keep_weights: str | Sequence[str] = (),
    executor: Literal["ray", "local"] = "ray",
    gpus_per_trial: float | None = None,
    resume_minutes: float = RESUME_MINUTES,
    track: str | Sequence[str] = (),
    address: str = "",
    results: str | Path = "results",
    quiet: bool = False,
) -> Results:
    """Train what is missing of a study, as `mtlbench run` does, and return all that the results folder then holds.

    Finished trials are never trained again: the same call goes on where an interrupted one ended. Trials that failed
    are in `failures` of what is returned.

    pair: a built-in search space (det_attr, semseg_sn ...), or a file `PATH.py` with a SPACE; nothing with `csv`.
    csv: a table (CSV or Parquet) with a row an image, whose columns are the tasks; default: none.
    images: folder of its images; default: the folder images beside it, or its own.
    columns: {column: kind}, or {column: "kind:task"}, where a column is not what it looks like; kinds are regression,
        classification, multilabel, file, group, subset and skip.
    group: column of the table; images with equal cells there are in one subset.
    dataset: of the space; default: its first one (rooms, embedded).
    data_root: folder of the real data; default: none, for embedded data.
    data_options: {name: value} of the data set; default: the recipe's.
    val_fraction: share 0 to 0.9 of the official train list that is kept for val; default: the data set's.
    recipe: smoke, quick, short, long, paper (`mtlbench list recipes`); default: the one that the space names.
    backbone: caffenet, alexnet, `timm:NAME` or `FILE.py`, with options as in "timm:resnet18(cells=7)"; default: the
        recipe's.
    batch_norm: of a timm backbone: trained with its column, frozen as the weights have it, or "per-task"; default: the
        recipe's.
    init: where networks without parents start, "scratch", "pretrained" (the data set's own trunk) or "imagenet"; or
        {glob of arms: start}, where "" stands for all networks without parents; default: the recipe's.
    weights: file of ImageNet weights; default: torchvision's, where it has some.
    decoder: what dense tasks have before their heads, "linear" (nothing), "deeplab" or "fpn"; default: the recipe's.
    precision: of products and convolutions; default: the recipe's.
    balance: from 0, which draws every image equally often, to 1, which draws those of every task equally often where
        tasks are labelled on different images; default: the recipe's, 0.
    task_options: {task: {name: value}}; default: the recipe's.
    loss_weights: {task: weight above 0}, or "equal" (all 1), or "uncertainty" (learned); default: the recipe's.
    lr_grid: every arm is trained at these times the recipe's learning rate, too; default: at 1 alone.
    loss_weight_grid: every joint arm is trained at so many weightings of the losses, too, 2 or more, for the figure
        "front" (of several tasks: a lattice with so many levels); default: at the recipe's own alone.
    tune: number of settings of learning rate and loss weights, 2 or more, that are tried for every arm on val, with
        seeds of their own; it is trained at the best one; default: the recipe's, untuned.
    all_splits: every Split, ensemble, MTL-shared, cross-stitch and the controls; default: the space's short list.
    all_schemes: the same, and the alternatives of other papers.
    all_trees: every way in which the tasks branch off over the layers, beside what else is asked for.
    max_arms: of the trees at most so many (2 or more), drawn at random with the two ends; default: all, up to 40.
    affinity: globs of joint arms that are trained for every two of the tasks, too, for the figure "affinity" (who
        helps whom): "split-fc8", say.
    arms: globs: only these arms, with their parents; default: all of the list.
    schemes: `FILE.py:Class(name=value)` of your own, each as an arm more.
    weightings: every joint arm is trained with each of these weightings of its tasks, too: names (`mtlbench list
        weightings`), "cagrad(c=0.2)" with options, `FILE.py:Class`; default: the plain sum of the losses alone.
    seeds: whole numbers from 0, for example range(5); default: 0, 1 and 2.
    force: a glob: these arms are trained again even where they are finished.
    keep_weights: globs of arms whose trained weights are kept; one-task networks always keep them.
    executor: "ray" (Ray Tune), or "local": one trial after the other in this process.
    gpus_per_trial: share 0 to 1 of a GPU; default: chosen from a measured step where there are GPUs, else 0.
    resume_minutes: minutes between two resume files of a trial; default: 10.
    track: "tensorboard", "wandb", "mlflow" or "trackio", or "NAME:WHERE": trackers that are told of every trial that
        finishes; default: none.
    address: HOST:PORT of a running Ray cluster, or "auto"; default: a private one on this machine.
    results: folder of the results store; default: "results" in the working directory.
    quiet: print nothing; default: lines, or a live view on a terminal, on how it goes.

    Raises UserError for what cannot be run, in one line, and KeyboardInterrupt where it is interrupted.
    """
    from mtlbench.execution.interrupts import interrupts

    options = RunOptions(
        pair=pair,
        csv=Path(csv) if csv else None,
        images=Path(images) if images else None,
        columns=dict(columns or {}),
        group=group,
        dataset=dataset,
        data_root=Path(data_root) if data_root else None,
        data_options=dict(data_options or {}),
        val_fraction=val_fraction,
        recipe=recipe,
        backbone=backbone,
        batch_norm=batch_norm,
        init=starts_of(init),
        weights=Path(weights) if weights else None,
        decoder=decoder,
        precision=precision,
        balance=balance,
        task_options={task: dict(values) for task, values in (task_options or {}).items()},
        loss_weights=loss_weights_of(loss_weights),
        lr_grid=tuple(lr_grid),
        loss_weight_grid=loss_weight_grid,
        tune=tune,
        all_splits=all_splits,
        all_schemes=all_schemes,
        all_trees=all_trees,
        max_arms=max_arms,
        affinity=words_of(affinity),
        arms=words_of(arms),
        schemes=words_of(schemes),
        weightings=words_of(weightings),
        seeds=tuple(seeds),
        force=force,
        keep_weights=words_of(keep_weights),
        executor=executor,
        gpus_per_trial=gpus_per_trial,
        resume_minutes=resume_minutes,
        track=words_of(track),
        address=address,
        results=Path(results),
    )
    interrupts.begin(is_guest=True)
    try:
        run_study(options, quiet)
    finally:
        interrupts.end()
    return load_results(results)


def run_study(options: RunOptions, quiet: bool) -> None:
    """Plan a study and execute it, with lines on how it goes unless `quiet`. Raises UserError, KeyboardInterrupt."""
    from mtlbench.execution.display import execute_shown, print_line
    from mtlbench.execution.study import plan
    from mtlbench.system.console import wide_console

    console = wide_console()
    console.quiet = quiet
    execute_shown(plan(options, partial(print_line, console)), console)


def starts_of(init: str | Mapping[str, str]) -> tuple[Start, ...]:
    """What `init` asks for. Raises UserError."""
    if isinstance(init, str):
        return (parse_start(init),) if init else ()
    return tuple(parse_start(f"{arms}={start}" if arms else start) for arms, start in init.items())


def loss_weights_of(weights: str | Mapping[str, float]) -> LossWeights:
    """What `loss_weights` asks for. Raises UserError."""
    if isinstance(weights, str):
        return parse_loss_weights(weights) if weights else LossWeights()
    for task, weight in weights.items():
        check_positive(weight, f"loss_weights of {task}")
    return LossWeights(tasks=dict(weights))


def words_of(words: str | Sequence[str]) -> tuple[str, ...]:
    """One word, or several."""
    return (words,) if isinstance(words, str) else tuple(words)
