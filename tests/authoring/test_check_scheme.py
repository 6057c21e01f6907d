"""`mtlbench check` on schemes: every built-in one is sound, every broken one gets one clear answer; what `run` makes of
them."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from torch import Tensor, nn

from mtlbench.authoring import check_scheme
from mtlbench.authoring.check_scheme import Case, check, measure_price
from mtlbench.contracts import Pass, Stage
from mtlbench.plugins import find, list_names
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.split import Split
from tests.support.commands import cli
from tests.support.mistaken_schemes import MISTAKES, Merging, Units, Valued

pytestmark = pytest.mark.slow

REQUIRED = {"split": {"at": "conv4"}}  # options without a default
SIX = '''
import torch
from torch import nn

class Partition:
    """Forgets a task at conv3."""
    version = 1
    def groups(self, stage, tasks):
        return [tasks[:1]] if stage.name == "conv3" else [tasks]
    def unit(self, stage, tasks):
        return None

class Units:
    version = 1
    def groups(self, stage, tasks):
        return [(task,) for task in tasks]
    def unit(self, stage, tasks):
        return self.Unit() if stage.name == "fc6" else None

class Dropped(Units):
    class Unit(nn.Module):
        def forward(self, xs):
            return dict(list(xs.items())[:1])

class Halved(Units):
    class Unit(nn.Module):
        def forward(self, xs):
            return {task: x[:, ::2] for task, x in xs.items()}

class Unused(Units):
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Parameter(torch.ones(3))
        def forward(self, xs):
            return xs

class Undefined(Units):
    class Unit(nn.Module):
        def forward(self, xs):
            return {task: x / (x.max() - x.max()) for task, x in xs.items()}
'''
ANSWERS = {  # what the one wrong line of each says, beside the class
    "Partition": r"broken\.py:8: groups at conv3 is \[\('semseg',\)\]: normals is in no group; every task must be in",
    "Dropped": r"broken\.py:22: the unit after fc6 drops normals; it must return every task that it was given",
    "Halved": r"broken\.py:27: the unit after fc6 returns semseg with the shape 1 x 12 x 4 x 4, not 1 x 24 x 4 x 4;",
    "Unused": r"broken\.py:32: parameter gate of the unit after fc6 gets no gradient: nothing depends on it; use it",
    "Undefined": r"broken\.py:40: the unit after fc6 returns NaN or infinity for semseg, from 1 image of finite num",
}


def wrong(result: Result) -> str:
    """The text of the only wrong line."""
    assert result.exit_code == 1 and result.stderr == "", result.output
    assert "Traceback" not in result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("wrong")]
    return line.removeprefix("wrong").strip()


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemes")
    (folder / "broken.py").write_text(SIX)
    (folder / "absent.py").write_text("import torch\nfrom nowhere import Sharing\n")
    (folder / "unclosed.py").write_text("class Unclosed:\n    def groups(self:\n")
    return folder


@pytest.mark.parametrize("name", list_names("scheme"))
def test_every_built_in_scheme_keeps_the_contract(name: str) -> None:
    found = list(islice(check(find("scheme", name), REQUIRED.get(name, {})), 18))  # without what a step costs
    assert [finding.text for finding in found if not finding.ok] == [] and len(found) == 18


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ANSWERS)
def test_a_broken_scheme_gets_one_clear_answer(broken: Path, name: str) -> None:
    assert re.match(ANSWERS[name], wrong(cli("check", f"{broken / 'broken.py'}:{name}")))


@pytest.mark.usefixtures("in_process")
def test_a_file_that_cannot_be_imported_is_answered_with_its_line(broken: Path) -> None:
    text = "the file cannot be imported: absent.py:2: ModuleNotFoundError: No module named 'nowhere'"
    assert wrong(cli("check", broken / "absent.py")) == text
    text = "the file cannot be imported: unclosed.py:2: SyntaxError: '(' was never closed"
    assert wrong(cli("check", broken / "unclosed.py")) == text


def test_in_a_run_broken_schemes_are_failed_arms_and_the_others_finish(broken: Path, tmp_path: Path) -> None:
    own = [f"{broken / 'broken.py'}:{name}" for name in ANSWERS] + [str(broken / "absent.py")]
    added = [part for scheme in own for part in ("--scheme", scheme)]
    result = cli(
        "run",
        "--pair",
        "semseg_sn",
        "--recipe",
        "smoke",
        "--executor",
        "local",
        "--seeds",
        0,
        "--arm",
        "one-task",
        *added,
        "--results",
        tmp_path,
    )
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    states: dict[bool, set[str]] = {True: set(), False: set()}
    for path in tmp_path.glob("*/*/*/trial.json"):
        states[(path.parent / "result.json").exists()].add(json.loads(path.read_text())["arm"])
    assert states == {True: {"one-task"}, False: {*map(str.lower, ANSWERS), "absent"}}
    assert result.stderr.count("Traceback") == 0 and "2 of 8 trials done" in result.stdout


# ------------------------------------------------------------------------------------------------ other mistakes
@pytest.mark.parametrize("cls", MISTAKES, ids=lambda cls: cls.__name__)
def test_mistakes_are_named_in_words(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one form: those of both are the next test's."""
    monkeypatch.setattr(check_scheme, "TASKS", {"fcn": check_scheme.TASKS["fcn"]})
    text = next(finding.text for finding in check(cls) if not finding.ok)
    assert re.match(MISTAKES[cls], text), text


def test_other_networks_are_asked_on_when_one_kind_fails() -> None:
    """A fault that only two tasks show leaves the networks of one task to be looked at, and both faults are said."""

    class Both(Merging):
        def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
            return Valued.Unit() if stage.name == "fc6" else None

    first, second = (finding.text for finding in check(Both) if not finding.ok)
    assert "merges columns" in first and first.endswith("(seen with 2 tasks in form fcn, and 3 more of 6 networks)")
    assert "no values" in second and second.endswith("(seen with 1 task in form fcn, and 1 more of 6 networks)")


def test_units_that_see_the_pass_and_a_start_from_parents_are_sound() -> None:
    """What the contract allows beyond the simple case is not called wrong."""

    class Remembering(Units):
        from_one_task = True

        class Unit(nn.Module):
            sees_pass = True

            def forward(self, xs: dict[str, Tensor], this: Pass) -> dict[str, Tensor]:
                this.memory["fc6"] = xs
                return xs

    assert all(finding.ok for finding in islice(check(Remembering), 18))


def test_options_are_checked_as_a_trial_keeps_them() -> None:
    """Through JSON: a tuple becomes a list."""

    class Listed(Separate):
        def __init__(self, after: tuple[str, ...] = ("fc6",)) -> None:
            seen.append(after)

    seen: list[Any] = []
    assert all(finding.ok for finding in islice(check(Listed, {"after": ("fc7",)}), 5))
    assert seen and all(after == ["fc7"] for after in seen)
    (text,) = (finding.text for finding in check(Listed, {"aftr": 1}) if not finding.ok)
    assert text == "no option of Listed called 'aftr'. Did you mean 'after'? There are: after"


def test_the_price_counts_against_one_task_networks() -> None:
    """Nothing shared is all of their parameters; a common trunk of two networks saves all but the heads of one."""
    apart, together = (
        measure_price([Case(make, "fcn", ("semseg", "normals"))], repeats=1)
        for make in (Separate, lambda: Split("fc8"))
    )
    assert "and 1.00 times the parameters in form fcn" in apart and "and 0.50 times the parameters" in together


@pytest.mark.usefixtures("in_process")
def test_what_cannot_be_checked_is_one_line(broken: Path, tmp_path: Path) -> None:
    for arguments, text in (
        ((tmp_path / "gone.py",), "no such file"),
        ((broken / "broken.py",), "no class in broken.py called 'Broken'. There are: Partition, Units"),
        ((f"{broken / 'broken.py'}:Halved(3)",), "write FILE.py:Class(name=value, ...) with plain values"),
        ((f"{broken / 'broken.py'}:Halved", "--data-root", tmp_path), "--data-root is for data sets; Halved is a"),
        (("crossstitch",), "Did you mean 'cross_stitch'?"),
    ):
        result = cli("check", *arguments)
        assert result.exit_code == 2 and result.stdout == "" and len(result.stderr.splitlines()) == 1
        assert text in result.stderr, result.stderr


def test_a_class_that_may_be_anything_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "vague.py").write_text("class Vague:\n    version = 1\n")
    result = cli("check", tmp_path / "vague.py")
    assert result.exit_code == 2 and "cannot tell what Vague in" in result.stderr and "--kind scheme" in result.stderr
    assert "Vague has no groups and no unit" in wrong(cli("check", tmp_path / "vague.py", "--kind", "scheme"))
