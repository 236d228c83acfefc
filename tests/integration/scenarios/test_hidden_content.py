"""What may not be seen as an event is not told as a part of another one either (client-server API, "Event format")."""

from __future__ import annotations

from tests.cast import Actor, Cast
from tests.sync_answer import Synced
from tests.wire import Json

TOPIC = "m.room.topic"
SECRET = "the friar's plan"


def joined_only(romeo: Actor, **more: Json) -> str:
    """A public room whose history is for those who were there."""
    content = {"history_visibility": "joined"}
    state = [{"type": "m.room.history_visibility", "state_key": "", "content": content}]
    return romeo.creates_room(preset="public_chat", initial_state=state, **more)


def everything_told(who: Actor, room: str, event: str, since: Synced) -> str:
    """What the server says of a room and an event of it, by every way there is."""
    asks, filter = who.asks, {"room": {"timeline": {"limit": 50}}}
    answers: list[Json] = [
        *(who.sync(token, filter=filter, full_state=full).answer for token in (None, since) for full in (False, True)),
        who.sync(since, filter={"room": {"timeline": {"limit": 1}}}, use_state_after=True).answer,
        who.sync(filter={"room": {"timeline": {"limit": 1}, "state": {"lazy_load_members": True}}}).answer,
        asks("GET", "rooms", room, "state"),
        asks("GET", "rooms", room, "state", TOPIC, "", format="event"),
        asks("GET", "rooms", room, "messages", dir="b", limit=100),
        asks("GET", "rooms", room, "messages", dir="f", limit=100),
        asks("GET", "rooms", room, "members"),
        *(asks("GET", "rooms", room, "context", event, limit=limit) for limit in (0, 1, 2, 3, 100)),
    ]
    return repr(answers)


def test_the_content_before_is_for_those_who_may_see_it(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = joined_only(romeo)
    hidden = romeo.sets_state(room, TOPIC, {"topic": SECRET})
    current = romeo.sets_state(room, TOPIC, {"topic": "the balcony"})
    since = juliet.sync()
    juliet.joins(room)
    said = romeo.says(room, "hello")
    told = everything_told(juliet, room, said, since)
    assert "the balcony" in told
    assert SECRET not in told
    assert romeo.event(room, current)["unsigned"]["prev_content"] == {"topic": SECRET}
    # "Unlike prev_content, this field is included regardless of history visibility."
    state = juliet.asks("GET", "rooms", room, "state", TOPIC, "", format="event")
    assert state["unsigned"]["replaces_state"] == hidden
    later = romeo.sets_state(room, TOPIC, {"topic": "the garden"})
    assert juliet.event(room, later)["unsigned"]["prev_content"] == {"topic": "the balcony"}
    assert juliet.sync(since).timeline(room).event(later)["unsigned"]["prev_content"] == {"topic": "the balcony"}


def test_an_event_seen_from_outside_does_not_tell_what_was_hidden_before(cast: Cast) -> None:
    romeo, juliet, stranger = cast("romeo"), cast("juliet"), cast("stranger")
    room = joined_only(romeo)
    romeo.sets_state(room, TOPIC, {"topic": SECRET})
    romeo.sets_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    current = romeo.sets_state(room, TOPIC, {"topic": "the balcony"})
    next_one = romeo.sets_state(room, TOPIC, {"topic": "the garden"})
    since = juliet.sync()
    juliet.joins(room)
    for who in (juliet, stranger):
        assert SECRET not in repr([who.event(room, current), who.context(room, next_one), who.messages(room)[1]])
        assert who.event(room, next_one)["unsigned"]["prev_content"] == {"topic": "the balcony"}
    assert SECRET not in everything_told(juliet, room, current, since)


def test_a_members_own_invite_is_told_with_the_join(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = joined_only(romeo)
    romeo.invites(room, juliet)
    juliet.joins(room)
    told = juliet.sync().timeline(room)
    joined = next(event for event in told if event.get("state_key") == juliet.user_id)
    assert joined["unsigned"]["prev_content"]["membership"] == "invite"


def test_what_was_redacted_is_not_told_as_the_content_before(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = juliet.sync()
    secret = romeo.sets_state(room, TOPIC, {"topic": SECRET})
    current = romeo.sets_state(room, TOPIC, {"topic": "the balcony"})
    # All of this is in memory from here on.
    assert SECRET in everything_told(juliet, room, current, since)
    assert SECRET in repr(romeo.event(room, current))
    romeo.redacts(room, secret)
    for who in (romeo, juliet):
        assert who.event(room, current)["unsigned"]["prev_content"] == {}
        assert SECRET not in everything_told(who, room, current, since)


def test_the_state_while_one_was_away_is_not_told(cast: Cast) -> None:
    romeo, juliet, friar = cast("romeo"), cast("juliet"), cast("friar")
    room = joined_only(romeo)
    juliet.joins(room)
    said = romeo.says(room, "farewell")
    juliet.leaves(room)
    romeo.sets_state(room, TOPIC, {"topic": SECRET})
    friar.joins(room, reason=SECRET)
    away = romeo.sync()
    friar.leaves(room)
    romeo.sets_state(room, TOPIC, {"topic": "the balcony"})
    juliet.joins(room)
    for limit in range(12):
        told = repr(juliet.context(room, said, limit=limit))
        assert SECRET not in told
        assert friar.user_id not in told
    # Of a time when she was not there she is told how it was when she came back.
    assert juliet.members(room, at=away.next_batch) == juliet.members(room)
    assert romeo.members(room, at=away.next_batch)[friar.user_id] == "join"
    past = cast("past")
    romeo.sets_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    assert past.call("GET", f"/_matrix/client/v3/rooms/{room}/members?at={away.next_batch}").status == 403
    assert past.members(room)[romeo.user_id] == "join"


def test_what_one_reader_does_not_want_does_not_come_because_of_another(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    readers = [cast("nurse"), cast("friar")]
    room = romeo.creates_room(preset="public_chat")
    for who in (juliet, tybalt, *readers):
        who.joins(room)
    unwanted = [tybalt, juliet]
    since = [who.sync() for who in readers]
    for each in (romeo, tybalt, juliet, romeo):
        each.says(room, each.localpart)
    for who, token, other in zip(readers, since, unwanted, strict=True):
        told = who.sync(token, filter={"room": {"timeline": {"not_senders": [other.user_id]}}}).timeline(room)
        assert len(told) == 3
        assert other.localpart not in told.bodies
    for who, token, other in zip(readers, since, unwanted, strict=True):
        who.keeps("m.ignored_user_list", {"ignored_users": {other.user_id: {}}})
        assert other.localpart not in who.sync(token).timeline(room).bodies
