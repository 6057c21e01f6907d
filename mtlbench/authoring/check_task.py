"""The contract of tasks, asked of made-up labels of every likely kind: what a task reads is not written anywhere."""

from __future__ import annotations

import inspect
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mtlbench.authoring._labels import CATEGORIES, LABELS, SIZE, SIZES, Case
from mtlbench.authoring.check import Finding, explain, place
from mtlbench.contracts import Metric
from mtlbench.errors import UserError
from mtlbench.nets import network
from mtlbench.nets.network import MultiTaskNet, fix_seed
from mtlbench.plugins import find
from mtlbench.spec import Options
from mtlbench.training.batches import cut
from mtlbench.training.process import forbid_exit

PARTS = {
    "version": "1",
    "form": '"fcn", "roi" or "image"',
    "weight": "1.0",
    "metrics": "{name: Metric(unit, higher_is_better)}",
    "headline": "the name of one of its metrics",
}
METHODS = ("fit", "mirror", "head", "loss", "count", "predict", "meter")
SMALL: Options = {"small": True, "width": 0.1, "fc": 24, "dropout": 0.0}
STEPS = 300  # in which outputs are fitted to the labels
KEPT = 1 << 20  # bytes of what `keep` gives, at most


def check_fit(case: Case) -> None:
    """`fit` gives plain JSON data, the same twice."""
    found = case.cls.fit(CATEGORIES, case.images)
    try:
        same = json.dumps(found, allow_nan=False) == json.dumps(case.cls.fit(CATEGORIES, case.images), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{case.at('fit')}fit is no plain JSON data ({error}); turn arrays into lists with .tolist() "
            "and numbers with float(...)"
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{case.at('fit')}fit returns a {type(found).__name__}; return a dictionary, {{}} for nothing")
    if not same:
        raise UserError(f"{case.at('fit')}fit gives something else the second time; seed what it draws")


def check_making(case: Case) -> None:
    """The task can be made of its categories and what `fit` has found."""
    _ = case.task


def check_mirror(case: Case) -> None:
    """`mirror` keeps shape and dtype, and twice is the label again."""
    label = case.images[0].labels[case.name]
    once = case.cls.mirror(label)
    where = f"{case.at('mirror')}mirror"
    if not isinstance(once, np.ndarray) or once.shape != label.shape or once.dtype != label.dtype:
        found = f"{once.shape} {once.dtype}" if isinstance(once, np.ndarray) else type(once).__name__
        raise UserError(f"{where} turns a label {label.shape} {label.dtype} into {found}; shape and dtype must stay")
    if not np.allclose(case.cls.mirror(once), label):
        raise UserError(f"{where} twice is not the label again; it exchanges left and right (label[:, ::-1])")


def check_head(case: Case) -> None:
    """The head keeps images and map size, for one and for several, and starts the same for a seed."""
    for count, channels in ((1, 8), (3, 24)):
        x = torch.randn(count, channels, 5, 4) if case.form == "fcn" else torch.randn(count, channels)
        with fix_seed(0, "head"):
            head = case.task.head(channels)
        with fix_seed(0, "head"):
            again = case.task.head(channels)
        y = head(x)
        where = f"{case.at('head')}head"
        wanted = "B K H W, with the map's size" if case.form == "fcn" else "R K" if case.form == "roi" else "B K"
        if y.dim() != x.dim() or y.shape[0] != count or y.shape[2:] != x.shape[2:]:
            raise UserError(f"{where} turns {tuple(x.shape)} into {tuple(y.shape)}; it must be {wanted}")
        if not all(map(torch.equal, head.state_dict().values(), again.state_dict().values())):
            raise UserError(f"{where} starts differently for the same seed; draw with torch, not with random or numpy")


def check_loss(case: Case) -> None:
    """The loss is one finite number with a finite gradient that is not 0."""
    batch = case.batch(0, 1, 2)
    output = case.output(batch)
    loss = case.task.loss(output, batch)
    where = f"{case.at('loss')}loss"
    if not isinstance(loss, Tensor) or loss.dim():
        found = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise UserError(
            f"{where} returns {found}; it must return one number as a tensor: the mean over what is labelled"
        )
    if not loss.isfinite():
        raise UserError(f"{where} is {loss.item()} on random outputs; look for logarithms of 0 and divisions by 0")
    if not loss.requires_grad:
        raise UserError(f"{where} does not depend on the output: make it of `output` without .item() or .detach()")
    loss.backward()
    assert output.grad is not None
    if not output.grad.isfinite().all():
        raise UserError(f"{where} has a gradient of NaN or infinity; look for roots, norms and logarithms at 0")
    if not output.grad.any():
        raise UserError(f"{where} has a gradient of 0 everywhere: nothing would be learned")


def check_average(case: Case) -> None:
    """The loss is the mean over what `count` counts, padding at the border of smaller images left out."""
    batch = case.batch(0, 1, 2)
    output = case.output(batch).detach()
    pieces = cut(batch, 1)
    counts = [float(case.task.count(piece)) for piece in pieces]
    whole = float(case.task.count(batch))
    if not whole or abs(sum(counts) - whole) > 1e-3 * whole:
        raise UserError(f"{case.at('count')}count is {whole:g} for a batch and {sum(counts):g} for its images together")
    losses = []
    for number, piece in enumerate(pieces):
        own = output[number : number + 1]
        if batch.regions is not None:
            own = output[batch.regions[:, 0] == number]
        losses.append(float(case.task.loss(own, piece)))
        if case.form == "fcn":  # without the padding
            height, width = SIZES[number]
            alone = float(case.task.loss(own[..., :height, :width], case.batch(number)))
            if not np.isclose(alone, losses[-1], rtol=1e-3):
                raise UserError(
                    f"{case.at('loss')}loss of an image is {alone:g} alone and {losses[-1]:g} beside a "
                    "larger one: padding (0, or 255 in uint8 labels) must count as not "
                    "labelled"
                )
    mean = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / whole
    found = float(case.task.loss(output, batch))
    if not np.isclose(mean, found, rtol=1e-3):
        raise UserError(
            f"{case.at('loss')}loss of three images is {found:g}, the mean of theirs is {mean:g}, "
            f"weighted by count: it must be the mean over what count counts (sum / count)"
        )


def check_unlabelled(case: Case) -> None:
    """An image that is not labelled for the task changes nothing; where none is, the loss is 0 with a gradient of 0."""
    both, output = case.batch(0, 3), case.output(case.batch(0, 3))
    own = output[:1] if both.regions is None else output[both.regions[:, 0] == 0]
    with torch.no_grad():
        alone, beside = case.task.loss(own, cut(both, 1)[0]), case.task.loss(output, both)
    where = f"{case.at('loss')}loss"
    if not torch.isclose(alone, beside, rtol=1e-3):
        raise UserError(
            f"{where} changes with an image that has no label for the task; leave out what "
            "batch.masks[its name] does not mark"
        )
    none = cut(both, 1)[1]
    output = case.output(none)
    loss = case.task.loss(output, none)
    loss.backward()
    assert output.grad is not None
    if float(loss.detach()) or output.grad.any():
        raise UserError(
            f"{where} is {float(loss.detach()):g} where nothing is labelled; it must be 0, with a "
            "gradient of 0: divide by count.clamp(min=1)"
        )


def check_predictions(case: Case) -> None:
    """Predictions are finite tensors, a row an image or region, and may be averaged over networks."""
    batch = case.batch(0, 1, 2)
    found = case.task.predict(case.output(batch).detach(), batch)
    where = f"{case.at('predict')}predict"
    if not isinstance(found, dict) or not found or not all(isinstance(x, Tensor) for x in found.values()):
        raise UserError(f"{where} must return a dictionary of tensors")
    rows = len(batch.images if batch.regions is None else batch.regions)
    for name, values in found.items():
        if not values.dim() or len(values) != rows:
            raise UserError(
                f"{where} gives {name} the shape {tuple(values.shape)}; its first axis must be the {rows} "
                f"{'images' if batch.regions is None else 'regions'}"
            )
        if not values.is_floating_point():
            raise UserError(f"{where} gives {name} as {values.dtype}; what is averaged over networks must be floats")
        if not values.isfinite().all():
            raise UserError(f"{where} gives {name} NaN or infinity")
    case.task.meter().add(case.average_outputs(batch, case.output(batch), case.output(batch, seed=1)), batch)


def check_meter(case: Case) -> None:
    """Scores and chance are of the task's metrics, the same for one batch and for several; nothing seen is no error."""
    together, apart, labelled = (case.task.meter() for _ in range(3))
    batch = case.batch(0, 1, 2, 3)
    output = case.output(batch)
    together.add(case.average_outputs(batch, output), batch)
    for number, piece in enumerate(cut(batch, 1)):
        own = output[number : number + 1] if batch.regions is None else output[batch.regions[:, 0] == number]
        for meter in (apart, labelled) if number < 3 else (apart,):
            meter.add(case.average_outputs(piece, own), piece)
    where = f"{place(type(together).scores)}scores of the meter"
    for what in ("scores", "chance"):
        named = {score.metric for score in getattr(together, what)()}
        if unknown := named - set(case.task.metrics):
            raise UserError(f"{what} of the meter has {min(unknown)!r}, which is not in metrics")
        try:
            case.headline(getattr(together, what)())
        except UserError as error:
            raise UserError(f"{what} of the meter {error}") from error
    first, second, third = (case.headline(meter.scores()) for meter in (together, apart, labelled))
    if not np.isclose(first, second, rtol=1e-4):
        raise UserError(f"{where}: {case.task.headline} is {first:g} for four images at once and {second:g} one by one")
    if not np.isclose(second, third, rtol=1e-4):
        raise UserError(f"{where}: {case.task.headline} changes with an image that has no label for the task")
    empty = case.task.meter()
    empty.scores(), empty.chance()


def check_learnable(case: Case) -> None:
    """Outputs that are fitted to the labels score better than chance."""
    batch = case.batch(0, 1, 2)
    output = torch.zeros_like(case.output(batch)).requires_grad_()
    adam = torch.optim.Adam([output], lr=1.0)
    first = last = 0.0
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = 0.01 ** (step / STEPS)
        adam.zero_grad()
        loss = case.task.loss(output, batch)
        loss.backward()
        adam.step()
        first, last = (float(loss.detach()) if step == 0 else first), float(loss.detach())
    meter = case.task.meter()
    meter.add(case.average_outputs(batch, output), batch)
    best, chance = case.headline(meter.scores()), case.headline(meter.chance())
    higher = case.task.metrics[case.task.headline].higher_is_better
    if not (best > chance if higher else best < chance):
        raise UserError(
            f"outputs fitted to the labels (loss from {first:.3g} to {last:.3g}) have {case.task.headline} "
            f"{best:.4g}, and knowing nothing has {chance:.4g} ({'higher' if higher else 'lower'} is "
            "better): loss, predict and meter do not fit together, or higher_is_better is "
            "wrong"
        )


def check_boxes(case: Case) -> None:
    """Raises UserError where a task has `boxes` and they are not `n 6`, the best first, of its classes."""
    if not hasattr(case.cls, "boxes"):
        return
    batch = case.batch(0)
    found = case.task.boxes(case.average_outputs(batch, case.output(batch)), batch)
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.shape[1] != 6:
        raise UserError(
            f"{case.at('boxes')}boxes must return an array `n 6`: class index, score, x1 y1 x2 y2 of each box"
        )
    if len(found) and (np.diff(found[:, 1]) > 0).any():
        raise UserError(f"{case.at('boxes')}boxes must stand in the order of their scores, the best first")


def check_drawing(case: Case) -> None:
    """What is kept of a prediction is small, and can be drawn, as the truth can; boxes that are found have scores."""
    check_boxes(case)
    has = [hasattr(case.cls, method) for method in ("keep", "draw")]
    if not any(has):
        return
    if not all(has):
        raise UserError("keep and draw go together: one is there, the other is not")
    batch = case.batch(0)
    kept = case.task.keep(case.average_outputs(batch, case.output(batch)), batch)
    if not isinstance(kept, np.ndarray) or kept.dtype == object:
        raise UserError(f"{case.at('keep')}keep must return a numpy array of numbers")
    if kept.nbytes > KEPT:
        raise UserError(f"{case.at('keep')}keep gives {kept.nbytes} bytes of a small image; leave out pixels ([::4])")
    canvas = Figure()
    for axes, what in zip(canvas.subplots(1, 2), (None, kept), strict=True):
        case.task.draw(axes, case.images[0], what)
    canvas.savefig(io.BytesIO())


def check_training(case: Case) -> None:
    """In a network every parameter of its head gets a gradient, and operations can be counted."""
    tasks, backbone = {case.name: case.task}, find("backbone", "caffenet")(case.form, **SMALL)
    network.count_cost(tasks, backbone, find("scheme", "separate")(), case.form, (SIZE, SIZE), 8)
    net = MultiTaskNet(tasks, backbone, find("scheme", "separate")(), case.form, 0)
    batch = case.batch(0, 1)
    case.task.loss(net(batch.images, batch.regions, batch.sizes)[case.name], batch).backward()
    for name, parameter in net.heads.named_parameters():
        if parameter.grad is None:
            raise UserError(
                f"{case.at('head')}parameter {name} of the head gets no gradient: the loss does not depend on it"
            )


QUESTIONS = (
    check_fit,
    check_making,
    check_mirror,
    check_head,
    check_loss,
    check_average,
    check_unlabelled,
    check_predictions,
    check_meter,
    check_learnable,
    check_drawing,
    check_training,
)


def check(cls: Any, options: Options | None = None) -> Iterator[Finding]:
    """What holds of a task's class with these options of its constructor, and what does not; never raises."""
    stated = _check_statements(cls, options or {})
    yield Finding(not stated, stated or "it states version, form, weight, metrics and headline, and has all methods")
    if stated:
        return
    best: list[Finding] = []
    for kind, label in LABELS[cls.form].items():
        asked = dict(_ask(Case(cls, options or {}, label)))
        found = [Finding(True, f"made-up labels that it can read: {kind}"), *asked.values()]
        if sum(finding.ok for finding in found) > sum(finding.ok for finding in best):
            best = found
        if check_learnable in asked and asked[check_learnable].ok:
            break
    yield from best


def _ask(case: Case) -> Iterator[tuple[Callable[[Case], None], Finding]]:
    for question in QUESTIONS:
        try:
            with forbid_exit():
                question(case)
        except Exception as error:
            yield question, Finding(False, _words(case, error))
            if question in (check_fit, check_making, check_loss):  # without which nothing else can be asked
                return
        else:
            yield question, Finding(True, str(question.__doc__).rstrip("."))


def _words(case: Case, error: Exception) -> str:
    text = explain(error, case.cls)
    if isinstance(error, KeyError):
        text += f"; here the task is called {case.name!r}, after its class, and its labels and masks are, too"
    return text


def _check_statements(cls: Any, options: Options) -> str:
    """What is wrong with what the class says of itself, before anything is made; empty where nothing is."""
    if missing := [f"{name} = {example}" for name, example in PARTS.items() if not hasattr(cls, name)]:
        return f"the class has no {' and no '.join(missing)}"
    if missing := [name for name in METHODS if not callable(getattr(cls, name, None))]:
        return f"the class has no method {' and no '.join(missing)}"
    if cls.form not in LABELS:
        return (
            f'form is {cls.form!r}; it must be "fcn" (every pixel), "roi" (every region) or "image" (the whole image)'
        )
    if not isinstance(cls.version, int):
        return f"version is {cls.version!r}; it must be a whole number"
    if not isinstance(cls.weight, int | float) or not cls.weight > 0:
        return f"weight is {cls.weight!r}; it must be a number above 0"
    if not isinstance(cls.metrics, dict) or not all(isinstance(metric, Metric) for metric in cls.metrics.values()):
        return "metrics must be {name: Metric(unit, higher_is_better)}"
    if cls.headline not in cls.metrics:
        return f"headline is {cls.headline!r}, which is not in metrics: {', '.join(cls.metrics)}"
    for name in ("fit", "mirror"):
        if not isinstance(inspect.getattr_static(cls, name), staticmethod):
            return f"{place(getattr(cls, name))}{name} must be a @staticmethod: it is called before there is a task"
    known = list(inspect.signature(cls).parameters.values())
    if [p.name for p in known[:2]] != ["categories", "facts"]:
        return f"{place(cls.__init__)}__init__ must begin with (self, categories, facts)"
    if required := [p.name for p in known[2:] if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]:
        return f"{place(cls.__init__)}option {required[0]} has no default"
    if wrong := set(options) - {p.name for p in known[2:]}:
        return f"there is no option {min(wrong)}; there are: {', '.join(p.name for p in known[2:]) or '(none)'}"
    return ""
