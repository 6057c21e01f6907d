"""`mtlbench list`: what can be named on the command line, found by looking into folders; no plug-in is imported."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import click

from mtlbench.cli._shared import one_line_errors
from mtlbench.cli.terminal import print_table
from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.plugins import list_names, make_unknown
from mtlbench.report.table import Column, Table, large, simple_table
from mtlbench.spec import MIXED, Arm, Plugin, Recipe, SearchSpace
from mtlbench.system.console import wide_console
from mtlbench.text import NOTHING

PLUGINS = {
    "datasets": "dataset",
    "tasks": "task",
    "backbones": "backbone",
    "schemes": "scheme",
    "weightings": "weighting",
    "figures": "figure",
}
KINDS = ("recipes", "spaces", "arms", *PLUGINS, "tables")
SOURCES = ("text", "cited", "ours")
ABOUT_ITSELF = ("name", "sources")  # fields of a recipe that are no part of an experiment
OF_FORM = {"regions": "roi", "decoder": "fcn", "fill_background": "roi"}  # fields that mean nothing in another form
WITH = {  # fields that mean nothing with other values of a field
    "from_scratch": ("init", ("pretrained",)),
    "decoder": ("decoder", ("deeplab", "fpn")),
    "beta2": ("optimiser", ("adam", "adamw")),
    "step_at": ("decay", ("step",)),
    "step_factor": ("decay", ("step",)),
    "poly_power": ("decay", ("poly",)),
}


@click.command()
@click.argument("kind")
@click.option("--pair", default="", help="Only of this search space (recipes, spaces, arms).")
@click.option("--backbone", default="", help="The stages of this one (backbones): timm:resnet18, say.")
@one_line_errors
def command(kind: str, pair: str, backbone: str) -> None:
    """List recipes (with the source of each value), spaces, arms, datasets, tasks, backbones, schemes, weightings,
    figures, or the tables that come with the package (docs/table.md)."""
    print_listing(kind, pair, backbone)


def print_listing(kind: str, pair: str = "", backbone: str = "") -> None:
    """Print what `tabulate` finds, or the stages of a backbone. Raises UserError."""
    console = wide_console()
    if backbone and kind != "backbones":
        raise UserError("--backbone lists the stages of one: mtlbench list backbones --backbone NAME")
    for place, table in enumerate([tabulate_stages(backbone)] if backbone else tabulate(kind, pair)):
        if place:
            console.print()
        print_table(table, console)


def tabulate(kind: str, pair: str = "") -> list[Table]:
    """Tables of all that a kind (one of KINDS) has; `pair`, a built-in space or a file with a SPACE, narrows recipes,
    spaces and arms to it. Raises UserError."""
    if kind not in KINDS:
        raise make_unknown("list", kind, KINDS)
    if kind in PLUGINS:
        return [_list_plugins(kind)]
    if kind == "tables":
        return [_list_tables()]
    found = {name: spaces.load(name) for name in ([pair] if pair else spaces.list_names())}
    if kind == "spaces":
        return [_list_spaces(found)]
    if kind == "recipes":  # the spaces of one pair share them
        return [
            table
            for space in {space.pair.name: space for space in found.values()}.values()
            for table in _list_recipes(space)
        ]
    return [table for name, space in found.items() for table in _list_arms(name, space)]


def _list_plugins(kind: str) -> Table:
    """One row a plug-in: its name and the first sentence of its file."""
    folder = Path(__file__).parents[1] / f"{PLUGINS[kind]}s"
    return simple_table(
        (kind, ""), [(name, first_sentence(folder / f"{name}.py")) for name in list_names(PLUGINS[kind])]
    )


def _list_tables() -> Table:
    """A row for each of the package's tables of finished studies."""
    from mtlbench.tabular.benchmark import Benchmark, list_tables

    rows = []
    for name in list_tables():
        table = Benchmark(name)
        rows.append(
            (name, " + ".join(table.tasks), table.about.dataset, table.about.recipe, len(table.arms), len(table.seeds))
        )
    return simple_table(("table", "tasks", "data set", "recipe", Column("arms"), Column("seeds")), rows)


def tabulate_stages(text: str) -> Table:
    """A row a stage of the backbone that `--backbone` names. Raises UserError."""
    from mtlbench.use.stages import describe_backbone

    title, facts = describe_backbone(text)
    rows = [
        (
            stage.name,
            stage.channels,
            stage.stride or NOTHING,
            stage.parameters,
            "after it" if stage.stitched else "",
            " ".join(stage.modules),
        )
        for stage in facts
    ]
    numbers = (Column("channels"), Column("stride"), Column("parameters", write=large))
    return simple_table(("stage", *numbers, "units", "modules"), rows, title)


def first_sentence(path: Path) -> str:
    """The first sentence of a Python file's docstring; nothing is imported."""
    try:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
    except (OSError, ValueError, SyntaxError):
        return "(cannot be read)"
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph)[0]


def _list_spaces(found: dict[str, SearchSpace]) -> Table:
    heads = ("space", "tasks", "data sets (default recipe)", Column("arms"), "")
    rows = []
    for name, space in found.items():
        path = Path(name).expanduser() if name.endswith(".py") else spaces.find_packaged("search_spaces") / f"{name}.py"
        data = ", ".join(f"{dataset} ({recipe})" for dataset, recipe in space.datasets.items())
        rows.append((name, " + ".join(space.pair.tasks), data, len(space.arms), first_sentence(path)))
    return simple_table(heads, rows)


def _list_arms(name: str, space: SearchSpace) -> list[Table]:
    rows = []
    for arm in space.arms:
        networks = "one for all tasks" if arm.joint else "one a task"
        short = "yes" if arm.name in space.short_list else ""
        rows.append((arm.name, Plugin(arm.scheme, arm.options).label, networks, _start(arm), short))
    heads = ("arm", "scheme", "networks", "starts from", "short list")
    return [simple_table(heads, rows, f"{name}: arms")]


def _start(arm: Arm) -> str:
    """Where the networks of an arm begin."""
    parents = " + ".join(arm.parents)
    if arm.average:
        return f"the average of {parents}"
    return parents or arm.start or "the recipe's init"


def _list_recipes(space: SearchSpace) -> list[Table]:
    """A line for each recipe, then every field of those that say where their values are from."""
    numbers = (Column("extra"), Column("images"), Column("lr"))
    heads = ("recipe", "iterations", *numbers, "size", "init", "backbone", "data sets")
    rows = []
    for recipe in space.recipes:
        datasets = [Plugin(name, options).label for name, options in recipe.dataset_options.items()]
        backbone = Plugin(recipe.backbone, recipe.backbone_options).label
        rows.append(
            (
                recipe.name,
                _iterations(recipe),
                recipe.extra_iterations,
                recipe.images,
                f"{recipe.lr:g}",
                _size(recipe),
                recipe.init,
                backbone,
                ", ".join(datasets),
            )
        )
    brief = simple_table(heads, rows, f"{space.pair.name}: recipes")
    return [brief, *(_list_fields(space, recipe) for recipe in space.recipes if recipe.sources)]


def _iterations(recipe: Recipe) -> str:
    distinct = set(recipe.iterations.values())
    return str(*distinct) if len(distinct) == 1 else value_text(recipe.iterations)


def _size(recipe: Recipe) -> str:
    """`160, at most 240`, in pixels."""
    if not recipe.short_side:
        return "as it is"
    return f"{recipe.short_side}" + (f", at most {recipe.long_side}" if recipe.long_side else "")


def _list_fields(space: SearchSpace, recipe: Recipe) -> Table:
    rows = []
    for field in dataclasses.fields(recipe):
        if field.name not in ABOUT_ITSELF and matters(recipe, field.name, space.pair.form):
            kind, words = source_of(recipe, field.name)
            rows.append((field.name, value_text(getattr(recipe, field.name)), kind, words))
    return simple_table(("field", "value", "source", ""), rows, f"{space.pair.name}: recipe {recipe.name}")


def matters(recipe: Recipe, field: str, form: str) -> bool:
    """Whether a field can change numbers beside the form and the recipe's other fields."""
    other, values = WITH.get(field, ("name", (recipe.name,)))
    return form in (OF_FORM.get(field, form), MIXED) and getattr(recipe, other) in values


def source_of(recipe: Recipe, field: str) -> tuple[str, str]:
    """Where a field's value is from: text, cited or ours (empty: not said), and the words on it."""
    text = recipe.sources.get(field, "")
    kind, _, words = text.partition(":")
    return (kind, words.strip()) if kind in SOURCES else ("", text)


def value_text(value: Any) -> str:
    """A field's value as people write it: `detection 600, attributes 600`, `voc2008 (proposals 128)`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        inside = [f"{k} ({value_text(v)})" if isinstance(v, dict) else f"{k} {value_text(v)}" for k, v in value.items()]
        return ", ".join(inside) or NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value)) or NOTHING
    return str(value)
