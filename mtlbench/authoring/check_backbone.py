"""The contract of backbones, asked in every form that they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.authoring._probe import (
    Fault,
    Probe,
    ask,
    batch_of,
    find_difference,
    make_probes,
    move_generator,
    name_type,
    shape,
    train_steps,
)
from mtlbench.authoring.check import Finding, check_declaration, explain, place
from mtlbench.contracts import Geometry, Stage
from mtlbench.errors import UserError
from mtlbench.nets.layers import ImagePool, RegionPool, whole_images
from mtlbench.nets.network import MultiTaskNet, count_cost, fix_seed
from mtlbench.plugins import find
from mtlbench.spec import MIXED, Options

FORMS = ("fcn", "roi", "image", MIXED)
TASKS = ("one", "other")
OF_FORMS = {"fcn": "semseg", "roi": "detection", "image": "tags"}  # a task of each form
SIZE = 64  # of the images, in pixels
WANTED = {
    "fcn": "a map, B C H W",
    "roi": "one vector a region, R C, by a mtlbench.authoring.RegionPool",
    "image": "one vector an image, B C, by a mtlbench.authoring.ImagePool",
}
CELLS = 12  # of the last map, for its geometry
FIELDS = {"mean": 3, "std": 3}  # numbers of the input's scaling


@dataclass
class Case:
    """The backbone in one form; what `whole`, in form `mixed`, makes for tasks of a form."""

    make: Callable[[], Any]
    form: str
    whole: Callable[[], Any] | None = None

    def __str__(self) -> str:
        return f"form {self.form}" + " beside other forms" * bool(self.whole)

    @cached_property
    def backbone(self) -> Any:
        return self.make()

    @property
    def stages(self) -> tuple[Stage, ...]:
        stages: tuple[Stage, ...] = self.backbone.stages
        return stages

    def net(self) -> MultiTaskNet:
        """Two one-task networks of one seed, one beside the other."""
        return MultiTaskNet(make_probes(self.form, TASKS), self.make(), find("scheme", "separate")(), self.form, 0)

    @torch.inference_mode()
    def outputs(self, net: MultiTaskNet, images: int, size: int = SIZE) -> dict[str, Tensor]:
        """Of the first images, in evaluation."""
        batch = batch_of(self.form, TASKS, images, size)
        outputs: dict[str, Tensor] = net.eval()(batch.images, batch.regions)
        return outputs

    def maps(self, images: Tensor, regions: Tensor | None) -> Iterator[tuple[Stage, nn.Module, Tensor]]:
        """Every stage, its module and what comes out of it, in evaluation."""
        x = images
        for stage in self.stages:
            module = self.backbone.build(stage.name)
            if not isinstance(module, nn.Module):
                raise Fault(
                    f"{place(type(self.backbone).build)}build({stage.name!r}) returns {name_type(module)};"
                    " return an nn.Module"
                )
            module.eval()
            try:
                if isinstance(module, RegionPool):
                    after = module(x, whole_images(images) if isinstance(module, ImagePool) else regions)
                else:
                    after = module(x)
            except Exception as error:
                raise Fault(
                    f"{place(type(self.backbone).build)}{stage.name} fails on what comes before it, of shape "
                    f"{shape(x)}: {explain(error, type(self.backbone))}"
                ) from error
            x = after
            yield stage, module, x


def check_own_declaration(case: Case) -> None:
    """It says how images are scaled, and what its last map's geometry is."""
    it, name = case.backbone, type(case.backbone).__name__
    for field, count in FIELDS.items():
        found = getattr(it, field, None)
        if not isinstance(found, list | tuple) or len(found) != count or not all(map(_is_number, found)):
            raise Fault(f"{name}.{field} is {found!r}; write {count} numbers, one a colour, for values of 0 to 255")
    if not all(value > 0 for value in it.std):
        raise Fault(f"{name}.std is {it.std!r}; inputs are divided by it")
    if type(getattr(it, "bgr", None)) is not bool:
        raise Fault(f"{name}.bgr is {getattr(it, 'bgr', None)!r}; write True where blue comes first, else False")
    if not isinstance(getattr(it, "torchvision_weights", None), str):
        raise Fault(f'{name}.torchvision_weights is missing; write "" where torchvision has none')
    found = getattr(it, "geometry", None)
    if not isinstance(found, Geometry) or type(found.stride) is not int or found.stride < 1:
        raise Fault(
            f"{name}.geometry is {found!r}; write Geometry(stride=..., centre=..., hold=...), in pixels, of "
            "the last map in form fcn"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_stages(case: Case) -> None:
    """Its stages have names of their own, and say where units stand."""
    found = case.stages
    if not found or not all(isinstance(stage, Stage) for stage in found):
        raise Fault(f"stages is {found!r}; write a tuple of mtlbench.authoring.Stage")
    order = tuple(stage.name for stage in found)
    for name in order:
        if order.count(name) > 1 or name == "fc8" or not name.isidentifier():
            raise Fault(f"a stage is called {name!r}; give each a name of its own, such as conv1; fc8 is the heads'")
    if not any(stage.stitched for stage in found):
        raise Fault("no stage has stitched=True: say after which ones cross-stitch and other units stand")


def check_modules(case: Case) -> None:
    """build gives modules of the channels and parameters that the stages declare."""
    where = place(type(case.backbone).build)
    batch = batch_of(case.form, TASKS, 2, SIZE)
    with torch.no_grad():
        for stage, module, x in case.maps(batch.images, batch.regions):
            if x.shape[1] != stage.channels:
                raise Fault(f"{where}{stage.name} gives {x.shape[1]} channels and declares {stage.channels}")
            if (has := any(True for _ in module.parameters())) != stage.has_parameters:
                raise Fault(
                    f"{where}{stage.name} has {'' if has else 'no '}parameters and declares has_parameters="
                    f"{stage.has_parameters}"
                )
            if not x.isfinite().all():
                raise Fault(f"{where}{stage.name} gives NaN or infinity")
            again = case.backbone.build(stage.name)
            if {id(p) for p in again.parameters()} & {id(p) for p in module.parameters()} or (again is module and has):
                raise Fault(
                    f"{where}build({stage.name!r}) gives the same parameters twice; make a new module at every "
                    "call, since columns that share nothing must not share weights"
                )
    wanted = (4 if case.form == "roi" else 2, case.stages[-1].channels)
    if tuple(x.shape[:2]) != wanted or x.dim() != (4 if case.form == "fcn" else 2):
        what = WANTED[case.form]
        raise Fault(f"{where}the last stage gives the shape {shape(x)}; in form {case.form} it must give {what}")


def check_geometry(case: Case) -> None:
    """The geometry is that of the last map (form fcn): the step of its cells in pixels, and the place of the first."""
    if case.form != "fcn":
        return
    stride, centre, _ = case.backbone.geometry
    pixels = CELLS * stride
    _, small = run_last_stage(case, pixels)
    images, large = run_last_stage(case, 2 * pixels)
    if (more := large.shape[3] - small.shape[3]) != CELLS:
        raise Fault(
            f"geometry.stride is {stride}, but {pixels} pixels more a side give {more} cells more, not "
            f"{CELLS}: should it be {pixels / max(more, 1):g}?"
        )
    cell = large.shape[3] // 2
    weights = torch.randn(large.shape[1], generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((large[:, :, cell, cell] * weights).sum(), images)
    seen = slope.square().sum((0, 1, 2))  # by column of pixels; rows are taken to be alike
    middle = float((seen * torch.arange(2 * pixels)).sum() / seen.sum())
    if abs(cell * stride + centre - middle) > stride / 2:
        raise Fault(
            f"geometry.centre is {centre}, which puts cell {cell} of the last map at pixel "
            f"{cell * stride + centre}, but it looks at pixel {middle:.0f}: centre should be about "
            f"{middle - cell * stride:.0f}"
        )


def run_last_stage(case: Case, pixels: int) -> tuple[Tensor, Tensor]:
    """Two images, and the last map of them."""
    images = torch.randn(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with fix_seed(0, "geometry"):
        *_, (_, _, x) = case.maps(images, None)
    return images, x


def check_predictions(case: Case) -> None:
    """Networks of it give finite outputs for one image and for several, of any size."""
    net = case.net()
    for images, size in ((1, SIZE), (3, SIZE), (1, SIZE + 21)):
        for output in case.outputs(net, images, size).values():
            if not output.isfinite().all():
                raise Fault(f"a network's output has NaN or infinity ({images} images of {size} x {size} pixels)")
    one, several = case.outputs(net, 1), case.outputs(net, 3)
    for task, output in one.items():
        if not torch.allclose(output, several[task][: len(output)], rtol=1e-3, atol=1e-3 * float(output.abs().max())):
            raise Fault(
                "in evaluation an image's output changes with the other images of the batch; normalise over "
                "maps or channels, or with running averages as nn.BatchNorm does"
            )


def check_learning(case: Case) -> None:
    """Every parameter gets a gradient, and the same seed gives the same training."""
    one, other = case.net(), move_generator(case.net)
    if name := find_difference(one.state_dict(), other.state_dict()):
        raise Fault(f"two networks of one seed start with different {name}; draw starting values with torch")
    columns = [column.state_dict() for column in one.trunk[case.stages[0].name].children()]
    if name := find_difference(*columns):
        raise Fault(
            f"two columns of a network start with different {name} at {case.stages[0].name}; use no "
            "random numbers but torch's"
        )
    batches = [batch_of(case.form, TASKS, images, SIZE, regions=4) for images in (1, 2)]
    seen: dict[str, bool] = {}  # a residual branch may start at 0, and what stands before then learns a step later
    for _ in train_steps(one, batches):
        for name, parameter in one.named_parameters():
            seen[name] = seen.get(name, False) or (parameter.grad is not None and bool(parameter.grad.any()))
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise Fault(f"{name} gets a gradient of NaN or infinity")
    if unused := [name for name, used in seen.items() if not used]:
        raise Fault(f"{unused[0]} gets no gradient: nothing depends on it; use it in forward, or leave it out")
    move_generator(lambda: list(train_steps(other, batches)))
    if name := find_difference(one.state_dict(), other.state_dict()):
        raise Fault(
            f"two trainings of one seed differ in {name}; use mtlbench.authoring.SeededDropout in place of nn.Dropout"
        )


def check_weights(case: Case) -> None:
    """adapted refuses a file of weights that does not fit, in words."""
    try:
        case.backbone.adapted({})
    except UserError:
        return
    except Exception as error:
        raise Fault(
            f"{explain(error, type(case.backbone))}; adapted must raise mtlbench.authoring.UserError for a file "
            "that does not fit"
        ) from error
    raise Fault(
        f"{place(type(case.backbone).adapted)}adapted takes a file without any weights; it must raise "
        "mtlbench.authoring.UserError for what does not fit"
    )


def check_counting(case: Case) -> None:
    """Its floating-point operations can be counted: forward needs no values, only shapes."""
    try:
        count_cost(make_probes(case.form, TASKS), case.make(), find("scheme", "separate")(), case.form, (SIZE, SIZE), 8)
    except Exception as error:
        raise Fault(
            f"{explain(error, type(case.backbone))}; operations are counted with tensors that have no values "
            "(torch's meta device)"
        ) from error


def check_mixed(case: Case) -> None:
    """In form mixed tasks of all forms share the stages before the first one by_form, and train together."""
    if not case.whole:
        return
    whole = case.whole()
    if not any(stage.by_form for stage in whole.stages):
        raise Fault("no stage has by_form=True: say from where on each form has modules of its own in form mixed")
    if [stage.name for stage in whole.stages] != [stage.name for stage in case.stages]:
        raise Fault(f"of_form({case.form!r}) has other stages than the backbone; give all forms the same names")
    batch = batch_of(case.form, TASKS, 2, SIZE)
    for stage, own in zip(whole.stages, case.maps(batch.images, batch.regions), strict=True):
        if stage.by_form:
            break
        if repr(own[1]) != repr(whole.build(stage.name)):
            raise Fault(f"{stage.name} of form {case.form} is another module than the one all share; say by_form=True")
    tasks: dict[str, Any] = {name: Probe(name, form) for form, name in OF_FORMS.items()}
    net = MultiTaskNet(tasks, whole, find("scheme", "split")("fc8"), MIXED, 0)
    batch = batch_of(MIXED, list(tasks), 2, SIZE)
    net.train()
    for name, output in net(batch.images, batch.regions).items():
        if not output.isfinite().all() or output.shape != batch.labels[name].shape:
            raise Fault(f"in form mixed {name} gets {shape(output)}, not finite numbers {shape(batch.labels[name])}")


QUESTIONS = (
    check_own_declaration,
    check_stages,
    check_modules,
    check_geometry,
    check_predictions,
    check_learning,
    check_weights,
    check_counting,
)


def _of_form(whole: Callable[[], Any], form: str) -> Any:
    return whole().of_form(form)


def check(cls: Any, options: Options | None = None) -> Iterator[Finding]:
    """What holds of a backbone's class, with these options of its constructor, and what does not; never raises."""
    found, resolved = check_declaration(cls, options or {}, ("build", "adapted"), given=("form",))
    yield from found
    forms = getattr(cls, "forms", ())
    good = isinstance(forms, tuple) and len(forms) > 0 and set(forms) <= set(FORMS)
    yield Finding(
        good,
        f"Its forms are {' and '.join(forms)}"
        if good
        else f"{cls.__name__}.forms is {forms!r}; write ('fcn', 'roi', 'image') for maps, regions and whole images, or "
        "some of them: ('fcn',)",
    )
    if resolved is None or not good:
        return
    cases = [Case(partial(cls, form=form, **resolved), form) for form in forms if form != MIXED]
    if MIXED in forms:
        whole = partial(cls, form=MIXED, **resolved)
        cases += [Case(partial(_of_form, whole, form), form, whole) for form in OF_FORMS]
    wrong = False
    for finding in ask(cls, (*QUESTIONS, *([check_mixed] if MIXED in forms else [])), cases):
        wrong = wrong or not finding.ok
        yield finding
    if not wrong:
        parameters, flops = count_cost(
            make_probes(cases[0].form, TASKS[:1]),
            cases[0].make(),
            find("scheme", "separate")(),
            cases[0].form,
            (SIZE, SIZE),
            8,
        )
        yield Finding(
            True,
            f"A one-task network has {parameters / 1e6:.2f} million parameters, and takes "
            f"{flops / 1e9:.2f} billion operations for an image of {SIZE} x {SIZE} pixels",
        )
