"""`mtlbench list`: everything that exists is named, and the paper's recipes say where each value is from."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mtlbench import plugins
from mtlbench.cli import list as module
from mtlbench.cli.list import (
    KINDS,
    PLUGINS,
    SOURCES,
    first_sentence,
    matters,
    source_of,
    tabulate,
    tabulate_stages,
    value_text,
)
from mtlbench.cli.terminal import print_table
from mtlbench.errors import UserError
from mtlbench.plan import spaces
from mtlbench.spec import Recipe

# Not of the experiment: names, how the curve is drawn, how much of a machine it takes.
NEEDS_NO_SOURCE = {"name", "sources", "tune", "curve_points", "curve_images", "gpu_hours", "threads"}

SPACE = '''"""A pair of one's own. More words."""
from mtlbench.authoring import Arm, Pair, Recipe, SearchSpace, cross_stitch, ensemble, one_task

SPACE = SearchSpace(
    Pair("own", ("semseg", "normals"), "fcn"), {"rooms": "tiny"},
    (Recipe("tiny", {"semseg": 3, "normals": 4}, 2, images=1, lr=0.5, short_side=30, colour=0.25,
            loss_weight={"normals": 2.0}, dataset_options={"rooms": {"train": 5}},
            sources={"lr": "cited: [bold]somebody[/bold] 1999", "images": "a guess"}),
     Recipe("plain", {"semseg": 3, "normals": 3}, 2, images=7, lr=0.5)),
    (one_task(), *ensemble(), cross_stitch(False), Arm("fresh", "tree", {"at": "conv2"}, start="imagenet")),
    short_list=("one-task",),
)
'''


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text(SPACE)
    return str(path)


def lines(kind: str, pair: str = "") -> list[str]:
    """What is written to a file, without the spaces at the ends of lines."""
    console = Console(width=240, file=io.StringIO())
    for table in tabulate(kind, pair):
        print_table(table, console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def row(found: list[str], name: str) -> str:
    """The one line that begins with a name."""
    (line,) = [line for line in found if line.split()[:1] == [name]]
    return " ".join(line.split())


# ---------------------------------------------------------------------------------------------------- sources
PAPER = [
    (name, recipe) for name in spaces.list_names() for recipe in spaces.load(name).recipes if recipe.name == "paper"
]


def test_both_pairs_of_the_paper_have_its_recipe() -> None:
    assert {name for name, _ in PAPER} >= {"det_attr", "semseg_sn"}


@pytest.mark.parametrize(("space", "recipe"), PAPER, ids=[name for name, _ in PAPER])
def test_every_field_of_a_paper_recipe_says_where_its_value_is_from(space: str, recipe: Recipe) -> None:
    form = spaces.load(space).pair.form
    fields = {field.name for field in dataclasses.fields(Recipe)}
    needed = {name for name in fields - NEEDS_NO_SOURCE if matters(recipe, name, form)}
    missing = sorted(name for name in needed if source_of(recipe, name)[0] not in SOURCES)
    assert not missing, f"{space}: recipe paper gives no source (text, cited or ours) for {', '.join(missing)}"
    assert not set(recipe.sources) - fields, "sources of fields that do not exist"


def test_a_source_is_its_kind_and_the_words_after_it() -> None:
    recipe = Recipe(
        "r", {}, 0, 1, 0.1, sources={"lr": "cited: Long et al. 2015: 1e-3", "images": "ours", "clip": "guess: none"}
    )
    assert source_of(recipe, "lr") == ("cited", "Long et al. 2015: 1e-3")
    assert source_of(recipe, "images") == ("ours", "")
    assert source_of(recipe, "clip") == ("", "guess: none")
    assert source_of(recipe, "decay") == ("", "")


# ---------------------------------------------------------------------------------------------------- recipes
def test_a_recipe_with_sources_is_shown_field_by_field_and_another_one_in_a_line(own: str) -> None:
    brief, full = tabulate("recipes", own)
    # Without what another form, start, optimiser or decay has.
    hidden = ("name", "sources", "regions", "fill_background", "from_scratch", "beta2", "step_at", "step_factor")
    hidden = (*hidden, "poly_power", "decoder")
    fields = [field.name for field in dataclasses.fields(Recipe) if field.name not in hidden]
    assert (len(brief.rows), len(full.rows)) == (2, len(fields))
    found = lines("recipes", own)
    start = found.index("own: recipe tiny") + 2
    assert [line.split()[0] for line in found[start:]] == fields
    assert row(found[start:], "lr") == "lr 0.5 cited [bold]somebody[/bold] 1999"
    assert row(found[start:], "images") == "images 1 a guess"
    assert row(found[start:], "mirror") == "mirror yes"
    assert row(found[start:], "loss_weight") == "loss_weight normals 2"
    assert row(found, "tiny") == "tiny semseg 3, normals 4 2 1 0.5 30 scratch caffenet rooms(train=5)"
    assert row(found, "plain") == "plain 3 2 7 0.5 as it is scratch caffenet"


def test_all_built_in_recipes_are_listed_and_a_pair_narrows_them() -> None:
    for name in spaces.list_names():
        found = lines("recipes", name)
        assert found[0] == f"{spaces.load(name).pair.name}: recipes"
        for recipe in spaces.load(name).recipes:
            row(found[: next((i for i, line in enumerate(found) if "recipe paper" in line), None)], recipe.name)
    titles = [line for line in lines("recipes") if line.endswith(": recipes")]
    assert sorted(titles) == sorted({f"{spaces.load(name).pair.name}: recipes" for name in spaces.list_names()})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (5e-4, "0.0005"),
        (2.0, "2"),
        (64, "64"),
        ((), "-"),
        ({}, "-"),
        ("step", "step"),
        (("conv1", "conv2"), "conv1, conv2"),
        ({"a": 1, "b": 2.5}, "a 1, b 2.5"),
        ({"a": {"b": 1, "c": True}}, "a (b 1, c yes)"),
    ],
)
def test_values_are_written_as_people_write_them(value: object, text: str) -> None:
    assert value_text(value) == text


# ---------------------------------------------------------------------------------------------------- arms and spaces
def test_arms_say_their_scheme_networks_and_start(own: str) -> None:
    found = lines("arms", own)
    assert row(found, "one-task") == "one-task separate one a task the recipe's init yes"
    assert row(found, "ensemble") == "ensemble separate one a task the average of one-task + ensemble-member"
    assert row(found, "cross-stitch") == "cross-stitch cross_stitch(per_channel=False) one for all tasks one-task"
    assert row(found, "fresh") == "fresh tree(at=conv2) one for all tasks imagenet"
    assert len(found) == 2 + 5


def test_every_arm_of_every_space_is_listed() -> None:
    for name in spaces.list_names():
        found = lines("arms", name)
        for arm in spaces.load(name).arms:
            row(found, arm.name)


def test_spaces_are_listed_with_their_data_sets_and_first_sentence(own: str) -> None:
    found = lines("spaces")
    assert row(found, "det_attr").startswith("det_attr detection + attributes rooms (quick), voc2008 (paper) ")
    assert row(found, "semseg_sn").endswith("Semantic segmentation and surface normals (Section 5), FCN-32s style.")
    assert "A pair of one's own." in lines("spaces", own)[1] and "More words" not in lines("spaces", own)[1]


# ---------------------------------------------------------------------------------------------------- plug-ins
@pytest.mark.parametrize(("kind", "singular"), PLUGINS.items())
def test_every_plug_in_is_listed_with_a_sentence(kind: str, singular: str) -> None:
    found = lines(kind)
    assert [line.split()[0] for line in found[1:]] == plugins.list_names(singular)
    for line in found[1:]:
        sentence = line.split(maxsplit=1)[1]
        assert sentence.endswith((".", "!")) and len(sentence) > 20, line


def test_a_new_file_is_listed_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "depth.py").write_text('"""Depth, in metres\n(Eigen et al. 2014). More."""\n1 / 0\n')
    (tmp_path / "tasks" / "broken.py").write_text("def")
    (tmp_path / "tasks" / "_helper.py").write_text("")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "cli" / "list.py"))
    monkeypatch.setattr(plugins, "__file__", str(tmp_path / "plugins.py"))
    assert [" ".join(line.split()) for line in lines("tasks")] == [
        "tasks",
        "broken (cannot be read)",
        "depth Depth, in metres (Eigen et al. 2014).",
    ]


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("One. Two.", "One."),
        ("By Doe et al. 2015 and\nothers. Next", "By Doe et al. 2015 and others."),
        ("Alone\n\nBelow.", "Alone"),
        ("", ""),
    ],
)
def test_the_first_sentence_of_a_docstring(tmp_path: Path, docstring: str, sentence: str) -> None:
    (tmp_path / "x.py").write_text(f'"""{docstring}"""\n')
    assert first_sentence(tmp_path / "x.py") == sentence


# ---------------------------------------------------------------------------------------------------- command
def test_wrong_names_are_answered_with_the_right_ones() -> None:
    with pytest.raises(UserError, match="no list called 'recipe'. Did you mean 'recipes'"):
        tabulate("recipe")
    with pytest.raises(UserError, match="no pair called 'det_atr'. Did you mean 'det_attr'"):
        tabulate("arms", "det_atr")


def test_into_a_pipe_everything_is_plain_and_no_plug_in_is_imported() -> None:
    code = (
        "import sys; from mtlbench.cli.list import tabulate_stages, KINDS, print_listing\n"
        "for kind in KINDS: print_listing(kind)\n"
        "print([m for m in sys.modules if m in ('torch', 'ray', 'pandas', 'matplotlib')"
        " or m.startswith(('mtlbench.tasks', 'mtlbench.datasets', 'mtlbench.schemes', 'mtlbench.weightings',"
        " 'mtlbench.figures'))])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("\n[]") and "\x1b" not in out and "…" not in out
    assert len(KINDS) == 10 and max(map(len, out.splitlines())) <= 200


def test_the_stages_of_a_backbone() -> None:
    table = tabulate_stages("timm:test_efficientnet")
    rows = [[cell.value for cell in row.cells.values()] for row in table.rows]
    assert [row[:3] for row in rows][:2] == [["stage1", 16, 2], ["stage2", 24, 4]]
    assert rows[0][4:] == ["after it", "conv_stem bn1 blocks.0"] and "apache-2.0" in table.title
    caffenet = [cell.value for cell in tabulate_stages("caffenet").rows[0].cells.values()]
    assert caffenet == ["conv1", 96, "-", 11 * 11 * 3 * 96 + 96, "", ""]
