"""Large JSON objects, cut into the elements of their arrays as they come in."""

from __future__ import annotations

import json
import random
import sys
from types import FrameType

import pytest

from homeserver.core.canonical_json import BadJson
from homeserver.core.json_stream import CUT_BYTES, MOST_ELEMENT_BYTES, ObjectSplitter
from tests.wire import Json

ARRAYS = ("state", "auth_chain")


def split(body: bytes, piece: int) -> tuple[dict[str, list[Json]], dict[str, Json]]:
    """The elements of the arrays, and the other fields, of a body that comes in pieces."""
    splitter = ObjectSplitter(ARRAYS)
    found: list[tuple[str, bytes]] = []
    for start in range(0, len(body), piece):
        found += splitter.feed(body[start : start + piece])
    last, others = splitter.close()
    elements: dict[str, list[Json]] = {}
    for name, element in (*found, *last):
        elements.setdefault(name, []).append(json.loads(element))
    return elements, others


def something(dice: random.Random, depth: int = 0) -> Json:
    """Any JSON, rich in what might be taken for the end of an element."""
    kind = dice.randrange(9 if depth < 4 else 6)
    if kind == 0:
        return dice.choice(["},{", "}]", '"', "\\", '\\"', "[{", "ü\n\t", "", "]}"]) * dice.randrange(4)
    if kind < 6:
        return dice.choice([None, True, False, 0, -17, 1.5, "plain"])
    if kind == 6:
        return [something(dice, depth + 1) for _ in range(dice.randrange(5))]
    return {dice.choice(["a", "}", "state", "],", 'x"y']): something(dice, depth + 1) for _ in range(dice.randrange(5))}


@pytest.mark.parametrize("seed", range(150))
def test_whatever_comes_however_it_is_cut_the_elements_are_those_of_the_arrays(seed: int) -> None:
    dice = random.Random(seed)
    many = dice.choice([0, 1, 3, 30, 1500])
    value: dict[str, Json] = {
        "state": [something(dice) for _ in range(many)],
        "event": something(dice),
        "auth_chain": [something(dice) for _ in range(dice.randrange(40))],
        "origin": something(dice),
    }
    names = list(value)
    dice.shuffle(names)
    value = {name: value[name] for name in names if dice.random() < 0.9}
    separators, indent = dice.choice([((",", ":"), None), ((", ", ": "), None), ((" , ", " :"), None), (None, 1)])
    body = json.dumps(value, indent=indent, separators=separators, ensure_ascii=dice.random() < 0.5).encode()
    expected = {name: value[name] for name in ARRAYS if value.get(name)}
    for piece in (dice.choice([1, 7, 1000]), 20_000, len(body)):
        elements, others = split(body, piece)
        assert elements == expected
        assert others == {name: each for name, each in value.items() if name not in ARRAYS}


def test_elements_are_given_before_the_end_has_come() -> None:
    splitter = ObjectSplitter(ARRAYS)
    event = b'{"type":"m.room.member","content":{}}'
    found = splitter.feed(b'{"state":[' + b",".join([event] * 5_000))
    assert len(found) >= 4_999 and set(found) == {("state", event)}


def test_what_is_not_asked_for_is_given_at_the_end() -> None:
    _, others = split(b' { "x" : [ 1 , {"state":[2]} ] , "state" : [ ] , "n" : -1.5e3 , "event":null } ', 3)
    assert others == {"x": [1, {"state": [2]}], "n": -1500.0, "event": None}


def test_an_element_that_is_no_json_is_for_others_to_judge() -> None:
    splitter = ObjectSplitter(ARRAYS)
    found = splitter.feed(b'{"state":[{"a":nonsense},{"b":1}]}') + splitter.close()[0]
    assert [element for _, element in found] == [b'{"a":nonsense}', b'{"b":1}']


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "too early"),
        (b"[]", "must be an object"),
        (b'"state"', "must be an object"),
        (b'{"state":[{}]', "too early"),
        (b'{"state":[{}', "too early"),
        (b'{"state":[{"a":"', "too early"),
        (b'{"state":', "too early"),
        (b'{"state', "too early"),
        (b'{"state":[{}]}{', "after the end"),
        (b'{"state":[{}]}<html>', "after the end"),
        (b'{"state":{}}', "must be an array"),
        (b'{"state":null}', "must be an array"),
        (b'{"state":[],"state":[]}', "twice"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"state":[{} {}]}', "comma"),
        (b'{"state":[{},]}', "value is missing"),
        (b'{"state":[,{}]}', "value is missing"),
        (b'{"state":[] "a":1}', "comma"),
        (b'{"a":1,}', "name is missing"),
        (b'{,"a":1}', "name is missing"),
        (b'{"a" 1}', "colon"),
        (b'{"a":}', "value is missing"),
        (b'{"a":nonsense}', "not valid JSON"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b"{1:2}", "name is missing"),
    ],
)
def test_what_is_no_object_with_such_arrays_is_refused(body: bytes, why: str) -> None:
    for piece in (1, 1000):
        with pytest.raises(BadJson, match=why):
            split(body, piece)


def test_a_part_without_an_end_is_given_up() -> None:
    for begin in (b'{"state":[{"a":"', b'{"state":[[', b'{"x":"', b'{"'):
        splitter = ObjectSplitter(ARRAYS)
        with pytest.raises(BadJson, match="too large"):
            for _ in range(400):
                splitter.feed(begin + b"a" * 60_000)
                begin = b""


def test_an_element_of_the_largest_size_is_taken() -> None:
    large = {"a": "},{" * (MOST_ELEMENT_BYTES // 3 - 10), "b": [{}, {}]}
    body = json.dumps({"state": [{"first": 1}, large, {"last": 1}]}, separators=(",", ":")).encode()
    assert split(body, 16_384)[0]["state"] == [{"first": 1}, large, {"last": 1}]


def test_small_elements_before_a_tricky_one_are_looked_at_once_only() -> None:
    tricky = b'{"a":[' + b"{},{}," * (CUT_BYTES // 6) + b"{}]}"
    splitter = ObjectSplitter(ARRAYS)
    decoded_bytes = 0

    def note(frame: FrameType, event: str, called: object) -> None:
        nonlocal decoded_bytes
        if event == "call" and frame.f_code.co_name == "_many":
            decoded_bytes += CUT_BYTES

    sys.setprofile(note)
    try:
        found = splitter.feed(b'{"state":[' + b"{}," * 20_000 + tricky + b",{}]}") + splitter.close()[0]
    finally:
        sys.setprofile(None)
    assert len(found) == 20_002
    assert decoded_bytes < 20 * CUT_BYTES
