"""Invites that came before their room: once the room is joined they are events of it like any other.

Specification: server-server API, "Inviting to a room", GET /event_auth/{roomId}/{eventId}, "Room State Resolution".
"""

from __future__ import annotations

import pytest

from homeserver.core.event import Event
from homeserver.core.ids import EventId
from tests.cast import Actor
from tests.federated import Federated, joins_through
from tests.stranger import Stranger, Visit

Pair = tuple[Federated, Federated]


Scene = tuple[Actor, Actor, str, Visit, str]


@pytest.fixture(params=["2", "12"])
def scene(pair: Pair, stranger: Stranger, request: pytest.FixtureRequest) -> Scene:
    """Bob was invited by Alice as she was then: the id of that event of hers comes last. Mallory may kick."""
    here, there = pair
    alice, bob = here.cast("alice"), there.cast("bob")
    room = alice.creates_room(preset="public_chat", room_version=request.param)
    seen = stranger.joins(here.server_name, room, stranger.user("mallory"))
    levels = alice.state(room, "m.room.power_levels")
    levels["users"][stranger.user("mallory")] = 50
    alice.sets_state(room, "m.room.power_levels", levels)
    alice.sets_state(room, "m.room.join_rules", {"join_rule": "invite"})
    renamed = alice.sets_state(
        room, "m.room.member", {"membership": "join", "displayname": "Alice, then"}, alice.user_id
    )
    alice.invites(room, bob)
    alice.sets_state(room, "m.room.member", {"membership": "join", "displayname": "Alice, now"}, alice.user_id)
    return alice, bob, room, seen, renamed


def member_event(who: Actor, room: str, user_id: str) -> str:
    """The event by which a user is what they are in a room."""
    members = who.whole_state(room).of_type("m.room.member")
    return next(str(event["event_id"]) for event in members if event["state_key"] == user_id)


def ids(seen: Visit, pdus: list[dict[str, object]]) -> set[str]:
    return {Event.parse(pdu, seen.rules).event_id for pdu in pdus}  # type: ignore[arg-type]  # JSON of the wire


def test_the_auth_chain_of_a_join_goes_on_behind_the_invite(pair: Pair, scene: Scene) -> None:
    here, there = pair
    _, bob, room, seen, renamed = scene
    joins_through(bob, room, here)
    join = member_event(bob, room, bob.user_id)
    chains = {}
    for server in pair:
        status, answer = seen.stranger.reads(server.server_name, "event_auth", room, join)
        assert status == 200, answer
        chains[server] = ids(seen, answer["auth_chain"])
    assert renamed in chains[there]
    assert chains[there] == chains[here]


def test_a_fork_at_the_invite_is_resolved(pair: Pair, scene: Scene) -> None:
    here, there = pair
    alice, bob, room, seen, _ = scene
    invite = member_event(alice, room, bob.user_id)
    mallory = seen.stranger.user("mallory")
    for event in alice.whole_state(room):
        status, answer = seen.stranger.reads(here.server_name, "event", event["event_id"])
        assert status == 200, answer
        seen.saw(Event.parse(answer["pdus"][0], seen.rules))
    last = alice.says(room, "before the fork")
    kick = seen.build(mallory, "m.room.member", {"membership": "leave"}, bob.user_id, prev=[EventId(last)], depth=1_000)
    assert invite in kick.auth_events
    joins_through(bob, room, here)
    since = bob.sync()
    # The kick comes from one with power, so it is applied first, and the join is not allowed after it.
    assert seen.stranger.sends(there.server_name, [kick]) == (200, {"pdus": {kick.event_id: {}}})
    bob.syncs_until(since, lambda seen: any(room in answer.left for answer in seen))
    assert seen.stranger.sends(here.server_name, [kick]) == (200, {"pdus": {kick.event_id: {}}})
    assert alice.members(room)[bob.user_id] == "leave"
    assert there.errors() == []
