"""Keys of trials, pinned: a key that changes trains anew what people have trained."""

from __future__ import annotations

import pytest

from mtlbench.plan import spaces
from mtlbench.plan.arms import at_rates
from mtlbench.plan.chosen import start_from
from mtlbench.plan.expand import DataSource, expand
from mtlbench.plugins import make_plugin
from mtlbench.spec import Trial

# Of seed 0 (per-task arms: of the first task) on rooms, from scratch, with fingerprint "abc":
# of main before arms told their family.
KEYS = {
    ("det_attr", "smoke"): {
        "one-task": "24b0aafe845e",
        "ensemble-member": "1505b2c2a4ab",
        "ensemble": "7601164dd1eb",
        "one-task-longer": "2eef493f6765",
        "mtl-shared": "921d6e4ad4f7",
        "split-conv4": "c92262be9c84",
        "cross-stitch": "69e723f4afa2",
        "nddr": "20ec889f5063",
        "sluice": "0170d8387b9c",
        "mtan": "00e2fb58df38",
        "soft-sharing": "befe522930d1",
        "branching-search": "d5efeb5875b7",
        "branching": "0bb8b341a81e",
        "cross-stitch-per-layer": "69e723f4afa2",
        "cross-stitch-per-channel": "4a8cd9a2682b",
        "mtl-shared-1-16": "5e86ba073517",
        "cross-stitch@3": "e0d698673b73",
    },
    ("det_attr", "quick"): {
        "one-task": "018887b13119",
        "ensemble": "8275ec7e8202",
        "mtl-shared": "4094900b6e81",
        "split-conv4": "445b67528078",
        "cross-stitch": "049740c8ba87",
    },
    ("semseg_sn", "smoke"): {
        "one-task": "70f41d6d509a",
        "ensemble-member": "4c1544559651",
        "ensemble": "b964dd06dee1",
        "one-task-longer": "73b9679d4cd7",
        "mtl-shared": "e495d1bcdbe6",
        "split-conv4": "4d8a574e9859",
        "cross-stitch": "561c6ab4448c",
        "nddr": "1e617a27d24a",
        "sluice": "5120f3fc5cf5",
        "mtan": "d7134f72161e",
        "soft-sharing": "8ca02e805911",
        "branching-search": "00281cbadac9",
        "branching": "6411c8a572c2",
        "cross-stitch-per-layer": "c38a29abb489",
        "cross-stitch-per-channel": "561c6ab4448c",
        "mtl-shared-1-16": "c28202643ada",
        "cross-stitch@3": "ab888983c9a1",
    },
    ("semseg_sn", "quick"): {
        "one-task": "0b98803bef6b",
        "ensemble": "cde81d998d1f",
        "mtl-shared": "a7adba831a9a",
        "split-conv4": "73514241a0d1",
        "cross-stitch": "1c9ed30b4b55",
    },
}
ABLATIONS = {"det_attr": "ablations_det_attr", "semseg_sn": "ablations"}


def first_trials(pair: str, recipe_name: str) -> dict[str, Trial]:
    """{arm: its first trial} of all arms of a pair that need no search for a width, also at 3 times the rate."""
    space = spaces.load(pair)
    recipe = start_from(spaces.recipe_of(space, recipe_name), "scratch")
    arms = [arm for arm in (*space.arms, *space.more) if not arm.wide]
    arms += [arm for arm in spaces.load(ABLATIONS[pair]).arms if arm.name != "one-task"]
    backbone = make_plugin("backbone", recipe.backbone, recipe.backbone_options)
    dataset = make_plugin("dataset", "rooms", {})
    trials = expand(space.pair, at_rates(arms, [3.0]), (0,), DataSource(dataset, "", "abc"), backbone, recipe)
    return {trial.arm: trial for trial in reversed(trials)}


@pytest.mark.parametrize(("pair", "recipe"), list(KEYS))
def test_keys_of_every_kind_of_arm(pair: str, recipe: str) -> None:
    trials = first_trials(pair, recipe)
    assert {arm: trials[arm].key for arm in KEYS[pair, recipe]} == KEYS[pair, recipe]
