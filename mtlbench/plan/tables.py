"""The search space of a table of photos: its columns as tasks, the standard arms, recipes for small images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.plan.arms import alternatives, standard_arms
from mtlbench.plugins import create, find
from mtlbench.spec import Options, Pair, Recipe, SearchSpace
from mtlbench.text import Say

DATASET = "table"
SMALL = {"small": True, "width": 0.25, "fc": 256, "dropout": 0.0}
SHORT_LIST = ("one-task", "split-conv3", "split-fc6", "split-fc8", "cross-stitch")


def root_of(table: Path, images: Path | None) -> Path:
    """The `root` of data set `table`: a file that says where the table and its images are. Raises UserError.

    Without `images` they are in the folder `images` beside the table, or beside it.
    """
    if not table.expanduser().is_file():
        raise UserError(f"--csv: no such file: {table}")
    beside = table.parent / "images"
    images = images or (beside if beside.is_dir() else table.parent)
    if not images.expanduser().is_dir():
        raise UserError(f"--images: {images} is no folder")
    found: Path = find("dataset", DATASET).place(table, images)
    return found


def table_space(name: str, root: Path, columns: Mapping[str, str], group: str, say: Say) -> SearchSpace:
    """The space of the table at `root`, as a pair called `name`; `columns` and `group` are the data set's options.

    What every column is becomes an option of the data set, so that it is part of trials' identity. `say` takes lines on
    what the columns are. Raises UserError where they are fewer than two tasks.
    """
    data: Any = create("dataset", DATASET, root=root, columns=dict(columns), group=group)
    tasks, lines = data.tasks, data.describe()
    for line in lines:
        say(line)
    if len(tasks) < 2:
        only = f"one task alone ({tasks[0]})" if tasks else "no column that is a task"
        raise UserError(
            f"{data.path} has {only}: there is nothing to share; two are needed (what is left out is said above;"
            " --column NAME:regression, :classification or :multilabel takes it)"
        )
    pair = Pair(name, tasks, "image", {task.name: task.kind for task in data.tasks_in_table})
    return space_for(pair, {"columns": {column.name: column.asked for column in data.columns}})


def space_for(pair: Pair, options: Options) -> SearchSpace:
    """The standard arms and recipes for a pair of tasks about images; `options` are the data set's."""
    return SearchSpace(
        pair,
        {DATASET: "quick"},
        make_recipes(pair.tasks, options),
        standard_arms(per_channel=True),  # with one alpha a layer three tasks on 900 photos diverged at the units' rate
        SHORT_LIST,
        more=alternatives(),
    )


def pair_name(table: Path) -> str:
    """What the pair of a table is called: its file's name as a plain word that no built-in space has.

    >>> pair_name(Path("my labels (2).csv")), pair_name(Path("det_attr.csv"))
    ('my_labels_2', 'det_attr_table')
    """
    word = re.sub(r"[^A-Za-z0-9]+", "_", table.stem).strip("_") or "table"
    return f"{word}_table" if word in spaces.list_names() else word


def make_recipes(tasks: tuple[str, ...], options: Options) -> tuple[Recipe, ...]:
    """For images of 64 to 128 pixels, as those of the built-in spaces (Ours); `options` are the data set's."""

    def data(**more: int) -> dict[str, Options]:
        return {DATASET: {**options, **more}}

    smoke = Recipe(
        "smoke",
        dict.fromkeys(tasks, 8),
        4,
        images=8,
        lr=0.01,
        clip=5.0,
        curve_images=16,
        short_side=32,
        long_side=64,
        backbone_options={"small": True, "width": 0.1, "fc": 32},
        dataset_options=data(most=400),
    )
    quick = Recipe(
        "quick",
        dict.fromkeys(tasks, 600),
        200,
        images=16,
        lr=0.02,
        extra_lr=0.005,
        warmup=20,
        clip=5.0,
        curve_images=64,
        short_side=64,
        long_side=128,
        backbone_options={**SMALL, "width": 0.125},
        dataset_options=data(),
    )
    short = Recipe(
        "short",
        dict.fromkeys(tasks, 2000),
        600,
        images=32,
        lr=0.02,
        extra_lr=0.005,
        warmup=50,
        clip=5.0,
        colour=0.1,
        curve_images=128,
        short_side=96,
        long_side=192,
        backbone_options=SMALL,
        dataset_options=data(side=96),
    )
    return smoke, quick, short
