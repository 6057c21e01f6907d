"""timm's networks cut into stages: which modules are in which, what comes out of each, checked against timm's own
features."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtlbench.backbones._timm_stages import Chain, ChannelsLast, Embed, Tokens
from mtlbench.errors import UserError
from mtlbench.nets.layers import SeededDropout
from mtlbench.text import one_line

try:
    RELEASE = version("timm")
except PackageNotFoundError as error:
    raise UserError(
        "backbones timm:NAME are those of timm, which is not installed: type pip install 'mtlbench[timm]'"
    ) from error

CUTS = ("taps", "blocks")
# What some networks are told, so that they take images of any size.
ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)
QUARTERS = 4  # stages of a plain ViT, which has no taps of its own
PROBE = (64, 224)  # an image's height and width, in pixels; strides are seen in its width
FAMILIES = "VGG, ResNet, ConvNeXt, Swin, EfficientNet, MobileNet and plain ViT can be cut"


@dataclass(frozen=True)
class Part:
    """A stage: its modules, as timm names them, and its output's channels, stride and centre of the first cell in
    pixels (of images whose sides are multiples of the stride)."""

    name: str
    modules: tuple[str, ...]
    channels: int
    stride: int
    centre: float
    parameters: int


@dataclass(frozen=True)
class Look:
    """What is known of a network: its stages, its inputs' scaling (0-1), its published weights' licence, and the shape
    of every array in a file of its weights."""

    parts: tuple[Part, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    shapes: dict[str, tuple[int, ...]]


def create(model: str, output_stride: int) -> Any:
    """timm's network without its classifier, for images of any size, started from torch's global generator; nothing in
    it is drawn at random in training but by seed. Raises UserError."""
    import timm

    if not timm.is_model(model):
        near = difflib.get_close_matches(model.partition(".")[0], timm.list_models(), n=3)
        raise UserError(f"timm {RELEASE} has no network {model!r}; near it: {', '.join(near) or 'none'} ({FAMILIES})")
    net, why = None, ""
    for options in ANY_SIZE:
        own: dict[str, Any] = {**options, **({"output_stride": output_stride} if output_stride else {})}
        if model.startswith("vgg"):  # its fully connected layers are not used, and have 120 million parameters
            own["mlp_ratio"] = 1 / 4096
        try:
            net = timm.create_model(model, num_classes=0, **own)
            break
        except (RuntimeError, TypeError, ValueError, NotImplementedError, AssertionError) as error:
            why = one_line(error) or type(error).__name__
    if net is None:
        raise make_refusal(model, f"it cannot be made{' with output_stride' * bool(output_stride)}: {why}")
    for path, module in list(net.named_modules()):
        if isinstance(module, nn.Dropout) and module.p:
            net.set_submodule(path, SeededDropout(module.p))
        elif hasattr(module, "drop_prob"):  # stochastic depth draws from a global generator
            module.drop_prob = 0.0
    return net


def make_refusal(model: str, why: str) -> UserError:
    """The error for a network that cannot be cut."""
    return UserError(f"timm's {model} cannot be cut into stages ({why}); {FAMILIES}")


def cut(model: str, net: Any, cuts: str) -> dict[str, nn.Module]:
    """{stage: its module} of a network that `create` made: maps between them are `B C H W`. Raises UserError."""
    from timm.models.vision_transformer import VisionTransformer

    if cuts not in CUTS:
        raise UserError(f"timm's cuts are {cuts!r}, must be {' or '.join(CUTS)}")
    if type(net) is VisionTransformer:
        return _cut_vit(net, cuts)
    stages: dict[str, nn.Module] = {}
    last = getattr(net, "output_fmt", "NCHW") == "NHWC"
    for name, modules in _list_stages(model, net, cuts):
        body = Chain(modules)
        stages[name] = ChannelsLast(body, first=not stages) if last else body
    return stages


def _list_stages(model: str, net: nn.Module, cuts: str) -> Iterator[tuple[str, list[tuple[str, nn.Module]]]]:
    """Every stage's name and its modules with their paths, in the order in which they are used. Raises UserError."""
    info = getattr(net, "feature_info", None)
    taps = [one["module"] for one in info] if isinstance(info, list) else []
    modules: list[tuple[str, nn.Module]] = []
    children: list[tuple[str, nn.Module]] = []
    for name, child in net.named_children():
        opened = isinstance(child, nn.Sequential) and any(tap.startswith(f"{name}.") for tap in taps)
        children += [(f"{name}.{sub}", one) for sub, one in child.named_children()] if opened else [(name, child)]
    if not taps or not {*taps} <= {path for path, _ in children}:
        raise make_refusal(model, "its features do not lie between its modules")
    for path, child in children:
        modules.append((path, child))
        if path not in taps:
            continue
        stage = f"stage{taps.index(path) + 1}"
        if cuts == "taps":
            yield stage, modules
        else:
            first, *others = _split_module(path, child)
            yield f"{stage}_1", [*modules[:-1], *first]
            for number, block in enumerate(others, start=2):
                yield f"{stage}_{number}", block
        modules = []
        if path == taps[-1]:
            return


def _split_module(path: str, module: nn.Module) -> list[list[tuple[str, nn.Module]]]:
    """The module as a chain of smaller ones, as far as it is one."""
    children = dict(module.named_children())
    if isinstance(module, nn.Sequential) and len(children):
        return [[(f"{path}.{name}", child)] for name, child in children.items()]
    blocks = children.get("blocks")
    if list(children) == ["downsample", "blocks"] and isinstance(blocks, nn.Sequential):
        (name, one), *others = [(f"{path}.blocks.{number}", block) for number, block in blocks.named_children()]
        return [[(f"{path}.downsample", children["downsample"]), (name, one)], *([other] for other in others)]
    return [[(path, module)]]


def _cut_vit(net: Any, cuts: str) -> dict[str, nn.Module]:
    """A plain ViT: blocks in quarters, or one by one; the first stage begins with the patches, the last one ends with
    the norm."""
    blocks, norm, prefix = list(net.blocks), net.norm, net.num_prefix_tokens
    for name in ("blocks", "norm", "fc_norm", "attn_pool", "head"):
        if getattr(net, name, None) is not None:
            setattr(net, name, nn.Identity())
    count = len(blocks) if cuts == "blocks" else min(QUARTERS, len(blocks))
    ends = [round(len(blocks) * (number + 1) / count) for number in range(count)]
    stages: dict[str, nn.Module] = {}
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        last = number == count - 1
        own = [(f"blocks.{place}", blocks[place]) for place in range(begin, end)]
        tokens = Tokens(Chain([*own, ("norm", norm)] if last else own), prefix, last)
        stages[f"stage{number + 1}"] = nn.Sequential(Embed(net), tokens) if not number else tokens
    return stages


def names_of(stage: nn.Module) -> dict[str, str]:
    """{name in the stage's state: name in timm's files}."""
    found: dict[str, str] = {}
    for path, module in stage.named_modules():
        begin = f"{path}." if path else ""
        if isinstance(module, Embed):
            found |= {f"{begin}net.{name}": name for name in module.net.state_dict()}
        elif isinstance(module, Chain):
            for name, origin in module.paths.items():
                found |= {
                    f"{begin}{name}.{rest}": f"{origin}.{rest}" for rest in module.get_submodule(name).state_dict()
                }
    return found


@cache
def look(model: str, cuts: str, output_stride: int) -> Look:
    """Cut the network once, on the processor, and see that its stages one after another give what timm's own network
    does. Raises UserError."""
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.no_grad():
        net = create(model, output_stride).eval()
        image = torch.randn(1, 3, *PROBE, generator=torch.Generator().manual_seed(0))
        try:
            wanted = _compute_features(net, image)
        except (AttributeError, RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
            raise make_refusal(model, one_line(error)) from error
        config, shapes = net.pretrained_cfg, {name: tuple(value.shape) for name, value in net.state_dict().items()}
        parts, x, at = [], image, (1, 0.0)
        for name, stage in cut(model, net, cuts).items():
            steps: list[Step] = []
            strided = [one for one in stage.modules() if hasattr(one, "kernel_size") and _take_width(one.stride) > 1]
            hooks = [one.register_forward_hook(partial(_note, steps)) for one in strided]
            x = stage(x)
            for hook in hooks:
                hook.remove()
            at = _trace_geometry(x, at, steps)
            parameters = sum(parameter.numel() for parameter in stage.parameters())
            parts.append(Part(name, _modules_of(stage), x.shape[1], *at, parameters))
    if not torch.equal(x, wanted):
        raise make_refusal(model, "its parts, one after another, do not give its features")
    return Look(tuple(parts), config["mean"], config["std"], config.get("license") or "", shapes)


def _compute_features(net: Any, image: Tensor) -> Tensor:
    """timm's own last features `B C H W`, of a ViT after its norm."""
    norm = "norm" in inspect.signature(net.forward_intermediates).parameters and hasattr(net, "num_prefix_tokens")
    found: Tensor = net.forward_intermediates(image, intermediates_only=True, **({"norm": True} if norm else {}))[-1]
    return found


def _modules_of(stage: nn.Module) -> tuple[str, ...]:
    """What it is made of, as timm names it."""
    chained = [origin for one in stage.modules() if isinstance(one, Chain) for origin in one.paths.values()]
    return (*(["patch_embed"] if any(isinstance(one, Embed) for one in stage.modules()) else []), *chained)


class Step(NamedTuple):
    """A convolution or pooling with a stride, along the width: how wide its input was, and what pads it on the left."""

    width: int
    kernel: int
    stride: int
    left: int


def _note(steps: list[Step], module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """A forward hook of such a module."""
    kernel = (_take_width(module.kernel_size) - 1) * _take_width(getattr(module, "dilation", 1)) + 1
    stride, left = _take_width(module.stride), _take_width(module.padding)
    width, cells = inputs[0].shape[-1], output.shape[-1]
    if (width + 2 * left - kernel) // stride + 1 != cells:  # TensorFlow's padding: the odd pixel lies on the right
        left = max((cells - 1) * stride + kernel - width, 0) // 2
    steps.append(Step(width, kernel, stride, left))


def _take_width(size: Any) -> int:
    """Of a size for both directions or each: that along the width."""
    value = size[-1] if isinstance(size, list | tuple) else size
    return value if isinstance(value, int) else 0


def _trace_geometry(x: Tensor, at: tuple[int, float], steps: list[Step]) -> tuple[int, float]:
    """Stride and centre of the first cell, in pixels, of a stage's output: by receptive-field arithmetic over what has
    a stride, in the order of use, without what lies beside it; cells that are joined otherwise are joined alike."""
    stride, centre = at
    for step in steps:
        if step.width * stride == PROBE[1]:
            centre += ((step.kernel - 1) / 2 - step.left) * stride
            stride *= step.stride
    found = PROBE[1] // x.shape[3]
    return found, centre + (found / stride - 1) / 2 * stride
