"""State resolution against the vectors. Specification: rooms/v1, rooms/v2, rooms/v12, "State resolution"."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from homeserver.core.event import Event
from homeserver.core.hashes import event_id_of
from homeserver.core.room_rules import ROOM_RULES
from tests.unit.core.resolution_room import Room, State

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "state_resolution.json").read_text(encoding="utf-8")
)["cases"]


def name(case: dict[str, Any]) -> str:
    return f"v{case['room_version']} {case['name']}"


def room_of(case: dict[str, Any], with_ranks: bool) -> tuple[Room, list[State]]:
    rules = ROOM_RULES[case["room_version"]]
    events = {}
    for pdu in case["events"]:
        event_id = pdu["event_id"]
        if not rules.event_id_in_pdu:
            pdu = {key: value for key, value in pdu.items() if key != "event_id"}
            assert event_id_of(pdu, rules) == event_id
        events[event_id] = Event.load(json.dumps(pdu).encode(), rules, event_id)
    states: list[State] = [{events[event_id].key: event_id for event_id in state} for state in case["state_sets"]]
    return Room(events.values(), with_ranks=with_ranks), states


@pytest.mark.parametrize("with_ranks", [True, False], ids=["ranks", "no ranks"])
@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_states_resolve_as_the_vectors_say(case: dict[str, Any], with_ranks: bool) -> None:
    room, states = room_of(case, with_ranks)
    assert sorted(room.resolve(states).values()) == sorted(case["resolved"])


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_order_of_the_states_does_not_matter(case: dict[str, Any]) -> None:
    room, states = room_of(case, with_ranks=True)
    for order in permutations(states):
        assert sorted(room.resolve(order).values()) == sorted(case["resolved"])


def test_there_are_cases_of_every_algorithm() -> None:
    algorithms = [ROOM_RULES[case["room_version"]].state_resolution for case in CASES]
    assert len(CASES) == 113
    assert {"1", "2", "2.1"} == set(algorithms)
