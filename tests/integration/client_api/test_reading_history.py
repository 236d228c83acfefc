"""GET /messages, /context, /event, /timestamp_to_event."""

from __future__ import annotations

import pytest

from tests.cast import Cast, refused
from tests.sync_answer import Events


def test_pages_backwards_hold_everything_once_and_end(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    said = [romeo.says(room, f"line {number}") for number in range(25)]
    for limit in (1, 7, 100):
        history = romeo.whole_history(room, limit=limit)
        assert [each for each in history.ids if each in said] == said[::-1]
        assert len(set(history.ids)) == len(history)
        assert history[-1]["type"] == "m.room.create"
    forwards = romeo.whole_history(room, backwards=False, limit=7)
    assert forwards.ids == romeo.whole_history(room).ids[::-1]


def test_a_page_says_where_it_starts_and_where_the_next_one_does(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    for number in range(4):
        romeo.says(room, str(number))
    page, answer = romeo.messages(room, limit=2)
    assert page.bodies == ["3", "2"]
    next_page, next_answer = romeo.messages(room, limit=2, start=answer["end"])
    assert next_page.bodies == ["1", "0"]
    assert next_answer["start"] == answer["end"]
    back, _ = romeo.messages(room, backwards=False, limit=2, start=answer["end"])
    assert back.bodies == ["2", "3"]
    until, ended = romeo.messages(room, limit=50, to=answer["end"])
    assert until.bodies == ["3", "2"]
    assert "end" not in ended


def test_history_goes_on_where_a_sync_began(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    for number in range(12):
        romeo.says(room, str(number))
    synced = romeo.sync(filter={"room": {"timeline": {"limit": 3}}})
    assert synced.timeline(room).bodies == ["9", "10", "11"]
    page, _ = romeo.messages(room, limit=3, start=synced.prev_batch(room))
    assert page.bodies == ["8", "7", "6"]
    romeo.says(room, "12")
    later, _ = romeo.messages(room, backwards=False, start=synced.next_batch)
    assert later.bodies == ["12"]


def test_a_filter_is_followed_past_what_it_leaves_out(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    romeo.says(room, "needle")
    for number in range(150):
        romeo.sends(room, "org.example.hay", {"n": number})
    page, _ = romeo.messages(room, limit=5, filter={"types": ["m.room.message"]})
    assert page.bodies == ["needle"]
    none, answer = romeo.messages(room, filter={"not_types": ["*"]})
    assert none == []
    assert "end" not in answer


def test_the_members_who_spoke_come_with_a_page_when_asked_for(cast: Cast) -> None:
    romeo, juliet, nurse = cast("romeo"), cast("juliet"), cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    nurse.joins(room)
    juliet.says(room, "O Romeo")
    romeo.says(room, "I take thee at thy word")
    _, answer = romeo.messages(room, limit=2, filter={"lazy_load_members": True})
    assert set(Events(answer["state"]).memberships) == {romeo.user_id, juliet.user_id}
    _, plain = romeo.messages(room, limit=2)
    assert "state" not in plain


def test_own_transaction_ids_come_back_to_the_device_that_sent(cast: Cast) -> None:
    romeo = cast("romeo", devices=["sword", "letter"])
    room = romeo.creates_room()
    event = romeo.sword.says(room, "here", txn_id="mine")
    assert romeo.sword.messages(room)[0].event(event)["unsigned"]["transaction_id"] == "mine"
    assert "transaction_id" not in romeo.letter.messages(room)[0].event(event)["unsigned"]
    assert romeo.sword.event(room, event)["unsigned"]["transaction_id"] == "mine"


@pytest.mark.parametrize(
    "query",
    [
        {"dir": "x"},
        {},
        {"dir": "b", "from": "t1"},
        {"dir": "b", "from": "s-1"},
        {"dir": "b", "to": "nonsense"},
        {"dir": "b", "limit": "many"},
        {"dir": "b", "limit": -1},
        {"dir": "b", "filter": "{"},
        {"dir": "b", "filter": "[]"},
        {"dir": "b", "filter": '{"types":1}'},
    ],
)
def test_requests_that_make_no_sense_are_refused(cast: Cast, query: dict[str, str]) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    with refused("M_INVALID_PARAM" if query else "M_MISSING_PARAM", 400):
        romeo.asks("GET", "rooms", room, "messages", **query)


def test_strangers_see_no_history_and_those_who_left_see_it_up_to_then(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    room = romeo.creates_room(invite=[juliet])
    before = romeo.says(room, "before")
    with refused("M_FORBIDDEN", 403):
        juliet.messages(room)
    juliet.joins(room)
    during = romeo.says(room, "during")
    juliet.leaves(room)
    after = romeo.says(room, "after")
    seen = juliet.whole_history(room)
    assert before in seen
    assert during in seen
    assert after not in seen
    assert juliet.event(room, during)["event_id"] == during
    with refused("M_NOT_FOUND", 404):
        juliet.event(room, after)
    with refused("M_NOT_FOUND", 404):
        juliet.context(room, after)
    for who in (tybalt,):
        with refused("M_FORBIDDEN", 403):
            who.messages(room)
        with refused("M_NOT_FOUND", 404):
            who.event(room, during)
        with refused("M_NOT_FOUND", 404):
            who.context(room, during)
    juliet.forgets(room)
    with refused("M_FORBIDDEN", 403):
        juliet.messages(room)


def test_what_everyone_may_read_everyone_may_read(cast: Cast) -> None:
    romeo, tybalt = cast("romeo"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat")
    hidden = romeo.says(room, "hidden")
    romeo.sets_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    shown = romeo.says(room, "shown")
    seen = tybalt.whole_history(room)
    assert shown in seen
    assert hidden not in seen
    assert tybalt.event(room, shown)["content"]["body"] == "shown"
    with refused("M_NOT_FOUND", 404):
        tybalt.event(room, hidden)


def test_members_since_now_see_nothing_of_before_where_history_is_for_the_joined(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    romeo.sets_state(room, "m.room.history_visibility", {"history_visibility": "joined"})
    before = romeo.says(room, "before")
    juliet.joins(room)
    after = romeo.says(room, "after")
    seen = juliet.whole_history(room)
    assert after in seen
    assert before not in seen
    with refused("M_NOT_FOUND", 404):
        juliet.event(room, before)


def test_ignored_users_say_nothing_but_their_state_stays(cast: Cast) -> None:
    romeo, tybalt = cast("romeo"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat")
    tybalt.joins(room)
    said = tybalt.says(room, "villain")
    romeo.keeps("m.ignored_user_list", {"ignored_users": {tybalt.user_id: {}}})
    seen = romeo.whole_history(room)
    assert said not in seen
    assert seen.memberships[tybalt.user_id] == "join"


def test_the_context_of_an_event_is_what_is_around_it(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    said = [romeo.says(room, str(number)) for number in range(10)]
    answer = romeo.context(room, said[5], limit=4)
    assert answer["event"]["event_id"] == said[5]
    assert Events(answer["events_before"]).bodies == ["4", "3"]
    assert Events(answer["events_after"]).bodies == ["6", "7"]
    assert "m.room.create" in Events(answer["state"]).types
    before, _ = romeo.messages(room, limit=2, start=answer["start"])
    assert before.bodies == ["2", "1"]
    after, _ = romeo.messages(room, backwards=False, limit=2, start=answer["end"])
    assert after.bodies == ["8", "9"]
    alone = romeo.context(room, said[5], limit=0)
    assert (alone["events_before"], alone["events_after"]) == ([], [])
    lazy = romeo.context(room, said[5], limit=2, filter={"lazy_load_members": True})
    assert Events(lazy["state"]).memberships == {romeo.user_id: "join"}


def test_the_state_in_a_context_is_that_of_its_end(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room(name="first")
    event = romeo.says(room, "now")
    romeo.sets_state(room, "m.room.name", {"name": "second"})
    romeo.sets_state(room, "m.room.name", {"name": "third"})
    assert Events(romeo.context(room, event, limit=0)["state"]).content("m.room.name") == {"name": "first"}
    assert Events(romeo.context(room, event, limit=2)["state"]).content("m.room.name") == {"name": "second"}


def test_events_are_found_in_their_own_room_only(cast: Cast) -> None:
    romeo = cast("romeo")
    room, other = romeo.creates_room(), romeo.creates_room()
    event = romeo.says(room, "here")
    with refused("M_NOT_FOUND", 404):
        romeo.event(other, event)
    with refused("M_NOT_FOUND", 404):
        romeo.event(room, "$nothing")
    with refused("M_INVALID_PARAM", 400):
        romeo.event(room, "no-event")


def test_an_event_is_found_by_its_time(cast: Cast) -> None:
    romeo, tybalt = cast("romeo"), cast("tybalt")
    room = romeo.creates_room()
    said = [romeo.says(room, str(number)) for number in range(30)]
    for event in (said[0], said[17], said[29]):
        at = romeo.event(room, event)["origin_server_ts"]
        for direction in ("f", "b"):
            found = romeo.asks("GET", "rooms", room, "timestamp_to_event", version="v1", ts=at, dir=direction)
            assert found["origin_server_ts"] == at
    first = romeo.asks("GET", "rooms", room, "timestamp_to_event", version="v1", ts=0, dir="f")
    assert romeo.event(room, first["event_id"])["type"] == "m.room.create"
    with refused("M_NOT_FOUND", 404):
        romeo.asks("GET", "rooms", room, "timestamp_to_event", version="v1", ts=0, dir="b")
    with refused("M_FORBIDDEN", 403):
        tybalt.asks("GET", "rooms", room, "timestamp_to_event", version="v1", ts=0, dir="f")
