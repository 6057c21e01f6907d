"""Files of pretrained weights: where they are, what is in them. They are read without running code from them."""

from __future__ import annotations

import hashlib
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor, nn

from mtlbench.errors import UserError
from mtlbench.text import one_line

WRITERS = {".npz": "numpy.savez", ".pt": "torch.save", ".pth": "torch.save", ".safetensors": "safetensors"}

TORCHVISIONS = "BSD-3-Clause"
OTHERWISE = "or give --weights FILE, or --init scratch"


def locate(backbone_name: str, backbone: Any, file: Path | None) -> tuple[Path, str]:
    """The file of a backbone's pretrained weights: the given one, else the backbone's own, else torchvision's,
    downloaded where it is absent; and the licence of one that was not given.

    Raises UserError where there is no such file, no network, or other content than torchvision published.
    """
    if file is not None:
        file = file.expanduser()
        if not file.is_file():
            raise UserError(f"no such file: {file}; --weights takes a file of pretrained weights (docs/weights.md)")
        return file, ""
    if hasattr(backbone, "find_weights"):
        found: tuple[Path, str] = backbone.find_weights()
        return found
    if not backbone.torchvision_weights:
        raise UserError(
            f"torchvision has no weights for {backbone_name}: give --weights FILE (docs/weights.md lists names and"
            " shapes), or --backbone alexnet, or --init scratch"
        )
    import torchvision  # slow, and needed here only

    url: str = torchvision.models.get_weight(backbone.torchvision_weights).url
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    published = place.stem.rpartition("-")[2]  # torch.hub's names end in the first digits of the content's SHA-256
    if not place.is_file():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(place), hash_prefix=published, progress=sys.stderr.isatty())
        except (OSError, RuntimeError, HTTPException) as error:
            why = one_line(error) or type(error).__name__
            raise UserError(
                f"cannot download the weights of {backbone_name} ({why}): fetch {url} elsewhere and put it at"
                f" {place}, {OTHERWISE}"
            ) from error
    if not digest(place).startswith(published):
        raise UserError(
            f"{place} is not what {url} holds (cut off, or changed): delete it to download it again, {OTHERWISE}"
        )
    return place, TORCHVISIONS


def digest(path: Path) -> str:
    """The first twelve hexadecimal digits of the SHA-256 of a file's content. Raises UserError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def read(path: Path) -> dict[str, Tensor]:
    """{name: float32 tensor} of a file: .npz, .safetensors, or .pt and .pth with such a dict, bare or as "state_dict".

    Raises UserError for a file that is something else, holds code, is cut off, or has values that are not finite.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    if path.suffix not in WRITERS:
        known = ", ".join(WRITERS)
        raise UserError(f"{path}: weights are read from {known} files; docs/weights.md says how to make one")
    try:
        content = _content(path)
    except UserError:
        raise
    except Exception as error:  # a file that is cut off or foreign trips its reader up in any way
        by = WRITERS[path.suffix]
        raise UserError(
            f"{path} is cut off, not written by {by}, or holds more than arrays, which is never run: save nothing but"
            " a dict of names and arrays (docs/weights.md)"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dict of names and tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor; save the state_dict alone")
        if value.layout != torch.strided or value.is_complex():
            raise UserError(f"{path}: {name} is sparse or complex; save it as plain float32")
    state = {name: value.detach().float() for name, value in content.items()}
    for name, value in state.items():
        if not value.isfinite().all():
            raise UserError(f"{path}: {name} has values that are not finite")
    return state


def _content(path: Path) -> Any:
    """What a file of a known kind holds; no code of it is run. Raises UserError, and what its reader does."""
    if path.suffix == ".npz":
        return _arrays(path)
    if path.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError as error:
            raise UserError(f"{path} is read with safetensors: type pip install 'mtlbench[timm]'") from error
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _arrays(path: Path) -> dict[str, Tensor]:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}  # any byte order


def fit_into(column: nn.Module, name: str, value: Tensor) -> Tensor:
    """A parameter of the column that holds a narrower one's `value`; what is around it stays as it starts, but does not
    reach the outputs that the narrower one has (Ours, after Chen et al. 2016: a wider network that goes on from a
    narrow one). Each half of the channels holds a half: convolutions may have two groups."""
    start: Tensor = column.state_dict()[name]
    if start.shape == value.shape:
        return value
    path, _, kind = name.rpartition(".")
    found, old = start.clone(), halves(len(value), len(start))
    if kind == "bias":
        found[old] = value
        return found
    layer = column.get_submodule(path)
    found[old] = 0.0
    flat = value.flatten(2) if value.ndim > 2 else value[..., None]
    whole = found.flatten(2) if value.ndim > 2 else found[..., None]
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        whole[old, : value.shape[1]] = flat
    else:
        whole[old[:, None], halves(value.shape[1], start.shape[1])] = flat
    return whole.view(start.shape)


def halves(narrow: int, wide: int) -> Tensor:
    """Where `narrow` channels lie among `wide`: half of them at the start of each half."""
    places: Tensor = torch.arange(narrow)
    if wide != narrow:
        places += (places >= narrow // 2) * ((wide - narrow) // 2)
    return places
