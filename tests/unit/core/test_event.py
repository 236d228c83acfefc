"""The format of events in each room version, and building them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import canonical_json, hashes
from homeserver.core.canonical_json import JsonObject, JsonValue, NotCanonical
from homeserver.core.draft import Draft, build
from homeserver.core.event import BadEvent, Event, EventTooLarge
from homeserver.core.ids import EventId
from homeserver.core.redaction import redact, redacted
from homeserver.core.room_rules import ROOM_RULES
from tests.unit.core.building import ALICE, BOB, room, signer_of

VERSIONS = list(ROOM_RULES)
NUMBERS = st.integers(-canonical_json.MAX_INTEGER, canonical_json.MAX_INTEGER)
VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | st.text(max_size=10) | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
KEPT_KEYS = sorted(
    {key.partition(".")[0] for r in ROOM_RULES.values() for keys in r.keep_content.values() for key in keys}
)
CONTENTS = st.dictionaries(st.sampled_from(KEPT_KEYS) | st.text(max_size=8), VALUES, max_size=6)
TYPES = st.sampled_from(sorted({t for rules in ROOM_RULES.values() for t in rules.keep_content} - {"m.room.create"}))


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def message_pdu(version: str) -> JsonObject:
    return room(version).make("m.room.message", ALICE, {"body": "hello"}).to_pdu()


@given(st.sampled_from(VERSIONS), TYPES | st.text(max_size=10), CONTENTS, st.none() | st.text(max_size=10))
def test_what_is_built_is_what_others_read(version: str, event_type: str, content: JsonObject, key: str | None) -> None:
    rules = ROOM_RULES[version]
    made = room(version).make(event_type, ALICE, content, key)
    parsed = Event.parse(made.to_pdu(), rules)
    loaded = Event.load(made.json, rules, made.event_id)
    for name in Event.__slots__:
        assert getattr(made, name) == getattr(parsed, name) == getattr(loaded, name), name
    assert hashes.check_content_hash(made.to_pdu(), rules)
    assert made.content == content


@given(st.sampled_from(VERSIONS), TYPES, CONTENTS)
def test_redacting_twice_is_redacting_once_and_keeps_the_id(version: str, event_type: str, content: JsonObject) -> None:
    event = room(version).make(event_type, ALICE, content, "")
    once = redact(event.to_pdu(), event.rules)
    assert redact(once, event.rules) == once
    assert hashes.event_id_of(once, event.rules) == event.event_id
    small = redacted(event)
    assert small.to_pdu() == once
    assert small.event_id == event.event_id
    assert small.content.keys() <= event.content.keys()


def test_unsigned_is_no_part_of_an_event(version: str) -> None:
    pdu = message_pdu(version)
    event = Event.parse({**pdu, "unsigned": {"age": 5}}, ROOM_RULES[version])
    assert event.to_pdu() == pdu


def test_unknown_keys_are_kept_and_covered_by_the_content_hash(version: str) -> None:
    pdu = message_pdu(version)
    event = Event.parse({**pdu, "org.example.more": {"a": 1}}, ROOM_RULES[version])
    assert event.to_pdu()["org.example.more"] == {"a": 1}
    assert not hashes.check_content_hash(event.to_pdu(), event.rules)


@pytest.mark.parametrize("name", ["type", "sender", "content", "depth", "origin_server_ts", "hashes", "signatures"])
@pytest.mark.parametrize("value", [None, 1.5, True, [], "gone"])
def test_each_field_must_have_its_type(version: str, name: str, value: JsonValue) -> None:
    pdu = message_pdu(version)
    if value == "gone":
        del pdu[name]
    else:
        pdu[name] = value
    with pytest.raises(BadEvent):
        Event.parse(pdu, ROOM_RULES[version])


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "x" * 256},
        {"type": "\u00fc" * 128},
        {"state_key": "x" * 256},
        {"state_key": None},
        {"sender": "alice"},
        {"sender": "@" + "a" * 250 + ":a.example"},
        {"room_id": "room"},
        {"room_id": None},
        {"depth": -1},
        {"depth": 2**63},
        {"origin_server_ts": 2**63},
        {"prev_events": {}},
        {"prev_events": [1]},
        {"prev_events": ["no event id"]},
        {"auth_events": [["$a:b"]]},
        {"signatures": {"a.example": "x"}},
        {"signatures": {"a.example": {"ed25519:1": 1}}},
        {"content": []},
    ],
)
def test_events_outside_the_format_are_refused(version: str, changes: JsonObject) -> None:
    with pytest.raises(BadEvent) as refusal:
        Event.parse({**message_pdu(version), **changes}, ROOM_RULES[version])
    assert refusal.value.reason


def references(version: str, count: int) -> list[JsonValue]:
    if ROOM_RULES[version].references_have_hashes:
        return [[f"$e{n}:a.example", {"sha256": "x"}] for n in range(count)]
    return [f"$e{n}" for n in range(count)]


@pytest.mark.parametrize(("name", "limit"), [("prev_events", 20), ("auth_events", 10)])
def test_events_name_only_so_many_others(version: str, name: str, limit: int) -> None:
    rules, pdu = ROOM_RULES[version], message_pdu(version)
    assert len(getattr(Event.parse({**pdu, name: references(version, limit)}, rules), name)) == limit
    with pytest.raises(BadEvent):
        Event.parse({**pdu, name: references(version, limit + 1)}, rules)


def test_type_and_state_key_may_have_255_bytes(version: str) -> None:
    for text in ("x" * 255, "\u00fc" * 127 + "x"):
        event = room(version).make(text, ALICE, {}, text)
        assert Event.parse(event.to_pdu(), event.rules).key == (text, text)


def test_references_have_the_form_of_their_version() -> None:
    pair: JsonValue = [["$a:b", {"sha256": "x"}]]
    assert Event.parse({**message_pdu("2"), "prev_events": pair}, ROOM_RULES["2"]).prev_events == ("$a:b",)
    with pytest.raises(BadEvent):
        Event.parse({**message_pdu("2"), "prev_events": ["$a:b"]}, ROOM_RULES["2"])
    with pytest.raises(BadEvent):
        Event.parse({**message_pdu("3"), "prev_events": pair}, ROOM_RULES["3"])


def test_the_depth_may_be_larger_before_version_6() -> None:
    assert Event.parse({**message_pdu("5"), "depth": 2**63 - 1}, ROOM_RULES["5"]).depth == 2**63 - 1
    assert Event.parse({**message_pdu("6"), "depth": 2**53 - 1}, ROOM_RULES["6"]).depth == 2**53 - 1
    with pytest.raises(BadEvent):
        Event.parse({**message_pdu("6"), "depth": 2**53}, ROOM_RULES["6"])


def test_the_whole_event_must_not_be_too_large(version: str) -> None:
    made = room(version)
    empty = len(made.make("m.room.message", ALICE, {"body": ""}).json)
    largest = made.make("m.room.message", ALICE, {"body": "x" * (65_536 - empty)})
    assert len(largest.json) == 65_536
    assert Event.parse(largest.to_pdu(), largest.rules).event_id == largest.event_id
    with pytest.raises(EventTooLarge):
        made.make("m.room.message", ALICE, {"body": "x" * (65_537 - empty)})
    with pytest.raises(EventTooLarge):
        Event.parse({**largest.to_pdu(), "x": 1}, largest.rules)


@pytest.mark.parametrize("number", [1.5, 1.0, 2**53, -(2**53)])
def test_odd_numbers_are_refused_from_version_6_on(number: float) -> None:
    for version in VERSIONS:
        made = room(version)
        if made.rules.strict_json:
            with pytest.raises(NotCanonical):
                made.make("m.room.message", ALICE, {"n": [number]})
            with pytest.raises(BadEvent):
                Event.parse({**message_pdu(version), "content": {"n": [number]}}, made.rules)
        else:
            event = made.make("m.room.message", ALICE, {"n": [number]})
            assert Event.parse(event.to_pdu(), made.rules).event_id == event.event_id
            assert event.to_pdu()["content"] == {"n": [number]}


def test_the_room_of_a_create_event_is_its_hash_from_version_12_on() -> None:
    create = room("12").create
    assert create.room_id == "!" + create.event_id[1:]
    assert "room_id" not in create.to_pdu()
    with pytest.raises(BadEvent):
        Event.parse({**create.to_pdu(), "room_id": create.room_id}, create.rules)
    old = room("11").create
    assert old.to_pdu()["room_id"] == "!room:a.example"


def test_room_ids_have_the_form_of_their_version() -> None:
    hash_id = room("12").create.room_id
    for version in VERSIONS:
        good, bad = ("!a:b", hash_id) if version != "12" else (hash_id, "!a:b")
        assert Event.parse({**message_pdu(version), "room_id": good}, ROOM_RULES[version]).room_id == good
        with pytest.raises(BadEvent):
            Event.parse({**message_pdu(version), "room_id": bad}, ROOM_RULES[version])


def test_only_create_events_of_version_12_belong_to_no_room(version: str) -> None:
    rules = ROOM_RULES[version]
    with pytest.raises(BadEvent):
        build(Draft(None, "m.room.message", ALICE, {}), rules, [], [], 1, 1, signer_of("a.example"), EventId("$a:a"))


def test_where_events_have_an_id_inside_the_caller_chooses_it() -> None:
    for version, rules in ROOM_RULES.items():
        room_id = room(version).create.room_id
        draft = Draft(room_id, "m.room.message", ALICE, {})
        if rules.event_id_in_pdu:
            with pytest.raises(BadEvent):
                build(draft, rules, [], [], 1, 1, signer_of("a.example"))
        else:
            chosen = build(draft, rules, [], [], 1, 1, signer_of("a.example"), EventId("$chosen:a.example"))
            assert chosen.event_id == build(draft, rules, [], [], 1, 1, signer_of("a.example")).event_id


def test_redactions_name_their_target_where_the_version_has_it(version: str) -> None:
    made = room(version)
    target = made.make("m.room.message", BOB, {"body": "x"})
    redaction = made.make("m.room.redaction", ALICE, {"reason": "no"}, redacts=target.event_id)
    assert redaction.redacts == target.event_id
    assert Event.load(redaction.json, made.rules, redaction.event_id).redacts == target.event_id
    assert Event.parse(redaction.to_pdu(), made.rules).redacts == target.event_id
    message = made.make("m.room.message", ALICE, {"redacts": target.event_id}).to_pdu()
    assert Event.parse({**message, "redacts": target.event_id}, made.rules).redacts is None
    pdu = redaction.to_pdu()
    assert ("redacts" in pdu) is not made.rules.redacts_in_content
    assert ("redacts" in redaction.content) is made.rules.redacts_in_content
    # In the other place the key means nothing.
    content = pdu.pop("content")
    assert isinstance(content, dict)
    moved: JsonObject = {**pdu, "content": {"reason": "no", "redacts": target.event_id}}
    moved.pop("redacts", None)
    if made.rules.redacts_in_content:
        moved = {**pdu, "content": {"reason": "no"}, "redacts": target.event_id}
    assert Event.parse(moved, made.rules).redacts is None


def test_membership_is_read_only_from_member_events() -> None:
    made = room("12")
    assert made.make("m.room.member", BOB, {"membership": "join"}, BOB).membership == "join"
    assert made.make("m.room.member", BOB, {"membership": ["join"]}, BOB).membership is None
    assert made.make("m.room.message", BOB, {"membership": "join"}).membership is None


def test_depth_stops_at_the_limit(version: str) -> None:
    made = room(version)
    draft = Draft(made.create.room_id, "m.room.message", ALICE, {})
    event = build(draft, made.rules, [], [], 2**70, 1, signer_of("a.example"), EventId("$a:a.example"))
    assert event.depth == made.rules.max_depth
    assert Event.parse(event.to_pdu(), made.rules).depth == made.rules.max_depth


@pytest.mark.parametrize("draft", [("x" * 256, None), ("x", "\u00fc" * 128), ("\ud800", None), ("x", "\ud800")])
def test_drafts_outside_the_format_make_no_event(version: str, draft: tuple[str, str | None]) -> None:
    with pytest.raises(BadEvent):
        room(version).make(draft[0], ALICE, {}, draft[1])
