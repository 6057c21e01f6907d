"""The space of a table: tasks after columns, arms, recipes, keys; what is no study is refused in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtlbench.errors import UserError
from mtlbench.plan.options import RunOptions, parse_column
from mtlbench.plan.tables import pair_name, root_of, table_space
from mtlbench.spec import SearchSpace
from tests.support.tables import photos, write_images, write_table


def space_of(table: Path, images: Path, said: list[str] | None = None, **columns: str) -> SearchSpace:
    return table_space(pair_name(table), root_of(table, images), columns, "", (said if said is not None else []).append)


def test_columns_are_the_tasks_and_what_they_are_is_said_and_kept(tmp_path: Path) -> None:
    said: list[str] = []
    space = space_of(*photos(tmp_path), said)
    assert (space.pair.name, space.pair.tasks, space.pair.form) == (
        "people",
        ("age", "weight", "kind", "tags"),
        "image",
    )
    assert space.pair.files == {
        "age": "regression",
        "weight": "regression",
        "kind": "classification",
        "tags": "multilabel",
    }
    assert said[:4] == [
        "age: regression, 39 of 40 images labelled, 20 to 78",
        "weight: regression, 40 of 40 images labelled, 50.5 to 90.5",
        "kind: classification, 39 of 40 images labelled, 3 classes (a, b, c)",
        "tags: multilabel, 40 of 40 images labelled, 2 labels (old, red)",
    ]
    for recipe in space.recipes:
        options = recipe.dataset_options["table"]["columns"]
        assert options["age"] == "regression:age" and options["file"] == "file"
        assert set(recipe.iterations) == set(space.pair.tasks)
    again = space_of(tmp_path / "people.csv", tmp_path / "photos", age="regression")
    assert again == space  # asked for as it looks: the same study


@pytest.mark.parametrize(
    ("header", "cells", "says"),
    [
        (("f", "a"), ["x", "y"], r"t.csv has one task alone \(a\): there is nothing to share; two are needed"),
        (("f", "a", "b"), ["x", ""], r"t.csv has one task alone \(a\)"),
        (("f", "a", "b"), ["", ""], r"t.csv has no column that is a task"),
    ],
    ids=["one column", "an empty one", "empty"],
)
def test_fewer_than_two_tasks_are_nothing_to_share(
    tmp_path: Path, header: tuple[str, ...], cells: list[str], says: str
) -> None:
    names = write_images(tmp_path / "p", 12)
    rows = [
        [n, *([cells[i % 2]] if len(header) == 2 else [cells[0] and "xy"[i % 2], cells[1]])]
        for i, n in enumerate(names)
    ]
    with pytest.raises(UserError, match=says):
        space_of(write_table(tmp_path / "t.csv", rows, header), tmp_path / "p")


def test_places_that_are_not_there_are_named(tmp_path: Path) -> None:
    table, images = photos(tmp_path)
    with pytest.raises(UserError, match=r"--csv: no such file: .*gone.csv"):
        root_of(tmp_path / "gone.csv", images)
    with pytest.raises(UserError, match=r"--images: .*gone is no folder"):
        root_of(table, tmp_path / "gone")
    images.rename(tmp_path / "images")
    assert root_of(table, None) == root_of(table, tmp_path / "images")  # the folder of that name beside it


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "--pair det_attr, or --csv labels.csv"),
        ({"csv": Path("a.csv"), "pair": "det_attr"}, "--csv makes its own pair and data set"),
        ({"pair": "det_attr", "images": Path("p")}, "--images, --column and --group are about the table of --csv"),
        ({"pair": "det_attr", "group": "who"}, "give it, too"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        RunOptions(**options)


def test_a_column_of_the_command_line() -> None:
    assert parse_column("age:regression") == ("age", "regression")
    with pytest.raises(UserError, match="write COLUMN:KIND"):
        parse_column("age:number")
