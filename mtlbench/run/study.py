"""What `mtlbench run` does: from options to trials to a finished, reported run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mtlbench.arm_names import MEMBER, SEARCH
from mtlbench.errors import UserError
from mtlbench.plan.arms import at_rates, matching
from mtlbench.plan.data import prepared
from mtlbench.plan.expand import expand, needs_weights, parse_seeds, started
from mtlbench.plan.options import changed, chosen_arms, data_options_of, factors, keeping, parse_nested, usual, weighted
from mtlbench.plan.spaces import load, recipe_of
from mtlbench.plugins import plugin, unknown
from mtlbench.run.display import Display
from mtlbench.run.interrupts import interrupts
from mtlbench.run.local import run_local
from mtlbench.run.preflight import Costs, bytes_of, check_disk, check_gpu, pretrained_of, widened
from mtlbench.run.queue import Queue, Resources
from mtlbench.spec import Arm, Trial
from mtlbench.store.sources import changes
from mtlbench.store.store import Store
from mtlbench.system.console import wide_console
from mtlbench.text import bytes_text, duration, printable


def run_study(
    pair: str,
    space: str,
    dataset: str,
    data_root: Path | None,
    data_options: Sequence[str],
    val_fraction: float | None,
    recipe: str,
    backbone: str,
    init: Sequence[str],
    weights: Path | None,
    precision: str | None,
    task_options: Sequence[str],
    loss_weights: Sequence[str],
    lr_grid: str,
    all_splits: bool,
    all_schemes: bool,
    arms: Sequence[str],
    schemes: Sequence[str],
    seeds: str,
    executor: str,
    gpus_per_trial: float | None,
    resume_every: float,
    address: str,
    dry_run: bool,
    force: str,
    keep_weights: Sequence[str],
    results: Path,
) -> int:
    """Run a study and return the exit status: 0, or 1 where trials failed. Raises UserError."""
    if pair and space and pair != space:
        raise UserError("--pair and --space mean the same: give one of them")
    if not (pair or space):
        raise UserError("say what to study, for example --pair det_attr")
    console = wide_console()
    study = load(pair or space)
    dataset = dataset or next(iter(study.datasets))
    if dataset not in study.datasets and ".py" not in dataset:
        raise unknown(f"data set for {study.pair.name}", dataset, study.datasets)
    chosen = changed(
        recipe_of(study, recipe or study.datasets.get(dataset) or usual(study)),
        study,
        dataset,
        backbone,
        precision,
        data_options_of(data_options, val_fraction),
        parse_nested(task_options, "--task-option"),
    )
    chosen = weighted(chosen, study, loss_weights)
    wanted, chosen = started(chosen_arms(study, all_splits, all_schemes, arms, schemes), chosen, init)
    wanted = at_rates(wanted, factors(lr_grid))
    numbers = parse_seeds(seeds)
    check_gpu(chosen, recipe, address, console)
    store = Store(results, create=not dry_run)
    columns = plugin("backbone", chosen.backbone, chosen.backbone_options)
    pretrained = pretrained_of(columns, study.pair.form, weights) if needs_weights(wanted, chosen) else None
    if weights and not pretrained:
        raise UserError("--weights: no network starts from ImageNet weights; add --init imagenet")
    data, fingerprint, root = prepared(dataset, study.pair.tasks, chosen, data_root, console)
    costs = Costs()

    def planned(arms: Sequence[Arm], seeds: Sequence[int]) -> list[Trial]:
        return expand(study.pair, arms, seeds, data, root, fingerprint, columns, chosen, pretrained)

    trials = keeping(planned(widened(wanted, lambda arms: planned(arms, numbers[:1]), costs), numbers), keep_weights)
    done = {trial.key for trial in trials if store.done(trial)}
    forced = matching([arm.name for arm in wanted], force) if force else []
    fresh = {trial.key for trial in trials if trial.arm in forced}
    done -= fresh
    if without := [trial for trial in unique(trials) if trial.key not in fresh and lacks_weights(trial, store)]:
        console.print(
            f"finished without keeping weights: {len(without)}; trained again for --keep-weights (on a "
            "processor of the same kind to the same numbers)",
            highlight=False,
            soft_wrap=True,
        )
    if dry_run:
        console.print(listing(trials, done, costs))
        missing = [trial for trial in unique(trials) if trial.key not in done]
        console.print(
            f"{len(missing)} trials to run, which write about {bytes_text(bytes_of(missing, costs))}", highlight=False
        )
        return 0
    note_names(trials, store, done)
    distinct = unique(trials)
    missing = [trial for trial in distinct if trial.key not in done]
    for trial in missing:
        costs.of(trial)  # options that make no network are refused before anything is said
    console.print(
        f"{study.pair.name} on {data.name}, recipe {chosen.name}, {columns.label}: "
        f"{len({a.name for a in wanted} - {MEMBER, SEARCH})} arms, {len(numbers)} seeds, {len(distinct)} trials, "
        f"{len(done)} of them done; results in {store.root}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if not missing:
        console.print("nothing to do; mtlbench table and mtlbench plot figure2 show the results", highlight=False)
        return 0
    start = time.monotonic()
    resources = Resources(gpus_per_trial, 60.0 * resume_every)
    with store.open(study.pair.name, data.name) as board:
        # Another run may have ended since we looked.
        missing = [trial for trial in missing if trial.key in fresh or not store.done(trial)]
        for change in changes(missing, store.folder(distinct[0]).parent, fresh):
            console.print(change.line, style="yellow", highlight=False, markup=False, soft_wrap=True)
            missing = [trial for trial in missing if trial not in change.held]
            distinct = [trial for trial in distinct if trial not in change.held]
        queue = Queue(distinct, {trial.key for trial in distinct} - {trial.key for trial in missing}, costs.work)
        check_disk(missing, costs, store)
        store.plan(missing)
        with Display(queue, board, console) as display:
            if executor == "local" or not missing:
                run_local(queue, store, display, resources, fresh)
            else:
                from mtlbench.run.ray_process import run_apart

                run_apart(queue, store, display, resources, address, fresh)
    if queue.running or interrupts.asked:  # Tune returns quietly after an interrupt
        raise KeyboardInterrupt
    note_names(trials, store, queue.done)
    return conclude(queue, store, console, time.monotonic() - start)


def lacks_weights(trial: Trial, store: Store) -> bool:
    """Whether the trial is finished, and not done only because it kept no weights."""
    result = store.result(trial) if trial.keep_weights else None
    return result is not None and "weights.pt" not in result.files


def note_names(trials: Sequence[Trial], store: Store, done: set[str]) -> None:
    """Finished trials go by every name that they were asked for under."""
    for trial in trials:
        if trial.key in done:
            store.name(trial)


def unique(trials: Sequence[Trial]) -> list[Trial]:
    """Every network once, under its first name."""
    return list({trial.key: trial for trial in reversed(trials)}.values())[::-1]


def listing(trials: Sequence[Trial], done: set[str], costs: Costs) -> Table:
    """The table of --dry-run."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("arm", "task", "seed", "key"):
        table.add_column(column)
    for column in ("iterations", "parameters", "FLOPs"):
        table.add_column(column, justify="right")
    table.add_column("state")
    from mtlbench.text import short

    names = {trial.key: trial for trial in trials}
    for trial in trials:
        parameters, flops = costs.of(trial)
        waits = [names[p].label for p in trial.parents if p not in done]
        state = "cached" if trial.key in done else f"waits for {' and '.join(waits)}" if waits else "ready"
        task = trial.tasks[0] if len(trial.tasks) == 1 else "all"
        table.add_row(
            trial.arm, task, str(trial.seed), trial.key, str(trial.iterations), short(parameters), short(flops), state
        )
    return table


def conclude(queue: Queue, store: Store, console: Console, seconds: float) -> int:
    """Say how the run ended; 1 where something failed or is blocked."""

    def say(line: str) -> None:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    for key, reason in queue.failed.items():
        say(f"failed: {queue.trials[key].label}: {reason}  ({store.folder(queue.trials[key]) / 'error.txt'})")
    for blocked in queue.blocked():
        say(f"blocked: {blocked.trial.label} waits for {blocked.because_of.label}, which failed")
    done = len(queue.done & set(queue.trials))
    say(f"{done} of {len(queue.trials)} trials done, {duration(seconds)}; see mtlbench table and mtlbench plot figure2")
    return 1 if queue.failed or done < len(queue.trials) else 0
