"""TorchJD (torchjd.org), an optional library whose numbers may change with its minor versions: the version is an option
of each weighting that computes with it, so that it is part of what a trial is."""

from __future__ import annotations

from importlib.metadata import version

from mtlbench.errors import UserError

try:
    from torchjd import aggregation, linalg
except ImportError as error:
    raise UserError(
        "this weighting computes with TorchJD, which is not installed: type pip install 'mtlbench[weighting]'"
    ) from error

VERSION = ".".join(version("torchjd").split(".")[:2])  # such as 0.18

__all__ = ["VERSION", "aggregation", "check_version", "linalg"]


def check_version(planned: str) -> None:
    """Raises UserError where the installed TorchJD is not of the minor version that a trial was planned with."""
    if planned != VERSION:
        raise UserError(
            f"planned with TorchJD {planned}, and {VERSION} is installed here: type pip install 'torchjd=={planned}.*'"
        )
