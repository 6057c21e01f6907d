"""Why a trial failed, told from the exception that ended it."""

from __future__ import annotations

import torch

from mtlbench.errors import UserError
from mtlbench.store.shapes import Failure, FailureKind
from mtlbench.training.evaluation import Diverged
from mtlbench.training.process import Ended

KINDS: dict[type[BaseException], FailureKind] = {
    Diverged: FailureKind.DIVERGED,
    torch.OutOfMemoryError: FailureKind.OUT_OF_MEMORY,
    MemoryError: FailureKind.OUT_OF_MEMORY,
    Ended: FailureKind.EXIT,
    UserError: FailureKind.REFUSED,  # Ended is one, too: the first that fits counts
}


def failure_of(error: Exception) -> Failure:
    """What failure.json tells of an exception."""
    kind = next((kind for cls, kind in KINDS.items() if isinstance(error, cls)), FailureKind.ERROR)
    if isinstance(error, Diverged):
        return Failure(kind, type(error).__name__, error.message, error.details)
    return Failure(kind, type(error).__name__, str(error))
