"""The pure decisions of rooms: summaries, contents of first events, conditions of restricted rooms, sentences."""

from __future__ import annotations

from homeserver.core.auth import Rejected
from homeserver.core.canonical_json import JsonObject, NotCanonical
from homeserver.core.event import BadEvent, Event, EventTooLarge
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.room_rules import ROOM_RULES
from homeserver.rooms.append import refused, sentence
from homeserver.rooms.create import create_content, default_power_levels
from homeserver.rooms.restricted import allowed_rooms
from homeserver.rooms.summaries import is_shown, with_event, with_membership
from storage.rows import RoomSummary

ROMEO = UserId("@romeo:verona.example")


def state_event(event_type: str, content: JsonObject, state_key: str = "") -> Event:
    return Event(
        ROOM_RULES["12"],
        EventId("$x"),
        RoomId("!x"),
        event_type,
        state_key,
        ROMEO,
        content,
        1,
        1,
        (),
        (),
        None,
        b"{}",
    )


def test_a_summary_takes_what_lists_show() -> None:
    summary = RoomSummary()
    for event_type, content in (
        ("m.room.create", {"type": "m.space"}),
        ("m.room.name", {"name": "Balcony"}),
        ("m.room.topic", {"topic": "Night"}),
        ("m.room.avatar", {"url": "mxc://x/y"}),
        ("m.room.canonical_alias", {"alias": "#b:x"}),
        ("m.room.join_rules", {"join_rule": "public"}),
        ("m.room.history_visibility", {"history_visibility": "joined"}),
        ("m.room.guest_access", {"guest_access": "can_join"}),
        ("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}),
    ):
        assert is_shown(state_event(event_type, content))  # type: ignore[arg-type]  # plain texts
        summary = with_event(summary, state_event(event_type, content))  # type: ignore[arg-type]  # plain texts
    assert summary == RoomSummary(
        name="Balcony",
        topic="Night",
        avatar_url="mxc://x/y",
        canonical_alias="#b:x",
        join_rule="public",
        history_visibility="joined",
        guest_access="can_join",
        room_type="m.space",
        encryption="m.megolm.v1.aes-sha2",
    )


def test_odd_state_leaves_a_summary_empty_there() -> None:
    named = RoomSummary(name="Balcony")
    odd: list[JsonObject] = [{}, {"name": ""}, {"name": 7}, {"name": None}]
    for content in odd:
        assert with_event(named, state_event("m.room.name", content)).name is None
    assert with_event(named, state_event("m.room.name", {"name": "x"}, "elsewhere")) is named
    assert with_event(named, state_event("m.room.member", {"name": "x"})) is named
    assert with_event(named, state_event("m.room.name", {"name": "Balcony"})) is named


def test_members_are_counted_by_what_changed() -> None:
    summary = RoomSummary(joined_members=3, invited_members=2)
    counts = {
        ("invite", "join"): (4, 1),
        ("join", "leave"): (2, 2),
        ("leave", "invite"): (3, 3),
        ("invite", "ban"): (3, 1),
        ("join", "join"): (3, 2),
        ("leave", "knock"): (3, 2),
    }
    for (before, after), expected in counts.items():
        changed = with_membership(summary, before, after)
        assert (changed.joined_members, changed.invited_members) == expected
    assert with_membership(summary, "join", "join") is summary


def test_the_server_decides_about_creator_and_version() -> None:
    given: JsonObject = {"creator": "@mercutio:verona.example", "room_version": "1", "m.federate": False}
    assert create_content(ROOM_RULES["10"], ROMEO, given) == {
        "creator": ROMEO,
        "room_version": "10",
        "m.federate": False,
    }
    assert create_content(ROOM_RULES["11"], ROMEO, given) == {"room_version": "11", "m.federate": False}
    trusted = [ROMEO, "@juliet:verona.example"]
    named: JsonObject = {"additional_creators": ["@juliet:verona.example"]}
    assert create_content(ROOM_RULES["12"], ROMEO, named, trusted)["additional_creators"] == ["@juliet:verona.example"]
    assert "additional_creators" not in create_content(ROOM_RULES["11"], ROMEO, {}, trusted)
    # What makes no sense is left for the rules to reject.
    assert create_content(ROOM_RULES["12"], ROMEO, {"additional_creators": 1}, trusted)["additional_creators"] == 1


def test_only_creators_may_replace_a_room_where_they_stand_above_all_levels() -> None:
    for version, rules in ROOM_RULES.items():
        levels = default_power_levels(rules, [ROMEO], 0)
        events, default = levels["events"], levels["state_default"]
        assert isinstance(events, dict)
        assert isinstance(default, int)
        assert events["m.room.tombstone"] == (150 if version == "12" else 100)
        assert levels["users"] == ({} if version == "12" else {ROMEO: 100})


def test_conditions_that_make_no_sense_let_nobody_in() -> None:
    assert allowed_rooms({}) == []
    assert allowed_rooms({"allow": "!a:x"}) == []
    allow: JsonObject = {
        "allow": [
            "!a:x",
            {"type": "m.room_membership"},
            {"type": "m.room_membership", "room_id": 1},
            {"type": "other", "room_id": "!b:x"},
            {"type": "m.room_membership", "room_id": "!c:x"},
        ]
    }
    assert allowed_rooms(allow) == ["!c:x"]


def test_refusals_are_sentences_with_the_right_code() -> None:
    for reason, status, errcode in (
        (Rejected("you are not in this room"), 403, "M_FORBIDDEN"),
        (EventTooLarge("the event has 70000 bytes"), 413, "M_TOO_LARGE"),
        (BadEvent("type is longer than 255 bytes"), 400, "M_BAD_JSON"),
        (NotCanonical("the number is too large"), 400, "M_BAD_JSON"),
    ):
        error = refused(reason)
        assert (error.status, error.errcode) == (status, errcode)
    assert refused(Rejected("you are not in this room")).message == "You are not in this room."
    assert sentence("@romeo:verona.example is banned") == "@romeo:verona.example is banned."
    assert sentence("m.room.name needs power level 50") == "m.room.name needs power level 50."
