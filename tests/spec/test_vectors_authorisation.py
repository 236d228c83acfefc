"""What the authorisation rules allow, as the specification has it."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core.auth import Rejected, check, check_auth_events
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from tests.spec.spec_files import vectors

CASES = vectors("authorisation.json")["cases"]


def load(pdu: JsonObject, rules: RoomRules) -> Event:
    """An event of the vectors, which have the event id inside in all versions and no signatures."""
    bare = {**pdu, "signatures": {}}
    if not rules.event_id_in_pdu:
        del bare["event_id"]
    event = Event.parse(bare, rules)
    assert event.event_id == pdu["event_id"]
    return event


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=f"v{c['room_version']} {c.get('note', n)}") for n, c in enumerate(CASES)]
)
def test_authorisation(case: dict[str, Any]) -> None:
    rules = ROOM_RULES[case["room_version"]]
    state = {event.key: event for event in (load(pdu, rules) for pdu in case["state"])}
    event = load(case["event"], rules)
    if case["allowed"]:
        check(event, state)
    else:
        with pytest.raises(Rejected) as refusal:
            check(event, state)
        assert refusal.value.reason


def test_the_auth_events_of_the_vectors_are_those_that_the_selection_picks() -> None:
    checked = 0
    for case in (case for case in CASES if case["allowed"]):
        rules = ROOM_RULES[case["room_version"]]
        event = load(case["event"], rules)
        by_id = {found.event_id: found for found in (load(pdu, rules) for pdu in case["state"])}
        if event.type != "m.room.create" and set(event.auth_events) <= set(by_id):
            check_auth_events(event, [by_id[event_id] for event_id in event.auth_events])
            checked += 1
    assert checked > 80
