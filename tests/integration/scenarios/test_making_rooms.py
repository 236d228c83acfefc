"""POST /createRoom: presets and options, in all room versions."""

from __future__ import annotations

import pytest

from tests.cast import Cast, refused
from tests.sync_answer import Events
from tests.wire import Json, client_path

VERSIONS = [str(number) for number in range(1, 13)]


def state_event(type: str, content: Json, state_key: str = "") -> Json:
    """An entry of initial_state."""
    return {"type": type, "state_key": state_key, "content": content}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_room_of_every_version_works(cast: Cast, version: str) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(room_version=version, preset="private_chat", name="Balcony", invite=[juliet])
    state = romeo.whole_state(room)
    create = state.content("m.room.create")
    assert create.get("room_version", "1") == version
    if int(version) <= 10:
        assert create["creator"] == romeo.user_id
    else:
        assert "creator" not in create
    # From version 12 on, a room's id is the hash of its first event, and has no server name.
    assert (":" in room) == (int(version) < 12)
    assert room.startswith("!")
    juliet.joins(room)
    sent = juliet.says(room, "hello")
    redaction = juliet.redacts(room, sent)
    timeline = romeo.sync().timeline(room)
    assert timeline.event(sent)["content"] == {}
    assert timeline.event(redaction)["content"]["redacts"] == sent
    assert timeline.event(redaction)["redacts"] == sent
    romeo.kicks(room, juliet)
    assert romeo.members(room) == {romeo.user_id: "join", juliet.user_id: "leave"}


@pytest.mark.parametrize("version", ["10", "12"])
@pytest.mark.parametrize(
    ("preset", "join_rule", "visibility", "guests"),
    [
        ("private_chat", "invite", "shared", "can_join"),
        ("trusted_private_chat", "invite", "shared", "can_join"),
        ("public_chat", "public", "shared", "forbidden"),
    ],
)
def test_presets_are_as_the_specification_lists_them(
    cast: Cast, version: str, preset: str, join_rule: str, visibility: str, guests: str
) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset=preset, room_version=version, invite=[juliet])
    state = romeo.whole_state(room)
    assert state.content("m.room.join_rules")["join_rule"] == join_rule
    assert state.content("m.room.history_visibility")["history_visibility"] == visibility
    if guests == "can_join":
        assert state.content("m.room.guest_access") == {"guest_access": "can_join"}
    else:  # which is also what rooms without such an event do
        assert "can_join" not in [event["content"].get("guest_access") for event in state]
    power = state.content("m.room.power_levels")["users"]
    if preset == "trusted_private_chat" and version == "10":
        assert power[juliet.user_id] == power[romeo.user_id] == 100
    elif preset == "trusted_private_chat":
        # "all invitees should be given the same power level as the room creator": in 12, creators stand above levels.
        assert juliet.user_id in state.content("m.room.create")["additional_creators"]
    else:
        assert juliet.user_id not in power
    assert (romeo.user_id in power) == (version == "10")


@pytest.mark.parametrize(("visibility", "join_rule"), [("public", "public"), ("private", "invite")])
def test_without_a_preset_the_visibility_chooses_one(cast: Cast, visibility: str, join_rule: str) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room(visibility=visibility)
    assert romeo.state(room, "m.room.join_rules")["join_rule"] == join_rule
    assert romeo.asks("GET", "directory", "list", "room", room) == {"visibility": visibility}


def test_the_events_come_in_the_order_of_the_specification(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    alias = f"balcony-{romeo.localpart}"
    room = romeo.creates_room(
        preset="public_chat",
        room_alias_name=alias,
        initial_state=[state_event("org.example.first", {"a": 1})],
        name="Balcony",
        topic="at night",
        invite=[juliet],
    )
    types = romeo.whole_history(room, backwards=False).types
    order = [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.history_visibility",
        "org.example.first",
        "m.room.name",
        "m.room.topic",
    ]
    assert [type for type in types if type in order[:1] + order[2:]] == order[:1] + order[2:]
    assert types[:3] == order[:3]
    assert types[-1] == "m.room.member"
    assert romeo.state(room, "m.room.canonical_alias")["alias"] == f"#{alias}:{cast.server.server_name}"


def test_options_are_applied(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    alias = f"feast-{romeo.localpart}"
    room = romeo.creates_room(
        preset="public_chat",
        room_alias_name=alias,
        name="Feast",
        topic="masks",
        creation_content={"m.federate": False, "type": "m.space"},
        power_level_content_override={"users_default": 5, "events": {"m.room.name": 77}},
        initial_state=[state_event("m.room.history_visibility", {"history_visibility": "invited"})],
        is_direct=True,
        invite=[juliet],
    )
    state = romeo.whole_state(room)
    assert state.content("m.room.create")["m.federate"] is False
    assert state.content("m.room.create")["type"] == "m.space"
    assert state.content("m.room.name") == {"name": "Feast"}
    assert state.content("m.room.topic")["topic"] == "masks"
    assert state.content("m.room.power_levels")["users_default"] == 5
    assert state.content("m.room.power_levels")["events"]["m.room.name"] == 77
    assert state.content("m.room.history_visibility") == {"history_visibility": "invited"}
    assert state.content("m.room.member", juliet.user_id) == {"membership": "invite", "is_direct": True}
    resolved = romeo.asks("GET", "directory", "room", f"#{alias}:{cast.server.server_name}")
    assert resolved["room_id"] == room
    assert juliet.sync().invite_state(room).content("m.room.member", juliet.user_id)["is_direct"] is True


def test_a_name_in_initial_state_gives_way_to_the_name_itself(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room(name="right", initial_state=[state_event("m.room.name", {"name": "wrong"})])
    assert romeo.state(room, "m.room.name") == {"name": "right"}


def test_encryption_may_be_on_from_the_start(cast: Cast) -> None:
    romeo = cast("romeo")
    algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
    room = romeo.creates_room(initial_state=[state_event("m.room.encryption", algorithm)])
    assert romeo.state(room, "m.room.encryption") == algorithm


def test_a_taken_alias_is_refused_and_makes_no_room(cast: Cast) -> None:
    romeo = cast("romeo")
    alias = f"twice-{romeo.localpart}"
    room = romeo.creates_room(room_alias_name=alias)
    with refused("M_ROOM_IN_USE", 400):
        romeo.creates_room(room_alias_name=alias)
    assert romeo.asks("GET", "joined_rooms")["joined_rooms"] == [room]


def test_an_unknown_version_is_refused(cast: Cast) -> None:
    with refused("M_UNSUPPORTED_ROOM_VERSION", 400):
        cast("romeo").creates_room(room_version="ninety")


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "no_such_preset"},
        {"visibility": "hidden"},
        {"name": 5},
        {"topic": ["a"]},
        {"invite": "@juliet:example.org"},
        {"invite": ["juliet"]},
        {"initial_state": {"type": "m.room.name"}},
        {"initial_state": [{"content": {}}]},
        {"creation_content": []},
        {"power_level_content_override": []},
        {"power_level_content_override": {"ban": "much"}},
        {"room_version": 12},
        {"room_alias_name": "a:b"},
        {"room_alias_name": "#a"},
        {"room_alias_name": "a" * 300},
    ],
    ids=str,
)
def test_options_of_the_wrong_form_are_refused(cast: Cast, options: Json) -> None:
    romeo = cast("romeo")
    answer = romeo.call("POST", client_path("createRoom"), options)
    assert answer.status == 400, answer
    assert answer.errcode is not None
    assert romeo.asks("GET", "joined_rooms")["joined_rooms"] == []


def test_levels_that_lock_out_the_creator_are_refused(cast: Cast) -> None:
    romeo = cast("romeo")
    body = {"room_version": "10", "power_level_content_override": {"users": {}, "events": {"m.room.name": 200}}}
    answer = romeo.call("POST", client_path("createRoom"), {**body, "name": "I may not set this"})
    assert answer.status in (400, 403), answer


def test_an_upgraded_room_points_to_the_new_one(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    alias = f"moving-{romeo.localpart}"
    old = romeo.creates_room(room_version="9", preset="public_chat", name="Old", room_alias_name=alias)
    juliet.joins(old)
    new = str(romeo.asks("POST", "rooms", old, "upgrade", body={"new_version": "12"})["replacement_room"])
    assert juliet.state(old, "m.room.tombstone")["replacement_room"] == new
    state = romeo.whole_state(new)
    assert state.content("m.room.create")["room_version"] == "12"
    assert state.content("m.room.create")["predecessor"]["room_id"] == old
    assert state.content("m.room.name") == {"name": "Old"}
    full_alias = f"#{alias}:{cast.server.server_name}"
    assert romeo.asks("GET", "directory", "room", full_alias)["room_id"] == new
    juliet.joins(new)
    with refused("M_FORBIDDEN", 403):
        juliet.asks("POST", "rooms", new, "upgrade", body={"new_version": "12"})
    with refused("M_UNSUPPORTED_ROOM_VERSION", 400):
        romeo.asks("POST", "rooms", new, "upgrade", body={"new_version": "ninety"})


def test_state_is_read_whole_and_in_parts(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room(name="Balcony")
    romeo.sets_state(room, "org.example.key", {"n": 1}, "with/slash and ümlaut")
    assert romeo.state(room, "org.example.key", "with/slash and ümlaut") == {"n": 1}
    assert romeo.asks("GET", "rooms", room, "state", "m.room.name") == {"name": "Balcony"}
    whole = romeo.asks("GET", "rooms", room, "state", "m.room.name", "", format="event")
    assert (whole["type"], whole["content"], whole["sender"]) == ("m.room.name", {"name": "Balcony"}, romeo.user_id)
    with refused("M_NOT_FOUND", 404):
        romeo.state(room, "m.room.topic")
    assert isinstance(romeo.whole_state(room), Events)
    same = romeo.sets_state(room, "m.room.name", {"name": "Balcony"})
    assert same == whole["event_id"]
