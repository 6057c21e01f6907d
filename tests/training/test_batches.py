"""From samples to batches: order, augmentation, padding; what stays on a device; what is made ahead."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mtlbench.contracts import Batch, Sample
from mtlbench.errors import UserError
from mtlbench.plan import data
from mtlbench.plan.data import forget, open_dataset
from mtlbench.spec import derive_seed
from mtlbench.training.batches import evaluation_batch, training_batch
from mtlbench.training.context import Context
from mtlbench.training.loader import Resident, make_ahead, to_device
from mtlbench.training.order import Order
from mtlbench.training.samples import Scaled, View, colour_factors, mirror, recolour, scale
from mtlbench.vision.regions import sample_regions
from tests.support.samples import box_sample, box_tasks, dense_sample, dense_tasks, smoke, view

CPU = torch.device("cpu")


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """All tensors of a batch under their names."""
    named = {"images": batch.images, "regions": batch.regions, "foreground": batch.foreground, "targets": batch.targets}
    named |= {f"label {k}": v for k, v in batch.labels.items()} | {f"mask {k}": v for k, v in batch.masks.items()}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def assert_same(one: Batch, two: Batch) -> None:
    a, b = tensors(one), tensors(two)
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        other = b[name]
        assert tensor.dtype == other.dtype and tensor.stride() == other.stride() and torch.equal(tensor, other), name


def case(name: str) -> tuple[Scaled, dict[str, Any], View]:
    """`fcn` and `roi`: six images of one size; `sizes`: of several sizes, one without normals; `colour`: recoloured."""
    if name.startswith("roi"):
        tasks, make = box_tasks(), [box_sample(s, 64 if name == "roi" else 60 + 2 * s) for s in range(6)]
    else:
        tasks, make = dense_tasks(), [dense_sample(s, 32, 40 if name == "fcn" else 30 + 5 * s) for s in range(6)]
        make[5] = dataclasses.replace(make[5], labels={"semseg": make[5].labels["semseg"]})  # the widest
    form = "roi" if name.startswith("roi") else "fcn"
    v = view(form, tasks, colour=0.2 if name == "colour" else 0.0)
    return Scaled(make, 0, 0), tasks, v


CASES = ["fcn", "fcn sizes", "roi", "roi sizes", "colour"]


# ---------------------------------------------------------------------------------------------------- making
@pytest.mark.parametrize("name", CASES)
def test_batches_against_a_slow_reference(name: str) -> None:
    """One array for the batch, filled with the padding, then with each image; the mean subtracted from all at once."""
    subset, tasks, v = case(name)
    for iteration in range(4):
        rng = np.random.default_rng(derive_seed(7, "batch", iteration))
        samples = []
        for index in Order(6).images(7, iteration, 4):
            sample = mirror(subset[index], tasks) if rng.random() < 0.5 else subset[index]
            if v.colour:
                sample = dataclasses.replace(sample, image=recolour(sample.image, colour_factors(v.colour, rng)))
            samples.append(sample)
        batch = training_batch(subset, tasks, v, 7, iteration, 4)
        height, width = (max(s.image.shape[axis] for s in samples) for axis in (0, 1))
        images = np.tile(np.array(v.mean, np.float32), (4, height, width, 1))
        for row, sample in zip(images, samples, strict=True):
            row[: sample.image.shape[0], : sample.image.shape[1]] = sample.image[:, :, ::-1]
        images = (images - np.array(v.mean, np.float32)) / np.array(v.std, np.float32)
        assert torch.equal(batch.images, torch.from_numpy(images).permute(0, 3, 1, 2)) and batch.images.is_contiguous()
        if v.tasks_of("roi"):
            chosen = [sample_regions(sample, v.regions, rng)[0] for sample in samples]
            assert batch.regions is not None and np.array_equal(batch.regions[:, 1:].numpy(), np.concatenate(chosen))
            assert batch.regions[:, 0].tolist() == [float(i) for i, boxes in enumerate(chosen) for _ in boxes]
            continue
        for task, fill, shape in (("semseg", 255, ()), ("normals", 0, (3,))):
            label = np.full(
                (4, height, width, *shape),
                fill,
                samples[0].labels[task].dtype if task in samples[0].labels else np.float32,
            )
            for row, sample in zip(label, samples, strict=True):
                if task in sample.labels:
                    row[: sample.image.shape[0], : sample.image.shape[1]] = sample.labels[task]
            assert np.array_equal(batch.labels[task].numpy(), label) and batch.labels[task].numpy().dtype == label.dtype
            assert batch.masks[task].tolist() == [task in sample.labels for sample in samples]


def test_order_is_a_function_of_seed_and_iteration_and_every_epoch_is_complete() -> None:
    order = Order(10)
    seen = [i for k in range(5) for i in order.images(3, k, 4)]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10)) and seen[:10] != seen[10:20]
    assert order.images(3, 2, 4) == seen[8:12] != order.images(4, 2, 4)


@pytest.mark.parametrize("form", ["fcn", "roi"])
def test_batches_are_the_same_twice_and_differ_between_seeds(form: str) -> None:
    tasks = dense_tasks() if form == "fcn" else box_tasks()
    make = dense_sample if form == "fcn" else box_sample
    subset = Scaled([make(s) for s in range(6)], 0, 0)
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
        once, twice = mirror(sample, tasks), mirror(mirror(sample, tasks), tasks)
        assert np.array_equal(twice.image, sample.image) and np.array_equal(once.image[:, 0], sample.image[:, -1])
        for name, label in sample.labels.items():
            assert np.array_equal(twice.labels[name], label)
        if sample.boxes is not None:
            np.testing.assert_allclose(once.boxes[:, 0], 64 - sample.boxes[:, 2])
    normals = dense_sample(0)
    flipped = mirror(normals, dense_tasks()).labels["normals"]
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
    values = [int(recolour(image, colour_factors(0.2, rng))[0, 0, 0]) for _ in range(50)]
    assert min(values) >= 79 and max(values) <= 121 and len(set(values)) > 10


# ---------------------------------------------------------------------------------------------------- on a device
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("budget", [1 << 30, 70_000, 0])  # all stay, some, none
def test_resident_batches_are_the_training_batches(name: str, budget: int) -> None:
    subset, tasks, v = case(name)
    resident = Resident(CPU, budget)
    for iteration in range(12):  # in the second epochs most are there
        assert_same(
            training_batch(subset, tasks, v, 1, iteration, 3, resident),
            training_batch(subset, tasks, v, 1, iteration, 3),
        )
    assert resident.bytes <= budget and (resident.bytes > 0) == (budget > 0 and not v.colour)


def test_nothing_is_made_again_once_it_is_resident(monkeypatch: pytest.MonkeyPatch) -> None:
    """One-task and joint trials of a process share the images, and each label map is made once."""
    subset, tasks, v = case("fcn")
    resident = Resident(CPU, 1 << 30)
    for only in (("semseg",), ("normals",), ("semseg", "normals")):
        for iteration in range(40):
            training_batch(
                subset, tasks, dataclasses.replace(v, forms=dict.fromkeys(only, "fcn")), 1, iteration, 3, resident
            )
    images, classes, normals = 32 * 40 * 12, 32 * 40, 32 * 40 * 12
    assert resident.bytes == 2 * (6 * (images + classes) + 5 * normals)  # plain and mirrored; one has no normals
    batch = training_batch(subset, tasks, v, 1, 0, 3)
    monkeypatch.setattr(Scaled, "__getitem__", lambda self, index: pytest.fail("a sample was read"))
    assert_same(training_batch(subset, tasks, v, 1, 0, 3, resident), batch)


def test_recoloured_maps_are_not_taken_from_what_is_resident() -> None:
    subset, tasks, v = case("fcn")
    resident, coloured = Resident(CPU, 1 << 30), dataclasses.replace(v, colour=0.2)
    for iteration in range(8):
        training_batch(subset, tasks, v, 1, iteration, 3, resident)
        assert_same(
            training_batch(subset, tasks, coloured, 1, iteration, 3, resident),
            training_batch(subset, tasks, coloured, 1, iteration, 3),
        )


def test_changing_a_batch_does_not_change_what_is_resident() -> None:
    subset, tasks, v = case("fcn")
    resident = Resident(CPU, 1 << 30)
    for iteration in range(4):
        batch = training_batch(subset, tasks, v, 1, iteration, 1, resident)
        for tensor in tensors(batch).values():
            tensor.zero_()
    for iteration in range(4):
        assert_same(
            training_batch(subset, tasks, v, 1, iteration, 1, resident),
            training_batch(subset, tasks, v, 1, iteration, 1),
        )


def test_moving_a_batch_moves_every_tensor() -> None:
    """The `meta` device stands for a GPU: what is not moved stays on the CPU."""
    for name in ("fcn", "roi"):
        subset, tasks, v = case(name)
        meta = torch.device("meta")
        there = to_device(training_batch(subset, tasks, v, 1, 0, 3), meta)
        assert {tensor.device.type for tensor in tensors(there).values()} == {"meta"}
        there = training_batch(subset, tasks, v, 1, 0, 3, Resident(meta, 1 << 30))
        assert {tensor.device.type for tensor in tensors(there).values()} == {"meta"}


# ---------------------------------------------------------------------------------------------------- ahead
def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_ahead_keeps_the_order(workers: int, count: int) -> None:
    def make(i: int) -> int:
        time.sleep(0.002 * (i % 3))  # later ones are ready earlier
        return i * i

    assert list(make_ahead(make, 5, 5 + count, workers)) == [i * i for i in range(5, 5 + count)]
    assert not loaders()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("budget", [0, 70_000, 1 << 30])
def test_batches_made_by_threads_are_the_same_bit_for_bit(name: str, budget: int) -> None:
    subset, tasks, v = case(name)
    alone = [training_batch(subset, tasks, v, 2, i, 4) for i in range(30)]
    fresh, resident = case(name)[0], Resident(CPU, budget)
    threaded = list(make_ahead(lambda i: training_batch(fresh, tasks, v, 2, i, 4, resident), 0, 30, 4))
    for one, two in zip(alone, threaded, strict=True):
        assert_same(one, two)
    held = [tensor for maps in resident._kept.values() for tensor in maps.values() if tensor is not None]
    assert resident.bytes == sum(tensor.nbytes for tensor in held)


def test_samples_that_several_threads_read_count_once() -> None:
    class Slow:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            time.sleep(0.02)  # all threads are in here before the first is out
            return dense_sample(index)

    subset = Scaled(Slow(), 0, 0)
    list(make_ahead(lambda i: subset[0], 0, 8, 4))
    assert subset._bytes == 32 * 40 * (3 + 1 + 12)


def test_as_many_as_promised_are_made_in_advance() -> None:
    made: list[int] = []
    items = make_ahead(lambda i: made.append(i) or i, 0, 100, 2)
    assert not made and next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert sorted(made) == [0, 1, 2, 3, 4]  # the one that was taken, and four ahead
    items.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_comes_out_at_its_place(workers: int) -> None:
    def make(i: int) -> int:
        if i == 3:
            raise ValueError("image 3 is broken")
        return i

    items, seen = make_ahead(make, 0, 9, workers), []
    with pytest.raises(ValueError, match="image 3"):
        for item in items:
            seen.append(item)
    assert seen == [0, 1, 2] and not loaders()


def abandon(items: Any) -> None:
    items.close()


def fail(items: Any) -> None:
    def consumer() -> None:
        for _ in items:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consumer()
    items.close()


@pytest.mark.parametrize("end", [abandon, fail])
def test_a_consumer_that_stops_leaves_no_thread_and_waits_for_one_batch_at_most(end: Callable[[Any], None]) -> None:
    begun: list[int] = []

    def make(i: int) -> int:
        begun.append(i)
        time.sleep(0.05)
        return i

    items = make_ahead(make, 0, 1000, 2)
    next(items)
    assert len(loaders()) == 2
    start = time.monotonic()
    end(items)
    assert time.monotonic() - start < 1 and not loaders()
    assert len(begun) < 5  # what was only waiting was not made


def test_a_generator_that_was_never_started_has_no_threads() -> None:
    items = make_ahead(lambda i: i, 0, 10, 2)
    assert not loaders()
    items.close()


# ---------------------------------------------------------------------------------------------------- a trial's batches
@pytest.mark.parametrize("pair", ["det_attr", "semseg_sn"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_trials_batches_are_a_function_of_its_seed_and_the_data_index(
    pair: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where maps stay on the device, and wherever a training goes on from."""
    trial = smoke(pair, ("cross-stitch",))[-1]
    context = Context(trial)
    expected = [
        training_batch(context.subsets["train"], context.tasks, context.view, trial.net_seed, i, 4)
        for i in range(6, 30)
    ]
    resident = Resident(CPU, 1 << 30)
    for stays in (False, True):
        if stays:
            monkeypatch.setattr(context, "resident", lambda device: resident)
        batches = list(context.batches(6, 30, CPU, workers))
        assert len(batches) == 24
        for one, two in zip(batches, expected, strict=True):
            assert_same(one, two)
        assert_same(next(context.batches(9, 30, CPU, workers)), expected[3])
    assert resident.bytes > 0 and context.resident(CPU) is resident


def test_nothing_stays_on_the_cpu_by_default() -> None:
    assert Context(smoke("semseg_sn", ("one-task",))[0]).resident(CPU).budget == 0


def test_data_that_are_not_those_of_the_plan_are_refused() -> None:
    """A worker on another machine may have other files under the same path."""
    trial = dataclasses.replace(smoke("semseg_sn", ("one-task",))[0], fingerprint="0123456789abcdef")
    with pytest.raises(UserError, match=r"^the data of rooms on .* are not those .* not 0123456789abcdef"):
        Context(trial)


def test_a_data_set_is_opened_once_for_all_trials_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = smoke("semseg_sn", ("one-task", "cross-stitch"))
    forget()
    opened: list[str] = []
    monkeypatch.setattr(data, "open_dataset", lambda *which: opened.append(which[1]) or open_dataset(*which))
    contexts = [Context(trial) for trial in planned]
    assert len(contexts) > 2 and len(opened) == 1
    assert len({id(context.subsets["train"]) for context in contexts}) == 1
