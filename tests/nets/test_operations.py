"""Operations of one image forward, layer by layer by hand: 2 for a multiply-add."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Pass, Scheme, Stage, join
from mtlbench.nets.layers import LocalResponseNorm
from mtlbench.nets.network import count_cost
from mtlbench.nets.operations import count
from mtlbench.plugins import create
from mtlbench.schemes.cross_stitch import CrossStitch, CrossStitchUnit
from mtlbench.schemes.mtan import Attention
from mtlbench.schemes.nddr import Fusion
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.sluice import SubspaceUnit
from mtlbench.schemes.split import Split
from tests.support.networks import FORMS, net_of, tasks_of

REGIONS = 5
# Of CaffeNet: channels of the output, its cells, channels that each of them sees, size of the kernel.
CONVOLUTIONS = {
    # 59 x 59 pixels, padded to 259: 63, pooled 31, pooled 15, pooled 7, windows of 6 x 6: 2
    "fcn": [
        (96, 63**2, 3, 11**2),
        (256, 31**2, 96 // 2, 5**2),
        (384, 15**2, 256, 3**2),
        (384, 15**2, 384 // 2, 3**2),
        (256, 15**2, 384 // 2, 3**2),
        (4096, 2**2, 256, 6**2),
        (4096, 2**2, 4096, 1),
    ],
    # 59 x 59 pixels, padded to 69: 15, padded and pooled 8, and 5 (sizes round up); then 6 x 6 cells of each region
    "roi": [
        (96, 15**2, 3, 11**2),
        (256, 8**2, 96 // 2, 5**2),
        (384, 5**2, 256, 3**2),
        (384, 5**2, 384 // 2, 3**2),
        (256, 5**2, 384 // 2, 3**2),
        (4096, REGIONS, 256, 6**2),
        (4096, REGIONS, 4096, 1),
    ],
}
NORMALISED = {"fcn": 96 * 31**2 + 256 * 15**2, "roi": 96 * 8**2 + 256 * 5**2}  # elements: pool1's and pool2's
# Elements after pool1, pool2, pool5, fc6, fc7.
STITCHED = {
    "fcn": 96 * 31**2 + 256 * 15**2 + 256 * 7**2 + 4096 * 4 + 4096 * 4,
    "roi": 96 * 8**2 + 256 * 5**2 + REGIONS * (256 * 36 + 4096 + 4096),
}
# Two tasks of three classes; of regions three classes' scores and offsets of two, and three attributes.
HEADS = {"fcn": 2 * 4096 * 6 * 4, "roi": 2 * 4096 * (3 + 8 + 3) * REGIONS}
UPSAMPLING = {"fcn": 6 * 59**2 * 4 * 2, "roi": 0}  # a pixel is the weighted mean of four cells


def operations(form: str, scheme: Scheme) -> int:
    return count_cost(tasks_of(form), Caffenet(form), scheme, form, (59, 59), REGIONS)[1]


def of_unit(unit: nn.Module, xs: dict[str, Tensor], *this: Pass) -> int:
    with torch.no_grad(), count(unit.eval()) as counted:
        unit(xs, *this)
    return counted.operations


def stage(channels: int) -> Stage:
    return join([Stage("fc6", channels, True, True), Stage("fc7", channels, True, True)])[1]


def maps(channels: int, tasks: str = "ab") -> dict[str, Tensor]:
    return {task: torch.zeros(1, channels, 3, 5) for task in tasks}


@FORMS
def test_a_shared_trunk_with_two_heads(form: str) -> None:
    """Its convolutions and products; 9 operations an element of response normalisation: the square, four additions,
    the scale, + 1, the power and the product."""
    trunk = sum(2 * channels * cells * seen * kernel for channels, cells, seen, kernel in CONVOLUTIONS[form])
    expected = trunk + 9 * NORMALISED[form] + HEADS[form] + UPSAMPLING[form]
    assert operations(form, Split("fc8")) == expected
    assert operations(form, Separate()) == expected + trunk + 9 * NORMALISED[form]


@FORMS
def test_cross_stitch_units_take_a_multiply_add_for_every_pair_of_tasks(form: str) -> None:
    for per_channel in (True, False):
        units = operations(form, CrossStitch(per_channel)) - operations(form, Separate())
        assert units == 2 * 2 * 2 * STITCHED[form]


@pytest.mark.parametrize("tasks", ["a", "ab", "abc"])
def test_units_mix_every_element_of_all_tasks(tasks: str) -> None:
    """6 channels on 15 pixels; a subspace is mixed of all subspaces of all tasks, a reduced channel of all channels."""
    count, names = len(tasks), tuple(tasks)
    assert of_unit(CrossStitchUnit(names, 6, 0.9, 1), maps(6, tasks)) == 2 * count**2 * 6 * 15
    assert of_unit(SubspaceUnit(names, stage(6), 2, 0.9, 1), maps(6, tasks)) == 2 * (count * 2) ** 2 * 3 * 15
    assert of_unit(Fusion(names, 6, 0.9, False), maps(6, tasks)) == 2 * (count * 6) ** 2 * 15
    normalised = 2 * (count * 6) ** 2 * 15 + 2 * count * 6 * 15
    assert of_unit(Fusion(names, 6, 0.9, True), maps(6, tasks)) == normalised


def test_betas_and_masks_are_counted() -> None:
    """Sluice: every element of two tasks is mixed of two layers. MTAN: 4 channels to 6 to 6, each normalised, and the
    product with the shared map."""
    last = SubspaceUnit(("a", "b"), stage(6), 1, 0.9, 1, ("fc6", "fc7"))
    memory: dict[str, Any] = {"sluice layers": [maps(6)]}
    assert of_unit(last, maps(6), Pass(lambda x: x, memory)) == 2 * 2**2 * 6 * 15 + 2 * 2 * 2 * 6 * 15
    attention = Attention(("a", "b"), 4, 6, 0, has_previous=False, returns_streams=True)
    memory = {"u": torch.zeros(1, 4, 3, 5), "p": torch.zeros(1, 6, 3, 5)}
    masks = 2 * 2 * 15 * (4 * 6 + 6 + 6 * 6 + 6 + 6)
    assert of_unit(attention, maps(6), Pass(lambda x: x, memory)) == masks


@FORMS
@pytest.mark.parametrize("scheme", ["soft_sharing", "branching", "branching_search"])
def test_columns_that_nothing_mixes_cost_no_more(scheme: str, form: str) -> None:
    """In evaluation a child of branching_search takes one parent."""
    assert operations(form, create("scheme", scheme)) == operations(form, Separate())


@FORMS
def test_counting_twice_gives_the_same_and_parameters_are_those_of_the_network(form: str) -> None:
    """What is computed once and kept (bands, interpolations) is no operation of the network."""
    found = {count_cost(tasks_of(form), Caffenet(form, small=True), CrossStitch(), form, (64, 64), 3) for _ in range(2)}
    ((parameters, _),) = found
    assert parameters == sum(p.numel() for p in net_of(form, CrossStitch(), width=1.0, fc=0).parameters())


def test_response_normalisation_alone() -> None:
    """Also where it is the whole of a part: 3 neighbours take 7 an element."""
    layer = nn.Sequential(LocalResponseNorm(3))
    with count(layer) as counted:
        layer(torch.zeros(2, 8, 3, 5))
    assert counted.operations == 7 * 2 * 8 * 15
