"""What is checked and counted before anything is trained: space, GPU, pretrained weights, costs."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.plan.arms import one_task
from mtlbench.plan.expand import Pretrained
from mtlbench.plugins import create, find
from mtlbench.spec import Arm, Options, Plugin, Recipe, Trial, is_file
from mtlbench.store.store import Store
from mtlbench.system.machine import cores
from mtlbench.text import bytes_text

SMALL_FILES = 1 << 20  # bytes a trial: result, curve, alphas, predictions


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
    kept = sum(weights[t.key] for t in missing if t.keep_weights or (len(t.tasks) == 1 and not t.parents))
    largest = sorted(weights.values())[-cores() :]
    return kept + SMALL_FILES * len(missing) + 2 * sum(largest)


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


def pretrained_of(
    starts: Iterable[str], backbone: Plugin, form: str, dataset: str, file: Path | None
) -> dict[str, Pretrained]:
    """{start: the file of weights that networks start from}, checked against the backbone. "imagenet" takes `file`, or
    torchvision's, "pretrained" the trunk of the data set. Raises UserError."""
    from mtlbench.nets import pretrained

    made = create("backbone", backbone.source or backbone.name, form=form, **backbone.options)
    found = {}
    for start in starts:
        options: Options = {}
        if start == "pretrained":
            path, options = _trunk(dataset, backbone.name, form)
        else:
            path = pretrained.locate(backbone.name, made, file)
        try:
            made.adapted(pretrained.read(path))  # refused here, not in every trial
        except UserError as error:
            if start != "pretrained":
                raise
            raise UserError(f"{error}; type --init scratch") from error
        found[start] = Pretrained(str(path.resolve()), pretrained.digest(path), options)
    return found


def _trunk(dataset: str, backbone: str, form: str) -> tuple[Path, Options]:
    """The data set's own. Raises UserError where it has none."""
    own: tuple[Path, Options] | None = getattr(find("dataset", dataset), "pretrained", lambda backbone, form: None)(
        backbone, form
    )
    if own is None:
        raise UserError(f"{dataset} has no pretrained trunk for {backbone} in form {form}; type --init scratch")
    return own


def check_gpu(recipe: Recipe, named: str, address: str) -> list[str]:
    """What to tell of a recipe that needs a GPU, as lines. Raises UserError where there is none on this machine, unless
    the recipe was `named` or runs elsewhere (`address`)."""
    import torch

    if not recipe.gpu_hours or address:
        return []
    present = torch.cuda.is_available()
    needs = f"recipe {recipe.name} takes about {recipe.gpu_hours:.0f} hours of a GPU for all arms of one seed"
    if not present and named != recipe.name:
        raise UserError(
            f"{needs}, and there is none here; type --recipe short for minutes, --recipe {recipe.name} to insist"
        )
    return [needs if present else f"{needs}; without one, some 50 times that"]


class Costs:
    """Parameters and FLOPs of trials, each network counted once; 0 where a network cannot be built."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], tuple[int, int]] = {}

    def of(self, trial: Trial) -> tuple[int, int]:
        """Parameters, and FLOPs of one image forward."""
        same = (
            trial.task_names,
            trial.scheme.label,
            trial.scheme.source,
            trial.backbone.label,
            trial.backbone.options.get("widen"),
            len(trial.parents) if trial.average else 0,
        )
        if same not in self._known:
            self._known[same] = self._count(trial)
        return self._known[same]

    @staticmethod
    def _count(trial: Trial) -> tuple[int, int]:
        from mtlbench.training.context import Context
        from mtlbench.training.process import unharmed

        try:
            with unharmed(), contextlib.redirect_stdout(io.StringIO()):  # it may print
                return Context(trial).cost()
        except Exception:  # a user's scheme: its trials fail, with the reason each, and the others go on
            if not is_file(trial.scheme.source):
                raise
            return 0, 0

    def work(self, trial: Trial) -> float:
        """Floating-point operations of training (forward and backward = 3 forward) and of about 400 evaluations."""
        visits = trial.iterations * trial.recipe.images
        return float(self.of(trial)[1] * (3.0 * visits + 400.0))
