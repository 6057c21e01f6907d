"""Batch normalisation of each task in columns that tasks share."""

from __future__ import annotations

import torch

from mtlbench.authoring._probe import batch_of, make_probes, train_steps
from mtlbench.backbones.timm import Timm
from mtlbench.nets.network import MultiTaskNet
from mtlbench.nets.norms import owner_of
from mtlbench.plugins import find, list_names

TASKS = ("one", "other")
OPTIONS = {"split": {"at": "stage4"}, "tree": {"shared": {"stage3": []}}}


def net_of(scheme: str, form: str = "fcn", **options: str) -> MultiTaskNet:
    backbone = Timm(form, model="test_efficientnet", **options)
    return MultiTaskNet(make_probes(form, TASKS), backbone, find("scheme", scheme)(**OPTIONS.get(scheme, {})), form, 0)


def test_shared_columns_have_each_tasks_own_and_start_as_without() -> None:
    shared, parted = net_of("split").eval(), net_of("split", batch_norm="per-task").eval()
    own = {owner_of(name)[1] for name in parted.state_dict()}
    assert own == {"", "one", "other"} and len(parted.trunk["stage1"]) == 1
    assert {owner_of(name)[0] for name in parted.state_dict()} == set(shared.state_dict())
    images = batch_of("fcn", list(TASKS), 2, 64).images
    with torch.no_grad():
        a, b = shared(images), parted(images)
    assert all(torch.equal(a[task], b[task]) for task in TASKS)


def test_a_task_passes_its_own_and_trains_only_that() -> None:
    net, images = net_of("split", batch_norm="per-task"), batch_of("fcn", list(TASKS), 2, 64).images
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if owner_of(name)[1] == "other" and name.endswith("bias"):
                parameter.add_(1.0)
    net.train()
    outputs = net(images)
    outputs["one"].square().sum().backward()
    reached = {owner_of(name)[1] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"", "one"}
    state = net.trunk["stage2"]["one+other"].state_dict()
    means = {
        owner_of(name)[1]: value for name, value in state.items() if owner_of(name)[0] == "blocks_1.0.bn1.running_mean"
    }
    assert not torch.equal(means["one"], means["other"])  # what came in differed


def test_every_scheme_trains_with_them() -> None:
    batch = batch_of("roi", list(TASKS), 2, 64, regions=4)
    for name in list_names("scheme"):
        scheme = find("scheme", name)
        if hasattr(scheme, "merge") or getattr(scheme, "teachers", False):
            continue
        net = net_of(name, "roi", batch_norm="per-task")
        list(train_steps(net, [batch]))
        assert [path for path, p in net.named_parameters() if p.grad is None] == [], name


def test_merged_columns_keep_each_tasks_own() -> None:
    net = net_of("task_arithmetic", batch_norm="per-task")
    alone = [
        MultiTaskNet(
            make_probes("fcn", (task,)),
            Timm("fcn", model="test_efficientnet"),
            find("scheme", "separate")(),
            "fcn",
            seed,
        )
        for seed, task in enumerate(TASKS)
    ]
    for one in alone:
        torch.nn.init.normal_(one.trunk["stage1"][one.tasks[0]].get_submodule("bn1").running_mean)
    net.load_columns([one.state_dict() for one in alone])
    for one, task in zip(alone, TASKS, strict=True):
        kept = net.state_dict()[f"trunk.stage1.one+other.bn1.of_column.{task}.running_mean"]
        assert torch.equal(kept, one.state_dict()[f"trunk.stage1.{task}.bn1.running_mean"])


def test_weights_of_a_file_come_to_every_task() -> None:
    backbone = Timm("fcn", model="test_efficientnet", batch_norm="per-task")
    file = net_of("split").trunk
    state = {k: v + 0.5 for k, v in file["stage1"]["one+other"].state_dict().items() if v.is_floating_point()}
    net = net_of("split", batch_norm="per-task")
    whole = {stage: next(iter(columns.children())).state_dict() for stage, columns in file.items()} | {"stage1": state}
    names_of = {f"{k.replace('blocks_', 'blocks.')}": v for part in whole.values() for k, v in part.items()}
    net.load_pretrained(backbone, names_of)
    for task in TASKS:
        loaded = net.trunk["stage1"]["one+other"].state_dict()[f"bn1.of_column.{task}.weight"]
        assert torch.equal(loaded, state["bn1.weight"])
