"""What the AlexNets have in common: their stages, fully connected layers, start, geometry, pretrained files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from mtlbench.contracts import Geometry, Stage
from mtlbench.errors import UserError
from mtlbench.nets.layers import ImagePool, RegionPool, SeededDropout

BY_FORM = ("pool5", "fc6", "fc7")  # where tasks of several forms part
STITCHED = ("pool1", "pool2", "pool5", "fc6", "fc7")  # Section 5
NAMED = 3  # differences of a kind that an error spells out


def stages_of(channels: dict[str, int], width: float, fc: int, widen: float = 1.0) -> tuple[Stage, ...]:
    """All stages in order; `width` scales their channels (to an even number, for two groups), `fc` sets fc6's and
    fc7's (0 = scaled too), `widen` scales what comes of it."""
    usual = {s: fc if fc and s.startswith("fc") else max(2, round(c * width / 2) * 2) for s, c in channels.items()}
    wide = {s: c if widen == 1 else max(2, round(c * widen / 2) * 2) for s, c in usual.items()}
    return tuple(Stage(s, wide[s], not s.startswith("pool"), s in STITCHED, by_form=s in BY_FORM) for s in channels)


def fc6(form: str, inputs: int, outputs: int, cells: int, padding: int) -> nn.Module:
    """`B C H W` -> `B K H W` over windows of `cells` x `cells` in form `fcn`; of pooled regions or images `R C cells
    cells` -> `R K` in forms `roi` and `image`."""
    if form != "fcn":
        return nn.Sequential(nn.Flatten(), start_he(nn.Linear(inputs * cells * cells, outputs)), nn.ReLU(inplace=True))
    return nn.Sequential(start_he(nn.Conv2d(inputs, outputs, cells, padding=padding)), nn.ReLU(inplace=True))


def fc7(form: str, inputs: int, outputs: int, dropout: float) -> nn.Module:
    """`B C H W` -> `B K H W` in form `fcn`, `R C` -> `R K` in forms `roi` and `image`; dropout first."""
    layer = nn.Conv2d(inputs, outputs, 1) if form == "fcn" else nn.Linear(inputs, outputs)
    return nn.Sequential(SeededDropout(dropout), start_he(layer), nn.ReLU(inplace=True))


def make_pool(form: str, cells: int, stride: int) -> nn.Module:
    """pool5 of forms `roi` and `image`: a map of that stride in pixels to `cells` x `cells`, of regions or images."""
    return RegionPool(cells, stride) if form == "roi" else ImagePool(cells, stride)


def start_he(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer with a start after He et al. 2015: normal weights that keep magnitudes through a ReLU, no bias."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def geometry_of(layers: Iterable[tuple[int, int, int]], hold: bool) -> Geometry:
    """By receptive-field arithmetic over layers as (kernel, stride, padding), in pixels."""
    stride, centre = 1, 0.0
    for kernel, step, padding in layers:
        centre += ((kernel - 1) / 2 - padding) * stride
        stride *= step
    return Geometry(stride, round(centre), hold)


def fit_state(
    what: str,
    build: Callable[[str], nn.Module],
    files_names: dict[str, str],
    ignored: Sequence[str],
    state: dict[str, Tensor],
) -> dict[str, dict[str, Tensor]]:
    """{stage: state of its module} from a file's state, whose names for a stage start with `files_names[stage]`.

    Fully connected layers stand in files as `K C*H*W` and become convolutions `K C H W` where the module has them.
    Tensors share the memory of `state`. Names that start with one of `ignored` do not count. Raises UserError that
    names what is missing, unexpected or of another shape; `what` says for which network.
    """
    found: dict[str, dict[str, Tensor]] = {}
    missing, shapes, known = [], [], set()
    for stage, prefix in files_names.items():
        with torch.device("meta"):
            module = build(stage)
        found[stage] = {}
        for key, parameter in module.state_dict().items():
            name = f"{prefix}.{key.rpartition('.')[2]}"
            known.add(name)
            # Files have C H W in one dimension for a fully connected layer, also where it is a convolution here.
            wanted = parameter.flatten(1) if stage.startswith("fc") and parameter.dim() > 1 else parameter
            if name not in state:
                missing.append(name)
            elif state[name].shape != wanted.shape:
                shapes.append(f"{name} is {_dimensions(state[name])}, here {_dimensions(wanted)}")
            else:
                found[stage][key] = state[name].reshape(parameter.shape)
    unexpected = [name for name in state if name not in known and not name.startswith(tuple(ignored))]
    kinds = (("missing", missing), ("unexpected", unexpected), ("other shapes", shapes))
    differences = [f"{kind}: {_some(names)}" for kind, names in kinds if names]
    if differences:
        raise UserError(f"the file of weights does not fit {what}: {'; '.join(differences)} (docs/weights.md)")
    return found


def _dimensions(tensor: Tensor) -> str:
    return " ".join(map(str, tensor.shape)) or "a scalar"


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
