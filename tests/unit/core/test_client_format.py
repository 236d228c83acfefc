"""Events as clients get them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from homeserver.core.client_format import (
    client_event_bytes,
    client_event_bytes_without_room_id,
    stripped_event_bytes,
    with_unsigned,
)
from homeserver.core.room_rules import ROOM_RULES
from tests.unit.core.building import ALICE, BOB, room


@pytest.fixture(params=list(ROOM_RULES))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_message_has_just_the_fields_of_the_client_format(version: str) -> None:
    event = room(version).make("m.room.message", BOB, {"body": "\u65e5", "n": 1})
    assert json.loads(client_event_bytes(event)) == {
        "type": "m.room.message",
        "room_id": event.room_id,
        "sender": BOB,
        "content": {"body": "\u65e5", "n": 1},
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
    }
    assert b"room_id" not in client_event_bytes_without_room_id(event)


def test_an_empty_state_key_is_there() -> None:
    create = room("12").create
    shown = json.loads(client_event_bytes(create))
    assert shown["state_key"] == ""
    assert shown["room_id"] == "!" + shown["event_id"][1:]


def test_a_redaction_names_its_target_in_both_places(version: str) -> None:
    made = room(version)
    target = made.make("m.room.message", BOB, {})
    redaction = made.make("m.room.redaction", ALICE, {"reason": "x"}, redacts=target.event_id)
    shown = json.loads(client_event_bytes(redaction))
    assert shown["redacts"] == shown["content"]["redacts"] == target.event_id
    assert shown["content"]["reason"] == "x"


@pytest.mark.parametrize("unsigned", [{"age": 5, "transaction_id": "a"}, b'{"age":5,"transaction_id":"a"}'])
def test_unsigned_is_put_into_the_finished_bytes(unsigned: Any) -> None:
    base = client_event_bytes(room("12").make("m.room.message", BOB, {"body": "}"}))
    shown = json.loads(with_unsigned(base, unsigned))
    assert shown.pop("unsigned") == {"age": 5, "transaction_id": "a"}
    assert shown == json.loads(base)


def test_empty_unsigned_is_left_out() -> None:
    base = client_event_bytes(room("12").create)
    assert with_unsigned(base, {}) == with_unsigned(base, b"{}") == base


def test_stripped_state_has_four_fields() -> None:
    create = room("11").create
    assert json.loads(stripped_event_bytes(create)) == {
        "type": "m.room.create",
        "state_key": "",
        "sender": ALICE,
        "content": create.content,
    }
