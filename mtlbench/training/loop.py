"""The one training loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Batch, Task
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.spec import Options, Recipe
from mtlbench.training.conflicts import Conflicts
from mtlbench.training.evaluation import Diverged
from mtlbench.training.losses import Losses, Pieces, add_plain
from mtlbench.training.optimiser import by_owner, compute_rate, make_optimiser
from mtlbench.training.record import Record, ResumeFile, alpha_means
from mtlbench.training.weighing import Weigher

ALPHA_POINTS = 20
LOSSES_AT_ONCE = 20  # steps between two looks at the loss on a GPU, where each look waits for the device
CONFLICTS_SHARE = 0.02  # of the time of a training that noting conflicts may take (Ours)
BACKWARD = 0.6  # of a step's time that a backward pass of one task takes (measured: benchmarks/README.md)
TOO_LARGE = 1e4  # times the first loss: diverged (Ours)


def add_gradients(
    net: MultiTaskNet,
    tasks: dict[str, Task],
    batch: Batch,
    recipe: Recipe,
    iteration: int,
    progress: float = 0.0,
    weigher: Weigher | None = None,
    conflicts: Conflicts | None = None,
) -> Losses:
    """Add the gradient of the weighted losses to the parameters', `chunk` images at a time, and that of what the scheme
    adds; returns the losses. A `weigher` decides how tasks that share parameters count; `conflicts` look on."""
    pieces = Pieces(net, tasks, batch, recipe, iteration, progress, conflicts)
    losses = weigher.add_gradients(pieces) if weigher else add_plain(net, pieces)
    terms = [variance / 2 for name, variance in net.log_variances.items() if name in batch.labels]
    if (penalty := net.penalty()) is not None:
        terms.append(penalty)
    if terms:
        torch.stack(terms).sum().backward()
    return losses


class Training:
    """The training of one network in place, for `iterations` steps; `record` tells of it.

    Goes on where `resume` left off, if that file is of this training.
    """

    def __init__(
        self,
        net: MultiTaskNet,
        tasks: dict[str, Task],
        recipe: Recipe,
        iterations: int,
        resume: ResumeFile | None = None,
        weighting: Any = None,
    ) -> None:
        """`weighting`: a fresh `LossWeighting` or `GradientWeighting`; None is the plain sum. Raises UserError where
        the scheme's rates name no parameter."""
        self.net, self.tasks, self.recipe, self.iterations, self.resume = net, tasks, recipe, iterations, resume
        self.record = Record()
        self.done = 0  # steps, with those before the resume file
        self._steps_here = 0
        self.optimiser = make_optimiser(net, recipe)
        self._weigher = Weigher(weighting, net) if weighting is not None else None
        self._owners = by_owner(net)
        self._trained = [parameter for parameters in self._owners for parameter in parameters]
        if self._weigher and (own := self._weigher.parameters):
            scale = getattr(weighting, "lr_multiplier", 1.0)
            self.optimiser.add_param_group({"params": own, "scale": scale, "weight_decay": 0.0})
            self._trained += own
        self._device = next(net.parameters()).device
        self._watch = LossWatch(tuple(tasks), LOSSES_AT_ONCE if self._device.type == "cuda" else 1)
        self._curve_at = choose_curve_points(iterations, recipe.curve_points)
        self._conflicts_at = choose_conflict_points(self._curve_at, iterations, len(tasks))
        self._alphas_at = {round((iterations - 1) * k / (ALPHA_POINTS - 1)) for k in range(ALPHA_POINTS)}
        self._begin_sums()
        self._begun = self._saved = time.monotonic()
        if resume and "optimiser" in (state := resume.load() or {}):  # older files lack it
            self._restore(state)

    def run(
        self,
        batches: Callable[[int], Generator[Batch]],
        first: int,
        evaluate_curve: Callable[[], dict[str, float]],
    ) -> Iterator[float]:
        """Train to the end, yielding the finished fraction after every step.

        `batches(i)` gives the batches from data index i on, on the network's device; steps use those from `first` on.
        `evaluate_curve` gives each task's headline. Raises Diverged.
        """
        self.net.train()
        with contextlib.closing(batches(first + self.done)) as upcoming:
            for i in range(self.done, self.iterations):
                begun = time.monotonic()
                batch = next(upcoming)
                self.record.wait_seconds += time.monotonic() - begun
                if i in self._alphas_at:
                    self.record.alphas += alpha_means(self.net, i)
                with self.record.step_clock():
                    self._step(i, batch, first + i)
                self.record.training_seconds += time.monotonic() - begun
                self.done = i + 1
                if i in self._curve_at:
                    self._add_to_curve(i, evaluate_curve)
                self._save_at_times()
                yield self.done / self.iterations
        self.record.alphas += alpha_means(self.net, self.iterations)

    def _step(self, i: int, batch: Batch, data_index: int) -> None:
        """One update of the weights. Raises Diverged, and UserError where a parameter is of no use."""
        factor = compute_rate(self.recipe, i, self.iterations)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.lr * group["scale"] * factor
        for parameter in self._trained:  # what zero_grad does, without its bookkeeping
            parameter.grad = None
        progress = i / self.iterations
        conflicts = Conflicts() if i in self._conflicts_at else None
        losses = add_gradients(self.net, self.tasks, batch, self.recipe, data_index, progress, self._weigher, conflicts)
        if self._steps_here == 0:
            check_use(self.net)
        self._steps_here += 1
        self._watch.look(i, losses, self.net, now=i in self._curve_at)
        if conflicts:
            self.record.conflicts += conflicts.rows(i + 1)
        if self.recipe.clip:
            for parameters in self._owners:
                nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        self.optimiser.step()
        if self._weigher:
            self._weigher.after(Pieces(self.net, self.tasks, batch, self.recipe, data_index, progress))
        for name, loss in losses.items():
            self._loss_sums[name] = self._loss_sums[name] + loss
        self._summed += 1

    def _begin_sums(self) -> None:
        """The training loss is averaged between two points of the curve."""
        self._loss_sums = dict.fromkeys(self.tasks, torch.zeros((), device=self._device))
        self._summed = 0

    def _add_to_curve(self, i: int, evaluate_curve: Callable[[], dict[str, float]]) -> None:
        with self.record.evaluation_clock(), locate(i, self.net):
            headline = evaluate_curve()
        self.net.train()
        for name in self.tasks:
            self.record.curve.append(
                {
                    "iteration": i + 1,
                    "task": name,
                    "train_loss": float(self._loss_sums[name]) / self._summed,
                    "val_headline": headline[name],
                }
            )
        self._begin_sums()

    def _save_at_times(self) -> None:
        """Replace the resume file after its time, and after a long training, whose evaluation is long too."""
        if not self.resume:
            return
        now, ended = time.monotonic(), self.done == self.iterations
        if now - (self._begun if ended else self._saved) < self.resume.every:
            return
        self.resume.save(
            {
                "net": self.net.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "record": vars(self.record),
                "sums": self._loss_sums,
                "steps": self._summed,
                "done": self.done,
                "first_loss": self._watch.first,
                "seconds": now - self._begun,
                **({"weighting": self._weigher.state()} if self._weigher else {}),
            }
        )
        self._saved = time.monotonic()

    def _restore(self, state: Options) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        for parameter, kept in self.optimiser.state.items():  # torch's fused step takes their equal layouts for granted
            for name, value in kept.items():
                if value.shape == parameter.shape and value.ndim:
                    kept[name] = torch.empty_like(parameter).copy_(value)
        self.record = Record(**state["record"])
        self._loss_sums = {name: total.to(self._device) for name, total in state["sums"].items()}
        self._summed, self.done, self._watch.first = state["steps"], state["done"], state["first_loss"]
        self.record.earlier_seconds = state["seconds"]
        if self._weigher:
            self._weigher.restore(state["weighting"])
        self._begun -= self.record.earlier_seconds


def choose_curve_points(iterations: int, points: int) -> set[int]:
    """The iterations after which the curve has a point, evenly to the last."""
    return {round(iterations * (k + 1) / points) - 1 for k in range(points)}


def choose_conflict_points(curve: Collection[int], iterations: int, tasks: int) -> set[int]:
    """The points of the curve at which conflicts are noted, evenly back from the last, so that their backward passes
    take no more than CONFLICTS_SHARE of the training."""
    if tasks < 2:
        return set()
    most = max(1, int(CONFLICTS_SHARE * iterations / (BACKWARD * tasks)))
    return set(sorted(curve, reverse=True)[:: max(1, -(-len(curve) // most))])


def check_use(net: MultiTaskNet) -> None:
    """Raises UserError where a parameter has no gradient after a step: nothing depends on it (Ours)."""
    unused = [name for name, parameter in net.named_parameters() if parameter.requires_grad and parameter.grad is None]
    if unused:
        more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
        raise UserError(f"the loss does not depend on {unused[0]}{more}: use it in forward, or leave it out")


class LossWatch:
    """Ends a training at the first loss that is no number, or more than TOO_LARGE times the first one (Ours)."""

    def __init__(self, tasks: tuple[str, ...], at_once: int) -> None:
        self.tasks, self.at_once = tasks, at_once
        self.first: list[float] = []
        self._recent: list[tuple[int, Tensor]] = []

    def look(self, i: int, losses: dict[str, Tensor], net: MultiTaskNet, now: bool) -> None:
        """Note the losses of step i, before its update; examined `now` or every `at_once` steps. Raises Diverged."""
        self._recent.append((i, torch.stack([loss.detach() for loss in losses.values()])))
        if len(self._recent) < self.at_once and not now:
            return
        steps = [step for step, _ in self._recent]
        for step, values in zip(steps, torch.stack([loss for _, loss in self._recent]).tolist(), strict=True):
            self.first = self.first or [max(1.0, value) for value in values]
            if not all(value <= TOO_LARGE * start for value, start in zip(values, self.first, strict=True)):
                found = ", ".join(f"{name} {value:.3g}" for name, value in zip(self.tasks, values, strict=True))
                with locate(step, net):
                    raise Diverged(f"the loss is {found}")
        self._recent.clear()


@contextlib.contextmanager
def locate(step: int, net: MultiTaskNet) -> Iterator[None]:
    """A Diverged from inside says after which iteration, and where the alphas (means over channels) stood."""
    try:
        yield
    except Diverged as error:
        means = {
            stage: [[round(float(a.mean()), 4) for a in row] for row in alpha] for stage, alpha in net.alphas().items()
        }
        details = f"alphas {means}" if means else ""
        raise Diverged(f"{error.message} at iteration {step + 1}", details) from error
