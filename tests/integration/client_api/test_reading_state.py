"""GET /state, /members, /joined_members, /joined_rooms."""

from __future__ import annotations

import pytest

from tests.cast import Cast, refused
from tests.sync_answer import Events
from tests.wire import Json


def test_state_is_read_as_a_whole_and_by_the_piece(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room(name="Orchard")
    romeo.sets_state(room, "org.example.fruit", {"ripe": True}, "apple")
    assert romeo.state(room, "m.room.name") == {"name": "Orchard"}
    assert romeo.asks("GET", "rooms", room, "state", "m.room.name") == {"name": "Orchard"}
    assert romeo.state(room, "org.example.fruit", "apple") == {"ripe": True}
    event = romeo.asks("GET", "rooms", room, "state", "m.room.name", "", format="event")
    assert (event["type"], event["room_id"], event["sender"]) == ("m.room.name", room, romeo.user_id)
    assert event in [*romeo.whole_state(room), event]
    whole = romeo.whole_state(room)
    assert whole.content("m.room.name") == {"name": "Orchard"}
    assert whole.memberships == {romeo.user_id: "join"}
    assert len({(each["type"], each["state_key"]) for each in whole}) == len(whole)
    with refused("M_NOT_FOUND", 404):
        romeo.state(room, "m.room.topic")
    with refused("M_INVALID_PARAM", 400):
        romeo.asks("GET", "rooms", room, "state", "m.room.name", "", format="poem")


def test_those_who_left_read_the_state_of_then(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    room = romeo.creates_room(name="before", preset="public_chat")
    juliet.joins(room)
    juliet.leaves(room)
    romeo.sets_state(room, "m.room.name", {"name": "after"})
    tybalt.joins(room)
    assert juliet.state(room, "m.room.name") == {"name": "before"}
    assert juliet.whole_state(room).content("m.room.name") == {"name": "before"}
    assert juliet.members(room) == {romeo.user_id: "join", juliet.user_id: "leave"}
    assert romeo.members(room) == {romeo.user_id: "join", juliet.user_id: "leave", tybalt.user_id: "join"}
    with refused("M_FORBIDDEN", 403):
        juliet.asks("GET", "rooms", room, "joined_members")


def test_strangers_and_the_invited_read_no_state(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    room = romeo.creates_room(invite=[juliet])
    for who in (juliet, tybalt):
        with refused("M_FORBIDDEN", 403):
            who.state(room, "m.room.create")
        with refused("M_FORBIDDEN", 403):
            who.whole_state(room)
        with refused("M_FORBIDDEN", 403):
            who.members(room)
        with refused("M_FORBIDDEN", 403):
            who.asks("GET", "rooms", room, "joined_members")
    with refused("M_FORBIDDEN", 403):
        romeo.members("!nowhere:test.localhost")
    romeo.sets_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    assert tybalt.members(room) == {romeo.user_id: "join", juliet.user_id: "invite"}
    assert tybalt.state(room, "m.room.history_visibility") == {"history_visibility": "world_readable"}


def test_members_are_chosen_by_membership(cast: Cast) -> None:
    romeo, juliet, nurse, tybalt = cast("romeo"), cast("juliet"), cast("nurse"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat", invite=[juliet])
    nurse.joins(room)
    tybalt.joins(room)
    romeo.bans(room, tybalt)
    everyone = {romeo.user_id: "join", juliet.user_id: "invite", nurse.user_id: "join", tybalt.user_id: "ban"}
    assert romeo.members(room) == everyone
    assert romeo.members(room, membership="join") == {romeo.user_id: "join", nurse.user_id: "join"}
    assert set(romeo.members(room, not_membership="ban")) == everyone.keys() - {tybalt.user_id}
    assert romeo.members(room, membership="ban", not_membership="join") == {
        juliet.user_id: "invite",
        tybalt.user_id: "ban",
    }
    assert romeo.members(room, membership="knock") == {}
    with refused("M_INVALID_PARAM", 400):
        romeo.members(room, membership="hero")


def test_members_are_told_as_they_were(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    then = romeo.sync().next_batch
    juliet.joins(room)
    now = romeo.sync().next_batch
    juliet.leaves(room)
    assert romeo.members(room, at=then) == {romeo.user_id: "join"}
    assert romeo.members(room, at=now) == {romeo.user_id: "join", juliet.user_id: "join"}
    assert romeo.members(room) == {romeo.user_id: "join", juliet.user_id: "leave"}
    with refused("M_INVALID_PARAM", 400):
        romeo.members(room, at="yesterday")


def test_a_redacted_member_is_listed_redacted(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    juliet.asks("PUT", "profile", juliet.user_id, "displayname", body={"displayname": "Rude"})
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    chunk = Events(romeo.asks("GET", "rooms", room, "members")["chunk"])
    member = next(event for event in chunk if event["state_key"] == juliet.user_id)
    assert member["content"]["displayname"] == "Rude"
    romeo.redacts(room, member["event_id"])
    chunk = Events(romeo.asks("GET", "rooms", room, "members")["chunk"])
    assert chunk.event(member["event_id"])["content"] == {"membership": "join"}


def test_joined_members_show_their_profiles(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    romeo.asks("PUT", "profile", romeo.user_id, "displayname", body={"displayname": "Montague"})
    room = romeo.creates_room(invite=[juliet])
    assert romeo.asks("GET", "rooms", room, "joined_members") == {
        "joined": {romeo.user_id: {"display_name": "Montague"}}
    }
    juliet.joins(room)
    assert set(romeo.asks("GET", "rooms", room, "joined_members")["joined"]) == {romeo.user_id, juliet.user_id}


def test_joined_rooms_are_those_that_one_is_in(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    assert juliet.asks("GET", "joined_rooms") == {"joined_rooms": []}
    rooms = [romeo.creates_room(invite=[juliet]) for _ in range(3)]
    for room in rooms:
        juliet.joins(room)
    juliet.leaves(rooms[1])
    assert sorted(juliet.asks("GET", "joined_rooms")["joined_rooms"]) == sorted([rooms[0], rooms[2]])


def test_mutual_rooms_are_those_that_both_are_in(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    shared, _invited = romeo.creates_room(invite=[juliet]), romeo.creates_room(invite=[juliet])
    juliet.joins(shared)
    juliet.creates_room()

    def mutual(other: str) -> Json:
        return romeo.asks("GET", "mutual_rooms", version="v1", user_id=other)

    assert mutual(juliet.user_id) == {"joined": [shared], "count": 1}
    assert mutual(nurse.user_id) == {"joined": [], "count": 0}
    assert mutual("@nobody:elsewhere.example") == {"joined": [], "count": 0}
    for other in (romeo.user_id, "nobody"):
        with refused("M_INVALID_PARAM", 400):
            mutual(other)
    with refused("M_MISSING_PARAM", 400):
        romeo.asks("GET", "mutual_rooms", version="v1")


@pytest.mark.parametrize("path", ["state", "members", "joined_members", "messages?dir=b", "aliases", "event/$x"])
def test_without_a_token_nothing_is_read(cast: Cast, path: str) -> None:
    answer = cast.server.wire.ask("GET", f"/_matrix/client/v3/rooms/!a:b/{path}")
    assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN")
