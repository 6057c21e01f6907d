"""`mtlbench new`: what it writes works at once, what it refuses is one line."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mtlbench.authoring.check import kind_of
from mtlbench.authoring.new import NEXT, new
from mtlbench.errors import UserError
from mtlbench.plugins import from_file
from tests.support.commands import cli
from tests.support.places import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", NEXT)
def test_the_file_is_called_as_asked_and_is_of_its_kind(kind: str, folder: Path) -> None:
    result = cli("new", kind, "my_idea")
    assert result.exit_code == 0 and result.stdout.splitlines()[0] == "wrote my_idea.py; next:"
    text = (folder / "my_idea.py").read_text()
    assert "emplate" not in text and ast.get_docstring(ast.parse(text))
    cls = from_file("my_idea.py")
    assert cls.__name__ == "MyIdea" and cls.version == 1 and kind_of(cls, "my_idea.py") == kind


@pytest.mark.parametrize("kind", ["scheme", "weighting", "backbone"])
def test_the_file_is_sound_as_it_is(kind: str) -> None:
    assert cli("new", kind, "my_idea").exit_code == 0
    result = cli("check", "my_idea.py")
    count = {"scheme": 20, "weighting": 9, "backbone": 14}[kind]
    assert result.exit_code == 0 and f"MyIdea, a {kind}: all {count} checks hold" in result.stdout, result.output
    assert [line[:3] for line in result.stdout.splitlines()] == ["ok "] * count + ["MyI"]


def test_a_scheme_is_under_25_lines_of_code(folder: Path) -> None:
    new("scheme", "gated", folder)
    lines = [line.strip() for line in (folder / "gated.py").read_text().splitlines()]
    assert len([line for line in lines if line and not line.startswith(("#", '"""'))]) < 25


@pytest.mark.parametrize("kind", NEXT)
def test_what_to_type_next_are_commands_with_options_that_there_are(kind: str, folder: Path) -> None:
    for line in new(kind, "my_idea", folder)[1]:
        command, *arguments = shlex.split(line)
        if command == "mtlbench":
            assert "my_idea.py" in arguments or "figure2" in arguments
            assert cli(*arguments, "--help").exit_code == 0, line


@pytest.mark.parametrize(
    "name,reason",
    [
        ("2nd", "is no name for a Python file"),
        ("my-idea", "is no name"),
        ("my_idea.py", "is no name"),
        ("../idea", "is no name"),
        ("_idea", "is no name"),
        ("", "is no name"),
        ("lambda", "is a word of Python's own"),
        ("none", "is a word of Python's own"),
        ("cross_stitch", "is a built-in scheme"),
        ("json", "installed Python"),
        ("torch", "installed Python package, which the file would hide"),
        ("shares", "would hide what the file itself"),
        ("value_error", "would hide what the file itself uses"),
    ],
)
def test_names_that_make_no_file_are_refused(name: str, reason: str, folder: Path) -> None:
    result = cli("new", "scheme", name)
    assert result.exit_code == 2 and result.stdout == "" and reason in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.endswith("write for example: mtlbench new scheme my_scheme") and not list(folder.iterdir())


def test_a_file_is_never_overwritten(folder: Path) -> None:
    (folder / "gated.py").write_text("mine\n")
    result = cli("new", "scheme", "gated")
    assert result.exit_code == 2 and (folder / "gated.py").read_text() == "mine\n"
    assert result.stderr == "mtlbench: gated.py is there already; choose another name, or remove it\n"


def test_a_folder_that_is_gone_is_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match="gated.py cannot be written: No such file or directory"):
        new("scheme", "gated", folder / "gone")


def test_writing_a_file_does_not_wait_for_torch() -> None:
    code = "import sys; from mtlbench.cli.main import main; main(['new', 'scheme', 'gated'], standalone_mode=False)"
    code = f"try:\n  {code}\nexcept SystemExit: print([m for m in ('torch', 'ray', 'pandas') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_an_installed_copy_carries_the_templates() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert "mtlbench.authoring.templates" in packages
    assert {path.name for path in (ROOT / "mtlbench" / "authoring" / "templates").glob("*.py")} == {
        f"{kind}.py" for kind in NEXT
    }
