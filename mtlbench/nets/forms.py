"""Tasks of several forms in one network: where they part, what each form's stages and units are given (Ours)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mtlbench.contracts import Backbone, Pass, Scheme, Stage
from mtlbench.errors import UserError
from mtlbench.nets.layers import ImagePool, RegionPool
from mtlbench.spec import MIXED


def of_each_form(forms: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """{form: its tasks} from {task: its form}, in the order of the tasks."""
    return {form: tuple(task for task in forms if forms[task] == form) for form in dict.fromkeys(forms.values())}


@dataclass(frozen=True)
class Columns:
    """A network's columns: its tasks, and those that the scheme has besides, once a form (`expert-1@roi`) where there
    are several forms."""

    forms: dict[str, str]  # {column: its form}
    names: dict[str, str]  # {column: what the scheme calls it}

    def ask(self, columns: Sequence[str]) -> tuple[str, ...]:
        """What the scheme calls these columns, each name once."""
        return tuple(dict.fromkeys(self.names[column] for column in columns))

    def part(self, groups: Sequence[Sequence[str]], by_form: bool) -> list[tuple[str, ...]]:
        """Groups of what the scheme has as groups of columns, those of each form for themselves with `by_form`."""
        whole = [
            tuple(column for name in group for column in self.names if self.names[column] == name) for group in groups
        ]
        if not by_form:
            return whole
        forms = dict.fromkeys(self.forms.values())
        own = [tuple(column for column in group if self.forms[column] == form) for group in whole for form in forms]
        return [group for group in own if group]


def columns_of(scheme: Scheme, forms: Mapping[str, str]) -> Columns:
    """The columns for tasks of these forms, {task: its form}. Raises UserError where extra ones are called as tasks."""
    asked: Any = getattr(scheme, "extra_columns", None)
    extra = tuple(asked(tuple(forms))) if asked else ()
    if taken := set(extra) & set(forms):
        raise UserError(f"scheme {type(scheme).__name__} has a column {min(taken)!r}; call the task something else")
    distinct = dict.fromkeys(forms.values())
    more = {(f"{name}@{form}" if len(distinct) > 1 else name): (form, name) for form in distinct for name in extra}
    return Columns(
        {**forms, **{column: form for column, (form, _) in more.items()}},
        {**{task: task for task in forms}, **{column: name for column, (_, name) in more.items()}},
    )


def split_by_form(backbone: Any, form: str, forms: Mapping[str, str]) -> dict[str, Backbone]:
    """{form of tasks: what makes their modules}: the backbone itself, unless it is made for form `mixed`."""
    return {one: backbone.of_form(one) if form == MIXED else backbone for one in dict.fromkeys(forms.values())}


def has_parted(stage: Stage, stages: Sequence[Stage]) -> bool:
    """Whether the stage is the first one `by_form` or comes after it."""
    return any(one.by_form for one in stages[: [one.name for one in stages].index(stage.name) + 1])


@runtime_checkable
class HasAlphas(Protocol):
    """A unit that can tell how much each task receives from each."""

    def alphas(self) -> Tensor | None:
        """`T T C`: receiver, giver, channel; None where it has none after all."""


class OfForms(nn.Module):
    """The units after a stage where the tasks, of several forms, have parted: one for the tasks of each form.

    `parted`: {form: its columns}.
    """

    def __init__(self, units: dict[str, nn.Module], tasks: tuple[str, ...], parted: dict[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.tasks, self.parted = tasks, parted
        for form, unit in units.items():
            self.add_module(form, unit)

    @property
    def units(self) -> dict[str, nn.Module]:
        """{form: its unit}."""
        return dict(self.named_children())

    def alphas(self) -> Tensor | None:
        """`T T C` over all tasks, NaN between those of different forms; None where the units have none."""
        asked = {form: unit.alphas() for form, unit in self.units.items() if isinstance(unit, HasAlphas)}
        found = {form: alphas for form, alphas in asked.items() if alphas is not None}
        if set(found) != set(self.parted):
            return None
        first = next(iter(found.values()))
        whole = first.new_full((len(self.tasks), len(self.tasks), first.shape[2]), torch.nan)
        for form, alphas in found.items():
            places = [self.tasks.index(column) for column in self.parted[form] if column in self.tasks]
            whole[torch.tensor(places)[:, None], torch.tensor(places)] = alphas
        return whole


@dataclass
class Boxes:
    """What pooling needs besides a map: regions `R 5` for tasks of form `roi`, whole images `B 5` for form `image`."""

    regions: Tensor | None
    wholes: Tensor | None

    def owners(self, form: str) -> Tensor | None:
        """The image that each region is of, `R`; None of tasks of another form."""
        return self.regions[:, 0].long() if form == "roi" and self.regions is not None else None

    def apply(self, module: nn.Module, x: Tensor) -> Tensor:
        """A stage's module on its input."""
        if isinstance(module, RegionPool):
            pooled: Tensor = module(x, self.wholes if isinstance(module, ImagePool) else self.regions)
            return pooled
        output: Tensor = module(x)
        return output


@dataclass
class Memory:
    """What units leave in a pass: for later ones (that of a form begins with what was left before the forms parted),
    and for the losses; and what they see of finished networks."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    finished: Callable[[], dict[str, Tensor]] = dict
    common: dict[str, Any] = field(default_factory=dict)
    of_forms: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_pass(self, again: Callable[[Tensor], Tensor], form: str = "", owners: Tensor | None = None) -> Pass:
        """What a unit for tasks of a form sees; without a form one for all tasks."""
        own = self.of_forms.setdefault(form, dict(self.common)) if form else self.common
        return Pass(again, own, self.losses, self.finished, owners)
