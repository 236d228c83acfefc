"""Which policy server a room names, and which signatures of it count."""

from __future__ import annotations

import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.draft import Draft, build
from homeserver.core.event import Event, EventTooLarge
from homeserver.core.ids import RoomId, ServerName, UserId
from homeserver.core.policy import (
    KEY_ID,
    PolicyServer,
    is_exempt,
    is_recommended,
    policy_server_of,
    with_recommendation,
)
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import Signer, SigningKey, event_signed_bytes, with_signatures

RULES = ROOM_RULES["11"]
SIGNER = Signer(ServerName("example.org"), SigningKey("1", b"1" * 32))
KEY = SigningKey("policy_server", b"2" * 32)
POLICY = PolicyServer(ServerName("policy.example.org"), KEY.verify_key_base64)


def event_of(type: str, content: JsonObject, state_key: str | None = None) -> Event:
    draft = Draft(RoomId("!room:example.org"), type, UserId("@alice:example.org"), content, state_key)
    return build(draft, RULES, (), (), 1, 1_700_000_000_000, SIGNER)


def answer_for(event: Event, key: SigningKey = KEY) -> JsonObject:
    return {POLICY.server: {KEY_ID: key.sign_bytes(event_signed_bytes(event))}}


def test_the_policy_server_is_named_by_the_event_with_the_empty_state_key() -> None:
    content: JsonObject = {"via": POLICY.server, "public_keys": {"ed25519": POLICY.public_key, "other": "x"}}
    assert policy_server_of(event_of("m.room.policy", content, "")) == POLICY
    assert policy_server_of(event_of("m.room.policy", content, "other")) is None
    assert policy_server_of(event_of("m.room.topic", content, "")) is None
    assert policy_server_of(None) is None


def test_only_that_event_is_exempt() -> None:
    assert is_exempt("m.room.policy", "")
    assert not is_exempt("m.room.policy", None)
    assert not is_exempt("m.room.policy", "other")
    assert not is_exempt("m.room.message", "")


def test_the_signature_is_added_to_those_that_are_there() -> None:
    event = event_of("m.room.message", {"body": "hello"})
    signed = with_recommendation(event, POLICY, {**answer_for(event), "evil.example.org": {"ed25519:x": "x"}})
    assert signed is not None
    assert signed.event_id == event.event_id
    before = event.to_pdu()["signatures"]
    assert isinstance(before, dict)
    assert signed.to_pdu()["signatures"] == {**before, **answer_for(event)}
    assert is_recommended(signed, POLICY)
    assert not is_recommended(event, POLICY)


def test_a_key_may_be_written_in_either_alphabet_of_base64() -> None:
    event = event_of("m.room.message", {"body": "hello"})
    urlsafe = PolicyServer(POLICY.server, POLICY.public_key.replace("+", "-").replace("/", "_"))
    assert is_recommended(with_signatures(event, answer_for(event)), urlsafe)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {POLICY.server: {}},
        {POLICY.server: []},
        {POLICY.server: {KEY_ID: 5}},
        {POLICY.server: {KEY_ID: "no signature"}},
        {POLICY.server: {"ed25519:1": "AAAA"}},
        {"other.example.org": {KEY_ID: "AAAA"}},
    ],
)
def test_what_is_no_signature_of_it_does_not_count(answer: JsonObject) -> None:
    assert with_recommendation(event_of("m.room.message", {"body": "hello"}), POLICY, answer) is None


def test_neither_another_key_nor_another_event_counts() -> None:
    event, other = event_of("m.room.message", {"body": "hello"}), event_of("m.room.message", {"body": "bye"})
    assert with_recommendation(event, POLICY, answer_for(event, SIGNER.key)) is None
    assert with_recommendation(event, POLICY, answer_for(other)) is None


def test_an_event_that_has_no_space_for_the_signature_is_too_large() -> None:
    event = event_of("m.room.message", {"body": ""})
    event = event_of("m.room.message", {"body": "x" * (65_536 - len(event.json))})
    with pytest.raises(EventTooLarge):
        with_recommendation(event, POLICY, answer_for(event))
