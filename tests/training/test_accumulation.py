"""A batch in parts has the whole batch's gradient; bfloat16 keeps weights and outputs in float32."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.contracts import Batch
from mtlbench.nets.network import MultiTaskNet
from mtlbench.plan import spaces
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.spec import Recipe, identity_of
from mtlbench.training.batches import cut, training_batch
from mtlbench.training.evaluation import evaluate, finish
from mtlbench.training.loop import add_gradients
from mtlbench.training.samples import Scaled
from tests.support.samples import box_sample, box_tasks, dense_sample, dense_tasks, image_sample, image_tasks, view

pytestmark = pytest.mark.slow

IMAGES = 5
SAMPLES = {
    "fcn": [dense_sample(seed) for seed in range(IMAGES)],
    "roi": [box_sample(seed) for seed in range(IMAGES)],
    "image": [image_sample(seed, 40 + 8 * seed) for seed in range(IMAGES)],  # padded to the largest
}
TASKS = {"fcn": dense_tasks(), "roi": box_tasks(), "image": image_tasks()}
FORMS = pytest.mark.parametrize("form", ["fcn", "roi", "image"])


def batch_of(form: str, unlabelled: tuple[int, ...] = ()) -> Batch:
    """A batch in which the first task is not labelled on some images."""
    samples, tasks = list(SAMPLES[form]), TASKS[form]
    first = next(iter(tasks))
    for number in unlabelled:
        labels = {name: label for name, label in samples[number].labels.items() if name != first}
        samples[number] = dataclasses.replace(samples[number], labels=labels)
    return training_batch(Scaled(samples, 0, 0), tasks, view(form, tasks), 0, 0, IMAGES)


def net_of(form: str, dropout: float = 0.0, precision: str = "fp32") -> MultiTaskNet:
    """Its heads start at random: where they are zero, as dense scores are, the trunk has no gradient."""
    backbone = Caffenet(form, small=True, width=0.1, fc=16, dropout=dropout)
    net = MultiTaskNet(TASKS[form], backbone, CrossStitch(), form, 0, precision)
    generator = torch.Generator().manual_seed(0)
    for parameter in net.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return net


def find(net: MultiTaskNet, form: str, batch: Batch, chunk: int) -> tuple[dict[str, float], torch.Tensor]:
    recipe = Recipe("parts", {}, 0, images=4, lr=0.1, chunk=chunk)
    net.zero_grad()
    losses = add_gradients(net, TASKS[form], batch, recipe, 0)
    own = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return {name: float(loss) for name, loss in losses.items()}, torch.cat(own)


@FORMS
@pytest.mark.parametrize("unlabelled", [(), (0, 1), (0, 1, 2, 3, 4)], ids=["all", "first part none", "nowhere"])
def test_parts_add_up_to_the_gradient_of_the_whole_batch(form: str, unlabelled: tuple[int, ...]) -> None:
    """A task's loss is a mean over labelled pixels or regions of the whole batch, whatever part they come in."""
    net, batch = net_of(form), batch_of(form, unlabelled)
    losses, whole = find(net, form, batch, 0)
    assert (losses[next(iter(TASKS[form]))] == 0) == (len(unlabelled) == IMAGES)
    for chunk in (1, 2, 4):
        in_parts, gradient = find(net, form, batch, chunk)
        assert in_parts == pytest.approx(losses, rel=1e-5, abs=1e-7)
        assert float((gradient - whole).norm() / whole.norm().clamp(min=1e-12)) < 1e-5
    assert find(net, form, batch, IMAGES)[1].equal(whole)


def test_parts_keep_images_and_their_regions_together() -> None:
    batch = batch_of("roi")
    assert batch.regions is not None
    pieces = cut(batch, 2)
    assert [len(piece.images) for piece in pieces] == [2, 2, 1]
    for number, piece in enumerate(pieces):
        assert piece.regions is not None and piece.foreground is not None and piece.targets is not None
        whole = batch.regions[(batch.regions[:, 0] // 2) == number]
        assert piece.regions[:, 1:].equal(whole[:, 1:]) and (piece.regions[:, 0] + 2 * number).equal(whole[:, 0])
        rows = {len(piece.regions), len(piece.foreground), len(piece.targets)}
        assert rows == {len(piece.labels[name]) for name in TASKS["roi"]} == {len(whole)}
    assert cut(batch, 0) == cut(batch, IMAGES) == [batch]


def test_every_part_of_a_step_has_dropout_masks_of_its_own_and_the_first_those_of_a_whole_step() -> None:
    net, batch = net_of("fcn", dropout=0.5).train(), batch_of("fcn")

    def outputs(iteration: int, *part: int) -> torch.Tensor:
        net.begin(iteration, *part)
        return net(batch.images)["semseg"]

    assert outputs(3).equal(outputs(3, 0)) and not outputs(3).equal(outputs(3, 1))
    assert not outputs(3, 1).equal(outputs(3, 2)) and not outputs(3, 1).equal(outputs(4, 1))


@FORMS
def test_bfloat16_computes_roughly_the_same_and_trains_float32_weights(form: str) -> None:
    batch = batch_of(form)
    outputs = {}
    for precision in ("fp32", "bf16"):
        net = net_of(form, precision=precision)
        outputs[precision] = {name: x.detach() for name, x in net(batch.images, batch.regions).items()}
        find(net, form, batch, 0)
        assert all(
            p.dtype == torch.float32 and p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters()
        )
    for name, exact in outputs["fp32"].items():
        reduced = outputs["bf16"][name]
        assert reduced.dtype == torch.float32 and not reduced.equal(exact)
        assert float((reduced - exact).norm() / exact.norm()) < 0.03


@FORMS
def test_evaluation_too_takes_a_chunk_at_a_time(form: str) -> None:
    net, tasks = net_of(form), TASKS[form]
    alike = {**SAMPLES, "image": [image_sample(seed, 48) for seed in range(IMAGES)]}  # one size makes one batch
    found = []
    for chunk in (0, 2):
        subset = Scaled(alike[form], 0, 0)
        v = view(form, tasks, chunk=chunk)
        meters = finish(evaluate([net], tasks, subset, v, IMAGES))
        assert len(list(evaluate([net], tasks, subset, v, IMAGES))) == (3 if chunk else 1)
        found.append([value for name in tasks for _, _, value in meters[name].scores()])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_precision_is_part_of_identity() -> None:
    recipe = spaces.recipe_of(spaces.load("semseg_sn"), "smoke")
    reduced = dataclasses.replace(recipe, precision="bf16")
    assert identity_of(recipe) != identity_of(reduced)
