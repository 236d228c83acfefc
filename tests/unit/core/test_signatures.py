"""Signing and verifying, against the signedjson library."""

from __future__ import annotations

from typing import Any

import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.canonical_json import MAX_INTEGER, JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.redaction import redact, redacted
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import (
    BadKey,
    BadSignature,
    SigningKey,
    key_ids_of,
    servers_that_must_sign,
    sign_event,
    sign_json,
    verify_bytes,
    verify_event,
    verify_json,
    with_signatures,
)
from tests.unit.core.building import ALICE, BOB, CAROL, room, signer_of

KEY = SigningKey("a_1", b"s" * 32)
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-MAX_INTEGER, MAX_INTEGER),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text().filter(lambda key: key not in ("signatures", "unsigned")), VALUES, max_size=5)


@given(OBJECTS)
def test_what_is_signed_verifies_here_and_with_signedjson(value: JsonObject) -> None:
    signed = sign_json(value, "a.example", KEY)
    verify_json(signed, "a.example", KEY.key_id, KEY.verify_key_base64)
    theirs: Any = signedjson.key.decode_signing_key_base64("ed25519", "a_1", KEY.dump().split()[2])
    assert signedjson.sign.sign_json(dict(value), "a.example", theirs) == signed
    signedjson.sign.verify_signed_json(signed, "a.example", signedjson.key.get_verify_key(theirs))


@given(OBJECTS, OBJECTS)
def test_a_signature_holds_for_nothing_else(value: JsonObject, other: JsonObject) -> None:
    signed = sign_json(value, "a.example", KEY)
    if other != value:
        with pytest.raises(BadSignature):
            verify_json({**other, "signatures": signed["signatures"]}, "a.example", KEY.key_id, KEY.verify_key_base64)
    with pytest.raises(BadSignature):
        verify_json(signed, "a.example", KEY.key_id, SigningKey("a_1", b"t" * 32).verify_key_base64)
    with pytest.raises(BadSignature):
        verify_json(signed, "b.example", KEY.key_id, KEY.verify_key_base64)
    with pytest.raises(BadSignature):
        verify_json(signed, "a.example", "ed25519:a_2", KEY.verify_key_base64)


def test_signing_leaves_the_object_and_the_signatures_of_others_alone() -> None:
    value: JsonObject = {"a": 1, "signatures": {"a.example": {"ed25519:old": "x"}, "b.example": {"ed25519:1": "y"}}}
    signed = sign_json(value, "a.example", KEY)
    assert value == {"a": 1, "signatures": {"a.example": {"ed25519:old": "x"}, "b.example": {"ed25519:1": "y"}}}
    assert set(key_ids_of(signed, "a.example")) == {"ed25519:old", "ed25519:a_1"}
    assert key_ids_of(signed, "b.example") == ["ed25519:1"]
    assert key_ids_of(signed, "c.example") == []


@pytest.mark.parametrize("signatures", [None, [], {"a.example": []}, {"a.example": {"ed25519:a_1": 1}}])
def test_odd_signatures_do_not_verify(signatures: JsonValue) -> None:
    value: JsonObject = {"a": 1, "signatures": signatures}
    assert key_ids_of(value, "a.example") == []
    with pytest.raises(BadSignature):
        verify_json(value, "a.example", KEY.key_id, KEY.verify_key_base64)


@pytest.mark.parametrize("signature", ["", "!", "AAAA", "\u00fc", "A" * 86, "A" * 85, "A" * 88])
def test_odd_base64_does_not_verify(signature: str) -> None:
    assert not verify_bytes(b"x", signature, KEY.verify_key_base64)
    assert not verify_bytes(b"x", KEY.sign_bytes(b"x"), signature)


def test_a_key_file_can_be_written_and_read() -> None:
    for key in (KEY, SigningKey.generate(), SigningKey.generate("new")):
        again = SigningKey.load(key.dump() + "\n")
        assert (again.key_id, again.verify_key_base64) == (key.key_id, key.verify_key_base64)
        assert verify_bytes(b"x", again.sign_bytes(b"x"), key.verify_key_base64)
    assert SigningKey.generate().dump() != SigningKey.generate().dump()
    assert KEY.dump().split()[2] not in repr(KEY)


@pytest.mark.parametrize(
    "line", ["", "ed25519 1", "rsa 1 AAAA", "ed25519 1 AAAA", "ed25519 a-b " + "A" * 43, "ed25519 1 !"]
)
def test_what_is_no_key_file_is_refused(line: str) -> None:
    with pytest.raises(BadKey):
        SigningKey.load(line)


@pytest.mark.parametrize("version", list(ROOM_RULES))
def test_the_signature_on_an_event_survives_its_redaction(version: str) -> None:
    event = room(version).make("m.room.message", ALICE, {"body": "x"})
    key = signer_of("a.example").key
    verify_event(event, "a.example", key.key_id, key.verify_key_base64)
    verify_event(redacted(event), "a.example", key.key_id, key.verify_key_base64)
    verify_json(redact(event.to_pdu(), event.rules), "a.example", key.key_id, key.verify_key_base64)
    forged = Event.parse({**event.to_pdu(), "depth": 7}, event.rules)
    with pytest.raises(BadSignature):
        verify_event(forged, "a.example", key.key_id, key.verify_key_base64)


@pytest.mark.parametrize("version", list(ROOM_RULES))
def test_another_server_can_sign_too(version: str) -> None:
    event = room(version).make("m.room.member", ALICE, {"membership": "invite"}, BOB)
    both = sign_event(event, signer_of("b.example"))
    assert both.event_id == event.event_id
    for server in ("a.example", "b.example"):
        key = signer_of(server).key
        verify_event(both, server, key.key_id, key.verify_key_base64)
    signatures = both.to_pdu()["signatures"]
    assert isinstance(signatures, dict)
    assert with_signatures(event, {"b.example": signatures["b.example"]}).json == both.json


def test_who_must_sign() -> None:
    for version, rules in ROOM_RULES.items():
        made = room(version)
        message = made.make("m.room.message", BOB, {})
        assert servers_that_must_sign(message) == {"b.example"}
        if rules.event_id_in_pdu:
            elsewhere = Event.parse({**message.to_pdu(), "event_id": "$x:c.example"}, rules)
            assert servers_that_must_sign(elsewhere) == {"b.example", "c.example"}
        join = made.make("m.room.member", BOB, {"membership": "join", "join_authorised_via_users_server": CAROL}, BOB)
        assert ("c.example" in servers_that_must_sign(join)) is rules.restricted_joins
        invite = made.make("m.room.member", BOB, {"membership": "invite", "third_party_invite": {}}, CAROL)
        assert servers_that_must_sign(invite) == ({"b.example"} if rules.event_id_server_signs else set())


def test_a_join_let_in_by_nobody_in_particular_is_not_signed() -> None:
    join = room("12").make("m.room.member", BOB, {"membership": "join", "join_authorised_via_users_server": 5}, BOB)
    with pytest.raises(BadSignature):
        servers_that_must_sign(join)
