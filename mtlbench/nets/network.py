"""One network for any scheme, backbone and tasks: it walks the stages and asks the scheme."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mtlbench.contracts import Backbone, Pass, Scheme, Stage, Task, join
from mtlbench.errors import UserError
from mtlbench.nets.decoders import DeepLab, Pyramid, levels_of
from mtlbench.nets.forms import Boxes, HasAlphas, Memory, OfForms, columns_of, has_parted, of_each_form, split_by_form
from mtlbench.nets.layers import Seeded, SeededDropout, upsample, whole_images
from mtlbench.nets.merging import merge_columns
from mtlbench.nets.norms import NormOfColumn, owner_of, part_norms
from mtlbench.nets.operations import UPSAMPLED, count
from mtlbench.nets.pretrained import fit_into
from mtlbench.spec import MIXED, ONE_FORM, derive_seed


class MultiTaskNet(nn.Module):
    """Columns of a backbone, shared and mixed as a scheme says, with one head a task.

    Parameters are named `trunk.<stage>.<tasks joined by +>.*`, `units.<stage>.*`, `heads.<task>.*`. The start of a
    stage depends on (seed, stage) alone, so all columns of all arms start alike; only those that no task has for itself
    (`extra_columns` of the scheme) start each in its own way. Raises UserError for a scheme whose groups are no
    partition of the columns or merge columns again, or whose unit changes the width of an inner stage.
    In form `mixed` tasks have forms of their own: those of several forms share no column from the first stage `by_form`
    on, each form has extra columns of its own, `NAME@FORM`, and a unit (`units.<stage>.<form>.*`).
    `weighting` "uncertainty" adds a log-variance a task (`log_variances.<task>`) where there are several.
    `decoder` (one of spec.DECODERS) is what dense tasks have before their heads, each its own.
    `precision` "bf16" runs products and convolutions in bfloat16 (torch's autocast), on weights that stay float32.
    """

    def __init__(
        self,
        tasks: dict[str, Task],
        backbone: Backbone,
        scheme: Scheme,
        form: str,
        seed: int,
        precision: str = "fp32",
        weighting: str = "fixed",
        decoder: str = "linear",
    ) -> None:
        super().__init__()
        self.tasks, self.form, self.seed, self.precision = tuple(tasks), form, seed, precision
        self.mean, self.std, self.bgr = backbone.mean, backbone.std, backbone.bgr
        self.stages = join(backbone.stages)
        self.forms = {name: task.form if form == MIXED else form for name, task in tasks.items()}
        of_form = split_by_form(backbone, self.form, self.forms)
        dense = of_form.get("fcn", backbone)
        self.levels = levels_of(dense) if decoder == "fpn" and "fcn" in self.forms.values() else {}
        self.geometry = next(iter(self.levels.values()), dense.geometry)
        self.columns = columns_of(scheme, self.forms)
        self.groups = plan(scheme, self.stages, self.tasks, self.forms)
        self.scheme = scheme
        extra = len(self.columns.forms) > len(tasks)  # experts, say: norms stay the columns'
        self._parts_norms = bool(getattr(backbone, "norms_of_tasks", False)) and not extra
        self._norms: dict[tuple[str, tuple[str, ...]], list[NormOfColumn]] = {}
        self.trunk, self.units, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for stage in self.stages:
            columns = nn.ModuleDict()
            for group in self.groups[stage.name]:
                own = () if group[0] in tasks else self.columns.ask(group)  # experts have to differ to be told apart
                with fix_seed(seed, "init", stage.name, *own):
                    module = of_form[self.columns.forms[group[0]]].build(stage.name)
                if self._parts_norms and len(group) > 1:
                    self._norms[stage.name, group] = part_norms(module, group)
                columns["+".join(group)] = module
            self.trunk[stage.name] = columns
            unit = self._make_unit(stage)
            if unit is not None:
                self.units[stage.name] = unit
        dropout = getattr(backbone, "dropout", 0.0)
        for name, task in tasks.items():
            with fix_seed(seed, "init", "fc8", name):
                decoding, width = self._make_decoder(name, decoder)
                self.heads[name] = nn.Sequential(*decoding, SeededDropout(dropout), task.head(width))
        self._seeded = [(path, module) for path, module in self.named_modules() if isinstance(module, Seeded)]
        for path, module in self._seeded:
            module.seed, module.name = seed, path
        self.teachers: dict[str, MultiTaskNet] = {}  # {task: its finished one-task network}: no part of this one
        self.losses: dict[str, Tensor] = {}
        self.maps: dict[str, list[Tensor]] = {}
        self.log_variances = nn.ParameterDict()
        if weighting == "uncertainty" and len(tasks) > 1:
            self.log_variances.update({name: nn.Parameter(torch.zeros(())) for name in tasks})

    def _make_unit(self, stage: Stage) -> nn.Module | None:
        """The scheme's unit after a stage; one a form where the forms have parted. Raises UserError."""
        parted = of_each_form(self.columns.forms) if has_parted(stage, self.stages) else {}

        def make(tasks: tuple[str, ...]) -> nn.Module | None:
            with fix_seed(self.seed, "init", "units", stage.name):
                unit = self.scheme.unit(stage, tasks)
            if hasattr(unit, "channels") and stage is not self.stages[-1]:
                raise UserError(
                    f"scheme {type(self.scheme).__name__}: only the unit after the last stage may set channels"
                )
            return unit

        whole = make(self.tasks)
        if len(parted) < 2 or whole is None or getattr(whole, "any_shape", False):
            return whole
        of_forms = of_each_form(self.forms)
        units = {form: unit for form, tasks in of_forms.items() if (unit := make(tasks)) is not None}
        return OfForms(units, self.tasks, parted)

    def _make_decoder(self, task: str, decoder: str) -> tuple[list[nn.Module], int]:
        """What stands before a task's head, and its channels."""
        width = self._width(task)
        if self.forms[task] != "fcn" or decoder == "linear":
            return [], width
        if decoder == "deeplab":
            return [DeepLab(width)], DeepLab.channels
        *inner, _ = [stage.channels for stage in self.stages if stage.name in self.levels]
        return [Pyramid([*inner, width], list(self.levels.values()))], Pyramid.channels

    def _width(self, task: str) -> int:
        """Channels of what a task's head sees."""
        last = self.stages[-1]
        unit: nn.Module | None = self.units[last.name] if last.name in self.units else None
        if isinstance(unit, OfForms):
            unit = unit.units.get(self.forms[task])
        width: int = getattr(unit, "channels", last.channels)
        return width

    def list_units(self) -> Iterator[tuple[Stage, nn.Module, tuple[str, ...]]]:
        """Every unit with the stage that it follows and the columns that it mixes, as the scheme calls them."""
        for stage in self.stages:
            unit = self.units[stage.name] if stage.name in self.units else None
            if isinstance(unit, OfForms):
                yield from ((stage, one, self.columns.ask(unit.parted[form])) for form, one in unit.units.items())
            elif unit is not None:
                yield stage, unit, self.columns.ask(list(self.columns.forms))

    def begin(self, iteration: int, part: int = 0, progress: float = 0.0) -> None:
        """Fix the random numbers of the step, or part of a step, that follows; `progress` is the finished fraction."""
        for _, module in self._seeded:
            module.iteration, module.part, module.progress = iteration, part, progress

    def penalty(self) -> Tensor | None:
        """What the scheme and its units add to the loss of a step, scalar."""
        penalty = getattr(self.scheme, "penalty", None)
        found: list[Tensor | None] = [penalty(part) for part in self._parts()] if penalty else []
        asked: list[Any] = [unit for _, unit, _ in self.list_units() if hasattr(unit, "penalty")]
        terms = [term for term in (*found, *(unit.penalty() for unit in asked)) if term is not None]
        return torch.stack(terms).sum() if len(terms) > 1 else next(iter(terms), None)

    def _parts(self) -> list[dict[str, dict[str, nn.Module]]]:
        """The columns that a scheme's penalty is asked about at once: {stage: {tasks joined by +: module}}."""
        columns = {stage: dict(copies.named_children()) for stage, copies in self.trunk.items()}
        parted = of_each_form(self.columns.forms)
        if len(parted) < 2:
            return [columns]
        apart = [stage.name for stage in self.stages if has_parted(stage, self.stages)]
        parts = [{stage: copies for stage, copies in columns.items() if stage not in apart}]
        for tasks in parted.values():
            own = {"+".join(group) for groups in self.groups.values() for group in groups if group[0] in tasks}
            parts.append({stage: {name: m for name, m in columns[stage].items() if name in own} for stage in apart})
        return [part for part in parts if part]

    def forward(self, images: Tensor, regions: Tensor | None = None, sizes: Tensor | None = None) -> dict[str, Tensor]:
        """`B 3 H W` (and `R 5`; `B 2` where some are padded) -> {task: `B K H W` at full resolution in form `fcn`,
        `R K` in form `roi`, `B K` in form `image`}."""
        return {
            task: upsample(x, images.shape[-2:], self.geometry) if self.forms[task] == "fcn" else x
            for task, x in self.scores(images, regions, sizes).items()
        }

    def scores(self, images: Tensor, regions: Tensor | None = None, sizes: Tensor | None = None) -> dict[str, Tensor]:
        """The same before upsampling: `B K h w` in form `fcn`."""
        with self._autocast(images):
            xs = self.features(images, regions, sizes)
            seen = {task: self.maps[task] if self.levels and self.forms[task] == "fcn" else xs[task] for task in xs}
            scores = {task: self.heads[task](seen[task]).float() for task in self.tasks}
            self.maps = {}
        return scores

    def features(self, images: Tensor, regions: Tensor | None = None, sizes: Tensor | None = None) -> dict[str, Tensor]:
        """What the heads see, or with a pyramid the last of it; `losses` are then what units add to the tasks' losses,
        {task: scalar}, and `maps` what pyramids see, {column: maps}."""

        def finished() -> dict[str, Tensor]:
            with torch.no_grad():
                return {task: net.features(images, regions, sizes)[task] for task, net in self.teachers.items()}

        with self._autocast(images):
            xs, memory = dict.fromkeys(self.columns.forms, images), Memory(finished=finished)
            boxes = Boxes(regions, whole_images(images, sizes) if "image" in self.forms.values() else None)
            self.maps = {column: [] for column in xs}
            for stage in self.stages:
                xs = self._stage(stage, xs, boxes, memory)
                if stage.name in self.levels:
                    for column, x in xs.items():
                        self.maps[column].append(x)
        self.losses = memory.losses
        return xs

    def _autocast(self, images: Tensor) -> AbstractContextManager[Any]:
        reduced = self.precision == "bf16" and images.device.type != "meta"  # where FLOPs are counted
        return torch.autocast(images.device.type, torch.bfloat16) if reduced else nullcontext()

    def _stage(self, stage: Stage, xs: dict[str, Tensor], boxes: Boxes, memory: Memory) -> dict[str, Tensor]:
        after: dict[str, Tensor] = {}
        modules: dict[str, nn.Module] = {}
        for group in self.groups[stage.name]:
            module = self.trunk.get_submodule(f"{stage.name}.{'+'.join(group)}")
            norms = self._norms.get((stage.name, group), [])
            seen: dict[tuple[int, str], Tensor] = {}
            for task in group:
                x = xs[task]
                same = id(x), task if norms else ""
                if same not in seen:
                    for norm in norms:
                        norm.column = task
                    seen[same] = boxes.apply(module, x)
                after[task] = seen[same]
            if len(seen) > 1 and not self._parts_norms and not getattr(self.scheme, "streams", False):
                raise UserError(f"{stage.name} is shared by {'+'.join(group)}, but a unit before it told them apart")
            modules.update(dict.fromkeys(group, module))
        if stage.name not in self.units:
            return after
        unit = self.units[stage.name]
        if not isinstance(unit, OfForms):
            again = partial(boxes.apply, modules[self.tasks[-1]])
            return self._mix(stage, unit, after, memory.to_pass(again, owners=boxes.owners(self.form)))
        mixed: dict[str, Tensor] = {}
        units = unit.units
        for form, columns in unit.parted.items():
            own = {column: after[column] for column in columns}
            this = memory.to_pass(partial(boxes.apply, modules[columns[0]]), form, boxes.owners(form))
            mixed |= self._mix(stage, units[form], own, this) if form in units else own
        return mixed

    def _mix(self, stage: Stage, unit: nn.Module, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
        """What a unit makes of the activations of these columns. Raises UserError."""
        seen = (this,) if getattr(unit, "sees_pass", False) else ()
        given = {self.columns.names[column]: x for column, x in xs.items()}
        mixed: dict[str, Tensor] = unit(given, *seen)
        if set(mixed) != set(given):
            raise UserError(f"the unit after {stage.name} returned {sorted(mixed)}, not {sorted(given)}")
        return {column: mixed[self.columns.names[column]] for column in xs}

    def architecture(self) -> list[dict[str, Any]]:
        """For figures: per stage its name, groups and whether a unit follows."""
        return [
            {"stage": s.name, "groups": [list(g) for g in self.groups[s.name]], "unit": s.name in self.units}
            for s in self.stages
        ]

    def alphas(self) -> dict[str, Tensor]:
        """{stage: `T T C` receiver, giver, channel} of the units that have alphas."""
        found = {name: unit.alphas() for name, unit in self.units.items() if isinstance(unit, HasAlphas)}
        return {name: alphas for name, alphas in found.items() if alphas is not None}

    def load_columns(self, states: list[dict[str, Tensor]]) -> None:
        """Start from finished networks: their names match ours one to one, unless the scheme merges their columns; only
        units may be missing.

        Raises UserError with the names that do not fit.
        """
        merged = {name: value for state in states for name, value in state.items()}
        if hasattr(self.scheme, "merge"):
            trained = {name for name, _ in self.named_parameters()}
            merged = merge_columns(self.scheme, self.groups, self.state_dict(), trained, merged)
        result = self.load_state_dict(merged, strict=False)
        missing = [name for name in result.missing_keys if not name.startswith(("units.", "log_variances."))]
        if missing or result.unexpected_keys:
            raise UserError(
                f"the parents' weights do not fit: missing {missing[:3]}, left over {result.unexpected_keys[:3]}"
            )

    def load_pretrained(self, backbone: Backbone, weights: dict[str, Tensor]) -> None:
        """Start every column from a file of pretrained weights that fits the backbone; a wider column than its holds
        them, and computes what they do. Raises UserError for weights that do not fit."""
        of_form = {form: one.adapted(weights) for form, one in split_by_form(backbone, self.form, self.forms).items()}
        for stage, columns in self.trunk.items():
            for group, column in columns.named_children():
                state = of_form[self.columns.forms[group.split("+")[0]]].get(stage, {})
                known = [(name, owner_of(name)[0]) for name in column.state_dict()]
                column.load_state_dict(
                    {name: fit_into(column, name, state[own]) for name, own in known if own in state}
                )


def plan(
    scheme: Scheme, stages: tuple[Stage, ...], tasks: tuple[str, ...], forms: Mapping[str, str] = ONE_FORM
) -> dict[str, list[tuple[str, ...]]]:
    """The groups of every stage, checked: partitions of the columns that only ever split on the way; a group names its
    tasks first. From the first stage `by_form` on, columns of several `forms` ({task: its form}) are in groups of their
    own."""
    columns = columns_of(scheme, {task: forms.get(task, "") for task in tasks})
    known = tuple(dict.fromkeys(columns.names.values()))
    groups: dict[str, list[tuple[str, ...]]] = {}
    previous: list[tuple[str, ...]] = [known]
    for stage in join(stages):
        here = [tuple(sorted(group, key=lambda name: name not in tasks)) for group in scheme.groups(stage, tasks)]
        if sorted(name for group in here for name in group) != sorted(known) or not all(here):
            raise UserError(
                f"scheme {type(scheme).__name__}: groups at {stage.name} are {here}, not a partition of {list(known)}"
            )
        for group in here:
            if not any(set(group) <= set(old) for old in previous):
                raise UserError(
                    f"scheme {type(scheme).__name__}: {stage.name} merges columns again ({'+'.join(group)});"
                    " groups may only split on the way"
                )
        previous = here
        groups[stage.name] = columns.part(here, has_parted(stage, stages))
    return groups


@contextmanager
def fix_seed(seed: int, *labels: str) -> Iterator[None]:
    """Torch's global generator as a function of (seed, labels) inside, untouched outside."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, *labels))  # torch.manual_seed also asks every accelerator
        yield


def place_on_device(net: MultiTaskNet, device: torch.device) -> MultiTaskNet:
    """The network on a device, its convolutions in the memory format that is fastest there (Ours).

    Channels last on the processor, where pooling is up to 15 times as fast (benchmarks/README.md); activations follow.
    """
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return net.to(device).to(memory_format=layout)


def count_cost(
    tasks: dict[str, Task],
    backbone: Backbone,
    scheme: Scheme,
    form: str,
    size: tuple[int, int],
    regions: int,
    decoder: str = "linear",
) -> tuple[int, int]:
    """Parameters, and floating-point operations of one image forward, as `operations` counts them."""
    with torch.device("meta"):
        net = MultiTaskNet(tasks, backbone, scheme, form, 0, decoder=decoder).eval()
        images = torch.zeros(1, 3, *size)
        boxes = torch.zeros(regions, 5) if "roi" in net.forms.values() else None
    with torch.no_grad(), count(net) as counted:
        outputs = net.scores(images, boxes)
    pixels = sum(x.shape[1] for task, x in outputs.items() if net.forms[task] == "fcn") * math.prod(size)
    return sum(p.numel() for p in net.parameters()), counted.operations + UPSAMPLED * pixels
