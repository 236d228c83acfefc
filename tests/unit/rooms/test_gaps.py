"""What is asked of other servers for the past of an event, and where the asking ends."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from typing import TypeVar

import pytest

from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.rooms.gaps import MOST_CLAIMS, MOST_ROUNDS, Absent, GapFiller, PeerFailed, StateIds, in_order
from homeserver.rooms.incoming import RoomOfEvents
from tests.unit.core.building import ALICE, Workshop, room

T = TypeVar("T")


def now(work: Awaitable[T]) -> T:
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("nothing here has to wait")


class Remote:
    """Another server that has all events, and tells as many of them as it likes; and what we have."""

    def __init__(self, events: Sequence[Event], known: Sequence[Event], told_at_once: int) -> None:
        self.all = {event.event_id: event for event in events}
        self.known = {event.event_id for event in known}
        self.told_at_once = told_at_once
        self.asked: list[str] = []
        self.beside: list[Event] = []

    async def absent(self, event_ids: Collection[EventId]) -> set[EventId]:
        return set(event_ids) - self.known

    async def lacking(self, event_ids: Collection[EventId]) -> set[EventId]:
        return set(event_ids) - self.known

    async def missing_events(
        self, server: str, room: RoomOfEvents, earliest: Sequence[str], latest: Sequence[str], limit: int
    ) -> list[Event]:
        self.asked.append("missing_events")
        found: dict[str, Event] = {}
        waiting = [each for event_id in latest for each in self.all[EventId(event_id)].prev_events]
        while waiting and len(found) < min(limit, self.told_at_once):
            event = self.all.get(waiting.pop(0))
            if event is not None and event.event_id not in self.known:
                found[event.event_id] = event
                waiting += event.prev_events
        return [*found.values(), *self.beside]

    async def state_ids(self, server: str, room: RoomOfEvents, event_id: str) -> StateIds:
        self.asked.append("state_ids")
        return StateIds(sorted(self.known), [])

    async def state(self, server: str, room: RoomOfEvents, event_id: str, absent: Absent) -> list[Event]:
        self.asked.append("state")
        return []

    async def events(self, *asked: object) -> list[Event]:
        # The holdings are asked with ids alone, the server with its name and the room before them.
        ids = asked[-1]
        assert isinstance(ids, Collection)
        if len(asked) == 1:
            return [self.all[each] for each in ids if each in self.known]
        self.asked.append("events")
        return [self.all[each] for each in ids if each in self.all]

    async def event_auth(self, server: str, room: RoomOfEvents, event_id: str) -> list[Event]:
        self.asked.append("event_auth")
        raise PeerFailed("no")

    async def backfill(self, server: str, room: RoomOfEvents, start: Sequence[str], limit: int) -> list[Event]:
        raise PeerFailed("no")


def chain(made: Workshop, length: int) -> list[Event]:
    return [made.add("m.room.message", ALICE, {"body": f"{number}"}) for number in range(length)]


@pytest.fixture
def made() -> Workshop:
    return room("11")


def fill(remote: Remote, made: Workshop, event: Event) -> list[tuple[EventId, bool]]:
    assert made.room_id is not None
    filling = now(GapFiller(remote, remote).fill("b.example", RoomOfEvents(made.room_id, made.rules), [event], []))
    return [(step.event.event_id, step.claim is not None) for step in filling.steps]


def test_what_lies_between_is_taken_in_order(made: Workshop) -> None:
    known = list(made.state.values())
    events = chain(made, 8)
    remote = Remote([*known, *events], known, told_at_once=50)
    assert fill(remote, made, events[-1]) == [(event.event_id, False) for event in events]
    assert remote.asked == ["missing_events"]


def test_a_server_that_tells_little_is_asked_again(made: Workshop) -> None:
    known = list(made.state.values())
    events = chain(made, 8)
    remote = Remote([*known, *events], known, told_at_once=2)
    assert fill(remote, made, events[-1]) == [(event.event_id, False) for event in events]
    assert remote.asked == ["missing_events"] * 4


def test_where_it_is_too_far_the_state_is_asked_for_at_the_end(made: Workshop) -> None:
    known = list(made.state.values())
    events = chain(made, 40)
    remote = Remote([*known, *events], known, told_at_once=2)
    steps = fill(remote, made, events[-1])
    assert remote.asked.count("missing_events") == MOST_ROUNDS
    assert remote.asked.count("state_ids") == 1
    # One event more than was told stands below them, with the state that is claimed for it.
    taken = events[-2 - 2 * MOST_ROUNDS :]
    assert steps == [(event.event_id, event is taken[0]) for event in taken]


def test_what_was_not_asked_for_is_left_alone(made: Workshop) -> None:
    known = list(made.state.values())
    events = chain(made, 3)
    beside = [made.make("m.room.message", ALICE, {"body": f"beside {number}"}) for number in range(5)]
    remote = Remote([*known, *events], known, told_at_once=50)
    remote.beside = beside
    assert fill(remote, made, events[-1]) == [(event.event_id, False) for event in events]


def test_an_event_with_many_unknown_parents_costs_few_questions(made: Workshop) -> None:
    known = list(made.state.values())
    parents = [made.make("m.room.message", ALICE, {"body": f"{number}"}, prev_events=["$n"]) for number in range(20)]  # type: ignore[list-item]  # an id
    event = made.make("m.room.message", ALICE, {}, prev_events=[each.event_id for each in parents])
    remote = Remote([*known, *parents, event], known, told_at_once=0)
    fill(remote, made, event)
    assert remote.asked.count("state_ids") <= 2 * MOST_CLAIMS


def test_what_nobody_has_does_not_cut_off_what_follows_it(made: Workshop) -> None:
    known = list(made.state.values())
    lost = EventId("$lost:nowhere.example")
    forged = made.make("m.room.message", ALICE, {"forged": True}, prev_events=[lost])
    event = made.make("m.room.message", ALICE, {}, prev_events=[forged.event_id])
    remote = Remote([*known, forged, event], known, told_at_once=1)
    assert fill(remote, made, event) == [(forged.event_id, True), (event.event_id, False)]


def test_events_that_go_round_in_a_circle_are_left_out() -> None:
    made = room("1")
    ids = [EventId(f"$c{number}:a.example") for number in range(2)]
    circle = []
    for number in range(2):
        event = made.make("m.room.message", ALICE, {"n": number}, prev_events=[ids[1 - number]])
        event.event_id = ids[number]
        circle.append(event)
    after = made.make("m.room.message", ALICE, {"after": True}, prev_events=[ids[0]])
    assert in_order([after, *circle], by_prev=True) == [after]
