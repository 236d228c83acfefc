"""Receipts. Specification: Client-Server API, "Receipts"; Server-Server API, "Receipts"."""

import pytest

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.receipts import (
    BadReceipt,
    Receipt,
    check_belongs,
    check_receipt_type,
    edus_for,
    events_for,
    moves_on,
    parse_edu,
    parse_thread_id,
)

USER, OTHER = UserId("@user:example.org"), UserId("@other:example.org")
ROOM, ROOT, CHILD = RoomId("!room:example.org"), EventId("$A"), EventId("$E")
TS_MS = 1661384801651


def receipt(
    event_id: str, thread_id: str | None = None, *, user: UserId = USER, kind: str = "m.read", room: RoomId = ROOM
) -> Receipt:
    return Receipt(room, user, kind, EventId(event_id), TS_MS, thread_id)


def test_the_three_receipts_of_the_specification_look_as_it_says() -> None:
    events = events_for([receipt("$I", "main"), receipt("$E", "$A"), receipt("$D")], reader=OTHER)
    merged: JsonObject = {}
    for event in events:
        assert event["type"] == "m.receipt"
        assert isinstance(event["content"], dict)
        merged.update(event["content"])
    assert merged == {
        "$I": {"m.read": {USER: {"ts": TS_MS, "thread_id": "main"}}},
        "$E": {"m.read": {USER: {"ts": TS_MS, "thread_id": "$A"}}},
        "$D": {"m.read": {USER: {"ts": TS_MS}}},
    }


def test_receipts_are_batched_into_one_event_a_thread_so_that_none_hides_another() -> None:
    events = events_for([receipt("$E"), receipt("$E", "$A"), receipt("$E", user=OTHER)], reader=USER)
    assert events == [
        {"type": "m.receipt", "content": {"$E": {"m.read": {USER: {"ts": TS_MS}, OTHER: {"ts": TS_MS}}}}},
        {"type": "m.receipt", "content": {"$E": {"m.read": {USER: {"ts": TS_MS, "thread_id": "$A"}}}}},
    ]


def test_private_receipts_are_shown_only_to_those_who_sent_them() -> None:
    private = receipt("$E", kind="m.read.private")
    assert events_for([private], reader=OTHER) == []
    assert len(events_for([private], reader=USER)) == 1
    assert edus_for([private]) == []


def test_a_receipt_replaces_only_that_of_the_same_user_type_and_thread() -> None:
    slots = {receipt("$a").slot, receipt("$b", "main").slot, receipt("$c").slot, receipt("$d", "main").slot}
    assert slots == {(USER, "m.read", None), (USER, "m.read", "main")}
    assert receipt("$a", kind="m.read.private").slot != receipt("$a").slot


def test_receipts_go_forward_only() -> None:
    assert moves_on(None, 5)
    assert moves_on(5, 6)
    assert not moves_on(5, 5)
    assert not moves_on(5, 4)


def test_a_thread_id_is_main_or_the_id_of_a_root_or_not_there() -> None:
    assert parse_thread_id("m.read", {}) is None
    assert parse_thread_id("m.read", {"thread_id": "main"}) == "main"
    assert parse_thread_id("m.read.private", {"thread_id": "$A"}) == "$A"


@pytest.mark.parametrize(
    ("kind", "thread_id"),
    [("m.read", ""), ("m.read", None), ("m.read", 5), ("m.read", "elsewhere"), ("m.fully_read", "main")],
)
def test_a_bad_thread_id_is_refused(kind: str, thread_id: JsonValue) -> None:
    with pytest.raises(BadReceipt):
        parse_thread_id(kind, {"thread_id": thread_id})


def test_a_receipt_must_be_for_the_thread_of_its_event() -> None:
    check_belongs(None, CHILD, ROOT)
    check_belongs("$A", CHILD, ROOT)
    check_belongs("main", EventId("$I"), None)
    check_belongs("$A", ROOT, None)
    for thread_id, event_id, event_thread in [("main", CHILD, ROOT), ("$B", CHILD, ROOT), ("$A", EventId("$I"), None)]:
        with pytest.raises(BadReceipt, match="is not in the thread"):
            check_belongs(thread_id, event_id, event_thread)


def test_only_known_receipt_types_may_be_sent() -> None:
    for kind in ("m.read", "m.read.private", "m.fully_read"):
        check_receipt_type(kind)
    with pytest.raises(BadReceipt):
        check_receipt_type("m.delivered")


def test_what_goes_to_other_servers_comes_back_the_same() -> None:
    elsewhere = RoomId("!other:example.org")
    sent = [
        receipt("$a"),
        receipt("$b", "main"),
        receipt("$c", "$A"),
        receipt("$d", user=OTHER),
        receipt("$e", room=elsewhere),
    ]
    edus = edus_for(sent)
    assert len(edus) == 3
    read = [found for edu in edus for found in parse_edu(edu, "example.org")]
    assert sorted(map(repr, read)) == sorted(map(repr, sent))


def test_the_example_of_an_edu_is_read() -> None:
    edu: JsonObject = {
        "!some_room:example.org": {
            "m.read": {"@john:matrix.org": {"data": {"ts": 1533358}, "event_ids": ["$read_this_event:matrix.org"]}}
        }
    }
    assert list(parse_edu(edu, "matrix.org")) == [
        Receipt(
            RoomId("!some_room:example.org"),
            UserId("@john:matrix.org"),
            "m.read",
            EventId("$read_this_event:matrix.org"),
            1533358,
        )
    ]


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"event_ids": [], "data": {"ts": 1}},
        {"event_ids": "$x", "data": {"ts": 1}},
        {"event_ids": [5], "data": {"ts": 1}},
        {"event_ids": ["x"], "data": {"ts": 1}},
        {"event_ids": ["$x"], "data": {}},
        {"event_ids": ["$x"], "data": {"ts": "1"}},
        {"event_ids": ["$x"], "data": {"ts": True}},
        {"event_ids": ["$x"], "data": {"ts": -1}},
        {"event_ids": ["$x"], "data": {"ts": 1, "thread_id": 5}},
        {"event_ids": ["$x"], "data": {"ts": 1, "thread_id": ""}},
        {"event_ids": ["$x"]},
    ],
)
def test_a_malformed_receipt_is_left_out_and_the_others_are_taken(data: JsonValue) -> None:
    good: JsonValue = {"event_ids": ["$y"], "data": {"ts": 1}}
    edu: JsonObject = {"!r:x": {"m.read": {"@bad:remote": data, "@good:remote": good}}, "!s:x": [], "nonsense": {}}
    assert [found.user_id for found in parse_edu(edu, "remote")] == ["@good:remote"]


def test_a_server_can_speak_only_for_its_own_users_and_of_public_receipts() -> None:
    good: JsonValue = {"event_ids": ["$y"], "data": {"ts": 1}}
    for user, kind in [
        ("@a:elsewhere", "m.read"),
        ("a:remote", "m.read"),
        ("@a", "m.read"),
        ("@a:remote", "m.read.private"),
    ]:
        assert list(parse_edu({"!r:x": {kind: {user: good}}}, "remote")) == []
