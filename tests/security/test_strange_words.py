"""A stranger's names and texts: they stand in commands, tables, pages and terminals as what they are, or not at all."""

from __future__ import annotations

import dataclasses

import pytest

from mtlbench.errors import UserError
from mtlbench.store.folders import write_names
from mtlbench.store.results import load_results
from mtlbench.store.shapes import Failure, FailureKind, NameOfTrial
from mtlbench.store.store import Store
from mtlbench.system.files import write
from mtlbench.text import strip_control
from tests.support.commands import cli
from tests.support.stores import JOINT, TRIAL, finish
from tests.support.strangers import COMMANDS, rewrite

EVIL = "\x1b]8;;http://x\x07[link=http://x]a\x1b[2J\u202e</text><script>x</script>"


@pytest.mark.parametrize("word", ["x;touch y", "$(touch y)", "`y`", "a|b", "a'b", "=1+1", "@x", "a\nb", EVIL])
@pytest.mark.parametrize("field", ["arm", "recipe_name", "setting", "pair"])
def test_what_a_shell_or_a_spreadsheet_reads_is_no_name(word: str, field: str, store: Store) -> None:
    """Reports and errors have commands to copy."""
    folder = finish(store)
    rewrite(folder / "trial.json", lambda trial: trial.update({field: word}))
    assert load_results(store.root).frame.empty
    with pytest.raises(UserError, match="names of pairs, arms and recipes"):
        store.plan([dataclasses.replace(TRIAL, **{field: word})])
    finish(store)
    write_names(folder, TRIAL, [NameOfTrial(word, 3, word, word, word, 1.0)])
    assert load_results(store.root).frame["arm"].unique().tolist() == ["one-task"]


def test_no_text_of_a_file_steers_the_terminal(store: Store) -> None:
    finish(
        store,
        scores=[["colour", "test", "acc", EVIL, 1.0], ["colour", "test", "acc", "", 1.0]],
        metrics={"colour": {"acc": {"unit": EVIL, "higher_is_better": True, "headline": True}}},
        backbone=f"b({EVIL})",
        finished=EVIL,
        counts={"colour": {EVIL: 3}},
    )
    store.begin(JOINT)
    store.fail(JOINT, Failure(FailureKind.ERROR, EVIL, EVIL), EVIL)
    (store.root / "p" / "d" / "bbbbbbbbbbbb").mkdir()
    write(store.root / "p" / "d" / "bbbbbbbbbbbb" / "result.json", "{")
    for command in (
        *COMMANDS[:-1],
        ("table", "--format", "latex"),
        ("table", "--format", "markdown"),
        ("table", "--format", "html"),
        ("show", EVIL),
        ("show", "colour"),
        ("run", "--pair", EVIL),
    ):
        output = cli(*command, "--results", store.root).output
        assert not {"\x1b", "\x07", "\u202e"} & set(output), command
    assert "\\<script" in cli("table", "--format", "markdown", "--results", store.root).output
    assert (
        "<script" not in (html := cli("table", "--format", "html", "--results", store.root).output) and "<table" in html
    )
    assert not any("\x1b" in word for word in load_results(store.root).frame["category"])
    page = (store.root / "report.html").read_text()
    assert page.count("<script") == 1 and "<script>x" not in page and "\x1b" not in page


def test_printable_keeps_letters_of_all_languages_and_nothing_that_steers() -> None:
    kept = "Straße 東京 naïve\u00a0x \N{SNOWMAN}\n\tØ"
    assert strip_control(kept) == kept
    assert strip_control("\x1b[31m\x07\x9b\u202e\u2066\r\x00\ud800") == "?[31m???????"
