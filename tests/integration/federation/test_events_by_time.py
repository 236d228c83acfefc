"""An event of a time that this server has no history of: other servers are asked, and need not be believed.

Specification: client-server API, GET /rooms/{roomId}/timestamp_to_event; server-server API, GET /timestamp_to_event.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from homeserver.core.event import Event
from tests.cast import Device, refused
from tests.federated import Federated, MakeFederated, joins_through
from tests.stranger import Asked, NotHere, Stranger, Visit
from tests.wire import Json

Pair = tuple[Federated, Federated]


def at(who: Device, room: str, ts: int, direction: str) -> Json:
    """What somebody is told of a time."""
    return who.asks("GET", "rooms", room, "timestamp_to_event", version="v1", ts=ts, dir=direction)


def says_slowly(who: Device, room: str, count: int) -> list[tuple[str, int]]:
    """Messages, each of a time of its own: ids and times."""
    said = []
    for number in range(count):
        said.append(who.says(room, str(number)))
        time.sleep(0.003)
    return [(event_id, who.event(room, event_id)["origin_server_ts"]) for event_id in said]


def test_an_event_from_before_the_join_is_fetched_with_what_is_around_it(pair: Pair) -> None:
    here, there = pair
    alice, bob = here.cast("alice"), there.cast("bob")
    room = alice.creates_room(preset="public_chat")
    said = says_slowly(alice, room, 130)
    joins_through(bob, room, here)
    event_id, ts = said[9]
    assert at(bob, room, ts, "f") == {"event_id": event_id, "origin_server_ts": ts}
    context = bob.context(room, event_id, limit=10)
    assert context["event"]["content"]["body"] == "9"
    assert [event["event_id"] for event in context["events_before"]] == [said[n][0] for n in (8, 7, 6, 5, 4)]
    older, _ = bob.messages(room, start=context["start"], limit=4)
    assert older.ids == [said[n][0] for n in (3, 2, 1, 0)]
    # Between two events that are here now and follow each other, nobody has to be asked; before a gap, somebody has.
    assert at(bob, room, said[7][1] + 1, "f")["event_id"] == said[8][0]
    assert at(bob, room, said[100][1], "b")["event_id"] == said[100][0]
    first = at(bob, room, 0, "f")
    assert bob.event(room, first["event_id"])["type"] == "m.room.create"
    with refused("M_NOT_FOUND", 404):
        at(bob, room, 0, "b")


def test_who_reads_on_from_there_meets_no_gap(pair: Pair) -> None:
    here, there = pair
    alice, bob = here.cast("alice"), there.cast("bob")
    room = alice.creates_room(preset="public_chat")
    event_id, ts = says_slowly(alice, room, 1)[0]
    # More than is fetched at once, and for one answer.
    said = [alice.says(room, f"{number}") for number in range(320)]
    joins_through(bob, room, here)
    assert at(bob, room, ts, "f")["event_id"] == event_id
    token = bob.context(room, event_id, limit=0)["end"]
    read: list[str] = []
    while token is not None:
        page, answer = bob.messages(room, backwards=False, start=token, limit=50)
        read += page.ids
        token = answer.get("end")
    assert read[: len(said)] == said
    assert bob.event(room, read[len(said)])["content"]["membership"] == "join"


def test_whoever_may_not_see_what_was_before_is_not_shown_it_by_its_time(pair: Pair) -> None:
    here, there = pair
    alice, bob = here.cast("alice"), there.cast("bob")
    visibility = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    room = alice.creates_room(preset="public_chat", initial_state=[visibility])
    (event_id, ts), *_ = says_slowly(alice, room, 3)
    joins_through(bob, room, here)
    for direction in ("f", "b"):
        shown = at(bob, room, ts, direction)
        assert bob.event(room, shown["event_id"])["type"] != "m.room.message"
    with refused("M_NOT_FOUND", 404):
        bob.context(room, event_id)


Scene = tuple[Device, str, list[tuple[str, int]], Visit]


@pytest.fixture
def scene(pair: Pair, make_federated: MakeFederated, stranger: Stranger) -> Scene:
    """Bob's server has no history of a room; the hostile server is asked for it first, an honest one then."""
    here, there = pair
    maker = make_federated()
    alice, dan, bob = maker.cast("alice"), here.cast("dan"), there.cast("bob")
    room = alice.creates_room(preset="public_chat")
    joins_through(dan, room, maker)
    said = says_slowly(dan, room, 20)
    seen = stranger.joins(here.server_name, room, stranger.user("mallory"))
    stranger.joins(here.server_name, room, stranger.user("malvolio"))
    joins_through(bob, room, here)
    alice.leaves(room)
    for who in (dan, bob):
        gone = who.sync()
        if who.members(room)[alice.user_id] != "leave":
            who.syncs_until(gone, lambda seen: alice.user_id in seen.timeline(room).memberships)
    return bob, room, said, seen


Lie = Callable[[Visit, str, int], None]


def names_what_nobody_has(seen: Visit, event_id: str, ts: int) -> None:
    seen.stranger.answers["timestamp_to_event/"] = lambda asked: {"event_id": "$nothing", "origin_server_ts": ts}


def tells_another_time(seen: Visit, event_id: str, ts: int) -> None:
    create = seen.state[("m.room.create", "")]
    named = {"event_id": create.event_id, "origin_server_ts": ts}
    seen.stranger.answers["timestamp_to_event/"] = lambda asked: named
    seen.stranger.answers["event/"] = _serving({create.event_id: create})


def tells_nonsense(seen: Visit, event_id: str, ts: int) -> None:
    seen.stranger.answers["timestamp_to_event/"] = lambda asked: {"event_id": 5, "origin_server_ts": "noon"}


def tells_what_was_not_asked(seen: Visit, event_id: str, ts: int) -> None:
    create = seen.state[("m.room.create", "")]
    named = {"event_id": create.event_id, "origin_server_ts": create.origin_server_ts}
    seen.stranger.answers["timestamp_to_event/"] = lambda asked: named
    seen.stranger.answers["event/"] = _serving({create.event_id: create})


def has_forged_an_event(seen: Visit, event_id: str, ts: int) -> None:
    mallory = seen.stranger.user("mallory")
    forged = seen.build(mallory, "m.room.power_levels", {"users": {mallory: 100}}, "", ts=ts)
    named = {"event_id": forged.event_id, "origin_server_ts": ts}
    state = [event.event_id for event in seen.state.values()]
    seen.stranger.answers["timestamp_to_event/"] = lambda asked: named
    seen.stranger.answers["event/"] = _serving({forged.event_id: forged})
    seen.stranger.answers["backfill/"] = lambda asked: {"pdus": [forged.to_pdu()]}
    seen.stranger.answers["state_ids/"] = lambda asked: {"pdu_ids": state, "auth_chain_ids": state}


def never_answers(seen: Visit, event_id: str, ts: int) -> None:
    never = threading.Event()
    seen.stranger.answers["timestamp_to_event/"] = lambda asked: never.wait(12)


def _serving(events: dict[str, Event]) -> Callable[[Asked], Json]:
    def answer(asked: Asked) -> Json:
        if asked.last not in events:
            raise NotHere
        return {"pdus": [events[asked.last].to_pdu()]}

    return answer


@pytest.mark.parametrize(
    "lie",
    [
        names_what_nobody_has,
        tells_another_time,
        tells_nonsense,
        tells_what_was_not_asked,
        has_forged_an_event,
        never_answers,
    ],
)
def test_a_server_that_lies_or_is_silent_does_not_keep_the_truth_away(scene: Scene, lie: Lie) -> None:
    bob, room, said, seen = scene
    event_id, ts = said[5]
    lie(seen, event_id, ts)
    assert at(bob, room, ts, "f") == {"event_id": event_id, "origin_server_ts": ts}
    assert [asked.method for asked in seen.stranger.asked if "timestamp_to_event" in asked.path] == ["GET"]
    assert bob.context(room, event_id)["event"]["content"]["body"] == "5"
    assert seen.stranger.user("mallory") not in bob.state(room, "m.room.power_levels").get("users", {})
