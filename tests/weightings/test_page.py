"""docs/own_weighting.md followed word for word."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

import mtlbench
from mtlbench.errors import UserError
from mtlbench.plugins import list_names
from tests.support.places import ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "own_weighting.md").read_text()


def test_the_pages_own_weighting_is_an_arm_of_its_own(tmp_path: Path) -> None:
    text = textwrap.dedent(PAGE.partition("`norms.py`:\n\n")[2].partition("\nand\n")[0])
    assert len(text.strip().splitlines()) < 20
    file = tmp_path / "norms.py"
    file.write_text(text)
    options = {"recipe": "smoke", "seeds": [0], "executor": "local", "results": tmp_path / "results", "quiet": True}
    wanted = [str(file), f"{file}:Norms(power=0.5)", f"{file}:Norms(power=0.0)"]
    results = mtlbench.run("det_attr", arms="split-fc8", weightings=wanted, **options)
    frame = results.frame
    arms = {"split-fc8": "", "split-fc8@norms": "Norms", "split-fc8@norms-power-0.5": "Norms"}
    arms["split-fc8@norms-power-0.0"] = "Norms"
    assert dict(zip(frame["arm"], frame["method"], strict=True)) == arms and not results.failures
    assert set(frame.loc[frame["arm"] != "split-fc8", "variant_of"]) == {"split-fc8"}
    assert set(frame["purpose"]) == {""} and set(frame["family"]) == {"split"}
    assert all(arm in str(results.table()) for arm in arms)
    assert frame["key"].nunique() == 4
    with pytest.raises(UserError, match="no option of Norms in --weighting .* called 'strength'"):
        mtlbench.run("det_attr", arms="split-fc8", weightings=f"{file}:Norms(strength=2)", **options)


def test_the_page_names_every_weighting() -> None:
    table = PAGE.partition("| weighting |")[2].partition("\n\n")[0]
    assert sorted(set(re.findall(r"`([a-z_]+)`", table))) == list_names("weighting")
