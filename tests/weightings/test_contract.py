"""Every weighting of the package, without an edit: scale, order of tasks, nothing shared, missing labels, pieces."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
import torch

from mtlbench.contracts import Scheme
from mtlbench.nets.network import fix_seed
from mtlbench.plan import spaces
from mtlbench.plan.arms import at_methods, every_split
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import defaults_of, make_plugin
from mtlbench.schemes.cross_stitch import CrossStitch
from mtlbench.schemes.separate import Separate
from mtlbench.schemes.soft_sharing import SoftSharing
from mtlbench.schemes.split import Split
from mtlbench.spec import Trial
from mtlbench.training.trial import run_trial
from tests.support.samples import smoke
from tests.support.trials import NEVER, OFTEN, same
from tests.support.weighings import (
    EACH,
    NAMES,
    batch_of,
    distance,
    make_weighting,
    net_of,
    step_of,
    take_step,
    weights_of,
)

pytestmark = pytest.mark.slow

RANDOM = ("graddrop", "pcgrad", "rlw")
ALIKE = {  # gradients that need no weighing
    "equal": torch.tensor([[0.3, -2.0, 1.0, 0.5]]).double().repeat(3, 1),
    "orthogonal and as long": 2 * torch.eye(4).double()[:3],
}


@EACH
@pytest.mark.parametrize("alike", ALIKE)
@pytest.mark.parametrize("count", [2, 3])
def test_where_nothing_is_to_be_weighed_it_is_the_plain_sum(name: str, alike: str, count: int) -> None:
    method = make_weighting(name)
    if hasattr(method, "combine"):
        if hasattr(method, "start"):
            method.start(tuple("abc"[:count]))
        with fix_seed(0):
            weights = weights_of(method, dict.fromkeys("abc"[:count], 1.7))
        assert float(weights.sum()) == pytest.approx(count, rel=1e-5)
        if name != "rlw":  # whose weights are random
            assert weights.tolist() == pytest.approx([1.0] * count, rel=1e-5)
        return
    rows = ALIKE[alike][:count]
    assert step_of(method, rows).tolist() == pytest.approx(rows.sum(0).tolist(), abs=1e-4)


@EACH
def test_the_order_of_the_tasks_changes_nothing(name: str) -> None:
    batch = batch_of("image")
    steps = [
        take_step(net_of("image", tasks=tasks), make_weighting(name), batch)
        for tasks in itertools.permutations(("classification", "multilabel", "regression"))
    ]
    assert all(distance(step, steps[0]) < 1e-3 for step in steps[1:])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RANDOM])
def test_permuted_gradients_have_permuted_weights(name: str) -> None:
    method = make_weighting(name)
    if hasattr(method, "combine"):
        pytest.skip("of losses")
    rows = torch.randn(3, 20, generator=torch.Generator().manual_seed(3)).double()
    for order in itertools.permutations(range(3)):
        assert torch.allclose(step_of(method, rows[list(order)]), step_of(method, rows), rtol=1e-3, atol=1e-4)


@EACH
@pytest.mark.parametrize("scheme", [Separate(), SoftSharing()], ids=["separate", "soft-sharing"])
def test_networks_that_share_nothing_are_trained_as_without_it_bit_for_bit(name: str, scheme: Scheme) -> None:
    batch = batch_of("fcn")
    one, two = (take_step(net_of("fcn", scheme), method, batch) for method in (make_weighting(name), None))
    assert all(torch.equal(one[parameter], two[parameter]) for parameter in two) and one.keys() == two.keys()


@EACH
@pytest.mark.parametrize("chunk", [0, 2])
def test_one_task_is_trained_as_without_it_bit_for_bit(name: str, chunk: int) -> None:
    batch = batch_of("fcn")
    one, two = (
        take_step(net_of("fcn", tasks=("semseg",)), method, batch, chunk=chunk)
        for method in (make_weighting(name), None)
    )
    assert all(torch.equal(one[parameter], two[parameter]) for parameter in two) and one.keys() == two.keys()


@EACH
def test_a_task_without_labels_has_no_say(name: str) -> None:
    """Its gradient is 0: as a row it would be the shortest mean of all, and MGDA's step would vanish."""
    batch = batch_of("fcn", unlabelled="normals")
    one, two = (take_step(net_of("fcn"), method, batch) for method in (make_weighting(name), None))
    assert all(torch.equal(one[parameter], two[parameter]) for parameter in two) and one.keys() == two.keys()
    batch = batch_of("image", unlabelled="multilabel")
    three = take_step(net_of("image"), make_weighting(name), batch)
    others = net_of("image", tasks=("classification", "regression"))
    two = take_step(others, make_weighting(name), batch)
    assert all(torch.allclose(three[parameter], two[parameter], rtol=1e-3, atol=1e-6) for parameter in two)
    unlabelled = [one for parameter, one in three.items() if parameter.startswith("heads.multilabel")]
    assert unlabelled and not any(one.any() for one in unlabelled)


@EACH
@pytest.mark.parametrize("scheme", [Split("fc8"), CrossStitch()], ids=["split", "cross-stitch"])
def test_a_batch_in_pieces_has_the_step_of_the_whole(name: str, scheme: Scheme) -> None:
    batch = batch_of("fcn")
    whole = take_step(net_of("fcn", scheme), make_weighting(name), batch)
    for chunk in (1, 2):
        assert distance(take_step(net_of("fcn", scheme), make_weighting(name), batch, chunk=chunk), whole) < 1e-3


@EACH
def test_heads_and_other_own_layers_keep_their_gradient_under_a_weighting_of_gradients(name: str) -> None:
    method = make_weighting(name)
    if hasattr(method, "combine"):
        pytest.skip("of losses")
    batch = batch_of("fcn")
    one, two = (take_step(net_of("fcn", Split("fc7")), method, batch) for method in (method, None))
    own = [parameter for parameter in two if "fc7" in parameter or parameter.startswith("heads")]
    assert len(own) >= 8 and all(torch.allclose(one[parameter], two[parameter]) for parameter in own)
    assert not torch.equal(one["trunk.conv1.shared.0.weight"], two["trunk.conv1.shared.0.weight"])


def trial_with(name: str, **options: object) -> Trial:
    make_weighting(name)
    trial = next(one for one in smoke("semseg_sn", ("split-fc8",)))
    return dataclasses.replace(
        trial, method=make_plugin("weighting", name, defaults_of("weighting", name) | options), arm=f"split-fc8@{name}"
    )


@EACH
def test_a_trial_that_goes_on_is_the_one_that_was_not_interrupted_bit_for_bit(name: str, tmp_path: Path) -> None:
    trial = trial_with(name, **({"steps": 2} if name == "dwa" else {}))
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    for folder in (straight, stopped):
        folder.mkdir()
    list(run_trial(trial, straight, {}, NEVER))
    list(itertools.islice(run_trial(trial, stopped, {}, OFTEN), 5))
    assert torch.load(stopped / "resume.pt", weights_only=True)["done"] == 5
    list(run_trial(trial, stopped, {}, NEVER))
    same(stopped, straight)


def test_equal_has_the_numbers_of_the_plain_arm(tmp_path: Path) -> None:
    folders = [tmp_path / "equal", tmp_path / "plain"]
    trial = trial_with("equal")
    for folder, one in zip(folders, (trial, dataclasses.replace(trial, method=None)), strict=True):
        folder.mkdir()
        list(run_trial(one, folder, {}, NEVER))
    same(*folders)


@EACH
def test_it_is_part_of_the_trial(name: str) -> None:
    trial = trial_with(name)
    plain = dataclasses.replace(trial, method=None)
    assert trial.key != plain.key and "method" not in plain.identity()
    assert trial.method is not None and trial.plugins["weighting"] == trial.method
    newer = dataclasses.replace(trial, method=dataclasses.replace(trial.method, version=99))
    assert newer.key not in (trial.key, plain.key)
    for one in (trial, plain):
        assert Trial.from_json(json.loads(json.dumps(one.to_json()))) == one
    if "torchjd" in trial.method.options:
        assert trial.identity()["method"]["options"]["torchjd"].count(".") == 1


def test_all_have_different_keys() -> None:
    space = spaces.load("semseg_sn")
    arms = at_methods(every_split(("fc8",)), [name for name in NAMES if make_weighting(name)])
    recipe = spaces.recipe_of(space, "smoke")
    data = DataSource(make_plugin("dataset", "rooms", {}), "", "abc")
    trials = expand(space.pair, arms, (0,), data, make_plugin("backbone", "caffenet", {}), recipe)
    assert len({trial.key for trial in trials}) == len(NAMES) + 1
