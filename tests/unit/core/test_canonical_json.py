"""Canonical JSON against the canonicaljson library, and JSON that tries to do harm."""

from __future__ import annotations

import json

import canonicaljson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import canonical_json
from homeserver.core.canonical_json import MAX_INTEGER, MAX_NESTING, BadJson, JsonValue, NotCanonical

INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER)
PLAIN = st.none() | st.booleans() | st.text()


def trees(leaves: st.SearchStrategy[JsonValue]) -> st.SearchStrategy[JsonValue]:
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


STRICT = trees(PLAIN | INTEGERS)
LENIENT = trees(PLAIN | st.integers() | st.floats(allow_nan=False, allow_infinity=False))


@given(STRICT)
def test_the_form_is_that_of_the_canonicaljson_library(value: JsonValue) -> None:
    assert canonical_json.encode(value) == canonicaljson.encode_canonical_json(value)
    assert canonical_json.encode_integers(value) == canonical_json.encode_lenient(value) == canonical_json.encode(value)


@given(LENIENT)
def test_the_lenient_form_is_that_of_the_canonicaljson_library_too(value: JsonValue) -> None:
    assert canonical_json.encode_lenient(value) == canonicaljson.encode_canonical_json(value)


@given(STRICT)
def test_what_is_encoded_can_be_read_again(value: JsonValue) -> None:
    encoded = canonical_json.encode(value)
    assert canonical_json.decode(encoded) == value
    assert canonical_json.encode(canonical_json.decode(encoded)) == encoded


@given(LENIENT)
def test_reading_agrees_with_the_json_module(value: JsonValue) -> None:
    text = json.dumps(value)
    read = canonical_json.decode(text.encode())
    assert read == json.loads(text)
    assert json.dumps(read) == text


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = canonical_json.decode(data)
    except BadJson:
        return
    assert json.loads(data) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        '{"a":1,}',
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "01",
        "1.",
        "+1",
        "'a'",
        '"\\ud800"',
        '"\\udc00x"',
    ]
    + ['"\\ud800\\u0041"', '"\t"', "{} {}", '{"a" 1}', "{1:2}", "1e999", '"\\x41"', "\ufeff{}", "9" * 5000],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(BadJson):
        canonical_json.decode(text.encode("utf-8"))


@pytest.mark.parametrize("data", [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'{"\xff":1}'])
def test_bytes_that_are_not_utf8_are_refused(data: bytes) -> None:
    with pytest.raises(BadJson):
        canonical_json.decode(data)


@pytest.mark.parametrize("levels", [MAX_NESTING + 1, 500, 10_000, 200_000])
def test_deep_nesting_is_refused_without_harm(levels: int) -> None:
    for data in (b"[" * levels + b"]" * levels, b'{"a":' * levels + b"1" + b"}" * levels, b"[" * levels):
        with pytest.raises(BadJson):
            canonical_json.decode(data)


def test_nesting_up_to_the_limit_and_any_breadth_is_taken() -> None:
    deep = b"[" * MAX_NESTING + b"]" * MAX_NESTING
    assert canonical_json.encode(canonical_json.decode(deep)) == deep
    wide = b"[" + b",".join([b"[[]]"] * 1000) + b"]"
    assert canonical_json.encode(canonical_json.decode(wide)) == wide
    assert canonical_json.decode(b"[" + deep + b"]", max_nesting=MAX_NESTING + 1)


@given(
    st.recursive(
        st.text(alphabet='[]{}"\\\\x', max_size=6) | st.integers(0, 9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='[]{}"\\\\', max_size=4), inner),
        max_leaves=30,
    ),
    st.integers(0, 6),
)
def test_levels_are_counted_whatever_is_in_strings(value: JsonValue, limit: int) -> None:
    def levels(each: JsonValue) -> int:
        if isinstance(each, (dict, list)):
            below = each.values() if isinstance(each, dict) else each
            return 1 + max(map(levels, below), default=0)
        return 0

    for data in (canonical_json.encode(value), json.dumps(value, indent=1).encode()):
        assert canonical_json.is_deeper(data, limit) is (levels(value) > limit)


def test_the_last_of_two_equal_keys_counts() -> None:
    assert canonical_json.decode(b'{"a":1,"a":2}') == {"a": 2}


def test_something_else_than_an_object_is_refused_where_an_object_is_asked_for() -> None:
    assert canonical_json.decode_object(b'{"a":[]}') == {"a": []}
    with pytest.raises(BadJson):
        canonical_json.decode_object(b"[]")


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**64, 10**30, 1.5, 1e300, float("nan"), float("inf")])
def test_numbers_without_a_canonical_form_are_refused(number: float) -> None:
    values: list[JsonValue] = [number, [number], {"a": {"b": [{"c": number}]}}]
    for value in values:
        with pytest.raises(NotCanonical):
            canonical_json.encode(value)
        with pytest.raises(NotCanonical):
            canonical_json.encode_integers(value)


def test_whole_numbers_written_as_fractions_are_integers_but_not_in_events() -> None:
    assert canonical_json.encode({"a": 1e10, "b": [-0.0]}) == b'{"a":10000000000,"b":[0]}'
    values: list[JsonValue] = [1e10, [1.0], {"a": -0.0}]
    for value in values:
        with pytest.raises(NotCanonical):
            canonical_json.encode_integers(value)


def test_lone_surrogates_have_no_canonical_form() -> None:
    values: list[JsonValue] = ["\ud800", {"\udc00": 1}, ["a\ud83d"]]
    for value in values:
        with pytest.raises(NotCanonical):
            canonical_json.encode(value)
        with pytest.raises(NotCanonical):
            canonical_json.encode_lenient(value)
    with pytest.raises(NotCanonical):
        canonical_json.encode_lenient(["\ud800", 1.5])


def test_values_that_contain_themselves_are_refused() -> None:
    loop: list[JsonValue] = []
    loop.append(loop)
    with pytest.raises(NotCanonical):
        canonical_json.encode(loop)
    with pytest.raises(NotCanonical):
        canonical_json.encode_lenient(loop)


@given(LENIENT)
def test_a_decoded_value_is_written_or_refused_as_any_other_is(value: JsonValue) -> None:
    decoded = canonical_json.decode(json.dumps(value).encode())
    for strict in (True, False):
        try:
            expected: bytes | None = canonical_json.writer_of(decoded, strict=strict)(decoded)
        except NotCanonical:
            expected = None

        try:
            written: bytes | None = canonical_json.write_decoded(decoded, strict=strict)[0]
        except NotCanonical:
            written = None

        assert written == expected


@pytest.mark.parametrize("text", ["2:1.5", "[9007199254740993", ",1e5", '\\",-0.0'])
def test_strings_that_look_like_odd_numbers_are_written_as_they_are(text: str) -> None:
    value: JsonValue = {"a": text, text: [1, text]}
    assert canonical_json.write_decoded(value, strict=True)[0] == canonical_json.encode(value)


@pytest.mark.parametrize("number", [1.5, 1e10, 2.0**53, MAX_INTEGER + 1, -MAX_INTEGER - 1, 10**30])
def test_odd_numbers_in_a_decoded_value_are_found_wherever_they_are(number: float) -> None:
    values: list[JsonValue] = [number, [number], [1, number], {"a": number}, {"a": 1, "b": number}, {"a": [[number]]}]
    for value in values:
        with pytest.raises(NotCanonical):
            canonical_json.write_decoded(value, strict=True)
