"""Finding search spaces: the built-in ones and a user's own file, with one loader by path."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

from mtlbench.errors import UserError
from mtlbench.plugins import unknown
from mtlbench.spec import Recipe, SearchSpace


def carried(name: str) -> Path:
    """A folder or file that lies beside the package in a checkout and inside it when installed."""
    inside = Path(__file__).parent / name
    return inside if inside.exists() else Path(__file__).parent.parent / name


def names() -> list[str]:
    """The built-in search spaces."""
    return sorted(path.stem for path in carried("search_spaces").glob("[a-z]*.py"))


def load(name: str) -> SearchSpace:
    """A built-in space by name, or the SPACE of a file `PATH.py`. Raises UserError."""
    path = Path(name).expanduser() if name.endswith(".py") else carried("search_spaces") / f"{name}.py"
    if not name.endswith(".py") and name not in names():
        raise unknown("pair", name, names())
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    try:
        space = runpy.run_path(str(path)).get("SPACE")
    except Exception as error:
        raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(space, SearchSpace):
        raise UserError(f"{path} has no SPACE = SearchSpace(...)")
    here = path.resolve().parent
    beside = {task: str(here / place) for task, place in space.pair.files.items()}
    return dataclasses.replace(space, pair=dataclasses.replace(space.pair, files=beside))


def recipe_of(space: SearchSpace, name: str) -> Recipe:
    """The recipe of that name. Raises UserError."""
    for recipe in space.recipes:
        if recipe.name == name:
            return recipe
    raise unknown("recipe", name, [recipe.name for recipe in space.recipes])
