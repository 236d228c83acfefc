"""Keys as clients publish them: what is in order is taken as it is, anything else is refused, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.device_keys import (
    BadKeys,
    DeviceKeys,
    KeysOfAnother,
    check_user_key,
    parse_stored,
    read_device_keys,
    signatures_by,
    verify_device_keys,
    verify_user_key,
    with_signatures,
    without_signatures,
)
from homeserver.core.signatures import BadSignature, SigningKey, sign_json

USER, DEVICE = "@romeo:verona.example", "k"
KEY = SigningKey.generate(DEVICE)
MASTER = SigningKey.generate("m")

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def check_device_keys(value: JsonObject, user_id: str, device_id: str) -> DeviceKeys:
    keys, signed = read_device_keys(value, user_id, device_id)
    verify_device_keys(keys, signed)
    return keys


def device_keys(**changed: JsonValue) -> JsonObject:
    value: JsonObject = {
        "user_id": USER,
        "device_id": DEVICE,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {KEY.key_id: KEY.verify_key_base64},
    }
    return sign_json({**value, **changed}, USER, KEY)


def user_key(**changed: JsonValue) -> JsonObject:
    public = KEY.verify_key_base64
    return {"user_id": USER, "usage": ["self_signing"], "keys": {f"ed25519:{public}": public}, **changed}


def checked() -> DeviceKeys:
    return check_device_keys(device_keys(), USER, DEVICE)


def test_keys_in_order_are_kept_in_canonical_form_without_what_others_added() -> None:
    given_keys = device_keys()
    added = with_signatures({**given_keys, "unsigned": {"x": 0.5}}, {"@eve:else.example": {"ed25519:E": "x"}})
    found = check_device_keys(added, USER, DEVICE)
    assert found.json == canonical_json.encode(given_keys)
    assert parse_stored(found.json) == found
    assert (found.ed25519, dict(found.identity)) == (KEY.verify_key_base64, {KEY.key_id: KEY.verify_key_base64})


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (device_keys(user_id="@eve:verona.example"), KeysOfAnother),
        (device_keys(device_id="OTHER"), KeysOfAnother),
        (device_keys(keys={KEY.key_id: KEY.verify_key_base64, "curve25519:OTHER": "x"}), KeysOfAnother),
        (device_keys(keys={KEY.key_id: "short"}), BadKeys),
        (device_keys(keys={KEY.key_id: "no base64!"}), BadKeys),
        (device_keys(keys={f"curve25519:{DEVICE}": "x"}), BadKeys),
        (device_keys(keys=[]), BadKeys),
        (device_keys(algorithms=[1]), BadKeys),
        (device_keys(much="x" * 70_000), BadKeys),
        ({**device_keys(), "more": 1}, BadSignature),
        ({**device_keys(), "signatures": {USER: {KEY.key_id: "AAAA"}}}, BadSignature),
        ({**device_keys(), "signatures": {USER: {KEY.key_id: 1}}}, BadKeys),
        ({**device_keys(), "signatures": {USER: 1}}, BadKeys),
    ],
)
def test_what_is_wrong_with_device_keys_is_told(value: JsonObject, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_device_keys(value, USER, DEVICE)


def test_a_user_key_is_named_by_itself_and_signed_by_the_master_key() -> None:
    key = check_user_key(user_key(), USER, "self_signing")
    assert key.key_id == f"ed25519:{KEY.verify_key_base64}"
    with pytest.raises(BadSignature):
        verify_user_key(key, MASTER.verify_key_base64)
    public = MASTER.verify_key_base64
    by_m = sign_json(user_key(), USER, MASTER)
    signature = signatures_by(by_m, USER)[MASTER.key_id]
    signed = check_user_key(with_signatures(user_key(), {USER: {f"ed25519:{public}": signature}}), USER, "self_signing")
    verify_user_key(signed, public)
    for wrong in (
        user_key(usage=["master"]),
        user_key(usage="self_signing"),
        user_key(keys={}),
        user_key(keys={"a": "b"}),
    ):
        with pytest.raises(BadKeys):
            check_user_key(wrong, USER, "self_signing")
    with pytest.raises(KeysOfAnother):
        check_user_key(user_key(user_id="@eve:verona.example"), USER, "self_signing")


def test_signatures_are_added_beside_those_that_are_there() -> None:
    value: JsonObject = {"a": 1, "signatures": {USER: {"ed25519:A": "1"}}, "unsigned": 0.5}
    more = with_signatures(value, {USER: {"ed25519:B": "2"}, "@j:v": {"ed25519:C": "3"}})
    assert more["signatures"] == {USER: {"ed25519:A": "1", "ed25519:B": "2"}, "@j:v": {"ed25519:C": "3"}}
    assert without_signatures(more) == without_signatures(value) == b'{"a":1}'


@given(st.dictionaries(st.sampled_from(list(device_keys())), anything))
def test_nothing_but_a_refusal_comes_of_nonsense(changes: dict[str, JsonValue]) -> None:
    for attempt in (
        lambda: check_device_keys({**device_keys(), **changes}, USER, DEVICE),
        lambda: check_user_key({**user_key(), **changes}, USER, "self_signing"),
    ):
        try:
            attempt()
        except (BadKeys, BadSignature) as refusal:
            assert str(refusal)
