"""Conflicts of gradients: beside a plain computation, and training is the same with them as without."""

from __future__ import annotations

import pytest
import torch

from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.split import Split
from mtlbench.spec import Recipe
from mtlbench.training.conflicts import Conflicts
from mtlbench.training.loop import add_gradients, choose_conflict_points
from mtlbench.training.weighing import Weigher
from tests.support.weighings import TASKS, batch_of, make_weighting, net_of

TASKS_OF = TASKS["fcn"]


def recipe(chunk: int) -> Recipe:
    return Recipe("r", {}, 0, images=4, lr=0.1, chunk=chunk, loss_weight={"semseg": 2.0})


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("scheme", [Split("fc6"), CrossStitch()], ids=["split", "cross-stitch"])
def test_cosines_and_norms_are_those_of_the_gradients_one_by_one(scheme: object, chunk: int) -> None:
    batch, found = batch_of("fcn"), Conflicts()
    net = net_of("fcn", scheme)
    add_gradients(net, TASKS_OF, batch, recipe(chunk), 0, conflicts=found)
    (row,) = found.rows(7)
    ones = []
    for task in TASKS_OF:
        other = net_of("fcn", scheme)
        weights = {"semseg": 2.0, **{name: 0.0 for name in TASKS_OF if name != task}}
        weights[task] = 2.0 if task == "semseg" else TASKS_OF[task].weight
        alone = Recipe("r", {}, 0, images=4, lr=0.1, loss_weight=weights)
        add_gradients(other, TASKS_OF, batch, alone, 0)
        own = {name: p.grad for name, p in other.named_parameters() if not name.startswith("heads")}
        if isinstance(scheme, Split):
            own = {name: grad for name, grad in own.items() if not any(part in name for part in ("fc6", "fc7"))}
        ones.append(torch.cat([grad.flatten().double() for grad in own.values() if grad is not None]))
    assert (row["iteration"], row["task"], row["other"]) == (7, *TASKS_OF)
    assert row["norm"] == pytest.approx(float(ones[0].norm()), rel=1e-4)
    assert row["other_norm"] == pytest.approx(float(ones[1].norm()), rel=1e-4)
    assert row["cosine"] == pytest.approx(float(ones[0] @ ones[1] / ones[0].norm() / ones[1].norm()), abs=1e-4)


@pytest.mark.parametrize("weighting", ["", "rlw", "pcgrad"])
@pytest.mark.parametrize("chunk", [0, 2])
def test_the_step_is_the_same_bit_for_bit(weighting: str, chunk: int) -> None:
    def step(conflicts: Conflicts | None) -> dict[str, torch.Tensor]:
        net = net_of("fcn", Split("fc7"))
        weigher = Weigher(make_weighting(weighting), net) if weighting else None
        add_gradients(net, TASKS_OF, batch_of("fcn"), recipe(chunk), 3, 0.0, weigher, conflicts)
        return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}

    seen = Conflicts()
    one, two = step(None), step(seen)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert len(seen.rows(1)) == 1


def test_tasks_that_share_nothing_or_have_no_label_have_no_conflict() -> None:
    found = Conflicts()
    add_gradients(net_of("fcn", Separate()), TASKS_OF, batch_of("fcn"), recipe(0), 0, conflicts=found)
    assert found.rows(1) == []
    found = Conflicts()
    add_gradients(net_of("fcn"), TASKS_OF, batch_of("fcn", unlabelled="normals"), recipe(0), 0, conflicts=found)
    assert found.rows(1) == []


def test_what_is_noted_costs_a_fiftieth_of_the_training_at_most() -> None:
    def points(iterations: int, tasks: int) -> list[int]:
        return sorted(
            choose_conflict_points({round(iterations * (k + 1) / 8) - 1 for k in range(8)}, iterations, tasks)
        )

    assert points(850, 2) == [105, 211, 318, 424, 530, 637, 743, 849]
    assert points(280, 2) == [69, 139, 209, 279]
    assert points(850, 5) == [211, 424, 637, 849] and points(8, 3) == [7] and points(850, 1) == []
