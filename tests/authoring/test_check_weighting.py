"""`mtlbench check` on weightings: every built-in one is sound, every broken one gets one clear answer."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from mtlbench.authoring.check_weighting import METHODS, check
from mtlbench.plugins import find
from tests.support.commands import cli
from tests.support.mistaken_weightings import MISTAKES
from tests.support.weighings import EACH, make_weighting

pytestmark = pytest.mark.slow


@EACH
def test_every_built_in_weighting_is_sound(name: str) -> None:
    make_weighting(name)
    found = list(check(find("weighting", name)))
    assert [finding.text for finding in found if not finding.ok] == [] and len(found) == 8


@pytest.mark.parametrize("cls", MISTAKES, ids=lambda cls: cls.__name__)
def test_every_broken_one_gets_one_clear_answer(cls: type) -> None:
    found = [finding.text for finding in check(cls) if not finding.ok]
    method = next((getattr(cls, name) for name in METHODS if hasattr(cls, name)), None)
    line = inspect.getsourcelines(method)[1] if method else 0
    assert len(found) == 1 and found[0].startswith(MISTAKES[cls].format(line=line)), found


def test_a_file_of_ones_own_is_told_from_other_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "halved.py").write_text(
        "class Halved:\n    version = 1\n    def weights(self, gramian):\n        return gramian.diagonal() * 0 + 0.5\n"
    )
    result = cli("check", "halved.py")
    assert result.exit_code == 1, result.output
    assert "halved.py:3: weights makes a step 0.5 times the plain sum where all tasks agree" in result.stdout
    assert "Halved, a weighting: 1 of " in result.stdout
