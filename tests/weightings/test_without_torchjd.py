"""Without the extra: what to install, in one line; weightings of losses work all the same."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

CODE = """
import json, sys
sys.modules["torchjd"] = None
from click.testing import CliRunner
from mtlbench.cli.main import main
words = ["run", "--pair", "det_attr", "--recipe", "smoke", "--arm", "split-fc8", "--dry-run", "--results", "/nowhere"]
done = [CliRunner().invoke(main, [*words, "--weighting", name]) for name in ("upgrad", "rlw")]
print(json.dumps([(one.exit_code, one.stdout, one.stderr) for one in done]))
"""


def test_without_torchjd_one_line_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    (status, _, problem), (other, said, _) = json.loads(done.stdout)
    assert status != 0 and "pip install 'mtlbench[weighting]'" in problem
    assert "Traceback" not in problem and len(problem.strip().splitlines()) == 1
    assert other == 0 and "split-fc8@rlw" in said
