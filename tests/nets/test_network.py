"""Facts of the paper about networks, for both forms and all schemes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Geometry, Scheme, Stage
from mtlbench.errors import UserError
from mtlbench.nets.layers import LocalResponseNorm, SeededDropout, _band, _interpolation, upsample
from mtlbench.nets.network import MultiTaskNet, place_on_device
from mtlbench.plugins import create, list_names
from mtlbench.schemes.cross_stitch import CrossStitch, CrossStitchUnit
from mtlbench.schemes.mtl_shared import MtlShared
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.split import Split
from tests.support.networks import FORMS, SMALL, inputs, net_of, tasks_of

SPLITS = ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def randomise_alphas(net: MultiTaskNet) -> None:
    for unit in net.units.values():
        nn.init.uniform_(unit.alpha, -1, 1)


@FORMS
def test_alpha_one_zero_equals_the_two_parents_bit_for_bit(form: str) -> None:
    """Section 4: networks A and B joined by units that do not mix are A and B."""
    parents = [net_of(form, Separate(), only=t, seed=s).eval() for t, s in (("a", 5), ("b", 6))]
    joined = net_of(form, CrossStitch(own=1.0), seed=7).eval()
    joined.load_columns([p.state_dict() for p in parents])
    outputs = joined(*inputs(form))
    for task, parent in zip("ab", parents, strict=True):
        assert torch.equal(outputs[task], parent(*inputs(form))[task])


def test_parents_that_do_not_fit_are_refused_by_name() -> None:
    joined = net_of("fcn", CrossStitch())
    with pytest.raises(UserError, match=r"missing \['trunk.conv1.b"):
        joined.load_columns([net_of("fcn", Separate(), only="a").state_dict()])


@FORMS
def test_swapping_the_tasks_permutes_the_outputs(form: str) -> None:
    """Each column receives its own mixture: a unit has a receiver and a giver index (equation 1)."""
    net = net_of(form, CrossStitch()).eval()
    randomise_alphas(net)
    swapped = net_of(form, CrossStitch()).eval()
    tasks = tasks_of(form)
    swapped = MultiTaskNet({"b": tasks["b"], "a": tasks["a"]}, Caffenet(form, **SMALL), CrossStitch(), form, 0).eval()
    state = {k: v.flip(0, 1) if k.startswith("units.") else v for k, v in net.state_dict().items()}
    swapped.load_state_dict(state)
    one, other = net(*inputs(form)), swapped(*inputs(form))
    for task in "ab":
        torch.testing.assert_close(one[task], other[task])
    assert not torch.allclose(one["a"].mean(), one["b"].mean())


def test_convex_start_keeps_magnitudes() -> None:
    """Section 5.1: alpha_s + alpha_d = 1 gives values of the same order of magnitude as the inputs."""
    for count in (1, 2, 3):
        names_ = tuple("abc"[:count])
        unit = CrossStitchUnit(names_, 4, own=0.9, lr_multiplier=1.0)
        torch.testing.assert_close(unit.alphas().sum(1), torch.ones(count, 4))
        same = torch.rand(5, 4)
        for mixed in unit(dict.fromkeys(names_, same)).values():
            torch.testing.assert_close(mixed, same)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_against_equations_2_and_3_by_hand(channels: int) -> None:
    """dL/dx = alpha^T dL/dx~ ; dL/dalpha[t, u] = sum over batch and places of dL/dx~_t * x_u."""
    unit = CrossStitchUnit(("a", "b"), channels, 0.9, 1.0).double()
    nn.init.uniform_(unit.alpha, -1, 1)
    x = {t: torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for t in "ab"}
    d = {t: torch.randn(2, 3, 4, 5, dtype=torch.float64) for t in "ab"}
    mixed = unit(x)
    sum((mixed[t] * d[t]).sum() for t in "ab").backward()
    alpha = unit.alpha.detach().expand(2, 2, 3)
    for giver, u in enumerate("ab"):
        by_hand = sum(alpha[receiver, giver][None, :, None, None] * d[t] for receiver, t in enumerate("ab"))
        torch.testing.assert_close(x[u].grad, by_hand)
        for receiver, t in enumerate("ab"):
            per_channel = (d[t] * x[u].detach()).sum((0, 2, 3))
            expected = per_channel if channels == 3 else per_channel.sum()[None]
            torch.testing.assert_close(unit.alpha.grad[receiver, giver], expected)


def test_number_of_units_is_the_channels_at_the_five_stitch_points() -> None:
    """Section 5: after pool1, pool2, pool5, fc6, fc7; "for pool1 we have 96 cross-stitch units"; 8800 in all, or 5."""
    for per_channel, expected in ((True, [96, 256, 256, 4096, 4096]), (False, [1] * 5)):
        scheme = CrossStitch(per_channel=per_channel)
        with torch.device("meta"):
            net = net_of("fcn", scheme, small=False, width=1.0, fc=0)
        assert list(net.units) == ["pool1", "pool2", "pool5", "fc6", "fc7"]
        assert [unit.alpha.shape[2] for unit in net.units.values()] == expected
    assert sum([96, 256, 256, 4096, 4096]) == 8800


@FORMS
def test_split_at_the_ends(form: str) -> None:
    """Figure 2: Split fc8 is one trunk with two heads; Split at the first layer is the two one-task networks."""
    shared = net_of(form, Split("fc8"))
    assert all(list(columns) == ["a+b"] for columns in shared.trunk.values())
    separate = net_of(form, Split("conv1")).eval()
    for task in "ab":
        alone = net_of(form, Separate(), only=task).eval()
        assert torch.equal(separate(*inputs(form))[task], alone(*inputs(form))[task])


@FORMS
@pytest.mark.parametrize("at", SPLITS)
def test_split_parameters_by_formula(form: str, at: str) -> None:
    """All layers before `at` once, `at` and everything after it once a task (Section 1.1)."""
    net = net_of(form, Split(at))
    alone = net_of(form, Separate(), only="a").trunk
    one = {name: sum(p.numel() for p in columns.parameters()) for name, columns in alone.items()}
    heads = sum(p.numel() for p in net.heads.parameters())
    before = True
    expected = heads
    for stage, count in one.items():
        before = before and stage != at
        expected += count if before else 2 * count
    assert sum(p.numel() for p in net.parameters()) == expected


def test_caffenet_parameters_by_formula() -> None:
    """The paper's layers (Krizhevsky et al. 2012), two groups in conv2, conv4, conv5; the classic 57 M before fc8."""
    with torch.device("meta"):
        trunk = net_of("roi", Separate(), only="a", small=False, width=1.0, fc=0).trunk
    count = sum(p.numel() for p in trunk.parameters())
    by_hand = (
        96 * (3 * 121 + 1)
        + 256 * (48 * 25 + 1)
        + 384 * (256 * 9 + 1)
        + 384 * (192 * 9 + 1)
        + 256 * (192 * 9 + 1)
        + 4096 * (256 * 36 + 1)
        + 4096 * (4096 + 1)
    )
    assert count == by_hand == 56_868_224


def test_mtl_shared_classifiers_are_combinations_of_one_latent_matrix() -> None:
    """Section 6.1 after Zhou et al. 2013: W_t = L S_t with L common to the tasks."""
    net = net_of("roi", MtlShared(width=0.25)).eval()
    latent = net.units["fc7"].weight
    assert latent.shape == (6, 24)
    features = torch.randn(5, 24)
    mixed = net.units["fc7"]({"a": features, "b": features})
    head = net.heads["b"][1]
    combined = next(m for m in head.modules() if isinstance(m, nn.Linear))
    torch.testing.assert_close(combined(mixed["b"]), features @ (combined.weight @ latent).T + combined.bias)


@FORMS
@pytest.mark.parametrize(
    "scheme", [Separate(), Split("conv4"), Split("fc8"), CrossStitch(), CrossStitch(per_channel=False), MtlShared()]
)
def test_every_parameter_gets_a_gradient_and_declared_channels_hold(form: str, scheme: Scheme) -> None:
    net = net_of(form, scheme, dropout=0.0)
    seen = {}
    for stage, columns in net.trunk.items():
        for column in columns.values():
            column.register_forward_hook(lambda m, i, y, stage=stage: seen.__setitem__(stage, y.shape[1]))
    outputs = net(*inputs(form))
    sum((x * x).sum() for x in outputs.values()).backward()
    assert seen == {stage.name: stage.channels for stage in net.stages}
    dead = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


@pytest.mark.parametrize("name", list_names("backbone"))
@FORMS
def test_contract_of_every_backbone(name: str, form: str) -> None:
    backbone = create("backbone", name, form=form, **({"model": "test_vit"} if name == "timm" else {}))
    stages = [stage.name for stage in backbone.stages]
    assert len(set(stages)) == len(stages) and "fc8" not in stages
    assert any(s.stitched for s in backbone.stages)


class Merging(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tasks] if stage.name == "fc7" else [(t,) for t in tasks]


class Forgetful(Separate):
    def groups(self, stage: Stage, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [(tasks[0],)]


class EarlyUnit(Split):
    def unit(self, stage: Stage, tasks: tuple[str, ...]) -> nn.Module | None:
        return CrossStitchUnit(tasks, 1, 0.9, 1.0) if stage.name == "conv1" else None


def test_schemes_that_cannot_be_built_are_refused_in_words() -> None:
    with pytest.raises(UserError, match="fc7 merges columns again"):
        net_of("fcn", Merging())
    with pytest.raises(UserError, match="not a partition"):
        net_of("fcn", Forgetful())
    with pytest.raises(UserError, match="told them apart"):
        net_of("fcn", EarlyUnit("fc8"))(*inputs("fcn"))
    with pytest.raises(UserError, match="Did you mean 'conv4'"):
        net_of("fcn", Split("conv44"))


def test_all_columns_of_all_arms_start_alike() -> None:
    """The start depends on (seed, stage) alone, so that arms differ in sharing and nothing else (Ours)."""
    nets = [net_of("fcn", s, seed=3) for s in (Separate(), Split("conv4"), CrossStitch())]
    for stage in nets[0].trunk:
        columns = [list(c.parameters()) for net in nets for c in net.trunk[stage].values()]
        for one, other in itertools.pairwise(columns):
            assert all(map(torch.equal, one, other))
    assert not torch.equal(*[next(net_of("fcn", Separate(), seed=s).parameters()) for s in (3, 4)])


@pytest.mark.parametrize("stride,centre", [(32, 13), (16, 0)])
def test_upsampling_is_the_fixed_bilinear_deconvolution(stride: int, centre: int) -> None:
    """Long et al. 2015: kernel 2 x stride - 1, here with the crop that puts cell 0 on pixel `centre`."""
    scores = torch.randn(1, 1, 6, 5, dtype=torch.float64)
    kernel_1d = 1 - (torch.arange(2 * stride - 1, dtype=torch.float64) - (stride - 1)).abs() / stride
    full = nn.functional.conv_transpose2d(scores, (kernel_1d[:, None] * kernel_1d[None])[None, None], stride=stride)
    crop = stride - 1 - centre
    height, width = 5 * stride, 4 * stride
    expected = full[..., crop : crop + height, crop : crop + width]
    torch.testing.assert_close(upsample(scores, (height, width), Geometry(stride, centre, hold=False)), expected)


def test_crop_offset_of_fcn_alexnet_with_a_shifted_impulse() -> None:
    """FCN-32s on CaffeNet: stride 32, crop 18, so the first cell looks at pixel 31 - 18 = 13. The cell that answers an
    impulse most strongly must be the one whose centre is nearest, wherever the impulse stands."""
    backbone = Caffenet("fcn", width=0.1, fc=8)
    assert backbone.geometry == (32, 13, False)
    stages = [backbone.build(stage.name).eval() for stage in backbone.stages]
    for module in (m for stage in stages for m in stage.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())

    def first_reached(x: int) -> tuple[int, int]:
        image = torch.zeros(1, 3, 330, 330)
        image[..., x, x] = 1e6
        for stage in stages:
            image = stage(image)
        column = image[0, 0].amax(0)
        hit = torch.nonzero(column > column.max() * 1e-6).flatten()
        return int(hit[0]), int(hit[-1])

    # The receptive field is symmetric about the cell's centre: the middle of the cells reached follows the impulse.
    for x in (141, 157, 173, 189):
        low, high = first_reached(x)
        middle = (low + high) / 2 * 32 + 13
        assert abs(middle - x) <= 16


def test_banded_response_normalisation_equals_torch() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        x = (torch.randn(2, 12, 5, 5) * 300).contiguous(memory_format=layout).requires_grad_()
        ours, torchs = LocalResponseNorm()(x), nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)(x)
        torch.testing.assert_close(ours, torchs)
        weights = torch.randn_like(x)
        by_ours, by_torch = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, torchs))
        torch.testing.assert_close(by_ours, by_torch)
        assert ours.is_contiguous(memory_format=layout) and by_ours.is_contiguous(memory_format=layout)


@FORMS
def test_a_network_computes_the_same_in_either_memory_format(form: str) -> None:
    """On the processor activations are channels last, so that pooling is fast; what is computed stays the same."""
    plain, other_one = (net_of(form, CrossStitch()).eval() for _ in range(2))  # dropout draws in the order of memory
    on_processor = place_on_device(other_one, torch.device("cpu"))
    pooled: list[Tensor] = []
    on_processor.trunk.get_submodule("pool1.a").register_forward_hook(lambda module, x, y: pooled.append(y))
    for one, other in zip(plain(*inputs(form)).values(), on_processor(*inputs(form)).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert pooled[0].is_contiguous(memory_format=torch.channels_last) and not pooled[0].is_contiguous()


@FORMS
def test_a_process_that_evaluates_first_can_train_afterwards(form: str) -> None:
    """An ensemble may be the first trial of a process; what it leaves in caches must serve training too."""
    _band.cache_clear()
    _interpolation.cache_clear()
    net = net_of(form, Separate())
    with torch.inference_mode():
        net(*inputs(form))
    sum(x.sum() for x in net(*inputs(form)).values()).backward()


def test_dropout_masks_depend_on_seed_iteration_and_place_only() -> None:
    layer = SeededDropout(0.5)
    layer.seed, layer.name = 1, "trunk.fc7.a"
    x = torch.ones(4, 100)
    first = layer(x)
    torch.rand(7)
    assert torch.equal(first, layer(x))
    assert 0.3 < (first == 0).float().mean() < 0.7 and first.max() == 2
    layer.iteration = 1
    assert not torch.equal(first, layer(x))
    assert torch.equal(layer.eval()(x), x)
