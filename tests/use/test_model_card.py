"""The card of an exported network says what it is, in a table and in a head that hubs read."""

from __future__ import annotations

from pathlib import Path

from mtlbench.store.lookup import find_trials
from mtlbench.store.store import Store
from mtlbench.use.model_card import write_card
from tests.support.stores import TRIAL, finish


def test_a_card_says_trial_data_scores_and_use(tmp_path: Path) -> None:
    store = Store(tmp_path / "results", create=True)
    finish(store, scores=[["colour", "val", "acc", "", 40.0], ["colour", "test", "acc", "", 50.0]])
    card = write_card(tmp_path / "net.pt", find_trials(store.root, TRIAL.key))
    text = card.read_text()
    assert card.name == "net.md" and text.startswith("---\nlibrary_name: mtlbench\n")
    for words in (
        "# one-task: colour",
        "arm `one-task`, seed 3, backbone\n`b(width=0.5)`, 7 parameters",
        f"Trials: {TRIAL.key}.",
        "| colour | acc | 40.00 % | 50.00 % |",
        "mtlbench.load_network('net.pt')",
    ):
        assert words in text, words
    assert str(tmp_path) not in text
