"""Every scheme on two small networks of timm, whose stages pool inside, in every form."""

from __future__ import annotations

import pytest
import torch

from mtlbench.authoring._probe import batch_of, make_probes, train_steps
from mtlbench.backbones.timm import Timm
from mtlbench.contracts import join
from mtlbench.nets.network import MultiTaskNet, plan
from mtlbench.plugins import find, list_names
from mtlbench.schemes._experts import mix

TASKS = ("one", "other")
OPTIONS = {"split": {"at": "stage3"}, "tree": {"shared": {"stage3": []}}}


@pytest.mark.parametrize("model", ["test_efficientnet", "test_vit"])
@pytest.mark.parametrize("form", ["fcn", "roi", "image"])
def test_every_scheme_trains_all_that_it_has(model: str, form: str) -> None:
    backbone, batch = Timm(form, model=model), batch_of(form, list(TASKS), 2, 64, regions=4)
    for name in list_names("scheme"):
        scheme = find("scheme", name)(**OPTIONS.get(name, {}))
        if hasattr(scheme, "merge") or getattr(scheme, "teachers", False):
            continue  # nothing is trained, or not without finished networks
        net = MultiTaskNet(make_probes(form, TASKS), backbone, scheme, form, 0)
        list(train_steps(net, [batch]))
        assert [path for path, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == [], name
        net.eval()
        with torch.no_grad():
            assert all(output.isfinite().all() for output in net(batch.images, batch.regions).values()), name


def test_mtan_attends_at_every_stage_before_forms_part() -> None:
    stages = join(Timm("fcn", model="test_efficientnet").stages)
    scheme = find("scheme", "mtan")()
    groups = plan(scheme, stages, TASKS)
    assert [len(groups[stage.name]) for stage in stages] == [1, 1, 1, 1, 2]
    first, *middle, last = [scheme.unit(stage, TASKS) for stage in stages[:4]]
    assert scheme.unit(stages[4], TASKS) is None and last.returns_streams and not first.returns_streams
    # g sees the stage's map, and from the second stage on the stream before it, as wide as the map.
    inputs = [unit.masks["one"][0].in_channels for unit in (first, *middle, last)]
    assert inputs == [16, 2 * 24, 2 * 32, 2 * 48]


def test_gates_of_images_weigh_their_regions() -> None:
    weights, owners = torch.tensor([[1.0, 0.0], [0.25, 0.75]]), torch.tensor([1, 0, 1])
    one, other = torch.ones(3, 2), 2 * torch.ones(3, 2)
    assert mix(weights, [one, other], owners)[:, 0].tolist() == [1.75, 1.0, 1.75]
