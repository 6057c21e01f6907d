"""Without the extra: what to install, in one line; weightings of losses work all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def test_without_torchjd_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torchjd'] = None\n"
        "from mtlbench.cli.main import main\n"
        "main(['run', '--pair', 'det_attr', '--recipe', 'smoke', '--arm', 'split-fc8', '--dry-run', '--weighting',"
        " sys.argv[1], '--results', sys.argv[2]])"
    )

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, name, "/nowhere/results"], capture_output=True, text=True, check=False
        )

    done = run("upgrad")
    assert done.returncode != 0 and "pip install 'mtlbench[weighting]'" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    done = run("rlw")
    assert done.returncode == 0 and "split-fc8@rlw" in done.stdout
