"""What a process asks of the machine."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from mtlbench.system.machine import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
for _ in range(3):
    torch.ones(16 << 20)  # 64 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    """A page has 4 KiB, a huge one 2 MiB: three tensors of 64 MiB are 96 to 49 152 of them."""

    def count(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True).stdout)

    # A kernel that is short of memory may move pages meanwhile, which are faults of its own.
    assert any(count("keep") < 96 for _ in range(3))
    assert count("plain") >= 96
