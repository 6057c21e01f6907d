"""The site of docs/: it builds strictly, every page is in it, links lead to what is there, what the package says is
filled in, commands are ones that there are, pictures of the gallery are small. `make docs` builds it."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from mtlbench.cli.main import COMMANDS, main
from mtlbench.plugins import list_names
from mtlbench.store.columns import FRAME
from tests.support.places import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TYPED = [ROOT / "README.md", *PAGES, *sorted((ROOT / "benchmarks").glob("*.md"))]
STANDS_FOR = re.compile(r"\.\.\.|\w\||\[:|NAME\b")  # in a line that nobody types as it is


def test_every_page_is_in_the_sites_list_once() -> None:
    listed = re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    assert [link for link in links if link and "://" not in link and not (page.parent / link).is_file()] == []


@pytest.mark.parametrize("page", TYPED, ids=lambda page: page.name)
def test_commands_of_pages_are_ones_that_there_are(page: Path) -> None:
    """Names of commands and options, and kinds of values; nothing is run."""
    text = re.sub(r"\\\n *", "", page.read_text())
    for line in re.findall(r"^    (mtlbench .*)$", text, re.MULTILINE):
        words = shlex.split(line.rstrip(" &"), comments=True)[1:]
        if STANDS_FOR.search(" ".join(words)):
            continue
        context = click.Context(main, info_name="mtlbench")
        command = main.get_command(context, words[0])
        assert command is not None, line
        command.make_context(words[0], words[1:], parent=context)


def test_pages_about_the_package_say_all_of_it() -> None:
    hooks = runpy.run_path(str(DOCS / "_hooks.py"))
    commands = hooks["on_page_markdown"]("[[commands]]")
    assert all(f"## mtlbench {name}\n" in commands for name in COMMANDS) and "--all-splits" in commands
    columns = hooks["on_page_markdown"]("[[columns]]")
    assert all(f"| `{column.name}` |" in columns for column in FRAME)


def test_the_gallery_has_every_figure_with_its_command_and_a_small_picture() -> None:
    page = (DOCS / "gallery.md").read_text()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(dict.fromkeys(re.findall(r"plot (\w+) --pair", page)))
    pictures = [DOCS / link for link in re.findall(r"\]\((pictures/\w+\.png)\)", page)]
    assert sorted(picture.stem for picture in pictures) == sorted(list_names("figure"))
    assert sorted(pictures) == sorted((DOCS / "pictures").iterdir())
    assert all(picture.stat().st_size < 60_000 for picture in pictures)


def test_the_notebook_was_executed_from_top_to_bottom_without_errors() -> None:
    page = runpy.run_path(str(DOCS / "_hooks.py"))["on_page_markdown"]("[[notebook]]")
    assert page.count("```python") == 5 and "data:image/png;base64," in page and "Traceback" not in page
    assert "cross-stitch" in page.partition("```text")[2]


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    if not find_spec("mkdocstrings"):
        pytest.skip("needs the extra docs")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(
        r'(?:src|href)="https?://[^"]+\.(?:js|css|woff2?)"', (tmp_path / "site/index.html").read_text()
    )
