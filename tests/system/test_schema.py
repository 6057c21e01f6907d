"""JSON of others becomes the object that was asked for, or one error; our own mistakes keep their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from mtlbench.errors import UserError
from mtlbench.store import folders
from mtlbench.store.results import load_results
from mtlbench.store.shapes import Measure, NameOfTrial
from mtlbench.store.store import Store
from mtlbench.system.schema import Misshapen, as_plain, convert, decode, encode
from tests.support.stores import finish


class Pair(NamedTuple):
    name: str
    value: float


class Shape(msgspec.Struct, frozen=True):
    pairs: list[Pair]
    count: int = 0


@dataclass(frozen=True)
class Refusing:
    word: str

    def __post_init__(self) -> None:
        if self.word == "no":
            raise UserError("no such word")


def test_an_object_comes_back_as_it_was() -> None:
    shape = Shape([Pair("a", 0.1 + 0.2), Pair("b", 1e-320)], 3)
    assert decode(encode(shape), Shape) == convert(as_plain(shape), Shape) == shape
    assert encode(shape) == '{"pairs": [["a", 0.30000000000000004], ["b", 1e-320]], "count": 3}\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"pairs": 3}',
        '{"pairs": [["a"]]}',
        '{"pairs": [["a", "1"]]}',
        '{"pairs": [["a", NaN]]}',
        '{"pairs": [["a", 1e999]]}',
        '{"pairs": [[1, 1]]}',
        '{"pairs": [["\\ud800", 1]]}',
        '{"pairs": [], "count": true}',
        '{"pairs": [], "count": 1.0}',
        '{"pairs": ' + "[" * 100_000,
    ],
)
def test_what_is_not_of_the_shape_is_one_error(text: str) -> None:
    with pytest.raises(Misshapen):
        decode(text, Shape)


def test_what_a_class_refuses_is_the_same_error() -> None:
    assert decode('{"word": "yes"}', Refusing) == Refusing("yes")
    for refused in (lambda: decode('{"word": "no"}', Refusing), lambda: convert({"word": "no"}, Refusing)):
        with pytest.raises(Misshapen, match="no such word"):
            refused()


def test_numbers_of_numpy_are_written_as_numbers_and_what_json_has_no_word_for_is_refused() -> None:
    assert json.loads(encode({"a": np.float64(0.1)})) == {"a": 0.1}
    with pytest.raises(TypeError, match="float32"):
        as_plain([np.float32(0.1)])
    with pytest.raises(ValueError, match="JSON"):
        encode(Pair("a", float("nan")))


@pytest.mark.parametrize("arm", ["a/b", "=1", "a\nb", "a;b", "a\x1bb", "a\n"])
def test_names_are_part_of_the_shape(arm: str) -> None:
    name = {"arm": arm, "seed": 0, "recipe": "smoke", "setting": "", "variant_of": "", "rate": 1.0}
    assert convert({**name, "arm": "split-conv4"}, NameOfTrial).arm == "split-conv4"
    for wrong in (name, {**name, "arm": "a", "more": 1}, {**name, "arm": "a", "seed": 2**63}):
        with pytest.raises(Misshapen):
            convert(wrong, NameOfTrial)


def test_a_mistake_of_ours_is_not_told_as_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, create=True)
    finish(store)

    def mistaken(*_: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(folders, "check_names", mistaken)
    with pytest.raises(KeyError, match="a mistake"):
        _ = load_results(tmp_path).frame


def test_a_shape_that_cannot_be_is_no_fault_of_the_file() -> None:
    class Impossible(msgspec.Struct):
        pairs: list[dict[Measure, int] | dict[str, int]]

    with pytest.raises(TypeError):
        decode("{}", Impossible)
