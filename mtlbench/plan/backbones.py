"""What follows from the backbone of a study: the layers at which its Splits split, and where tasks of several forms
part."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence

from mtlbench.plan.arms import every_split
from mtlbench.plan.options import parse_literal
from mtlbench.plan.trees import layers_of
from mtlbench.plugins import create, find, parse_call
from mtlbench.spec import Arm, Family, Options, Plugin, Recipe, SearchSpace

OF_TIMM = "timm:"


def parse_backbone(text: str) -> tuple[str, Options]:
    """A backbone's name and options, from what `--backbone` says. Raises UserError.

    >>> parse_backbone("timm:resnet18(output_stride=16)")
    ('timm', {'model': 'resnet18', 'output_stride': 16})
    """
    name, options = parse_call(text, "--backbone")
    if name.startswith(OF_TIMM):
        return "timm", {"model": name.removeprefix(OF_TIMM), **options}
    return name, options


def words_of(label: str) -> str:
    """What `--backbone` takes for a backbone with this label, without the options that recipes give.

    >>> words_of("timm(cuts=blocks,model=resnet18)"), words_of("caffenet(small=True)")
    ('"timm:resnet18(cuts=\\'blocks\\')"', 'caffenet')
    """
    name, _, inside = label.partition("(")
    if name != "timm":
        return name
    options = dict(pair.split("=", 1) for pair in inside.rstrip(")").split(","))
    given = ", ".join(f"{key}={parse_literal(value)!r}" for key, value in options.items() if key != "model")
    text = f"{OF_TIMM}{options.get('model', '')}"
    return f'"{text}({given})"' if given else text


def pin(name: str, options: Options) -> Options:
    """The options of a backbone with those that are always part of what it is, such as a library's version."""
    own: Options = getattr(find("backbone", name), "pinned", {})
    return {**options, **own}


def on_backbone(space: SearchSpace, backbone: Plugin, recipe: Recipe) -> tuple[SearchSpace, Recipe]:
    """The space with Splits at the backbone's own stages, where it lacks those that the space names, and the recipe
    without frozen stages that it lacks. Raises UserError.

    There is one for each stage with parameters but the first, and one for the heads. Of the short list, Splits become
    those at about the same depth; wide arms go where the backbone cannot be wider (Ours).
    """
    made = create("backbone", backbone.source or backbone.name, form=space.pair.form, **backbone.options)
    stages = [stage.name for stage in made.stages]
    recipe = dataclasses.replace(recipe, frozen=tuple(name for name in recipe.frozen if name in stages))
    named = layers_of(space)
    if {*named} <= {*stages, "fc8"}:
        return space, recipe
    _, *points = [stage.name for stage in made.stages if stage.has_parameters]
    points.append("fc8")
    if space.parts_at not in points:
        parted = [stage.name for stage in made.stages if stage.by_form and stage.has_parameters]
        space = dataclasses.replace(space, parts_at=next(iter(parted), "fc8"))
    to = {f"split-{layer}": f"split-{points[place]}" for layer, place in _find_depths(named, points).items()}
    can_widen = "widen" in inspect.signature(type(made)).parameters
    more = tuple(arm for arm in space.more if can_widen or not arm.wide)
    arms = _with_splits(space.arms, every_split(points))
    short = tuple(dict.fromkeys(to.get(name, name) for name in space.short_list))
    return dataclasses.replace(space, arms=arms, short_list=short, more=more), recipe


def _find_depths(named: Sequence[str], points: Sequence[str]) -> dict[str, int]:
    """{layer that a space names: the place among the points that lies about as deep}."""
    steps = max(1, len(named) - 1)
    return {layer: round(place * (len(points) - 1) / steps) for place, layer in enumerate(named)}


def _with_splits(arms: Sequence[Arm], splits: Sequence[Arm]) -> tuple[Arm, ...]:
    """The arms with these Splits in place of theirs; variants of Splits go."""
    own = [arm.name for arm in arms if arm.family == Family.SPLIT]
    if not own:
        return tuple(arms)
    place = [arm.name for arm in arms].index(own[0])
    return (*arms[:place], *splits, *(arm for arm in arms[place:] if arm.name not in own))
