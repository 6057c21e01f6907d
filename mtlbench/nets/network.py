"""One network for any scheme, backbone and tasks: it walks the stages and asks the scheme."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mtlbench.contracts import Backbone, Geometry, Pass, Scheme, Stage, Task, join
from mtlbench.errors import UserError
from mtlbench.nets.layers import ImagePool, RegionPool, Seeded, SeededDropout, whole_images
from mtlbench.nets.operations import UPSAMPLED, counting
from mtlbench.spec import derive_seed


@runtime_checkable
class HasAlphas(Protocol):
    """A unit that can tell how much each task receives from each."""

    def alphas(self) -> Tensor:
        """`T T C`: receiver, giver, channel."""


class MultiTaskNet(nn.Module):
    """Columns of a backbone, shared and mixed as a scheme says, with one head a task.

    Parameters are named `trunk.<stage>.<tasks joined by +>.*`, `units.<stage>.*`, `heads.<task>.*`. The start of a
    stage depends on (seed, stage) alone, so all columns of all arms start alike; only those that no task has for itself
    (`extra_columns` of the scheme) start each in its own way. Raises UserError for a scheme whose groups are no
    partition of the columns or merge columns again, or whose unit changes the width of an inner stage.
    `weighting` "uncertainty" adds a log-variance a task (`log_variances.<task>`) where there are several.
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
    ) -> None:
        super().__init__()
        self.tasks, self.form, self.seed, self.precision = tuple(tasks), form, seed, precision
        self.columns = columns_of(scheme, self.tasks)
        self.mean, self.std, self.bgr = backbone.mean, backbone.std, backbone.bgr
        self.stages, self.geometry = join(backbone.stages), backbone.geometry
        self.groups = plan(scheme, self.stages, self.tasks)
        self.scheme = scheme
        self.trunk, self.units, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        channels = self.stages[-1].channels
        for stage in self.stages:
            columns = nn.ModuleDict()
            for group in self.groups[stage.name]:
                own = () if group[0] in tasks else group  # experts have to differ to be told apart
                with seeded(seed, "init", stage.name, *own):
                    columns["+".join(group)] = backbone.build(stage.name)
            self.trunk[stage.name] = columns
            with seeded(seed, "init", "units", stage.name):
                unit = scheme.unit(stage, self.tasks)
            if unit is not None:
                self.units[stage.name] = unit
                channels = getattr(unit, "channels", channels)
                if stage is not self.stages[-1] and hasattr(unit, "channels"):
                    raise UserError(
                        f"scheme {type(scheme).__name__}: only the unit after the last stage may set channels"
                    )
        dropout = getattr(backbone, "dropout", 0.0)
        for name, task in tasks.items():
            with seeded(seed, "init", "fc8", name):
                self.heads[name] = nn.Sequential(SeededDropout(dropout), task.head(channels))
        self._seeded = [(path, module) for path, module in self.named_modules() if isinstance(module, Seeded)]
        for path, module in self._seeded:
            module.seed, module.name = seed, path
        self.log_variances = nn.ParameterDict()
        if weighting == "uncertainty" and len(tasks) > 1:
            self.log_variances.update({name: nn.Parameter(torch.zeros(())) for name in tasks})

    def begin(self, iteration: int, part: int = 0, progress: float = 0.0) -> None:
        """Fix the random numbers of the step, or part of a step, that follows; `progress` is the finished fraction."""
        for _, module in self._seeded:
            module.iteration, module.part, module.progress = iteration, part, progress

    def penalty(self) -> Tensor | None:
        """What the scheme adds to the loss of a step, scalar."""
        penalty = getattr(self.scheme, "penalty", None)
        columns = {stage: dict(copies.named_children()) for stage, copies in self.trunk.items()}
        return penalty(columns) if penalty else None

    def forward(self, images: Tensor, regions: Tensor | None = None, sizes: Tensor | None = None) -> dict[str, Tensor]:
        """`B 3 H W` (and `R 5`; `B 2` where some are padded) -> {task: `B K H W` at full resolution in form `fcn`,
        `R K` in form `roi`, `B K` in form `image`}."""
        outputs = self.scores(images, regions, sizes)
        if self.form == "fcn":
            outputs = {task: upsample(x, images.shape[-2:], self.geometry) for task, x in outputs.items()}
        return outputs

    def scores(self, images: Tensor, regions: Tensor | None = None, sizes: Tensor | None = None) -> dict[str, Tensor]:
        """The same before upsampling: `B K h w` in form `fcn`."""
        with torch.autocast(images.device.type, torch.bfloat16) if self._reduced(images) else nullcontext():
            xs, memory = dict.fromkeys(self.columns, images), dict[str, Any]()
            wholes = whole_images(images, sizes) if self.form == "image" else None
            for stage in self.stages:
                xs = self._stage(stage, xs, regions, memory, wholes)
            return {task: self.heads[task](xs[task]).float() for task in self.tasks}

    def _reduced(self, images: Tensor) -> bool:
        return self.precision == "bf16" and images.device.type != "meta"  # where FLOPs are counted

    def _stage(
        self,
        stage: Stage,
        xs: dict[str, Tensor],
        regions: Tensor | None,
        memory: dict[str, Any],
        wholes: Tensor | None = None,
    ) -> dict[str, Tensor]:
        after: dict[str, Tensor] = {}

        def applied(module: nn.Module, x: Tensor) -> Tensor:
            if isinstance(module, RegionPool):
                pooled: Tensor = module(x, wholes if isinstance(module, ImagePool) else regions)
                return pooled
            output: Tensor = module(x)
            return output

        for group in self.groups[stage.name]:
            module, x = self.trunk.get_submodule(f"{stage.name}.{'+'.join(group)}"), xs[group[0]]
            if any(xs[task] is not x for task in group):
                raise UserError(f"{stage.name} is shared by {'+'.join(group)}, but a unit before it told them apart")
            after.update(dict.fromkeys(group, applied(module, x)))
        if stage.name in self.units:
            unit = self.units[stage.name]
            seen = (Pass(partial(applied, module), memory),) if getattr(unit, "sees_pass", False) else ()
            mixed: dict[str, Tensor] = unit(after, *seen)
            if set(mixed) != set(after):
                raise UserError(f"the unit after {stage.name} returned {sorted(mixed)}, not {sorted(after)}")
            return mixed
        return after

    def architecture(self) -> list[dict[str, Any]]:
        """For figures: per stage its name, groups and whether a unit follows."""
        return [
            {"stage": s.name, "groups": [list(g) for g in self.groups[s.name]], "unit": s.name in self.units}
            for s in self.stages
        ]

    def alphas(self) -> dict[str, Tensor]:
        """{stage: `T T C` receiver, giver, channel} of the units that have alphas."""
        return {name: unit.alphas() for name, unit in self.units.items() if isinstance(unit, HasAlphas)}

    def load_columns(self, states: list[dict[str, Tensor]]) -> None:
        """Start from finished networks: their names match ours one to one; only units may be missing.

        Raises UserError with the names that do not fit.
        """
        merged = {name: value for state in states for name, value in state.items()}
        result = self.load_state_dict(merged, strict=False)
        missing = [name for name in result.missing_keys if not name.startswith(("units.", "log_variances."))]
        if missing or result.unexpected_keys:
            raise UserError(
                f"the parents' weights do not fit: missing {missing[:3]}, left over {result.unexpected_keys[:3]}"
            )

    def load_pretrained(self, stages: dict[str, dict[str, Tensor]]) -> None:
        """Start every column of these stages from pretrained weights, as `Backbone.adapted` gives them; a wider column
        holds them, and computes what they do."""
        for stage, state in stages.items():
            for column in self.trunk[stage].children():
                column.load_state_dict({name: inside(column, name, value) for name, value in state.items()})


def inside(column: nn.Module, name: str, value: Tensor) -> Tensor:
    """A parameter of the column that holds a narrower one's `value`; what is around it stays as it starts, but does not
    reach the outputs that the narrower one has (Ours, after Chen et al. 2016: a wider network that goes on from a
    narrow one). Each half of the channels holds a half: convolutions may have two groups."""
    start: Tensor = column.state_dict()[name]
    if start.shape == value.shape:
        return value
    path, _, kind = name.rpartition(".")
    found, old = start.clone(), halves(len(value), len(start))
    if kind == "bias":
        found[old] = value
        return found
    layer = column.get_submodule(path)
    found[old] = 0.0
    flat = value.flatten(2) if value.ndim > 2 else value[..., None]
    whole = found.flatten(2) if value.ndim > 2 else found[..., None]
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        whole[old, : value.shape[1]] = flat
    else:
        whole[old[:, None], halves(value.shape[1], start.shape[1])] = flat
    return whole.view(start.shape)


def halves(narrow: int, wide: int) -> Tensor:
    """Where `narrow` channels lie among `wide`: half of them at the start of each half."""
    places: Tensor = torch.arange(narrow)
    if wide != narrow:
        places += (places >= narrow // 2) * ((wide - narrow) // 2)
    return places


def columns_of(scheme: Scheme, tasks: tuple[str, ...]) -> tuple[str, ...]:
    """The tasks, and the columns that the scheme has besides. Raises UserError where they are called as tasks are."""
    extra = tuple(scheme.extra_columns(tasks)) if hasattr(scheme, "extra_columns") else ()
    if taken := set(extra) & set(tasks):
        raise UserError(f"scheme {type(scheme).__name__} has a column {min(taken)!r}; call the task something else")
    return *tasks, *extra


def plan(scheme: Scheme, stages: tuple[Stage, ...], tasks: tuple[str, ...]) -> dict[str, list[tuple[str, ...]]]:
    """The groups of every stage, checked: partitions of the columns that only ever split on the way; a group names its
    tasks first."""
    columns = columns_of(scheme, tasks)
    groups: dict[str, list[tuple[str, ...]]] = {}
    previous: list[tuple[str, ...]] = [columns]
    for stage in join(stages):
        here = [tuple(sorted(group, key=lambda name: name not in tasks)) for group in scheme.groups(stage, tasks)]
        if sorted(name for group in here for name in group) != sorted(columns) or not all(here):
            raise UserError(
                f"scheme {type(scheme).__name__}: groups at {stage.name} are {here}, not a partition of {list(columns)}"
            )
        for group in here:
            if not any(set(group) <= set(old) for old in previous):
                raise UserError(
                    f"scheme {type(scheme).__name__}: {stage.name} merges columns again ({'+'.join(group)});"
                    " groups may only split on the way"
                )
        groups[stage.name] = previous = here
    return groups


@contextmanager
def seeded(seed: int, *labels: str) -> Iterator[None]:
    """Torch's global generator as a function of (seed, labels) inside, untouched outside."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, *labels))  # torch.manual_seed also asks every accelerator
        yield


def upsample(scores: Tensor, size: tuple[int, int] | torch.Size, geometry: Geometry) -> Tensor:
    """Bilinear upsampling `B K h w` -> `B K H W` as two small matrix products.

    Equals the fixed bilinear deconvolution of Long et al. 2015 and its crop; with `hold` (ours, for unpadded small
    images) pixels beyond the outer cells' centres take the outer cell's score.
    """
    rows = _interpolation(size[0], scores.shape[-2], geometry, scores.dtype, scores.device)
    columns = _interpolation(size[1], scores.shape[-1], geometry, scores.dtype, scores.device)
    return rows @ scores @ columns.T


@cache
def _interpolation(pixels: int, cells: int, geometry: Geometry, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # made in an evaluation, it must serve training too
        position = (torch.arange(pixels, dtype=torch.float64) - geometry.centre) / geometry.stride
        if geometry.hold:
            position = position.clamp(0, cells - 1)
        distance = (position[:, None] - torch.arange(cells, dtype=torch.float64)[None, :]).abs()
        return (1 - distance).clamp(min=0).to(dtype).to(device)


def placed(net: MultiTaskNet, device: torch.device) -> MultiTaskNet:
    """The network on a device, its convolutions in the memory format that is fastest there (Ours).

    Channels last on the processor, where pooling is up to 15 times as fast (benchmarks/README.md); activations follow.
    """
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return net.to(device).to(memory_format=layout)


def cost(
    tasks: dict[str, Task], backbone: Backbone, scheme: Scheme, form: str, size: tuple[int, int], regions: int
) -> tuple[int, int]:
    """Parameters, and floating-point operations of one image forward, as `operations` counts them."""
    with torch.device("meta"):
        net = MultiTaskNet(tasks, backbone, scheme, form, 0).eval()
        images = torch.zeros(1, 3, *size)
        boxes = torch.zeros(regions, 5) if form == "roi" else None
    with torch.no_grad(), counting(net) as counted:
        outputs = net.scores(images, boxes)
    pixels = sum(x.shape[1] for x in outputs.values()) * math.prod(size) if form == "fcn" else 0
    return sum(p.numel() for p in net.parameters()), counted.operations + UPSAMPLED * pixels
