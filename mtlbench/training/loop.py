"""The one training loop and the one evaluation."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Batch, Task
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet
from mtlbench.spec import Options
from mtlbench.system.files import replacing, writing
from mtlbench.training.batches import parts
from mtlbench.training.evaluation import Diverged

ALPHA_POINTS = 20
LOSSES_AT_ONCE = 20  # steps between two looks at the loss on a GPU, where each look waits for the device
TOO_LARGE = 1e4  # times the first loss: diverged (Ours)
Row = dict[str, Any]


@dataclass
class Record:
    """What training leaves besides weights; seconds are CPU seconds of this process inside steps and evaluation, and
    seconds of wall time between the start of a training step and its end, and waiting for its batch."""

    curve: list[Row] = field(default_factory=list)
    alphas: list[Row] = field(default_factory=list)
    step_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    training_seconds: float = 0.0
    wait_seconds: float = 0.0
    earlier_seconds: float = 0.0  # wall time before the resume file that this training went on from

    @contextlib.contextmanager
    def clock(self, what: str) -> Iterator[None]:
        """Add the CPU time spent inside to `step_seconds` or `evaluation_seconds`."""
        start = time.process_time()
        yield
        setattr(self, what, getattr(self, what) + time.process_time() - start)


@dataclass
class ResumeFile:
    """Where training keeps what it needs to go on bit for bit after an interrupt, and how many seconds lie between.

    A training that is shorter than `every` never writes one. A file that cannot be read, or is of a trial with another
    `key`, is ignored.
    """

    path: Path
    every: float
    key: str = ""

    def save(self, state: Options) -> None:
        """Replace the file."""
        with writing(self.path.parent), replacing(self.path) as temporary, open(temporary, "wb") as file:
            torch.save({**state, "key": self.key}, file)

    def load(self) -> Options | None:
        """What was saved last, on the CPU, or None."""
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            return state if state["key"] == self.key else None
        except Exception:  # truncated or foreign: torch raises what it likes
            return None


def rate(recipe: Options, i: int, iterations: int) -> float:
    """The factor on every group's base rate at step i of a run: warm-up, then cosine or one step down."""
    if i < recipe["warmup"]:
        return (i + 1) / (recipe["warmup"] + 1)
    if recipe["decay"] == "cosine":
        return 0.5 * (1 + math.cos(math.pi * i / iterations))
    return 0.1 if i >= recipe["step_at"] * iterations else 1.0


def optimiser(net: MultiTaskNet, recipe: Options) -> torch.optim.Optimizer:
    """SGD with Caffe's groups: weights; biases at `bias_lr` times the rate, without decay; units at their own
    multiplier, without decay (Ours). Each group keeps its factor in `scale`, and the schedule multiplies it, so that
    the ratio of rates holds at every step. The scheme's `rates` multiply those of the parameters that they name.
    Raises UserError where one names none."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    rates: dict[str, float] = getattr(net.scheme, "rates", {})
    unused = set(rates)
    for stage in recipe["frozen"]:
        net.trunk[stage].requires_grad_(False)
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        scale, decay = 1.0, recipe["weight_decay"]
        if name.startswith("log_variances."):
            decay = 0.0
        elif name.startswith("units."):
            multiplier = getattr(net.units[name.split(".")[1]], "lr_multiplier", None)
            scale, decay = (multiplier, 0.0) if multiplier is not None else (scale, decay)
        elif name.endswith("bias"):
            scale, decay = recipe["bias_lr"], 0.0
        for glob, factor in rates.items():
            if fnmatchcase(name, glob):
                unused.discard(glob)
                scale *= factor
        groups.setdefault((scale, decay), []).append(parameter)
    if unused:
        known = sorted(name.rpartition(".")[0] for name, _ in net.named_parameters())
        raise UserError(
            f"scheme {type(net.scheme).__name__}: no parameter matches {min(unused)!r} of its rates; "
            f"they are called like {known[0]} and {known[-1]}"
        )
    return torch.optim.SGD(
        [{"params": p, "scale": scale, "weight_decay": decay} for (scale, decay), p in groups.items()],
        lr=recipe["lr"],
        momentum=recipe["momentum"],
        fused=True,
    )


def by_owner(net: MultiTaskNet) -> list[list[nn.Parameter]]:
    """Trained parameters grouped by the tasks whose columns and heads they are; units are a group of their own.

    Gradients are clipped group by group, so that a column that shares nothing trains as it would alone (Ours).
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        part, *places = name.split(".")
        owner = {"trunk": places[1], "heads": places[0]}.get(part, part) if len(places) > 1 else part
        if parameter.requires_grad:
            groups.setdefault(owner, []).append(parameter)
    return list(groups.values())


def total_loss(tasks: dict[str, Task], outputs: dict[str, Tensor], batch: Batch, weights: Options) -> dict[str, Tensor]:
    """Each task's weighted loss, 0 where no image of the batch is labelled; a joint network minimises the sum."""
    return {
        name: weights.get(name, task.weight) * task.loss(outputs[name], batch)
        if name in batch.labels
        else 0.0 * outputs[name].sum()
        for name, task in tasks.items()
    }


def gradients(
    net: MultiTaskNet, tasks: dict[str, Task], batch: Batch, recipe: Options, iteration: int, progress: float = 0.0
) -> dict[str, Tensor]:
    """Add the gradient of the weighted losses to the parameters', `chunk` images at a time; returns the losses.

    Log-variances s weigh them as exp(-s) loss + s / 2 (Kendall et al. 2018, equation 10; ours: for every kind of task,
    since the factor 1/2 of their regression shifts s by a constant only); the losses that are returned are without.

    A task's loss is a mean, so that the pieces' losses count by what they are means over (gradient accumulation: the
    mini-batch of the recipe on any device).
    """
    pieces = parts(batch, recipe["chunk"])
    counts = {
        name: torch.stack([task.count(piece) for piece in pieces])
        for name, task in tasks.items()
        if len(pieces) > 1 and name in batch.labels
    }
    losses = dict.fromkeys(tasks, torch.zeros((), device=batch.images.device))
    for number, piece in enumerate(pieces):
        net.begin(iteration, number, progress)
        found = total_loss(tasks, net(piece.images, piece.regions), piece, recipe["loss_weight"])
        for name, count in counts.items():
            found[name] = found[name] * (count[number] / count.sum().clamp(min=1))
        weighted = [
            loss * torch.exp(-net.log_variances[name]) if name in net.log_variances else loss
            for name, loss in found.items()
        ]
        torch.stack(weighted).sum().backward()
        losses = {name: loss + found[name].detach() for name, loss in losses.items()}
    terms = [variance / 2 for name, variance in net.log_variances.items() if name in batch.labels]
    if (penalty := net.penalty()) is not None:
        terms.append(penalty)
    if terms:
        torch.stack(terms).sum().backward()
    return losses


def train(
    net: MultiTaskNet,
    tasks: dict[str, Task],
    batches: Callable[[int], Generator[Batch]],
    recipe: Options,
    iterations: int,
    first: int,
    record: Record,
    evaluate_curve: Callable[[], dict[str, float]],
    resume: ResumeFile,
) -> Iterator[float]:
    """Train in place, yielding the finished fraction after every step; goes on where `resume` left off.

    `batches(i)` gives the batches from data index i on, on the network's device; steps use first .. first +
    iterations - 1. Raises Diverged.
    """
    sgd = optimiser(net, recipe)
    owners = by_owner(net)
    trained = [parameter for parameters in owners for parameter in parameters]
    curve_at = {round(iterations * (k + 1) / recipe["curve_points"]) - 1 for k in range(recipe["curve_points"])}
    alphas_at = {round((iterations - 1) * k / (ALPHA_POINTS - 1)) for k in range(ALPHA_POINTS)}
    device = next(net.parameters()).device
    sums, steps, done = dict.fromkeys(tasks, torch.zeros((), device=device)), 0, 0
    watch = LossWatch(tuple(tasks), LOSSES_AT_ONCE if device.type == "cuda" else 1)
    begun = saved = time.monotonic()
    if (state := resume.load()) is not None:
        net.load_state_dict(state["net"])
        sgd.load_state_dict(state["sgd"])
        for parameter, kept in sgd.state.items():  # torch's fused step takes it for granted that their layouts agree
            kept["momentum_buffer"] = torch.empty_like(parameter).copy_(kept["momentum_buffer"])
        record.__dict__.update(state["record"])
        sums = {name: total.to(device) for name, total in state["sums"].items()}
        steps, done, watch.first = state["steps"], state["done"], state["first_loss"]
        record.earlier_seconds = state["seconds"]
        begun -= record.earlier_seconds
    net.train()
    with contextlib.closing(batches(first + done)) as upcoming:
        for i in range(done, iterations):
            begun_step = time.monotonic()
            batch = next(upcoming)
            record.wait_seconds += time.monotonic() - begun_step
            if i in alphas_at:
                record.alphas += alpha_rows(net, i)
            with record.clock("step_seconds"):
                factor = rate(recipe, i, iterations)
                for group in sgd.param_groups:
                    group["lr"] = recipe["lr"] * group["scale"] * factor
                for parameter in trained:  # what zero_grad does, without its bookkeeping
                    parameter.grad = None
                losses = gradients(net, tasks, batch, recipe, first + i, i / iterations)
                if i == done:
                    check_use(net)
                watch.look(i, losses, net, now=i in curve_at)
                if recipe["clip"]:
                    for parameters in owners:
                        nn.utils.clip_grad_norm_(parameters, recipe["clip"])
                sgd.step()
                for name, loss in losses.items():
                    sums[name] = sums[name] + loss
                steps += 1
            record.training_seconds += time.monotonic() - begun_step
            if i in curve_at:
                with record.clock("evaluation_seconds"), located(i, net):
                    headline = evaluate_curve()
                net.train()
                for name in tasks:
                    record.curve.append(
                        {
                            "iteration": i + 1,
                            "task": name,
                            "train_loss": float(sums[name]) / steps,
                            "val_headline": headline[name],
                        }
                    )
                sums, steps = dict.fromkeys(tasks, torch.zeros((), device=device)), 0
            now, last = time.monotonic(), i + 1 == iterations  # an evaluation after a long training is long too
            if now - (begun if last else saved) >= resume.every:
                resume.save(
                    {
                        "net": net.state_dict(),
                        "sgd": sgd.state_dict(),
                        "record": record.__dict__,
                        "sums": sums,
                        "steps": steps,
                        "done": i + 1,
                        "first_loss": watch.first,
                        "seconds": now - begun,
                    }
                )
                saved = time.monotonic()
            yield (i + 1) / iterations
    record.alphas += alpha_rows(net, iterations)


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
                with located(step, net):
                    raise Diverged(f"the loss is {found}")
        self._recent.clear()


@contextlib.contextmanager
def located(step: int, net: MultiTaskNet) -> Iterator[None]:
    """A Diverged from inside says after which iteration, and where the alphas (means over channels) stood."""
    try:
        yield
    except Diverged as error:
        means = {
            stage: [[round(float(a.mean()), 4) for a in row] for row in alpha] for stage, alpha in net.alphas().items()
        }
        raise Diverged(f"{error} at iteration {step + 1}{f'; alphas {means}' if means else ''}") from error


def alpha_rows(net: MultiTaskNet, iteration: int) -> list[Row]:
    """Means over channels, one row per stage, receiver and giver; `channel` -1."""
    return [
        {
            "iteration": iteration,
            "stage": stage,
            "receiver": net.tasks[r],
            "giver": net.tasks[g],
            "channel": -1,
            "alpha": float(alpha[r, g].mean()),
        }
        for stage, alpha in net.alphas().items()
        for r in range(len(alpha))
        for g in range(len(alpha))
    ]


def final_alpha_rows(net: MultiTaskNet, iteration: int) -> list[Row]:
    """Every unit of a finished network."""
    return [
        {
            "iteration": iteration,
            "stage": stage,
            "receiver": net.tasks[r],
            "giver": net.tasks[g],
            "channel": c,
            "alpha": value,
        }
        for stage, alpha in net.alphas().items()
        for r in range(len(alpha))
        for g in range(len(alpha))
        for c, value in enumerate(alpha[r, g].tolist())
    ]
