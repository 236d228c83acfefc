"""Who may see which part of a room's history, by every way there is (client-server API, "Room History Visibility")."""

from __future__ import annotations

import pytest

from tests.cast import Actor, Cast, refused
from tests.wire import Json

SETTINGS = ["world_readable", "shared", "invited", "joined"]

# When, seen from juliet: before her invite, invited, joined, after she left.
PHASES = ["before", "invited", "joined", "gone"]
VISIBLE_TO_MEMBER = {
    "world_readable": {"before", "invited", "joined"},
    "shared": {"before", "invited", "joined"},
    "invited": {"invited", "joined"},
    "joined": {"joined"},
}


def room_with(romeo: Actor, visibility: str, **options: Json) -> str:
    """A room with this history visibility."""
    content = {"history_visibility": visibility}
    return romeo.creates_room(
        initial_state=[{"type": "m.room.history_visibility", "state_key": "", "content": content}], **options
    )


def seen(who: Actor, room: str, sent: dict[str, str]) -> set[str]:
    """The phases whose message someone finds in /messages."""
    history = who.whole_history(room)
    return {phase for phase, event in sent.items() if event in history}


def found_alone(who: Actor, room: str, sent: dict[str, str]) -> set[str]:
    """The phases whose message someone gets by its id."""
    found = set()
    for phase, event in sent.items():
        answer = who.call("GET", f"/_matrix/client/v3/rooms/{room}/event/{event}")
        assert answer.status in (200, 403, 404), answer
        context = who.call("GET", f"/_matrix/client/v3/rooms/{room}/context/{event}")
        assert (context.status == 200) == (answer.status == 200), context
        if answer.status == 200:
            found.add(phase)
    return found


@pytest.mark.parametrize("visibility", SETTINGS)
def test_a_member_sees_what_the_setting_says_by_every_way(cast: Cast, visibility: str) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = room_with(romeo, visibility)
    since = juliet.sync()
    sent = {"before": romeo.says(room, "before")}
    romeo.invites(room, juliet)
    sent["invited"] = romeo.says(room, "invited")
    juliet.joins(room)
    sent["joined"] = romeo.says(room, "joined")
    visible = VISIBLE_TO_MEMBER[visibility]
    assert seen(juliet, room, sent) == visible
    assert found_alone(juliet, room, sent) == visible
    everything = juliet.sync(filter={"room": {"timeline": {"limit": 50}}}).timeline(room)
    assert {phase for phase, event in sent.items() if event in everything} == visible
    told = juliet.sync(since, filter={"room": {"timeline": {"limit": 50}}}).timeline(room)
    assert {phase for phase, event in sent.items() if event in told} == visible
    around = juliet.context(room, sent["joined"], limit=30)
    before = [event["event_id"] for event in around["events_before"]]
    assert {phase for phase in ("before", "invited") if sent[phase] in before} == visible - {"joined"}


@pytest.mark.parametrize("visibility", SETTINGS)
def test_those_who_left_see_what_was_up_to_then(cast: Cast, visibility: str) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = room_with(romeo, visibility, preset="public_chat")
    sent = {"before": romeo.says(room, "before")}
    juliet.joins(room)
    sent["joined"] = romeo.says(room, "joined")
    juliet.leaves(room)
    sent["gone"] = romeo.says(room, "gone")
    romeo.sets_state(room, "m.room.topic", {"topic": "after you left"})
    visible = VISIBLE_TO_MEMBER[visibility] & {"before", "joined"}
    if visibility == "world_readable":
        visible = visible | {"gone"}
    assert found_alone(juliet, room, sent) == visible
    # What they ask for in the room ends with their leave: also its state.
    assert "m.room.topic" not in juliet.whole_state(room).types or visibility == "world_readable"
    with refused("M_FORBIDDEN", 403):
        juliet.says(room, "I am not there")


@pytest.mark.parametrize("visibility", SETTINGS)
def test_strangers_see_only_what_is_for_the_whole_world(cast: Cast, visibility: str) -> None:
    romeo, stranger = cast("romeo"), cast("stranger")
    room = room_with(romeo, visibility)
    sent = {"before": romeo.says(room, "before")}
    if visibility == "world_readable":
        assert seen(stranger, room, sent) == {"before"}
        assert found_alone(stranger, room, sent) == {"before"}
        assert "m.room.create" in stranger.whole_state(room).types
        assert stranger.state(room, "m.room.join_rules") == {"join_rule": "invite"}
        assert stranger.members(room) == {romeo.user_id: "join"}
    else:
        with refused("M_FORBIDDEN", 403):
            stranger.messages(room)
        assert found_alone(stranger, room, sent) == set()
        with refused("M_FORBIDDEN", 403):
            stranger.members(room)
    assert room not in stranger.sync().joined


def test_a_change_of_the_setting_does_not_open_what_was_before(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = room_with(romeo, "joined", preset="public_chat")
    secret = romeo.says(room, "secret")
    romeo.sets_state(room, "m.room.history_visibility", {"history_visibility": "shared"})
    shared = romeo.says(room, "shared")
    juliet.joins(room)
    history = juliet.whole_history(room)
    assert secret not in history
    assert shared in history
    assert found_alone(juliet, room, {"secret": secret, "shared": shared}) == {"shared"}


def test_what_cannot_be_seen_cannot_be_related_to_or_searched_by_relation(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = room_with(romeo, "joined", preset="public_chat")
    root = romeo.says(room, "root")
    hidden = romeo.replies_in_thread(room, root, "hidden")
    juliet.joins(room)
    answer = juliet.call("GET", f"/_matrix/client/v1/rooms/{room}/relations/{root}")
    assert answer.status in (403, 404) or hidden not in [event["event_id"] for event in answer.json["chunk"]]


def test_one_room_gives_no_event_of_another(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    secret_room, room = romeo.creates_room(), romeo.creates_room(preset="public_chat")
    secret = romeo.says(secret_room, "secret")
    juliet.joins(room)
    for what in ("event", "context"):
        with refused("M_NOT_FOUND", 404):
            juliet.asks("GET", "rooms", room, what, secret)
    assert juliet.call("POST", f"/_matrix/client/v3/rooms/{room}/receipt/m.read/{secret}").status in (400, 404)
    assert juliet.call("PUT", f"/_matrix/client/v3/rooms/{room}/redact/{secret}/t", {}).status in (400, 403, 404)
