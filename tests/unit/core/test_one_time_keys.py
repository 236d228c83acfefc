"""One-time keys as clients upload them: what is in order is taken as it is, anything else is refused."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.device_keys import BadKeys, DeviceKeys, read_device_keys
from homeserver.core.one_time_keys import UploadedKey, read_one_time_keys, verify_keys
from homeserver.core.signatures import BadSignature, SigningKey, sign_json

USER, DEVICE = "@romeo:verona.example", "k"
KEY, OTHER = SigningKey.generate(DEVICE), SigningKey.generate(DEVICE)

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def device() -> DeviceKeys:
    value: JsonObject = {
        "user_id": USER,
        "device_id": DEVICE,
        "algorithms": [],
        "keys": {KEY.key_id: KEY.verify_key_base64},
    }
    return read_device_keys(sign_json(value, USER, KEY), USER, DEVICE)[0]


def read(value: JsonValue, name: str = "signed_curve25519:A", owner: DeviceKeys | None = None) -> UploadedKey:
    """The key, which came with spaces and in whatever order."""
    (key,) = read_one_time_keys({name: msgspec.Raw(json.dumps(value).encode())}, owner or device())
    return key


def checked(*values: JsonValue) -> list[UploadedKey]:
    keys = [read(value, f"signed_curve25519:{number}") for number, value in enumerate(values)]
    verify_keys(device(), None, keys)
    return keys


def many(count: int) -> list[JsonValue]:
    return [sign_json({"key": f"key {number}"}, USER, KEY) for number in range(count)]


@pytest.mark.parametrize(
    "value",
    [
        {"key": "x"},
        {"key": 'ü\\"', "fallback": True},
        {"key": "x", "fallback": False},
        {"key": ',"signatures":{'},
        {"key": "x", "more": {"z": 1, "a": [None, 1.0]}},
        {"key": "x", "unsigned": {"y": 1}},
    ],
)
def test_keys_are_kept_in_canonical_form_whatever_is_in_them(value: JsonObject) -> None:
    signed = sign_json(value, USER, KEY)
    (key,) = checked(dict(reversed(signed.items())))
    assert (key.algorithm, key.key_id, key.name) == ("signed_curve25519", "0", "signed_curve25519:0")
    assert key.json == canonical_json.encode(signed)
    # Signatures of others do no harm.
    (key,) = checked(sign_json(signed, "@eve:else.example", OTHER))
    assert b"@eve" in key.json


def test_keys_of_other_algorithms_need_no_signature() -> None:
    assert read("x", "curve25519:A") == ("curve25519", "A", b'"x"', None)
    assert read({"key": "x", "signatures": {}}, "curve25519:A").signed is None
    assert read({"more": 1, "key": "x"}, "curve25519:A").json == b'{"key":"x","more":1}'


def test_what_is_wrong_with_a_key_is_told() -> None:
    signed = sign_json({"key": "x"}, USER, KEY)
    for name in ("", "a", "a:", ":a", "a:" + "x" * 300, "a:nul\0"):
        with pytest.raises(BadKeys):
            read("x", name)
    values: list[JsonValue] = [
        1,
        [],
        None,
        {},
        {"key": 1},
        {"key": "x", "signatures": 1},
        {"key": "x", "signatures": {USER: {KEY.key_id: 1}}},
        {**signed, "more": 0.5},
        {**signed, "more": 2**60},
        {**signed, "key": "x" * 9000},
        {**signed, "more": "x" * 9000},
    ]
    for value in values:
        for name in ("curve25519:A", "signed_curve25519:A"):
            with pytest.raises(BadKeys):
                read(value, name)
    with pytest.raises(BadKeys):
        read_one_time_keys({"a:b": msgspec.Raw(b'{"key":"\xff"}')}, None)
    with pytest.raises(BadKeys):
        read("a string", "signed_x:y")


def test_keys_of_signed_algorithms_must_be_signed_by_the_device() -> None:
    signed = sign_json({"key": "x"}, USER, KEY)
    by_eve = sign_json({"key": "x"}, "@eve:else.example", KEY)
    unsigned: list[JsonObject] = [{"key": "x"}, {"key": "x", "signatures": {}}, by_eve]
    for value in unsigned:
        with pytest.raises(BadSignature, match="no signature"):
            read(value)
        with pytest.raises(BadSignature, match="no signature"):
            read({**value, "more": 1})
    with pytest.raises(BadSignature, match="keys of the device first"):
        read_one_time_keys({"signed_x:y": msgspec.Raw(json.dumps(signed).encode())}, None)
    wrong_ones: list[JsonObject] = [
        sign_json({"key": "x"}, USER, OTHER),
        {**signed, "key": "y"},
        {**signed, "fallback": True},
        {**signed, "more": 1},
        {"key": "x", "signatures": {USER: {KEY.key_id: "A"}}},
    ]
    for wrong in wrong_ones:
        with pytest.raises(BadSignature, match="does not match"):
            checked(wrong)


@pytest.mark.parametrize("count", [2, 5, 6, 7, 50])
def test_one_wrong_key_among_many_is_found_and_named(count: int) -> None:
    good = many(count)
    assert len(checked(*good)) == count
    for place in {0, 1, count // 2, count - 1}:
        for wrong in (sign_json({"key": "x"}, USER, OTHER), {**sign_json({"key": "x"}, USER, KEY), "key": "y"}):
            with pytest.raises(BadSignature, match=f"signed_curve25519:{place}:"):
                checked(*good[:place], wrong, *good[place + 1 :])


@pytest.mark.parametrize("count", [0, 4, 5, 50])
def test_the_keys_of_the_device_are_verified_together_with_the_others(count: int) -> None:
    owner = device()
    keys = checked(*many(count))
    right, wrong = KEY.sign_bytes(b"identity"), OTHER.sign_bytes(b"identity")
    verify_keys(owner, (b"identity", right), keys)
    for signed in ((b"identity", wrong), (b"another", right), (b"identity", "")):
        with pytest.raises(BadSignature, match="on the keys of the device does not match"):
            verify_keys(owner, signed, keys)


@given(st.text(), anything)
def test_nothing_but_a_refusal_comes_of_nonsense(name: str, value: JsonValue) -> None:
    owner = device()
    for each in (name, "x:y", "signed_x:y"):
        for given_value in (value, {"key": "x", "signatures": value}, {"key": value, "signatures": {}}):
            try:
                verify_keys(owner, None, [read(given_value, each, owner)])
            except (BadKeys, BadSignature) as refusal:
                assert str(refusal)


def canonical_batch() -> dict[str, msgspec.Raw]:
    values = [sign_json({"key": f"{number:043}"}, USER, KEY) for number in range(8)]
    return {
        f"signed_curve25519:{number}": msgspec.Raw(canonical_json.encode(value)) for number, value in enumerate(values)
    }


def test_keys_that_come_as_they_are_kept_are_read_as_those_that_do_not() -> None:
    as_kept = canonical_batch()
    with_spaces = {name: msgspec.Raw(json.dumps(json.loads(bytes(raw))).encode()) for name, raw in as_kept.items()}
    keys = read_one_time_keys(as_kept, device())
    assert keys == read_one_time_keys(with_spaces, device())
    assert [key.json for key in keys] == list(map(bytes, as_kept.values()))
    verify_keys(device(), None, keys)


@given(st.integers(0, 7), st.floats(0, 0.999), st.sampled_from(b'AZ/+-_ "\\{},:\n\x00\x7f\xc3'))
def test_one_other_character_makes_a_key_none_of_those_that_are_alike(which: int, where: float, byte: int) -> None:
    batch = canonical_batch()
    name = f"signed_curve25519:{which}"
    spoilt = bytearray(bytes(batch[name]))
    spoilt[int(where * len(spoilt))] = byte
    batch[name] = msgspec.Raw(bytes(spoilt))

    def outcome(keys: dict[str, msgspec.Raw]) -> list[UploadedKey] | str:
        try:
            found = read_one_time_keys(keys, device())
            verify_keys(device(), None, found)
        except (BadKeys, BadSignature) as error:
            return str(error)
        return found

    # A key of another length beside them has each looked at for itself.
    other = {"signed_curve25519:x": msgspec.Raw(canonical_json.encode(sign_json({"key": "x"}, USER, KEY)))}
    alike, each = outcome(batch), outcome(batch | other)
    assert alike == (each if isinstance(each, str) else each[:-1])


@pytest.mark.parametrize("name", ["signed_curve25519", "signed_curve25519:", "signed_:", f"signed_x:{'y' * 250}", ":A"])
def test_a_name_that_is_none_is_refused_also_among_keys_that_are_alike(name: str) -> None:
    key = canonical_batch()["signed_curve25519:0"]
    with pytest.raises(BadKeys):
        read_one_time_keys(canonical_batch() | {name: key}, device())


def test_a_key_of_another_algorithm_among_keys_that_are_alike_needs_no_signature() -> None:
    key = canonical_batch()["signed_curve25519:0"]
    keys = read_one_time_keys(canonical_batch() | {"curve25519:A": key}, device())
    assert [each.signed is None for each in keys] == [False] * 8 + [True]
