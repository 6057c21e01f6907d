"""The training loop: rates, batches, divergence, averaging."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from mtlbench import spaces
from mtlbench.backbones.caffenet import Caffenet
from mtlbench.batches import Scaled, View, evaluation_batch, indices, mirrored, recoloured, scale, training_batch
from mtlbench.network import MultiTaskNet
from mtlbench.plugins import Sample, Scheme
from mtlbench.sharing.cross_stitch import CrossStitch
from mtlbench.sharing.separate import Separate
from mtlbench.spec import identity_of
from mtlbench.tasks.attributes import Attributes
from mtlbench.tasks.detection import Detection
from mtlbench.tasks.normals import Normals
from mtlbench.tasks.semseg import Semseg
from mtlbench.train import Diverged, Record, average, optimiser, rate, train

CODES = [[0.0, 0.0, 1.0], [0.7, 0.0, 0.714], [0.0, 0.7, 0.714], [-0.7, 0.0, 0.714]]


def recipe(**changes: Any) -> dict[str, Any]:
    return {**identity_of(spaces.recipe_of(spaces.load("semseg_sn"), "smoke")), "curve_points": 2, **changes}


def dense_sample(seed: int, height: int = 32, width: int = 40) -> Sample:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(height, width, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return Sample(
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        {"semseg": rng.integers(0, 3, (height, width)).astype(np.uint8), "normals": normals},
    )


def box_sample(seed: int, size: int = 64) -> Sample:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (3, 2)).astype(np.float32)
    proposals = rng.uniform(0, 30, (40, 2)).astype(np.float32)
    return Sample(
        rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        {"detection": rng.integers(0, 2, 3), "attributes": rng.integers(0, 2, (3, 4)).astype(np.uint8)},
        np.concatenate([corner, corner + 24], axis=1), np.zeros(3, dtype=bool),
        np.concatenate([proposals, proposals + rng.uniform(15, 30, (40, 2)).astype(np.float32)], axis=1),
    )  # fmt: skip


def dense_tasks() -> dict[str, Any]:
    return {"semseg": Semseg(("x", "y", "z"), {}), "normals": Normals((), {"codebook": CODES})}


def box_tasks() -> dict[str, Any]:
    facts = {"offset_mean": [0.0] * 4, "offset_std": [0.1, 0.1, 0.2, 0.2]}
    return {"detection": Detection(("x", "y"), facts), "attributes": Attributes(tuple("pqrs"), {})}


def view(form: str, tasks: dict[str, Any], **changes: Any) -> View:
    plain = View(form, tuple(tasks), 0, 0, True, 0.0, 16, (100.0, 110.0, 120.0), (60.0, 60.0, 60.0), True)
    return dataclasses.replace(plain, **changes)


def small_net(tasks: dict[str, Any], scheme: Scheme, form: str = "fcn") -> MultiTaskNet:
    return MultiTaskNet(tasks, Caffenet(form, small=True, width=0.1, fc=16, dropout=0.0), scheme, form, 0)


def run(net: MultiTaskNet, tasks: dict[str, Any], settings: dict[str, Any], iterations: int = 6) -> Record:
    subset = Scaled([dense_sample(s) for s in range(5)], 0, 0)  # type: ignore[arg-type]
    record = Record()
    v = view("fcn", tasks)
    steps = train(net, tasks, lambda i: training_batch(subset, tasks, v, 0, i, 2), settings, iterations, 0, record,
                  lambda: dict.fromkeys(tasks, 0.0))  # fmt: skip
    assert list(steps)[-1] == 1.0
    return record


@pytest.mark.parametrize("decay", ["cosine", "step"])
def test_the_ratio_of_rates_holds_at_every_step_of_the_schedule(decay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 5.2: the units' multiplier is relative to the network's rate, also after the schedule changes it."""
    seen: list[dict[float, float]] = []
    true_step = torch.optim.SGD.step

    def step(self: Any, *args: Any) -> Any:
        seen.append({group["scale"]: group["lr"] for group in self.param_groups})
        return true_step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    tasks = dense_tasks()
    run(small_net(tasks, CrossStitch(lr=100.0)), tasks, recipe(decay=decay, step_at=0.5, warmup=1, lr=1e-4))
    assert len(seen) == 6 and len({rates[1.0] for rates in seen}) > 1
    for rates in seen:
        assert rates[100.0] == pytest.approx(100 * rates[1.0]) and rates[2.0] == pytest.approx(2 * rates[1.0])


def test_groups_of_the_optimiser() -> None:
    """Biases at twice the rate without decay (Girshick 2015, Long et al. 2015); units without decay (Ours)."""
    tasks = dense_tasks()
    net = small_net(tasks, CrossStitch(lr=100.0))
    names = {id(p): name for name, p in net.named_parameters()}
    groups = {}
    for group in optimiser(net, recipe(weight_decay=5e-4)).param_groups:
        part = 0 if group["scale"] == 100 else -1
        groups[group["scale"], group["weight_decay"]] = {names[id(p)].split(".")[part] for p in group["params"]}
    assert groups == {(1.0, 5e-4): {"weight"}, (2.0, 0.0): {"bias"}, (100.0, 0.0): {"units"}}


def test_frozen_stages_do_not_move() -> None:
    """The released Fast R-CNN keeps CaffeNet's conv1 as it is."""
    tasks = dense_tasks()
    net = small_net(tasks, Separate())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    run(net, tasks, recipe(frozen=["conv1"]))
    moved = {k.split(".")[1] for k, v in net.trunk.state_dict(prefix="trunk.").items() if not torch.equal(v, before[k])}
    assert moved == set(net.trunk) - {"conv1", "pool1", "pool2", "pool5"}


def test_schedules_by_hand() -> None:
    step = recipe(decay="step", step_at=0.75, warmup=0)
    assert [rate(step, i, 8) for i in (0, 5, 6, 7)] == [1, 1, 0.1, 0.1]
    cosine = recipe(decay="cosine", warmup=2)
    assert [rate(cosine, i, 8) for i in (0, 1)] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert rate(cosine, 4, 8) == pytest.approx(0.5) and rate(cosine, 7, 8) < 0.05


def test_training_is_the_same_twice_and_alphas_move() -> None:
    tasks = dense_tasks()
    nets = [small_net(tasks, CrossStitch()) for _ in range(2)]
    records = [run(net, tasks, recipe()) for net in nets]
    assert all(map(torch.equal, nets[0].state_dict().values(), nets[1].state_dict().values()))
    assert records[0].curve == records[1].curve and [r["iteration"] for r in records[0].curve] == [3, 3, 6, 6]
    given = ("fc7", "semseg", "normals")
    alphas = [r["alpha"] for r in records[0].alphas if (r["stage"], r["receiver"], r["giver"]) == given]
    assert alphas[0] == pytest.approx(0.1) and alphas[-1] != alphas[0]


def test_a_joint_network_of_separate_columns_is_its_one_task_networks() -> None:
    """Two columns that share and mix nothing train exactly as each would alone: the arms differ in sharing only."""
    tasks = dense_tasks()
    joint = small_net(tasks, Separate())
    run(joint, tasks, recipe(clip=0.1))
    for name, task in tasks.items():
        alone = small_net({name: task}, Separate())
        run(alone, {name: task}, recipe(clip=0.1))
        for key, value in alone.state_dict().items():
            assert torch.equal(value, joint.state_dict()[key]), key


def test_a_diverging_loss_ends_the_trial_with_the_iteration_and_the_alphas() -> None:
    tasks = dense_tasks()
    with pytest.raises(Diverged, match=r"nan.*at iteration 3; alphas .*pool1"):
        run(small_net(tasks, CrossStitch()), tasks, recipe(lr=1e30, clip=0.0, warmup=0))


def test_order_is_a_function_of_seed_and_iteration_and_every_epoch_is_complete() -> None:
    seen = [i for k in range(5) for i in indices(3, k, 4, 10)]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10)) and seen[:10] != seen[10:20]
    assert indices(3, 2, 4, 10) == seen[8:12] != indices(4, 2, 4, 10)


@pytest.mark.parametrize("form", ["fcn", "roi"])
def test_batches_are_the_same_twice_and_differ_between_seeds(form: str) -> None:
    tasks = dense_tasks() if form == "fcn" else box_tasks()
    make = dense_sample if form == "fcn" else box_sample
    subset = Scaled([make(s) for s in range(6)], 0, 0)  # type: ignore[arg-type]
    one, two, other = (training_batch(subset, tasks, view(form, tasks), s, 5, 3) for s in (0, 0, 1))
    assert torch.equal(one.images, two.images) and not torch.equal(one.images, other.images)
    assert all(torch.equal(one.labels[t], two.labels[t]) for t in tasks)
    if form == "roi":
        assert torch.equal(one.regions, two.regions) and len(one.regions) <= 3 * 16


def test_a_task_that_is_not_labelled_on_an_image_is_masked_and_costs_nothing() -> None:
    tasks = dense_tasks()
    both, one = dense_sample(0), dense_sample(1)
    one = dataclasses.replace(one, labels={"semseg": one.labels["semseg"]})
    batch = evaluation_batch([both, one], view("fcn", tasks))
    assert batch.masks["normals"].tolist() == [True, False] and batch.masks["semseg"].all()
    output = torch.randn(2, 4, 32, 40)
    alone = evaluation_batch([both], view("fcn", tasks))
    torch.testing.assert_close(tasks["normals"].loss(output, batch), tasks["normals"].loss(output[:1], alone))


def test_images_are_scaled_to_the_backbones_order_and_padded_with_the_mean() -> None:
    tasks = dense_tasks()
    tall, wide = dense_sample(0, 40, 20), dense_sample(1, 20, 40)
    batch = evaluation_batch([tall, wide], view("fcn", tasks))
    assert batch.images.shape == (2, 3, 40, 40) and not batch.images[0, :, :, 20:].any()
    assert batch.images[1, 0, 3, 5] == pytest.approx((float(wide.image[3, 5, 2]) - 100) / 60)
    assert (batch.labels["semseg"][0, :, 20:] == 255).all() and not batch.labels["normals"][0, :, 20:].any()


def test_mirroring_twice_gives_the_sample_back_and_offsets_change_sign() -> None:
    for make, tasks in ((dense_sample, dense_tasks()), (box_sample, box_tasks())):
        sample = make(0)
        once, twice = mirrored(sample, tasks), mirrored(mirrored(sample, tasks), tasks)
        assert np.array_equal(twice.image, sample.image) and np.array_equal(once.image[:, 0], sample.image[:, -1])
        for name, label in sample.labels.items():
            assert np.array_equal(twice.labels[name], label)
        if sample.boxes is not None:
            np.testing.assert_allclose(once.boxes[:, 0], 64 - sample.boxes[:, 2])
    normals = dense_sample(0)
    flipped = mirrored(normals, dense_tasks()).labels["normals"]
    np.testing.assert_array_equal(flipped[:, 0, 0], -normals.labels["normals"][:, -1, 0])


def test_scaling_keeps_the_longest_side_bounded_and_boxes_in_proportion() -> None:
    """Girshick 2015: shortest side 600, longest at most 1000."""
    sample = dataclasses.replace(box_sample(0, 100), image=np.zeros((100, 250, 3), np.uint8))
    small = scale(sample, 60, 100)
    assert small.image.shape[:2] == (40, 100)
    np.testing.assert_allclose(small.boxes, sample.boxes * 0.4, rtol=1e-6)
    dense = scale(dense_sample(0, 32, 40), 16, 0)
    assert dense.image.shape == (16, 20, 3) and dense.labels["semseg"].shape == (16, 20)
    assert scale(sample, 0, 0) is sample


def test_colour_augmentation_stays_within_its_strength() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    values = [int(recoloured(image, 0.2, rng)[0, 0, 0]) for _ in range(50)]
    assert min(values) >= 79 and max(values) <= 121 and len(set(values)) > 10


def test_an_ensemble_averages_probabilities() -> None:
    one, two = {"p": torch.tensor([0.2, 0.8])}, {"p": torch.tensor([0.6, 0.4])}
    torch.testing.assert_close(average([one, two])["p"], torch.tensor([0.4, 0.6]))
