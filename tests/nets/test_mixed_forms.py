"""Tasks of several forms in one network: who shares what, and that each task is computed as it would be alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.authoring._probe import MIXED_TASKS, batch_of, make_probes
from mtlbench.backbones import alexnet
from mtlbench.contracts import Backbone
from mtlbench.nets.forms import OfForms
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plugins import create, find

NAMES = tuple(MIXED_TASKS)  # two of form fcn, two of form roi, one of form image
SMALL = {"width": 0.1, "fc": 24, "dropout": 0.0}
BACKBONES = [("caffenet", {"small": True}, 64), ("caffenet", {}, 160), ("alexnet", {}, 160)]


def net_of(names: tuple[str, ...], scheme: str, backbone: Any, **options: Any) -> MultiTaskNet:
    return MultiTaskNet(make_probes("mixed", names), backbone, create("scheme", scheme, **options), "mixed", 0).eval()


def small(name: str = "caffenet", **options: Any) -> Any:
    return create(
        "backbone", name, form="mixed", **{**SMALL, **({"small": True} if name == "caffenet" else {}), **options}
    )


def test_tasks_of_several_forms_share_up_to_where_their_stages_differ_and_within_a_form_beyond() -> None:
    net = net_of(NAMES, "split", small(), at="fc8")
    assert net.groups["conv5"] == [NAMES]
    for stage in ("pool5", "fc6", "fc7"):
        assert net.groups[stage] == [("semseg", "normals"), ("detection", "attributes"), ("tags",)]
    early = net_of(NAMES, "split", small(), at="conv3")
    assert early.groups["pool2"] == [NAMES] and early.groups["conv3"] == [(name,) for name in NAMES]
    assert net_of(NAMES, "mtan", small()).groups["pool5"] == net.groups["pool5"]


@pytest.mark.parametrize(("name", "options", "size"), BACKBONES)
def test_a_task_beside_others_is_computed_as_alone(name: str, options: dict[str, Any], size: int) -> None:
    """Networks of one seed start alike: fully shared, in columns of their own, and one by one."""
    batch = batch_of("mixed", NAMES, 2, size)
    backbone = create("backbone", name, form="mixed", **SMALL, **options)
    with torch.no_grad():
        joint = net_of(NAMES, "split", backbone, at="fc8")(batch.images, batch.regions)
        for task in NAMES:
            alone = net_of((task,), "separate", backbone)(batch.images, batch.regions)[task]
            assert torch.allclose(alone, joint[task], atol=1e-5) and float(alone.abs().max()) > 0
    assert joint["semseg"].shape == (2, 3, size, size)
    assert joint["detection"].shape == (4, 3) and joint["tags"].shape == (2, 3)


@pytest.mark.parametrize("name", ["caffenet", "alexnet"])
def test_regions_are_computed_as_in_a_network_of_their_form(name: str) -> None:
    batch = batch_of("mixed", NAMES, 2, 160)
    backbone = small(name)
    options = {"small": True} if name == "caffenet" else {}
    for task, form in (("detection", "roi"), ("tags", "image")):
        own: Backbone = create("backbone", name, form=form, **SMALL, **options)
        alone = MultiTaskNet(make_probes(form, (task,)), own, create("scheme", "separate"), form, 0).eval()
        with torch.no_grad():
            here = net_of((task,), "separate", backbone)(batch.images, batch.regions)[task]
            assert torch.equal(alone(batch.images, batch.regions)[task], here)


def test_units_mix_all_forms_while_their_maps_are_alike_and_each_form_for_itself_beyond() -> None:
    net = net_of(NAMES, "cross_stitch", small())
    assert net.units["pool2"].alpha.shape[:2] == (5, 5)
    late = net.units["fc6"]
    assert isinstance(late, OfForms) and set(late.units) == {"fcn", "roi", "image"}
    alphas = net.alphas()["fc6"][:, :, 0]
    expected = torch.tensor(
        [[0.9, 0.1, 0, 0, 0], [0.1, 0.9, 0, 0, 0], [0, 0, 0.9, 0.1, 0], [0, 0, 0.1, 0.9, 0], [0, 0, 0, 0, 1]]
    )
    assert torch.allclose(alphas.nan_to_num(), expected) and torch.equal(alphas.isnan(), expected == 0)
    assert set(map(id, net.parameters())) >= set(map(id, late.units["fcn"].parameters()))


def test_one_latent_layer_serves_all_forms() -> None:
    net = net_of(NAMES, "mtl_shared", small())
    assert not isinstance(net.units["fc7"], OfForms)
    assert net.units["fc7"].weight.shape == (6, 24)


def test_penalties_sum_over_what_all_forms_share_and_each_has_alone() -> None:
    names = ("semseg", "normals", "detection")
    net = net_of(names, "soft_sharing", small(), strength=0.5)
    with torch.no_grad():
        for copies in net.trunk.values():
            for task, column in copies.named_children():
                for parameter in column.parameters():
                    parameter.fill_(float(names.index(task)))

    def numbers(stage: str, task: str) -> int:
        return sum(p.numel() for p in net.trunk[stage].get_submodule(task).parameters())

    early = sum(numbers(stage.name, "semseg") for stage in net.stages if not stage.by_form)
    late = sum(numbers(stage, "semseg") for stage in ("fc6", "fc7"))
    found = net.penalty()
    assert found is not None
    assert found.item() == pytest.approx(0.5 * (early * (1 + 1 + 4) + late), rel=1e-5)


@pytest.mark.parametrize("name", ["caffenet", "alexnet"])
@pytest.mark.parametrize("small_images", [True, False])
def test_one_file_of_weights_serves_all_forms(name: str, small_images: bool) -> None:
    """fc6 is a fully connected layer of regions and a convolution of maps: the same numbers."""
    if name == "alexnet" and small_images:
        pytest.skip("alexnet has no variant for small images")
    options = {"small": small_images} if name == "caffenet" else {}
    backbone = create("backbone", name, form="mixed", **SMALL, **options)
    weights = weights_of(create("backbone", name, form="roi", **SMALL, **options))
    net = net_of(NAMES, "separate", backbone)
    net.load_pretrained(backbone, weights)
    for stage in backbone.stages:
        for task in NAMES if stage.has_parameters else ():
            found = net.trunk[stage.name].get_submodule(task).state_dict()
            for key, value in found.items():
                assert torch.equal(value.flatten(), weights[file_name(name, stage.name, key)].flatten())


def file_name(backbone: str, stage: str, key: str) -> str:
    """What a parameter is called in files of weights."""
    return f"{alexnet.IN_FILES[stage] if backbone == 'alexnet' else stage}.{key.rpartition('.')[2]}"


def weights_of(backbone: Any) -> dict[str, Tensor]:
    """A file of weights that fits."""
    name = type(backbone).__name__.lower()
    states = {stage.name: backbone.build(stage.name).state_dict() for stage in backbone.stages}
    return {file_name(name, stage, key): value for stage, state in states.items() for key, value in state.items()}


def test_a_wider_column_of_another_form_computes_what_the_narrow_one_does() -> None:
    narrow, wide = small(), small(widen=2.0)
    weights, batch = weights_of(narrow), batch_of("mixed", ("semseg",), 2, 64)

    def maps(backbone: Any) -> Tensor:
        net = net_of(("semseg",), "separate", backbone)
        net.load_pretrained(narrow, weights)
        seen: list[Tensor] = []
        net.trunk["fc7"].get_submodule("semseg").register_forward_hook(lambda _, __, output: seen.append(output))
        with torch.no_grad():
            net(batch.images)
        return seen[0]

    one, other = maps(narrow), maps(wide)
    places = [*range(12), *range(24, 36)]  # each half of the channels holds a half
    assert torch.allclose(one, other[:, places], atol=0.01)  # response normalisation sees new neighbours


def test_a_backbone_without_the_form_is_refused_by_its_check(tmp_path: Any) -> None:
    from mtlbench.authoring.check_backbone import check

    class Alone(find("backbone", "caffenet")):
        """A CaffeNet whose forms differ from conv2 on, though it says from pool5 on."""

        def build(self, stage: str) -> nn.Module:
            module: nn.Module = super().build(stage)
            return nn.Sequential(module, nn.ReLU()) if stage == "conv2" and self.form == "fcn" else module

    options = {"small": True, "width": 0.1, "fc": 24, "dropout": 0.0}
    found = [finding.text for finding in check(Alone, options) if not finding.ok]
    assert len(found) == 1 and "conv2 of form fcn is another module than the one all share" in found[0]


class Doubling(nn.Module):
    """A unit that tells how often it was asked, and for whom."""

    def __init__(self, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.tasks = tasks

    def forward(self, xs: dict[str, Tensor]) -> dict[str, Tensor]:
        assert tuple(xs) == self.tasks and len({tuple(x.shape) for x in xs.values()}) == 1
        return {task: 2 * x for task, x in xs.items()}


def test_a_unit_sees_activations_of_one_shape() -> None:
    class Doubled:
        version = 1

        def groups(self, stage: Any, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
            return [(task,) for task in tasks]

        def unit(self, stage: Any, tasks: tuple[str, ...]) -> nn.Module:
            return Doubling(tasks)

    net = MultiTaskNet(make_probes("mixed", NAMES), small(), Doubled(), "mixed", 0).eval()
    batch = batch_of("mixed", NAMES, 1, 64)
    with torch.no_grad():
        assert set(net(batch.images, batch.regions)) == set(NAMES)


def test_every_form_has_experts_of_its_own_where_forms_have_parted() -> None:
    net = net_of(NAMES, "mmoe", small(), experts=2)
    assert net.groups["conv5"] == [
        (*NAMES, *(f"expert-{n}@{form}" for n in (1, 2) for form in ("fcn", "roi", "image")))
    ]
    assert net.groups["fc6"][:2] == [("semseg", "normals", "expert-1@fcn"), ("detection", "attributes", "expert-1@roi")]
    assert ("expert-2@roi",) in net.groups["fc7"]
    batch = batch_of("mixed", NAMES, 2, 64)
    with torch.no_grad():
        found = net(batch.images, batch.regions)
        alone = net_of(("detection", "attributes"), "mmoe", small(), experts=2)(batch.images, batch.regions)
    assert set(found) == set(NAMES) and all(bool(x.isfinite().all()) for x in found.values())
    assert torch.allclose(found["detection"], alone["detection"], atol=1e-5)
