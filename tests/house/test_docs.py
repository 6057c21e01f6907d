"""The site of docs/: every page is in it, links lead to pages that are there, what the package says is filled in.
`make docs` builds it strictly."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from mtlbench.cli.main import COMMANDS
from mtlbench.plugins import list_names
from mtlbench.store.columns import FRAME
from tests.support.places import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def test_every_page_is_in_the_sites_list_once() -> None:
    listed = re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_pages_that_are_there(page: Path) -> None:
    text = page.read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert [link for link in links if link and "://" not in link and not (page.parent / link).is_file()] == []


def test_pages_about_the_package_say_all_of_it() -> None:
    hooks = runpy.run_path(str(DOCS / "_hooks.py"))
    commands = hooks["on_page_markdown"]("[[commands]]")
    assert all(f"## mtlbench {name}\n" in commands for name in COMMANDS) and "--all-splits" in commands
    columns = hooks["on_page_markdown"]("[[columns]]")
    assert all(f"| `{column.name}` |" in columns for column in FRAME)
    figures = hooks["on_page_markdown"]("[[figures]]")
    assert all(f"`mtlbench plot {name}`" in figures for name in list_names("figure"))
    assert "[[" in (DOCS / "gallery.md").read_text()
