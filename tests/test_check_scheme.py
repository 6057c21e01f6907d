"""`mtlbench check` on schemes: every built-in one is sound, every broken one gets one clear answer; what `run` makes of
them."""

from __future__ import annotations

import json
import random
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from mtlbench._check_scheme import Case, findings, price
from mtlbench.cli import main
from mtlbench.plugins import Pass, Stage, find, names
from mtlbench.sharing.cross_stitch import CrossStitch
from mtlbench.sharing.separate import Separate
from mtlbench.sharing.split import Split

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


def cli(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


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


@pytest.mark.parametrize("name", names("scheme"))
def test_every_built_in_scheme_keeps_the_contract(name: str) -> None:
    found = list(islice(findings(find("scheme", name), REQUIRED.get(name, {})), 16))  # without what a step costs
    assert [finding.text for finding in found if not finding.ok] == [] and len(found) == 16


@pytest.mark.parametrize("name", ANSWERS)
def test_a_broken_scheme_gets_one_clear_answer(broken: Path, name: str) -> None:
    assert re.match(ANSWERS[name], wrong(cli("check", f"{broken / 'broken.py'}:{name}")))


def test_a_file_that_cannot_be_imported_is_answered_with_its_line(broken: Path) -> None:
    text = "the file cannot be imported: absent.py:2: ModuleNotFoundError: No module named 'nowhere'"
    assert wrong(cli("check", broken / "absent.py")) == text
    text = "the file cannot be imported: unclosed.py:2: SyntaxError: '(' was never closed"
    assert wrong(cli("check", broken / "unclosed.py")) == text


def test_in_a_run_broken_schemes_are_failed_arms_and_the_others_finish(broken: Path, tmp_path: Path) -> None:
    own = [f"{broken / 'broken.py'}:{name}" for name in ANSWERS] + [str(broken / "absent.py")]
    added = [part for scheme in own for part in ("--scheme", scheme)]
    result = cli("run", "--pair", "semseg_sn", "--recipe", "smoke", "--executor", "local", "--seeds", 0, "--arm",
                 "one-task", *added, "--results", tmp_path)  # fmt: skip
    assert result.exit_code == 1, result.output
    states: dict[bool, set[str]] = {True: set(), False: set()}
    for path in tmp_path.glob("*/*/*/trial.json"):
        states[(path.parent / "result.json").exists()].add(json.loads(path.read_text())["arm"])
    assert states == {True: {"one-task"}, False: {*map(str.lower, ANSWERS), "absent"}}
    assert result.stderr.count("Traceback") == 0 and "2 of 8 trials done" in result.stdout


# ------------------------------------------------------------------------------------------------ other mistakes
class Units(Separate):
    """Separate columns with a module of the class's own after fc6."""

    Unit: Any = None

    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        return self.Unit() if stage.name == "fc6" else None


class Merging(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tasks] if stage.name == "fc7" else [(task,) for task in tasks]


class Bare(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return list(tasks)  # type: ignore[arg-type]


class Twice(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tasks, tasks[:1]]


class Raises(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tuple(task for task in tasks if {}[task])]


class Function(Separate):
    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> Any:
        return lambda xs: xs


class EarlyWidth(Units):
    class Unit(nn.Module):
        channels = 3


class ToldApart(Units):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tasks]

    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: 2 * x for task, x in xs.items()}


class Zeroed(Units):
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.ones(1))

        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x + 0 * self.gate for task, x in xs.items()}


class Steep(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x + (x - x).sum().sqrt() for task, x in xs.items()}


class InPlace(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            roots = {task: x.exp() for task, x in xs.items()}
            for root in roots.values():
                root += 1
            return roots


class Drawn(Units):
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.tensor(random.random()))

        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x * self.gate for task, x in xs.items()}


class Dropping(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: nn.functional.dropout(x, 0.5, self.training) for task, x in xs.items()}


class AlwaysDropping(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x if self.training else nn.functional.dropout(x) for task, x in xs.items()}


class Neighbours(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x - x.mean(0, keepdim=True) / 2 for task, x in xs.items()}


class Unkept(Units):
    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            self.calls += self.training
            return {task: x * (1 + self.calls) for task, x in xs.items()}


class FlatAlphas(Units):
    class Unit(nn.Module):
        def alphas(self) -> Tensor:
            return torch.ones(2, 2)

        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return xs


class Valued(Units):
    class Unit(nn.Module):
        def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: x if x.sum() > -1 else -x for task, x in xs.items()}


class NumberPenalty(Separate):
    def penalty(self, columns: dict[str, dict[str, nn.Module]]) -> Any:
        return 0.5


class DetachedPenalty(Separate):
    def penalty(self, columns: dict[str, dict[str, nn.Module]]) -> Any:
        return next(columns["fc7"]["attributes" if "attributes" in columns["fc7"] else "semseg"].parameters()
                    ).detach().sum() if len(columns["fc7"]) > 1 else None  # fmt: skip


class Misnamed(Separate):
    rates = {"units.pool9.*": 2.0}


class Listed(Separate):
    rates = ("units.*", 10.0)


class Unwritable(CrossStitch):
    def outcome(self, units: dict[str, nn.Module]) -> Any:
        return {"alphas": torch.ones(2)}


class SharedParents(Split):
    from_one_task = True

    def __init__(self) -> None:
        super().__init__("fc6")


class Versionless:
    groups, unit = Separate.groups, Separate.unit


class Unitless:
    version, groups = 1, Separate.groups


class NoDefault(Separate):
    def __init__(self, rank: int) -> None:
        self.rank = rank


class Unplain(Separate):
    def __init__(self, act: Any = nn.functional.relu) -> None:
        self.act = act


MISTAKES = {
    Merging: r"test_check_scheme\.py:\d+: fc7 merges columns again \(semseg\+normals\); groups may only split",
    Bare: r".*groups at conv1 returns \['semseg', 'normals'\]; return a list of tuples of task names, such as",
    Twice: r".*semseg is in 2 groups; every task must be in one group",
    Raises: r"test_check_scheme\.py:\d+.*: KeyError: 'semseg'",
    Function: r".*unit after conv1 returns a function; return an nn.Module, or None",
    EarlyWidth: r".*the unit after fc6 has an attribute `channels`.*only one after the last stage, fc7, may",
    ToldApart: r".*the unit after fc6 gives semseg and normals a tensor each, but they are one group at the next stage",
    Zeroed: r".*parameter gate of the unit after fc6 gets a gradient of 0 in each of 8 steps",
    Steep: r".*gets a gradient of NaN or infinity in step 1; look for a root, norm or logarithm of 0",
    InPlace: r"something changes a tensor in place that the gradient still needs; write x = x \+ y",
    Drawn: r"two networks of one seed start with different units\.fc6\.gate; draw starting values with torch",
    Dropping: r"two trainings of one seed differ in trunk\..*: derive the module from mtlbench\.layers\.Seeded",
    AlwaysDropping: r"two evaluations of one network differ for semseg; draw nothing at random unless self\.training",
    Neighbours: r"in evaluation the output for semseg changes with the other images of the batch",
    Unkept: r"a network that is read back from its state dict predicts other numbers for semseg; keep what",
    FlatAlphas: r".*alphas\(\) of the unit after fc6 has the shape 2 x 2, not 2 x 2 x 24 or 2 x 2 x 1",
    Valued: r".*\.item\(\) cannot be called on meta tensors; operations are counted with tensors that have no values",
    NumberPenalty: r".*penalty returns a float \(0\.5\); return one number as a tensor",
    DetachedPenalty: r".*penalty returns \S+, on which no weight has an influence; make it of the columns' parameters",
    Misnamed: r"scheme Misnamed: no parameter matches 'units\.pool9\.\*' of its rates",
    Listed: r"rates is \('units\.\*', 10\.0\); write \{glob of parameter names: factor\}",
    Unwritable: r".*what outcome returns is no plain JSON data \(Object of type Tensor",
    SharedParents: r"from_one_task is True, but the parents' weights do not fit: missing .*; give every task a column",
    Versionless: r"version is None; write `version = 1` in the class, and raise it when you change",
    Unitless: r"Unitless has no unit",
    NoDefault: r".*option rank has no default: give it one, or say what to check it with, such as 'NoDefault\(rank",
    Unplain: r".*option act is <function relu.*> by default; results are told apart by options, so write numbers",
}


@pytest.mark.parametrize("cls", MISTAKES, ids=lambda cls: cls.__name__)
def test_mistakes_are_named_in_words(cls: Any) -> None:
    text = next(finding.text for finding in findings(cls) if not finding.ok)
    assert re.match(MISTAKES[cls], text), text


def test_other_networks_are_asked_on_when_one_kind_fails() -> None:
    """A fault that only two tasks show leaves the networks of one task to be looked at, and both faults are said."""
    class Both(Merging):
        def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
            return Valued.Unit() if stage.name == "fc6" else None

    first, second = (finding.text for finding in findings(Both) if not finding.ok)
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

    assert all(finding.ok for finding in islice(findings(Remembering), 16))


def test_options_are_checked_as_a_trial_keeps_them() -> None:
    """Through JSON: a tuple becomes a list."""
    class Listed(Separate):
        def __init__(self, after: tuple[str, ...] = ("fc6",)) -> None:
            seen.append(after)

    seen: list[Any] = []
    assert all(finding.ok for finding in islice(findings(Listed, {"after": ("fc7",)}), 5))
    assert seen and all(after == ["fc7"] for after in seen)
    (text,) = (finding.text for finding in findings(Listed, {"aftr": 1}) if not finding.ok)
    assert text == "no option of Listed called 'aftr'. Did you mean 'after'? There are: after"


def test_the_price_counts_against_one_task_networks() -> None:
    """Nothing shared is all of their parameters; a common trunk of two networks saves all but the heads of one."""
    apart, together = (
        price([Case(make, "fcn", ("semseg", "normals"))], repeats=1) for make in (Separate, lambda: Split("fc8"))
    )
    assert "has 1.00 times the parameters in form fcn" in apart and "has 0.50 times the parameters" in together


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
