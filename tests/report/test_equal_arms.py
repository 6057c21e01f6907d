"""Of equal arms, at most 5 % of all reports may say anywhere that something differs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mtlbench.report.sentences import write_sentences
from mtlbench.report.verdict import reach_verdict
from tests.stress.simulate import says_difference, would_say_difference
from tests.support.equal_arms import Noise, equal_studies

pytestmark = pytest.mark.slow

STUDIES = 1500
CELLS = [Noise(*cell) for cell in itertools.product((3, 5, 10), (False, True), (1.0, 2.0, 3.0))]
CLAIMING = (
    " beats one-task by",
    " beats MTL-shared by",
    " beats Split",
    "loses to",
    "holds for",
    "does not hold",
    ": holds",
)


@pytest.mark.parametrize("noise", CELLS, ids=[noise.label() for noise in CELLS])
def test_few_studies_of_equal_arms_say_that_something_differs(noise: Noise) -> None:
    assert would_say_difference(noise, STUDIES).mean() <= 0.05


@pytest.mark.parametrize("common", [0.4, 0.9])
def test_however_much_val_and_test_have_in_common(common: float) -> None:
    assert would_say_difference(Noise(3, kin=True, baseline=3.0, common=common), STUDIES).mean() <= 0.05


def test_the_numbers_say_what_the_verdict_and_its_sentences_say() -> None:
    """On studies of which some say a difference, since one Split has three times the noise of the others."""
    noise = Noise(5, kin=True, wild=True)
    expected = would_say_difference(noise, 400)
    some = [*np.flatnonzero(expected)[:6], *np.flatnonzero(~expected)[:6]]
    assert 6 <= len(some) <= 12 and expected[some].any()
    studies = list(equal_studies(np.random.default_rng([0, 5]), noise, 400))
    for place in some:
        found = reach_verdict(studies[place])
        assert found.says_difference == expected[place]
        assert any(word in line for line in write_sentences(found) for word in CLAIMING) == expected[place]
    assert says_difference(Noise(3), 2).shape == (2,)
