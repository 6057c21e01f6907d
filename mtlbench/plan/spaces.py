"""Finding search spaces: the built-in ones and a user's own file, with one loader by path."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Mapping
from pathlib import Path

from mtlbench import plugins
from mtlbench.errors import UserError
from mtlbench.plugins import make_unknown
from mtlbench.spec import MIXED, Family, Pair, Recipe, SearchSpace, is_file


def find_packaged(name: str) -> Path:
    """A folder or file that lies beside the package in a checkout and inside it when installed."""
    package = Path(__file__).parents[1]
    inside = package / name
    return inside if inside.exists() else package.parent / name


def list_names() -> list[str]:
    """The built-in search spaces."""
    return sorted(path.stem for path in find_packaged("search_spaces").glob("[a-z]*.py"))


def load(name: str) -> SearchSpace:
    """A built-in space by name, or the SPACE of a file `PATH.py`. Raises UserError."""
    path = Path(name).expanduser() if name.endswith(".py") else find_packaged("search_spaces") / f"{name}.py"
    if not name.endswith(".py") and name not in list_names():
        raise make_unknown("pair", name, list_names())
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    try:
        space = runpy.run_path(str(path)).get("SPACE")
    except Exception as error:
        raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(space, SearchSpace):
        raise UserError(f"{path} has no SPACE = SearchSpace(...)")
    here = path.resolve().parent
    beside = {task: str(here / place) if is_file(place) else place for task, place in space.pair.files.items()}
    pair = dataclasses.replace(space.pair, files=beside)
    check_tasks(pair, path)
    return dataclasses.replace(space, pair=pair)


def places_of(pair: Pair) -> dict[str, str]:
    """{task: the kind or file that it is}."""
    return {task: pair.files.get(task, task) for task in pair.tasks}


def forms_of(form: str, places: Mapping[str, str]) -> dict[str, str]:
    """{task: its form} for a pair of this form, from {task: the kind or file that it is}."""
    return {task: plugins.find("task", place).form if form == MIXED else form for task, place in places.items()}


def without_twins(space: SearchSpace) -> SearchSpace:
    """The space without Splits whose network is another one's: where no two tasks have one form, they have all parted
    at the space's `parts_at`, and a later layer to split at changes nothing."""
    pair = space.pair
    if pair.form != MIXED or len(set(forms_of(pair.form, places_of(pair)).values())) < len(pair.tasks):
        return space
    layers = [arm.options["at"] for arm in space.arms if arm.family == Family.SPLIT and not arm.variant_of]
    later = layers[layers.index(space.parts_at) + 1 :] if space.parts_at in layers else []
    names = {arm.name: f"split-{space.parts_at}" for arm in space.arms if arm.options.get("at") in later}
    return dataclasses.replace(
        space,
        arms=tuple(arm for arm in space.arms if arm.name not in names),
        short_list=tuple(dict.fromkeys(names.get(name, name) for name in space.short_list)),
    )


def check_tasks(pair: Pair, path: Path) -> None:
    """Raises UserError for a user's own task that the pair lacks, that is built in, or that has another form."""
    for task, file in pair.files.items():
        if task not in pair.tasks or not task.isidentifier() or task in plugins.list_names("task"):
            raise UserError(f"{path}: {task!r} in files must be a task of the pair, a plain word, and not built in")
        if is_file(file):  # listings do without the built-in kinds, which take torch to import
            check_form(pair, task, str(path))


def check_forms(pair: Pair) -> None:
    """Raises UserError for a task of a kind that has another form than the pair."""
    for task in pair.files:
        check_form(pair, task, pair.name)


def check_form(pair: Pair, task: str, where: str) -> None:
    """Raises UserError for a task of another form than the pair."""
    form = plugins.find("task", pair.files[task]).form
    if pair.form not in (form, MIXED):
        raise UserError(f"{where}: task {task} is of form {form}, the pair of form {pair.form}")


def like(name: str, pair: Pair, datasets: dict[str, str] | None = None) -> SearchSpace:
    """The built-in space `name` for a pair of other tasks: its arms, and its recipes but `paper`, with the longest of
    their iterations for every task; weights and options of tasks that the pair lacks are left out."""
    base = load(name)
    recipes = tuple(
        dataclasses.replace(
            recipe,
            iterations=dict.fromkeys(pair.tasks, max(recipe.iterations.values())),
            loss_weight={task: weight for task, weight in recipe.loss_weight.items() if task in pair.tasks},
            task_options={task: options for task, options in recipe.task_options.items() if task in pair.tasks},
        )
        for recipe in base.recipes
        if recipe.name != "paper"
    )
    datasets = datasets or {data: recipe for data, recipe in base.datasets.items() if recipe != "paper"}
    return dataclasses.replace(base, pair=pair, recipes=recipes, datasets=datasets)


def recipe_of(space: SearchSpace, name: str) -> Recipe:
    """The recipe of that name. Raises UserError."""
    for recipe in space.recipes:
        if recipe.name == name:
            return recipe
    raise make_unknown("recipe", name, [recipe.name for recipe in space.recipes])
