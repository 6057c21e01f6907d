"""What this process may use of the machine."""

from __future__ import annotations

import contextlib
import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of mallopt in glibc's malloc.h


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_memory() -> None:
    """Let this process keep what it frees for what it allocates next, and torch ask for huge pages, where it can.

    Ours: otherwise the C library gives every large tensor back to the system and takes zeroed pages anew, a quarter of
    a step at the paper's sizes (benchmarks/README.md). To be called before the first large tensor.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
        library.mallopt(M_ARENA_MAX, 1)  # those of other threads than the main one hold 64 MB at most
