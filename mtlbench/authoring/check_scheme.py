"""The contract of sharing schemes, asked of small networks: 1, 2 and 3 tasks of form `fcn` and of form `roi`, and two
of each in one network."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.authoring._probe import (
    RECIPE,
    Fault,
    ask,
    batch_of,
    find_difference,
    make_probes,
    move_generator,
    name_type,
    shape,
    train_steps,
    watch,
)
from mtlbench.authoring.check import Finding, check_declaration, explain, place
from mtlbench.contracts import Stage, join
from mtlbench.errors import UserError
from mtlbench.nets.forms import HasAlphas, columns_of
from mtlbench.nets.network import MultiTaskNet, count_cost, plan
from mtlbench.plugins import find
from mtlbench.spec import MIXED, Options
from mtlbench.text import one_line
from mtlbench.training.optimiser import make_optimiser

TASKS = {"fcn": ("semseg", "normals", "depth"), "roi": ("detection", "attributes", "parts")}
ASKED = (("fcn", 2), ("roi", 2), ("fcn", 3), ("fcn", 1), ("roi", 1))  # numbers of tasks; one form has all of them
OF_BOTH = (*TASKS["fcn"][:2], *TASKS["roi"][:2])
SIZE = 64  # of the images, in pixels
SMALL: Options = {"small": True, "width": 0.1, "fc": 24, "dropout": 0.0}
TIMED: Options = {"small": True, "width": 0.25, "fc": 128}  # large enough that calls count for little
STEPS = 10  # in which a mistake has to show
FEWER = 3  # in networks that differ from the first ones in little


@dataclass
class Case:
    """One kind of network that the scheme must make."""

    make: Callable[[], Any]  # the scheme
    form: str
    names: tuple[str, ...]  # of the tasks

    def __str__(self) -> str:
        return f"{len(self.names)} task{'s' * (len(self.names) > 1)} in form {self.form}"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Of the backbone."""
        return join(find("backbone", "caffenet")(self.form, **SMALL).stages)

    def net(self, seed: int = 0) -> MultiTaskNet:
        """A network whose units are watched."""
        net = self.plain(self.make(), self.names, SMALL, seed)
        after = dict(zip(net.stages, net.stages[1:], strict=False))
        for stage, unit, columns in net.list_units():
            following = [net.columns.ask(group) for group in net.groups[after[stage].name]] if stage in after else []
            together = [group for group in following if set(group) <= set(columns)]
            watch(unit, stage, columns, [] if hasattr(net.scheme, "streams") else together)
        return net

    def plain(self, scheme: Any, names: tuple[str, ...], options: Options, seed: int = 0) -> MultiTaskNet:
        """A network that nobody watches."""

        def make(own: tuple[str, ...], scheme: Any) -> MultiTaskNet:
            backbone = find("backbone", "caffenet")(self.form, **options)
            return MultiTaskNet(make_probes(self.form, own), backbone, scheme, self.form, seed)

        net = make(names, scheme)
        if getattr(scheme, "teachers", False):
            net.teachers = {name: make((name,), find("scheme", "separate")()).eval() for name in names}
        return net

    def steps(self, net: MultiTaskNet, count: int) -> Iterator[dict[str, Tensor]]:
        """Train on one image, two others, half of them 0, one, ..."""
        return train_steps(net, [batch_of(self.form, self.names, 1 + step % 2, SIZE, 4, step) for step in range(count)])

    @cached_property
    def start(self) -> MultiTaskNet:
        """A network before training, which stays so."""
        return self.net()

    @cached_property
    def trained(self) -> MultiTaskNet:
        """A network after two steps."""
        net = self.net()
        for _ in self.steps(net, 2):
            pass
        return net

    @torch.inference_mode()
    def outputs(self, net: MultiTaskNet, images: int) -> dict[str, Tensor]:
        """Of the first images, in evaluation."""
        batch = batch_of(self.form, self.names, images, SIZE)
        outputs: dict[str, Tensor] = net.eval()(batch.images, batch.regions)
        return outputs


def check_groups(case: Case) -> None:
    """Groups are a partition of the tasks at every stage, and only split on the way."""
    scheme = case.make()
    columns = columns_of(scheme, dict.fromkeys(case.names, "")).names
    where = place(type(scheme).groups)
    for stage in case.stages:
        found = scheme.groups(stage, case.names)
        if not isinstance(found, list | tuple) or not all(isinstance(group, list | tuple) for group in found):
            raise Fault(
                f"{where}groups at {stage.name} returns {found!r}; return a list of tuples of task names, such "
                "as [tasks] or [(task,) for task in tasks]"
            )
        flat = [task for group in found for task in group]
        wrong = [
            f"{task} is in {flat.count(task) or 'no'} group{'s' * (flat.count(task) > 1)}"
            for task in columns
            if flat.count(task) != 1
        ]
        wrong += [f"there is no task {task!r}" for task in flat if task not in columns]
        wrong += ["a group is empty"] * (not all(found))
        if wrong:
            raise Fault(f"{where}groups at {stage.name} is {found}: {wrong[0]}; every task must be in one group")
    try:
        plan(case.make(), case.stages, case.names)
    except UserError as error:
        raise Fault(f"{where}{str(error).rpartition(f'{type(scheme).__name__}: ')[2]}") from error


def check_units(case: Case) -> None:
    """A unit is a torch module or None, and only one after the last stage sets channels."""
    scheme = case.make()
    plan(scheme, case.stages, case.names)  # networks ask for all groups first
    where = place(type(scheme).unit)
    for stage in case.stages:
        unit = scheme.unit(stage, case.names)
        if unit is not None and not isinstance(unit, nn.Module):
            raise Fault(
                f"{where}unit after {stage.name} returns {name_type(unit)}; return an nn.Module, or None where nothing"
                " is mixed"
            )
        if hasattr(unit, "channels") and stage.name != stage.trunk.names[-1]:
            raise Fault(
                f"{where}the unit after {stage.name} has an attribute `channels`, which says that it changes "
                f"the width; only one after the last stage, {stage.trunk.names[-1]}, may: call it something else"
            )
        factor = getattr(unit, "lr_multiplier", 1.0)
        if not isinstance(factor, int | float) or not factor >= 0:
            raise Fault(f"{where}lr_multiplier of the unit after {stage.name} is {factor!r}; it must be a number")


def check_outputs(case: Case) -> None:
    """Units keep task names, shapes and finite numbers, on maps and vectors, for one image and for several."""
    net = case.start
    for images in (1, 3):
        for task, output in case.outputs(net, images).items():
            if not output.isfinite().all():
                raise Fault(f"the network's output for {task} has NaN or infinity")


def check_rates(case: Case) -> None:
    """Rates, if there are any, name parameters of the network."""
    net = case.start
    found = getattr(net.scheme, "rates", {})
    if not isinstance(found, dict) or not all(isinstance(factor, int | float) for factor in found.values()):
        raise Fault(f"rates is {found!r}; write {{glob of parameter names: factor}}, such as {{'units.*': 10.0}}")
    make_optimiser(net, RECIPE)


def check_penalty(case: Case) -> None:
    """The penalty, if there is one, is a finite scalar with a gradient."""
    net = case.start
    found: Any = net.penalty()
    if found is None:
        return
    where = f"{place(getattr(type(net.scheme), 'penalty', None))}penalty"
    if not isinstance(found, Tensor) or found.dim():
        what = f"a tensor of shape {shape(found)}" if isinstance(found, Tensor) else f"{name_type(found)} ({found!r})"
        raise Fault(f"{where} returns {what}; return one number as a tensor (end in .sum() or .mean()), or None")
    if not found.requires_grad:
        raise Fault(
            f"{where} returns {found.item():g}, on which no weight has an influence; make it of the columns' "
            "parameters, without .item() or .detach(); return None where there is nothing to add"
        )
    if not found.isfinite():
        raise Fault(f"{where} is {found.item()} at the start")


def check_learning(case: Case) -> None:
    """Every parameter gets a gradient, and gradients are finite."""
    net = case.net()
    still = [name for name, _ in net.named_parameters()]
    least = STEPS if len(case.names) == 2 else FEWER
    for step, losses in enumerate(_number(case.steps(net, STEPS), type(net.scheme))):
        for name, parameter in net.named_parameters():
            if parameter.grad is None and step == 0:
                raise Fault(
                    f"{_find_owner(net, name)} gets no gradient: nothing depends on it; use it in "
                    "forward, or leave it out"
                )
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise Fault(
                    f"{_find_owner(net, name)} gets a gradient of NaN or infinity in step {step + 1}; look for a "
                    "root, norm or logarithm of 0"
                )
        still = [name for name in still if (g := net.get_parameter(name).grad) is None or not g.any()]
        if not all(loss.isfinite() for loss in losses.values()):
            raise Fault(f"the loss is no number in step {step + 1}")
        if not still and step + 1 >= least:
            break
    if still and len(case.names) > 1:  # with one task there may be nothing to mix
        raise Fault(
            f"{_find_owner(net, still[0])} gets a gradient of 0 in each of {STEPS} steps: what is done with it has "
            "no influence on any task"
        )


def _number(steps: Iterator[dict[str, Tensor]], cls: Any) -> Iterator[dict[str, Tensor]]:
    """The steps; what goes wrong only in a later one says in which."""
    for step in range(STEPS):
        try:
            losses = next(steps)
        except Exception as error:
            if not step or isinstance(error, RuntimeError):
                raise
            text = str(error) if isinstance(error, Fault) else explain(error, cls)
            raise Fault(f"{text} (in step {step + 1} of a training)") from error
        yield losses


def check_zeros(case: Case) -> None:
    """Gradients are finite where features are 0, as many are after a ReLU."""
    net = case.plain(case.make(), case.names, SMALL)
    given: list[tuple[str, Tensor]] = []

    def blank(stage: str, _: nn.Module, old: tuple[Any, ...]) -> tuple[Any, ...]:
        made: dict[int, Tensor] = {}
        for x in old[0].values():
            if id(x) not in made:
                made[id(x)] = x.detach().clone()
                made[id(x)][-1] = 0
                given.append((stage, made[id(x)].requires_grad_()))
        return {task: made[id(x)] for task, x in old[0].items()}, *old[1:]

    for at, unit, _ in net.list_units():
        unit.register_forward_pre_hook(partial(blank, at.name))
    next(train_steps(net, [batch_of(case.form, case.names, 2, SIZE, regions=4)]))
    named = [(f"the unit after {stage}", stage, x.grad) for stage, x in given]
    named += [
        (_find_owner(net, name), name.split(".")[1], p.grad) for name, p in net.units.named_parameters(prefix="units")
    ]
    kinds = {at.name: type(unit) for at, unit, _ in net.list_units()}
    for what, stage, slope in named:
        if slope is not None and not slope.isfinite().all():
            raise Fault(
                f"{place(kinds[stage].forward)}{what} has a gradient of NaN or infinity where "
                "features are 0; look for a root, norm, division or logarithm, such as (x + 1e-6).sqrt()"
            )


def check_own(case: Case) -> None:
    """Every parameter has one place, and no two networks have the same one."""
    seen: dict[int, str] = {}
    net, other = case.start, case.net()
    for name, parameter in net.named_parameters(remove_duplicate=False):
        if (first := seen.setdefault(id(parameter), name)) != name:
            raise Fault(
                f"{_find_owner(net, name)} is the same as {first}: it would count, and have a rate, as that one "
                "alone; make a new module or parameter at every call of unit"
            )
    for name, parameter in other.named_parameters():
        if id(parameter) in seen:
            raise Fault(
                f"{_find_owner(other, name)} is the same in two networks: the trials of one process would go on "
                "with each other's weights; make it in unit, not in the class or file"
            )


def _find_owner(net: MultiTaskNet, name: str) -> str:
    """A parameter in words."""
    part, stage, *rest = name.split(".")
    if part != "units":
        return f"the column of {rest[0]} at {stage} ({name})" if part == "trunk" else name
    kinds = {one.name: type(unit) for one, unit, _ in net.list_units()}
    return f"{place(kinds[stage].__init__)}parameter {'.'.join(rest)} of the unit after {stage}"


def check_repeatable(case: Case) -> None:
    """The same seed gives the same start, the same training and the same predictions."""
    other = move_generator(case.net)
    if name := find_difference(case.start.state_dict(), other.state_dict()):
        raise Fault(
            f"two networks of one seed start with different {name}; draw starting values with torch, such as "
            "torch.randn and nn.init, not with random or numpy"
        )
    one = case.trained
    move_generator(lambda: list(case.steps(other, 2)))
    if name := find_difference(one.state_dict(), other.state_dict()):
        raise Fault(
            f"two trainings of one seed differ in {name}; what forward draws at random must be a function of "
            "the step: derive the module from mtlbench.authoring.Seeded and use its generator (SeededDropout in "
            "place of nn.Dropout)"
        )
    if name := find_difference(case.outputs(one, 2), move_generator(lambda: case.outputs(one, 2))):
        raise Fault(f"two evaluations of one network differ for {name}; draw nothing at random unless self.training")


def check_alone(case: Case) -> None:
    """In evaluation an image's outputs do not depend on the other images of its batch."""
    net = case.trained
    one, several = case.outputs(net, 1), case.outputs(net, 3)
    for task, output in one.items():
        if not torch.allclose(output, several[task][: len(output)], rtol=1e-3, atol=1e-3 * float(output.abs().max())):
            raise Fault(
                f"in evaluation the output for {task} changes with the other images of the batch; average over "
                "maps or channels, not over the batch"
            )


def check_state(case: Case) -> None:
    """A network that is read back from its state dict predicts the same."""
    net, again = case.trained, case.net(seed=1)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    if task := find_difference(case.outputs(net, 2), case.outputs(again, 2)):
        raise Fault(
            f"a network that is read back from its state dict predicts other numbers for {task}; keep what "
            "training changes as nn.Parameter, or with self.register_buffer"
        )


def check_alphas(case: Case) -> None:
    """alphas() of units, if there are any, are receiver x giver x channel."""
    for stage, unit, tasks in case.start.list_units():
        if not isinstance(unit, HasAlphas):
            continue
        count = len([task for task in tasks if task in case.names])
        found, where = unit.alphas(), f"{place(type(unit).alphas)}alphas() of the unit after {stage.name}"
        wanted = f"{count} x {count} x {stage.channels} or {count} x {count} x 1 (receiver, giver, channel)"
        if not isinstance(found, Tensor):
            raise Fault(f"{where} returns {name_type(found)}; return a tensor {wanted}")
        if shape(found) not in (f"{count} x {count} x {channels}" for channels in (1, stage.channels)):
            raise Fault(f"{where} has the shape {shape(found)}, not {wanted}")


def check_outcome(case: Case) -> None:
    """What a search has found, if it is one, is plain JSON data."""
    net = case.trained
    if not hasattr(net.scheme, "outcome"):
        return
    found = net.scheme.outcome(dict(net.units.items()))
    try:
        back = json.loads(json.dumps(found, allow_nan=False))
    except (TypeError, ValueError) as error:
        where = place(getattr(type(net.scheme), "outcome", None))
        raise Fault(
            f"{where}what outcome returns is no plain JSON data ({error}); turn tensors into numbers with .tolist()"
        ) from error
    if hasattr(net.scheme, "adopt"):
        scheme = case.make()
        scheme.adopt([back])
        plan(scheme, case.stages, case.names)


def check_parents(case: Case) -> None:
    """Where it starts from one-task networks (from_one_task), their weights fit."""
    if not getattr(case.start.scheme, "from_one_task", False):
        return
    ones = [case.plain(find("scheme", "separate")(), (name,), SMALL).state_dict() for name in case.names]
    try:
        case.net().load_columns(ones)
    except (UserError, RuntimeError) as error:
        raise Fault(
            f"from_one_task is True, but {one_line(error, 200)}; give every task a column of its "
            "own at every stage, and keep the width of the last one"
        ) from error


def check_counting(case: Case) -> None:
    """Its floating-point operations can be counted: forward needs no values, only shapes."""
    try:
        count_cost(
            make_probes(case.form, case.names),
            find("backbone", "caffenet")(case.form, **SMALL),
            case.make(),
            case.form,
            (SIZE, SIZE),
            8,
        )
    except Exception as error:
        raise Fault(
            f"{explain(error, type(case.make()))}; operations are counted with tensors that have no values "
            "(torch's meta device): use no .item(), .numpy() or `if` on them in forward, and make new tensors "
            "with device=x.device"
        ) from error


QUESTIONS = (
    check_groups,
    check_units,
    check_outputs,
    check_own,
    check_rates,
    check_penalty,
    check_learning,
    check_zeros,
    check_repeatable,
    check_alone,
    check_state,
    check_alphas,
    check_outcome,
    check_parents,
    check_counting,
)


def check(cls: Any, options: Options | None = None) -> Iterator[Finding]:
    """What holds of a scheme's class, with these options of its constructor, and what does not; never raises."""
    found, resolved = check_declaration(cls, options or {}, ("groups", "unit"))
    yield from found
    if resolved is None:
        return
    make = partial(cls, **resolved)
    cases = [Case(make, form, TASKS[form][:count]) for form, count in ASKED if form in TASKS]
    cases.append(Case(make, MIXED, OF_BOTH))
    wrong = False
    for finding in ask(cls, QUESTIONS, cases):
        wrong = wrong or not finding.ok
        yield finding
    if not wrong:
        yield Finding(True, measure_price(cases[:2]))


def measure_price(cases: list[Case], repeats: int = 3) -> str:
    """What a training step and the parameters come to, as times those of the one-task networks together."""
    texts = []
    for case in cases:
        joint = case.plain(case.make(), case.names, TIMED)
        ones = [case.plain(find("scheme", "separate")(), (name,), TIMED) for name in case.names]
        found = [
            (_time_step(net, case.form, repeats), sum(p.numel() for p in net.parameters())) for net in (joint, *ones)
        ]
        time_, size = (own / sum(of_ones) for own, *of_ones in zip(*found, strict=True))
        texts.append(f"{time_:.1f} times the time and {size:.2f} times the parameters in form {case.form}")
    count = len(cases[0].names)
    return (
        f"A training step with {count} tasks needs, of what their {count} one-task networks need together, about "
        f"{'; '.join(texts)} (1 = nothing saved, nothing added)"
    )


def _time_step(net: MultiTaskNet, form: str, repeats: int) -> float:
    """CPU seconds of the shortest of some steps after the first."""
    found, start = [], 0.0
    for _ in train_steps(net, [batch_of(form, net.tasks, 4, SIZE, regions=16)] * (repeats + 1)):
        found.append(time.process_time() - start)
        start = time.process_time()
    return min(found[1:])
