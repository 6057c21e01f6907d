"""A study: planned from its options (which trials, which of them are done), then executed; both return data."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial

from mtlbench.errors import UserError
from mtlbench.execution.costs import Costs
from mtlbench.execution.interrupts import interrupts
from mtlbench.execution.local import run_local
from mtlbench.execution.preflight import check_disk, check_gpu, find_pretrained
from mtlbench.execution.queue import Blocked, Queue, Resources, Watcher
from mtlbench.execution.tables import space_of
from mtlbench.execution.tracking import add_trackers
from mtlbench.execution.wide_arms import find_widths
from mtlbench.plan.affinity import at_every_two
from mtlbench.plan.arms import at_methods, at_rates, at_weightings, match
from mtlbench.plan.backbones import on_backbone, pin
from mtlbench.plan.chosen import choose_arms, choose_dataset, choose_recipe, mark_to_keep
from mtlbench.plan.data import Prepared, prepare_dataset
from mtlbench.plan.expand import (
    NO_SETTINGS,
    DataSource,
    Pretrained,
    Settings,
    apply_init,
    expand,
    starts_with_weights,
)
from mtlbench.plan.options import RunOptions
from mtlbench.plan.rounds import next_round
from mtlbench.plan.spaces import check_forms, without_twins
from mtlbench.plan.trees import choose_trees
from mtlbench.plugins import make_plugin
from mtlbench.spec import Arm, Family, Plugin, Recipe, SearchSpace, Trial
from mtlbench.store.board import Board
from mtlbench.store.shapes import FailureKind
from mtlbench.store.sources import Change, changes
from mtlbench.store.store import Store
from mtlbench.text import Say

Show = Callable[[Queue, Board], AbstractContextManager[Watcher]]  # who is told how a run goes


@dataclass(frozen=True)
class Study:
    """What a run is about to do.

    `trials`: all that belong to it, parents first, a network once under each of its names; while arms are tuned those
    that have to be scored next, and the study's own only when every arm has its setting. `done`: keys of those that the
    store has and that are not trained again; `fresh`: keys of those that are, though the store may have them; `tried`:
    those from which settings were chosen. `notes`: lines that a user should read before it starts.
    """

    options: RunOptions
    space: SearchSpace
    recipe: Recipe
    data: Prepared
    backbone: Plugin
    arms: tuple[Arm, ...]
    pretrained: Mapping[str, Pretrained]
    notes: tuple[str, ...]
    store: Store
    costs: Costs
    trials: tuple[Trial, ...] = ()
    done: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()
    is_tuning: bool = False
    tried: tuple[Trial, ...] = ()

    def expand(self, arms: Sequence[Arm], seeds: Sequence[int], settings: Settings = NO_SETTINGS) -> list[Trial]:
        """Trials of arms on this study's data and recipe. Raises UserError."""
        source = DataSource(self.data.plugin, self.data.root, self.data.fingerprint)
        return expand(self.space.pair, arms, seeds, source, self.backbone, self.recipe, self.pretrained, settings)

    @cached_property
    def distinct(self) -> list[Trial]:
        """Every network once, under its first name."""
        return list({trial.key: trial for trial in reversed(self.trials)}.values())[::-1]

    @property
    def missing(self) -> list[Trial]:
        """What has to be trained, each network once."""
        return [trial for trial in self.distinct if trial.key not in self.done]

    @property
    def compared(self) -> set[str]:
        """Names of the arms, without those that only serve others."""
        return {arm.name for arm in self.arms if arm.family != Family.PARENT}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: of `trials`, `done` are in the store; `failed` ones each with the reason, and those that wait
    for a failed one. `held`: changes of users' files because of which trials were left out."""

    trials: int
    done: int
    seconds: float
    failed: tuple[tuple[Trial, str], ...] = ()
    blocked: tuple[Blocked, ...] = ()
    held: tuple[Change, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all of them are in the store."""
        return not self.failed and self.done == self.trials


def plan(options: RunOptions, say: Say, create: bool = True) -> Study:
    """The trials of a run, and which of them are done; no trial is written.

    `say` takes lines on what is made of the data set; without `create` the results folder is not made. Raises
    UserError.
    """
    space, options = space_of(options, say)
    check_forms(space.pair)
    dataset = choose_dataset(space, options.dataset)
    recipe = choose_recipe(space, dataset, options)
    backbone = make_plugin("backbone", recipe.backbone, pin(recipe.backbone, recipe.backbone_options))
    space, recipe = on_backbone(space, backbone, recipe)
    space = without_twins(space)
    trees, about_trees = choose_trees(space, recipe, options)
    arms = choose_arms(
        space, options.all_splits, options.all_schemes, options.arms, options.schemes, trees, options.affinity
    )
    arms, recipe = apply_init(arms, recipe, options.init)
    arms = at_methods(arms, options.weightings)
    arms = at_rates(arms, options.lr_grid)
    if options.loss_weight_grid:
        arms = at_weightings(arms, space.pair.tasks, options.loss_weight_grid)
    arms = at_every_two(arms, options.affinity, space.pair.tasks)
    notes = [*about_trees, *check_gpu(recipe, options.recipe, options.address)]
    store = Store(options.results, create)
    needed = starts_with_weights(arms, recipe)
    pretrained = find_pretrained(needed, backbone, space.pair.form, dataset, options.weights)
    if options.weights and "imagenet" not in needed:
        raise UserError("--weights: no network starts from ImageNet weights; add --init imagenet")
    data = prepare_dataset(dataset, space.pair.tasks, recipe, options.data_root, say)
    if recipe.tune and not len(data.dataset.subset("val")):
        raise UserError(f"--tune chooses on val, and {dataset} keeps none; give a --val-fraction above 0")
    study = Study(options, space, recipe, data, backbone, arms, pretrained, tuple(notes), store, Costs())
    arms = find_widths(arms, lambda some: study.expand(some, options.seeds[:1]), study.costs)
    if options.force:
        match([arm.name for arm in arms], options.force)
    study = advance(dataclasses.replace(study, arms=arms))
    for trial in study.missing:
        study.costs.of(trial)  # options that make no network are refused before anything is begun
    return study


def advance(study: Study, failed: Collection[str] = ()) -> Study:
    """The study with the trials that are next: of a tuning round, or its own; `failed`: keys of trials that this run
    has given up. Raises UserError."""
    options, store, settings = study.options, study.store, NO_SETTINGS
    if study.recipe.tune:
        tasks = study.space.pair.tasks
        score = partial(score_on_val, store=store, failed=failed)
        following = next_round(study.arms, tasks, study.recipe, study.expand, score)
        study = dataclasses.replace(study, tried=following.scored)
        trials, settings = following.trials, following.settings
        if trials:
            done = frozenset(trial.key for trial in trials if store.done(trial))
            return dataclasses.replace(study, trials=trials, done=done, is_tuning=True)
    own = tuple(mark_to_keep(study.expand(study.arms, options.seeds, settings), options.keep_weights))
    forced = match([arm.name for arm in study.arms], options.force) if options.force else []
    fresh = frozenset(trial.key for trial in own if trial.arm in forced)
    done = frozenset(trial.key for trial in own if store.done(trial)) - fresh
    notes = study.notes
    if lacking := {trial.key for trial in own if trial.key not in fresh and lacks_weights(trial, store)}:
        notes += (
            f"finished without keeping weights: {len(lacking)}; trained again for --keep-weights (on a processor of "
            "the same kind to the same numbers)",
        )
    return dataclasses.replace(study, trials=own, done=done, fresh=fresh, notes=notes, is_tuning=False)


def score_on_val(trial: Trial, store: Store, failed: Collection[str] = ()) -> dict[str, float] | None:
    """{task: the headline on val, with a sign so that more is better} of a finished trial; {} for one that diverged or
    whose key is in `failed`; None for one that is to be trained."""
    if store.done(trial) and (result := store.result(trial)):
        return {
            row.task: row.value if about.higher_is_better else -row.value
            for row in result.scores
            if row.subset == "val" and not row.category and (about := result.metrics[row.task][row.metric]).headline
        }
    failure = store.failure(trial)
    return {} if trial.key in failed or (failure and failure.kind is FailureKind.DIVERGED) else None


def execute(study: Study, show: Show) -> Outcome:
    """Train what is missing of a study and keep it in the store; `show` makes who is told how it goes.

    Raises UserError, StoreBroken, and KeyboardInterrupt where the run is asked to end.
    """
    begin, given_up = time.monotonic(), set[str]()
    while study.is_tuning:
        outcome = _execute_next(study, show)
        given_up |= {trial.key for trial, _ in outcome.failed} | {one.trial.key for one in outcome.blocked}
        if outcome.done + len(given_up & {trial.key for trial in study.trials}) < outcome.trials or outcome.held:
            break
        study = advance(study, given_up)
    else:
        outcome = _execute_next(study, show)
    return dataclasses.replace(outcome, seconds=time.monotonic() - begin)


def _execute_next(study: Study, show: Show) -> Outcome:
    """Train what is missing of the study's trials. Raises what `execute` raises."""
    store, costs = study.store, study.costs
    note_names(study.trials, store, study.done)
    note_names(study.tried, store, {trial.key for trial in study.tried if store.done(trial)})
    if not study.missing:
        return Outcome(len(study.distinct), len(study.distinct), 0.0)
    with store.open(study.space.pair.name, study.data.plugin.name) as board:
        # Another run may have ended since the plan was made.
        missing = [trial for trial in study.missing if trial.key in study.fresh or not store.done(trial)]
        held = changes(missing, store.folder(study.trials[0]).parent, study.fresh)
        left_out = {trial.key for change in held for trial in change.held}
        missing = [trial for trial in missing if trial.key not in left_out]
        distinct = [trial for trial in study.distinct if trial.key not in left_out]
        queue = Queue(distinct, {trial.key for trial in distinct} - {trial.key for trial in missing}, costs.work)
        check_disk(missing, costs, store)
        store.plan(missing)
        with show(queue, board) as shown, add_trackers(shown, store, study.options.track) as watcher:
            for change in held:
                watcher.say(change.line)
            if study.is_tuning:
                watcher.say(round_line(missing))
            _train(queue, store, watcher, study.options, study.fresh)
    if queue.running or interrupts.asked:  # Tune returns quietly after an interrupt
        raise KeyboardInterrupt
    note_names(study.trials, store, queue.done)
    failed = tuple((queue.trials[key], reason) for key, reason in queue.failed.items())
    done = len(queue.done & set(queue.trials))
    return Outcome(len(queue.trials), done, 0.0, failed, tuple(queue.list_blocked()), tuple(held))


def round_line(trials: Sequence[Trial]) -> str:
    """What the next round of tuning is."""
    arms = {trial.variant_of or trial.arm for trial in trials}
    return f"tuning: {len(trials)} trials of {len(arms)} arms, which only choose settings on val"


def _train(queue: Queue, store: Store, watcher: Watcher, options: RunOptions, fresh: Collection[str]) -> None:
    """Run the queue with the executor that is asked for."""
    resources = Resources(options.gpus_per_trial, 60.0 * options.resume_minutes)
    if options.executor == "local" or len(queue.done) == len(queue.trials):
        run_local(queue, store, watcher, resources, fresh)
    else:
        from mtlbench.execution.ray_process import run_apart

        run_apart(queue, store, watcher, resources, options.address, fresh)


def lacks_weights(trial: Trial, store: Store) -> bool:
    """Whether the trial is finished, and not done only because it kept no weights."""
    result = store.result(trial) if trial.keep_weights else None
    return result is not None and "weights.pt" not in result.files


def note_names(trials: Sequence[Trial], store: Store, done: Collection[str]) -> None:
    """Finished trials go by every name that they were asked for under."""
    for trial in trials:
        if trial.key in done:
            store.name(trial)
