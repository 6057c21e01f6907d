"""Learned branching (Guo et al. 2020): the search, and the tree that it finds."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtlbench.backbones.caffenet import Caffenet
from mtlbench.errors import UserError
from mtlbench.nets.network import MultiTaskNet, plan
from mtlbench.plan import spaces
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import make_plugin
from mtlbench.schemes.branching import Branching
from mtlbench.schemes.branching_search import BranchingSearch, Choice
from mtlbench.spec import Trial
from mtlbench.training.trial import outcome_of, run_trial
from tests.support.networks import FORMS, SMALL, gradients_of, inputs, net_of, recipe, run, small_net, tasks_of
from tests.support.samples import dense_tasks, smoke
from tests.support.trials import NEVER, OFTEN, same

pytestmark = pytest.mark.slow

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")


def three(form: str, scheme: Any, **options: Any) -> MultiTaskNet:
    tasks = tasks_of(form)
    return MultiTaskNet({**tasks, "c": tasks["b"]}, Caffenet(form, **{**SMALL, **options}), scheme, form, 0)


def choose(net: MultiTaskNet, parents: dict[str, list[int]]) -> None:
    """Every child is sure of its parent."""
    for stage, chosen in parents.items():
        choice = net.units[stage]
        assert isinstance(choice, Choice)
        choice.logits.data = nn.functional.one_hot(torch.tensor(chosen), len(chosen)).float() * 1e4


def find(parents: dict[str, list[int]], tasks: str = "abc") -> dict[str, Any]:
    return {"tasks": list(tasks), "parents": parents}


# Heads a and c choose fc7 of b, head b that of c. fc7 of b chooses fc6 of a, fc7 of c that of c, and so on.
TREE = {
    "conv1": [2, 2, 0],
    "conv2": [1, 0, 2],
    "conv3": [1, 1, 0],
    "conv4": [0, 0, 2],
    "conv5": [1, 0, 1],
    "fc6": [1, 0, 2],
    "fc7": [1, 2, 1],
}


def test_the_tree_of_three_tasks_by_hand() -> None:
    """Columns that the heads (a, b, c) are led back to: fc7 1 2 1, fc6 0 2 0, conv5 1 1 1, conv4 0 0 0, conv3 1 1 1,
    conv2 0 0 0, conv1 2 2 2. So b branches off at fc6."""
    scheme = Branching()
    scheme.adopt([find(TREE)])
    groups = plan(scheme, Caffenet("fcn", **SMALL).stages, tuple("abc"))
    together, apart = [("a", "b", "c")], [("a", "c"), ("b",)]
    assert groups == {stage: apart if stage.startswith("fc") else together for stage in groups} and len(groups) == 10


@pytest.mark.parametrize(
    "changes,expected",
    [
        ({}, {"conv1": [("a",), ("b",), ("c",)]}),
        (
            {"conv3": [0, 0, 0]},
            {"pool2": [("a", "b", "c")], "conv3": [("a", "b", "c")], "conv4": [("a",), ("b",), ("c",)]},
        ),
        ({"fc7": [2, 2, 0]}, {"conv1": [("a", "b"), ("c",)], "fc7": [("a", "b"), ("c",)]}),
        (
            {"conv1": [0, 1, 1]},
            {"conv1": [("a",), ("b", "c")], "pool1": [("a",), ("b", "c")], "conv2": [("a",), ("b",), ("c",)]},
        ),
    ],
)
def test_trees_by_hand(changes: dict[str, list[int]], expected: dict[str, list[tuple[str, ...]]]) -> None:
    """Every child chooses its own column, but for the changes; pooling goes with the convolution before it."""
    scheme = Branching()
    scheme.adopt([find({**dict.fromkeys(LAYERS, [0, 1, 2]), **changes})])
    groups = plan(scheme, Caffenet("fcn", **SMALL).stages, tuple("abc"))
    assert {stage: groups[stage] for stage in expected} == expected


def test_all_choices_of_two_tasks_give_groups_that_only_split() -> None:
    stages = Caffenet("fcn", **SMALL).stages
    for conv5, fc6, fc7 in itertools.product(itertools.product((0, 1), repeat=2), repeat=3):
        scheme = Branching()
        scheme.adopt([find({"conv5": list(conv5), "fc6": list(fc6), "fc7": list(fc7)}, "ab")])
        plan(scheme, stages, ("a", "b"))


def test_before_a_search_every_task_is_for_itself_and_only_one_is_adopted() -> None:
    stage = Caffenet("fcn", **SMALL).stages[0]
    assert Branching().groups(stage, ("a", "b")) == [("a",), ("b",)]
    with pytest.raises(UserError, match="takes one search as its parent, not 2"):
        Branching().adopt([{}, {}])


@FORMS
@pytest.mark.parametrize("training", [False, True])
def test_sure_choices_are_that_tree_with_the_same_weights(form: str, training: bool) -> None:
    """In training too, where the noise cannot change a choice that is sure."""
    search = three(form, BranchingSearch(), dropout=0.0)
    for parameter in search.trunk.parameters():  # columns apart
        nn.init.normal_(parameter, std=0.05)
    choose(search, TREE)
    outcome = json.loads(json.dumps(search.scheme.outcome(dict(search.units.items()))))  # type: ignore[attr-defined]
    assert outcome["parents"] == TREE and outcome["tasks"] == ["a", "b", "c"]
    scheme = Branching()
    scheme.adopt([outcome])
    tree = three(form, scheme, dropout=0.0)
    used = {"fc7": (1, 2), "fc6": (0, 2), "conv5": (1,), "conv4": (0,), "conv3": (1,), "conv2": (0,), "conv1": (2,)}
    for stage, columns in used.items():
        for group, column in zip(tree.groups[stage], columns, strict=True):
            source = search.trunk.get_submodule(f"{stage}.{'abc'[column]}")
            tree.trunk.get_submodule(f"{stage}.{'+'.join(group)}").load_state_dict(source.state_dict())
    tree.heads.load_state_dict(search.heads.state_dict())
    for net in (search, tree):
        net.train(training).begin(3, progress=0.4)
    one, other = search(*inputs(form)), tree(*inputs(form))
    for task in "abc":
        assert torch.equal(one[task], other[task])
        assert not torch.equal(one[task], one["abc"["abc".index(task) - 1]])


def test_a_mixture_by_hand() -> None:
    """softmax((log p + noise) / temperature), and the children are mixtures of the columns with these weights."""
    choice = Choice(("a", "b", "c"), start=4.0, end=0.25, lr_multiplier=1.0)
    nn.init.normal_(choice.logits)
    choice.progress = 0.5  # geometric mean of 4 and 1/4
    tempered = choice.sample().detach()
    choice.start = choice.end = 2.0
    milder = choice.sample().detach()
    torch.testing.assert_close(tempered.sum(1), torch.ones(3))
    torch.testing.assert_close((milder**2) / (milder**2).sum(1, keepdim=True), tempered)  # the same noise at 1 and 2
    xs = {task: torch.randn(2, 5, 3, 3) for task in "abc"}
    mixed = choice(xs)
    for child, task in enumerate("abc"):
        by_hand = sum(milder[child, parent] * xs[other] for parent, other in enumerate("abc"))
        torch.testing.assert_close(mixed[task], by_hand)


def test_noise_is_gumbels_and_the_likeliest_parent_is_the_choice() -> None:
    """Among many samples the parent of the largest weight is each one as often as its probability (Gumbel-max)."""
    choice = Choice(("a", "b", "c"), 1.0, 1.0, 1.0)
    choice.logits.data = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.7, 0.05]]).log()
    counts = torch.zeros(3, 3)
    for choice.iteration in range(4000):
        counts += nn.functional.one_hot(choice.sample().argmax(1), 3)
    torch.testing.assert_close(counts / 4000, choice.alphas()[:, :, 0], atol=0.03, rtol=0)
    assert choice.parents().tolist() == [0, 2, 1]
    xs = {task: torch.randn(2, 5) for task in "abc"}
    for task, parent in zip("abc", "acb", strict=True):  # in evaluation that one alone
        assert torch.equal(choice.eval()(xs)[task], xs[parent])


def test_a_sample_is_a_function_of_seed_place_and_iteration_not_of_the_part() -> None:
    def sample(seed: int = 1, name: str = "units.fc6", iteration: int = 5, part: int = 0) -> Tensor:
        choice = Choice(("a", "b"), 1.0, 1.0, 1.0)
        choice.seed, choice.name, choice.iteration, choice.part = seed, name, iteration, part
        return choice.sample()

    first = sample()
    torch.manual_seed(99)
    assert torch.equal(first, sample()) and torch.equal(first, sample(part=1))
    assert not any(
        torch.equal(first, sample(**{what: value}))
        for what, value in (("seed", 2), ("name", "units.fc7"), ("iteration", 6))
    )


def test_a_batch_in_parts_has_the_gradient_of_the_whole() -> None:
    tasks, found_ = dense_tasks(), []
    for chunk in (0, 2):
        net = small_net(tasks, BranchingSearch())
        for index, parameter in enumerate(net.trunk.parameters()):  # columns apart
            parameter.data *= 1 + 0.01 * index
        found_.append(gradients_of(net, recipe(chunk=chunk)))
    for name, gradient in found_[0].items():
        torch.testing.assert_close(found_[1][name], gradient, atol=1e-5, rtol=1e-4)


def test_the_symmetry_breaks_and_every_parameter_moves() -> None:
    """Columns start alike, so that no choice matters at the first step; noise then sets them apart."""
    tasks = dense_tasks()
    net = small_net(tasks, BranchingSearch())
    choices = {name for name, _ in net.named_parameters() if name.startswith("units.")}
    first = gradients_of(net, recipe())
    for columns in net.trunk.values():
        for one, other in zip(*(column.parameters() for column in columns.values()), strict=True):
            assert torch.equal(one, other)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    run(net, tasks, recipe(weight_decay=0.0, lr=0.05))
    assert not [name for name, p in net.named_parameters() if torch.equal(p, before[name])]
    for columns in net.trunk.values():
        for one, other in zip(*(column.parameters() for column in columns.values()), strict=True):
            assert not torch.equal(one, other)
    net.zero_grad()
    second = gradients_of(net, recipe())
    size = [sum(float(found[name].norm()) for name in choices) for found in (first, second)]
    assert size[0] < 0.01 * size[1]  # rounding, and a reason to choose


def test_a_search_is_the_same_twice() -> None:
    tasks = dense_tasks()
    nets = [small_net(tasks, BranchingSearch()) for _ in range(2)]
    for net in nets:
        run(net, tasks, recipe())
    assert all(map(torch.equal, nets[0].state_dict().values(), nets[1].state_dict().values()))


def test_one_task_is_its_own_tree() -> None:
    net = net_of("fcn", BranchingSearch(), only="a")
    outcome = net.scheme.outcome(dict(net.units.items()))  # type: ignore[attr-defined]
    assert outcome["parents"] == dict.fromkeys(LAYERS, [0]) and outcome["probabilities"]["fc7"] == [[1.0]]
    scheme = Branching()
    scheme.adopt([outcome])
    assert plan(scheme, net.stages, ("a",))["fc7"] == [("a",)]


# ------------------------------------------------------------------------------------------------ as trials
def trials(pair: str) -> tuple[Trial, Trial]:
    """The search and the tree, on smoke."""
    space = spaces.load(pair)
    like = smoke(pair, ("one-task",))[0]
    recipe_ = spaces.recipe_of(space, "smoke")
    arms = [arm for arm in space.more if arm.name.startswith("branching")]
    backbone = make_plugin("backbone", recipe_.backbone, recipe_.backbone_options)
    search, tree = expand(space.pair, arms, (0,), DataSource(like.dataset, "", like.fingerprint), backbone, recipe_)
    return search, tree


@pytest.mark.parametrize("pair", ["det_attr", "semseg_sn"])
def test_from_the_search_to_its_tree(pair: str, tmp_path: Path) -> None:
    """And a search that is killed and gone on with is the straight one, bit for bit."""
    search, tree = trials(pair)
    for folder, errand in (("straight", NEVER), ("killed", OFTEN)):
        (tmp_path / folder).mkdir()
        work = run_trial(search, tmp_path / folder, {}, errand)
        for _ in itertools.islice(work, 3):
            pass
        if errand is OFTEN:
            del work
            work = run_trial(search, tmp_path / folder, {}, NEVER)
        for _ in work:
            pass
    same(tmp_path / "straight", tmp_path / "killed")
    outcome = outcome_of(tmp_path / "straight")
    assert outcome == outcome_of(tmp_path / "killed")
    with open(tmp_path / "straight" / "alphas.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["channel"] == "-1"]
    assert {float(row["alpha"]) for row in rows if row["iteration"] == "0"} == {0.5}
    (tmp_path / "tree").mkdir()
    for _ in run_trial(tree, tmp_path / "tree", {search.key: tmp_path / "straight"}, NEVER):
        pass
    architecture = json.loads((tmp_path / "tree" / "result.json").read_text())["architecture"]
    scheme = Branching()
    scheme.adopt([outcome])
    groups = plan(scheme, Caffenet(tree.form, **tree.backbone.options).stages, tree.task_names)
    assert {s["stage"]: [tuple(g) for g in s["groups"]] for s in architecture} == groups
    assert not any(s["unit"] for s in architecture)
