"""What `mtlbench run` does: from options to trials to a finished, reported run."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mtlbench.display import Display, duration
from mtlbench.enumerator import (
    MEMBER,
    SEARCH,
    Pretrained,
    at_rates,
    check_arms,
    custom,
    expand,
    matching,
    needs_weights,
    one_task,
    parse_seeds,
    plugin,
    select,
    started,
)
from mtlbench.errors import UserError, printable
from mtlbench.machine import cores
from mtlbench.plugins import Dataset, blamed, class_of, create, is_file, unknown
from mtlbench.schedule import Queue, Resources, interrupts, run_local
from mtlbench.sources import changes
from mtlbench.spaces import load, recipe_of
from mtlbench.spec import Arm, Options, Plugin, Recipe, SearchSpace, Trial
from mtlbench.status import bytes_text, wide_console
from mtlbench.store import Store
from mtlbench.values import parse, parse_nested

SMALL_FILES = 1 << 20  # bytes a trial: result, curve, alphas, predictions


def run_study(
    pair: str, space: str, dataset: str, data_root: Path | None, data_options: Sequence[str],
    val_fraction: float | None, recipe: str, backbone: str, init: Sequence[str], weights: Path | None,
    precision: str | None, task_options: Sequence[str], loss_weights: Sequence[str], lr_grid: str, all_splits: bool,
    all_schemes: bool, arms: Sequence[str], schemes: Sequence[str], seeds: str, executor: str,
    gpus_per_trial: float | None, resume_every: float, address: str, dry_run: bool, force: str,
    keep_weights: Sequence[str], results: Path,
) -> int:  # fmt: skip
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
        recipe_of(study, recipe or study.datasets.get(dataset) or usual(study)), study, dataset, backbone, precision,
        data_options_of(data_options, val_fraction), parse_nested(task_options, "--task-option"),
    )  # fmt: skip
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
        console.print(f"finished without keeping weights: {len(without)}; trained again for --keep-weights (on a "
                      "processor of the same kind to the same numbers)", highlight=False, soft_wrap=True)  # fmt: skip
    if dry_run:
        console.print(listing(trials, done, costs))
        missing = [trial for trial in unique(trials) if trial.key not in done]
        console.print(f"{len(missing)} trials to run, which write about {bytes_text(bytes_of(missing, costs))}",
                      highlight=False)  # fmt: skip
        return 0
    note_names(trials, store, done)
    distinct = unique(trials)
    missing = [trial for trial in distinct if trial.key not in done]
    for trial in missing:
        costs.of(trial)  # options that make no network are refused before anything is said
    console.print(
        f"{study.pair.name} on {data.name}, recipe {chosen.name}, {columns.label}: "
        f"{len({a.name for a in wanted} - {MEMBER, SEARCH})} arms, {len(numbers)} seeds, {len(distinct)} trials, "
        f"{len(done)} of them done; results in {store.root}", highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
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
                from mtlbench.ray_executor import run_ray

                run_ray(queue, store, display, resources, address, fresh)
    if queue.running or interrupts.asked:  # Tune returns quietly after an interrupt
        raise KeyboardInterrupt
    note_names(trials, store, queue.done)
    return conclude(queue, store, console, time.monotonic() - start)


def check_disk(missing: Sequence[Trial], costs: Costs, store: Store) -> None:
    """Raises UserError where the disk of the store cannot hold what the trials will write."""
    needed = bytes_of(missing, costs)
    free = shutil.disk_usage(store.root).free
    if needed > free:
        raise UserError(
            f"{len(missing)} trials write about {bytes_text(needed)}, and {bytes_text(free)} are free on the disk of "
            f"{store.root}; make room, or use another folder with --results"
        )


def bytes_of(missing: Sequence[Trial], costs: Costs) -> int:
    """What the trials write to the store, roughly: weights that others may start from, small files, and the resume
    files (weights and momentum) of those that run at a time."""
    weights = {trial.key: 4 * costs.of(trial)[0] for trial in missing}
    kept = sum(weights[t.key] for t in missing if t.keep_weights or len(t.tasks) == 1 and not t.parents)
    largest = sorted(weights.values())[-cores() :]
    return kept + SMALL_FILES * len(missing) + 2 * sum(largest)


def keeping(trials: Sequence[Trial], globs: Sequence[str]) -> list[Trial]:
    """The trials; those whose arm matches one of the globs, under any of its names, keep their weights. Raises
    UserError."""
    arms = {name for glob in globs for name in matching(sorted({trial.arm for trial in trials}), glob)}
    keys = {trial.key for trial in trials if trial.arm in arms and not trial.average}
    return [dataclasses.replace(trial, keep_weights=True) if trial.key in keys else trial for trial in trials]


def lacks_weights(trial: Trial, store: Store) -> bool:
    """Whether the trial is finished, and not done only because it kept no weights."""
    result = store.result(trial) if trial.keep_weights else None
    return result is not None and "weights.pt" not in result["files"]


def chosen_arms(
    space: SearchSpace, all_splits: bool, all_schemes: bool, globs: Sequence[str], schemes: Sequence[str]
) -> tuple[Arm, ...]:
    """The arms that the options ask for, parents included; a glob means arms of `more` where it means no others.

    Raises UserError.
    """
    known, own = (*space.arms, *space.more), tuple(map(custom, schemes))
    everything = (*known, *(arm for arm in own if arm not in known))  # `--scheme nddr` is the arm that there is
    check_arms(everything)
    usual = [arm.name for arm in everything if arm not in space.more]
    names = [name for glob in globs for name in fnmatch.filter(usual, glob) or [glob]]
    if not globs:
        names = [arm.name for arm in space.arms] if all_splits or all_schemes else list(space.short_list)
    more = [arm.name for arm in space.more] if all_schemes else []
    return select(everything, [*names, *more, *(arm.name for arm in own)])


def weighted(recipe: Recipe, space: SearchSpace, texts: Sequence[str]) -> Recipe:
    """The recipe with the weights of losses that the texts ask for: "equal", "uncertainty" or "TASK=W,TASK=W".

    Raises UserError.
    """
    for text in (part.strip() for parts in texts for part in parts.split(",")):
        task, given, number = text.partition("=")
        if text == "uncertainty":
            recipe = dataclasses.replace(recipe, weighting=text)
        elif text == "equal":
            recipe = dataclasses.replace(recipe, loss_weight=dict.fromkeys(space.pair.tasks, 1.0))
        elif not given:
            raise UserError(f"--loss-weight {text!r}: write equal, uncertainty or {space.pair.tasks[0]}=0.5")
        elif task not in space.pair.tasks:
            raise unknown(f"task of {space.pair.name} (--loss-weight TASK=WEIGHT)", task, space.pair.tasks)
        else:
            weight = positive(number, f"--loss-weight {text}")
            recipe = dataclasses.replace(recipe, loss_weight=recipe.loss_weight | {task: weight})
    return recipe


def factors(text: str) -> tuple[float, ...]:
    """`0.3,1,3` as numbers; no text, none. Raises UserError."""
    return tuple(positive(part, f"--lr-grid {text}") for part in text.split(",") if text)


def positive(text: str, where: str) -> float:
    """A number above 0. Raises UserError."""
    try:
        if 0 < (number := float(text)) < math.inf:
            return number
    except ValueError:
        pass
    raise UserError(f"{where}: {text!r} is not a number above 0")


def widened(arms: Sequence[Arm], planned: Callable[[Sequence[Arm]], list[Trial]], costs: Costs) -> tuple[Arm, ...]:
    """The arms with the width of wide ones found: each network has the parameters of all one-task networks together,
    within 1 %, by a secant search over the backbone's option `widen` (Ours). Raises UserError where it has none."""
    if not any(arm.wide for arm in arms):
        return tuple(arms)
    target = math.log(sum(costs.of(trial)[0] for trial in planned([one_task()])))

    def excess(arm: Arm, log_width: float) -> float:
        at_width = dataclasses.replace(arm, backbone=arm.backbone | {"widen": round(math.exp(log_width), 3)})
        return math.log(max(costs.of(trial)[0] for trial in planned([at_width]))) - target

    def fitting(arm: Arm) -> Arm:
        before, now = 0.0, math.log(2) / 2  # parameters grow with the square of the width, nearly
        error_before, error = excess(arm, before), excess(arm, now)
        for _ in range(6):
            if abs(error) < 0.01 or error == error_before:
                break
            before, now = now, now - error * (now - before) / (error - error_before)
            error_before, error = error, excess(arm, now)
        return dataclasses.replace(arm, backbone=arm.backbone | {"widen": round(math.exp(now), 3)})

    return tuple(fitting(arm) if arm.wide else arm for arm in arms)


def changed(
    recipe: Recipe, space: SearchSpace, dataset: str, backbone: str, precision: str | None, data_options: Options,
    task_options: dict[str, Options],
) -> Recipe:  # fmt: skip
    """The recipe under the options of the command line. Raises UserError."""
    if backbone and backbone != recipe.backbone:
        recipe = dataclasses.replace(recipe, backbone=backbone, backbone_options={})
    for task in task_options:
        if task not in space.pair.tasks:
            raise unknown(f"task of {space.pair.name} (--task-option TASK.NAME=VALUE)", task, space.pair.tasks)
    tasks = {task: recipe.task_options.get(task, {}) | more for task, more in task_options.items()}
    name = name_of(dataset)
    data = recipe.dataset_options.get(name, {}) | data_options
    return dataclasses.replace(
        recipe, precision=precision or recipe.precision, task_options=recipe.task_options | tasks,
        dataset_options=recipe.dataset_options | ({name: data} if data else {}),
    )  # fmt: skip


def usual(space: SearchSpace) -> str:
    """The recipe for a data set that the space does not name: short, or the first."""
    names = [recipe.name for recipe in space.recipes]
    return "short" if "short" in names else names[0]


def name_of(dataset: str) -> str:
    """What a data set goes by in recipes: a file by its class, since paths are no part of an identity."""
    return class_of(dataset) if is_file(dataset) else dataset


def data_options_of(texts: Sequence[str], val_fraction: float | None) -> Options:
    """What --data-option and --val-fraction say. Raises UserError."""
    options = parse(texts, "--data-option")
    return options if val_fraction is None else options | {"val_fraction": val_fraction}


def pretrained_of(backbone: Plugin, form: str, file: Path | None) -> Pretrained:
    """The file of weights that networks start from, checked against the backbone. Raises UserError."""
    from mtlbench import weights

    made = create("backbone", backbone.source or backbone.name, form=form, **backbone.options)
    path = weights.locate(backbone.name, made, file)
    made.adapted(weights.read(path))  # refused here, not in every trial
    return Pretrained(str(path.resolve()), weights.digest(path))


def check_gpu(recipe: Recipe, named: str, address: str, console: Console) -> None:
    """Raises UserError where a recipe that needs a GPU finds none on this machine, unless it was named."""
    import torch

    if not recipe.gpu_hours or address:
        return
    present = torch.cuda.is_available()
    needs = f"recipe {recipe.name} takes about {recipe.gpu_hours:.0f} hours of a GPU for all arms of one seed"
    if not present and named != recipe.name:
        raise UserError(
            f"{needs}, and there is none here; type --recipe short for minutes, --recipe {recipe.name} to insist"
        )
    console.print(needs if present else f"{needs}; without one, some 50 times that", highlight=False)


def opened(name: str, options: Options, data_root: Path | None) -> tuple[Dataset, Plugin, str]:
    """A data set with these options, not yet prepared, and its folder as absolute text. Raises UserError."""
    data = plugin("dataset", name, options)
    root = data_root.expanduser().resolve() if data_root else None
    with blamed(name):  # as trial.open_dataset, which is not here before torch is
        return create("dataset", data.source or data.name, root=root, **data.options), data, str(root or "")


def prepared(
    name: str, tasks: Sequence[str], recipe: Recipe, data_root: Path | None, console: Console
) -> tuple[Plugin, str, str]:
    """The data set with its caches made, its fingerprint, and its folder as absolute text. Raises UserError where it
    has no labels for one of the tasks."""
    dataset, data, root = opened(name, recipe.dataset_options.get(name_of(name), {}), data_root)
    if lacking := [task for task in tasks if task not in dataset.tasks]:
        raise UserError(f"{name} has no labels for {' and '.join(lacking)} (it has {', '.join(dataset.tasks)}); give a "
                        "--pair of its tasks, docs/own_task.md says how to make one")  # fmt: skip
    with blamed(name):
        dataset.prepare(lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
        return data, dataset.fingerprint(), root


class Costs:
    """Parameters and FLOPs of trials, each network counted once; 0 where a network cannot be built."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[int, int]] = {}

    def of(self, trial: Trial) -> tuple[int, int]:
        """Parameters, and FLOPs of one image forward."""
        same = (trial.tasks, trial.scheme.label, trial.scheme.source, trial.backbone.label,
                trial.backbone.options.get("widen"), len(trial.parents) if trial.average else 0)  # fmt: skip
        if same not in self._known:
            self._known[same] = self._count(trial)
        return self._known[same]

    @staticmethod
    def _count(trial: Trial) -> tuple[int, int]:
        from mtlbench.trial import Context

        try:
            return Context(trial).cost()
        except Exception:  # a user's scheme: its trials fail, with the reason each, and the others go on
            if not is_file(trial.scheme.source):
                raise
            return 0, 0

    def work(self, trial: Trial) -> float:
        """Floating-point operations of training (forward and backward = 3 forward) and of about 400 evaluations."""
        visits = trial.iterations * trial.recipe["images"]
        return self.of(trial)[1] * (3.0 * visits + 400.0)


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
    from mtlbench.tables import short

    names = {trial.key: trial for trial in trials}
    for trial in trials:
        parameters, flops = costs.of(trial)
        waits = [names[p].label for p in trial.parents if p not in done]
        state = "cached" if trial.key in done else f"waits for {' and '.join(waits)}" if waits else "ready"
        task = trial.tasks[0] if len(trial.tasks) == 1 else "all"
        table.add_row(trial.arm, task, str(trial.seed), trial.key, str(trial.iterations), short(parameters),
                      short(flops), state)  # fmt: skip
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
