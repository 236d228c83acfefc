"""Relations between events. Specification: Client-Server API, "Forming relationships between events"."""

import pytest

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.relations import (
    AnnotationKey,
    Relation,
    ThreadSummary,
    annotation_key,
    bundled_relations,
    find_thread_of,
    is_valid_replacement,
    latest_replacement,
    may_be_annotated,
    may_start_thread,
    participated,
    relation_of,
    reply_target_of,
    thread_of,
)
from homeserver.core.room_rules import ROOM_RULES

A, B, ORIGINAL = EventId("$A"), EventId("$B"), EventId("$original")

# The example of "Threaded read receipts": who relates to whom.
ROOM: dict[str, Relation | None] = {
    "$A": None,
    "$B": None,
    "$C": Relation("m.thread", A),
    "$D": Relation("m.thread", B),
    "$E": Relation("m.thread", A),
    "$F": Relation("m.thread", B),
    "$G": Relation("m.reaction", EventId("$C")),
    "$H": Relation("m.replace", EventId("$E")),
    "$I": None,
}


def relates(*, reply_to: str | None = None, **relates_to: JsonValue) -> JsonObject:
    if reply_to is not None:
        relates_to["m.in_reply_to"] = {"event_id": reply_to}
    return {"m.relates_to": relates_to}


def event(
    event_id: str = "$edit",
    *,
    content: JsonObject | None = None,
    event_type: str = "m.room.message",
    sender: str = "@alice:x",
    room_id: str = "!r:x",
    state_key: str | None = None,
    ts_ms: int = 1,
) -> Event:
    edit: JsonObject = {
        "body": "* new",
        "m.new_content": {"body": "new"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": ORIGINAL},
    }
    pdu: JsonObject = {
        "type": event_type,
        "sender": sender,
        "room_id": room_id,
        "content": edit if content is None else content,
        "depth": 1,
        "origin_server_ts": ts_ms,
        "prev_events": [],
        "auth_events": [],
    }
    if state_key is not None:
        pdu["state_key"] = state_key
    return Event.load(canonical_json.encode(pdu), ROOM_RULES["11"], EventId(event_id))


def original(**changes: str) -> Event:
    return event("$original", content={"body": "old"}, **changes)  # type: ignore[arg-type]  # only texts are changed


def test_an_annotation_has_a_key() -> None:
    content = relates(rel_type="m.annotation", event_id="$some_event_id", key="👍")
    assert relation_of(content) == Relation("m.annotation", EventId("$some_event_id"), key="👍")


def test_a_thread_may_carry_a_reply_as_its_fallback() -> None:
    content = relates(rel_type="m.thread", event_id="$root", is_falling_back=True, reply_to="$target")
    assert relation_of(content) == Relation(
        "m.thread", EventId("$root"), in_reply_to=EventId("$target"), is_falling_back=True
    )


def test_a_plain_reply_is_no_relation_but_has_a_target() -> None:
    content = relates(reply_to="$another_event")
    assert relation_of(content) is None
    assert reply_target_of(content) == "$another_event"
    assert reply_target_of({"body": "hello"}) is None


@pytest.mark.parametrize(
    "relates_to",
    [
        None,
        "m.thread",
        [],
        {},
        {"rel_type": "m.thread"},
        {"event_id": "$root"},
        {"rel_type": 5, "event_id": "$root"},
        {"rel_type": "", "event_id": "$root"},
        {"rel_type": "m.thread", "event_id": "root"},
        {"rel_type": "m.thread", "event_id": ["$root"]},
        {"rel_type": "m.thread", "event_id": "$" + "x" * 255},
        {"m.in_reply_to": "$root"},
        {"m.in_reply_to": {"event_id": 5}},
    ],
)
def test_a_relation_that_does_not_fit_the_schema_is_ignored(relates_to: JsonValue) -> None:
    assert relation_of({"m.relates_to": relates_to}) is None
    assert reply_target_of({"m.relates_to": relates_to}) is None


def test_threads_are_found_as_in_the_drawing_of_the_specification() -> None:
    threads = {name: thread_of(relation, lambda parent: ROOM[parent]) for name, relation in ROOM.items()}
    assert {name for name, root in threads.items() if root is None} == {"$A", "$B", "$I"}
    assert {name for name, root in threads.items() if root == A} == {"$C", "$E", "$G", "$H"}
    assert {name for name, root in threads.items() if root == B} == {"$D", "$F"}


def test_what_relates_to_a_thread_root_otherwise_is_in_the_main_timeline() -> None:
    assert thread_of(Relation("m.annotation", A), lambda parent: ROOM[parent]) is None


def test_a_thread_is_looked_for_three_hops_away_and_no_further() -> None:
    chain: dict[str, Relation | None] = {"$0": Relation("m.thread", A)}
    for number in range(1, 10):
        chain[f"${number}"] = Relation("m.reference", EventId(f"${number - 1}"))
    assert [thread_of(chain[f"${number}"], lambda parent: chain[parent]) for number in range(5)] == [A, A, A, A, None]


def test_a_circle_of_relations_comes_to_an_end() -> None:
    assert thread_of(Relation("m.reference", B), lambda _parent: Relation("m.reference", B)) is None


def test_looking_up_parents_may_take_time() -> None:
    async def parent(event_id: EventId) -> Relation | None:
        return ROOM[event_id]

    for name, relation in ROOM.items():
        coroutine = find_thread_of(relation, parent)
        with pytest.raises(StopIteration) as end:
            coroutine.send(None)
        assert end.value.value == thread_of(relation, lambda at: ROOM[at]), name


def test_only_what_is_itself_no_child_can_start_a_thread() -> None:
    assert may_start_thread({"body": "hello"})
    assert may_start_thread(relates(reply_to="$x"))
    assert not may_start_thread(relates(rel_type="m.thread", event_id="$x"))
    assert not may_start_thread(relates(rel_type="org.example.any", event_id="$x"))


def test_annotations_and_edits_cannot_be_annotated() -> None:
    assert may_be_annotated({})
    assert may_be_annotated(relates(rel_type="m.thread", event_id="$x"))
    assert not may_be_annotated(relates(rel_type="m.annotation", event_id="$x", key="👍"))
    assert not may_be_annotated(relates(rel_type="m.replace", event_id="$x"))


def test_an_annotation_is_known_by_its_target_type_and_key() -> None:
    content = relates(rel_type="m.annotation", event_id="$x", key="👍")
    assert annotation_key("m.reaction", content) == AnnotationKey(EventId("$x"), "m.reaction", "👍")
    assert annotation_key("m.reaction", relates(rel_type="m.annotation", event_id="$x")) is None
    assert annotation_key("m.reaction", relates(rel_type="m.thread", event_id="$x", key="👍")) is None


def test_an_edit_by_the_same_sender_is_valid() -> None:
    assert is_valid_replacement(original(), event())


@pytest.mark.parametrize(
    ("first", "edit"),
    [
        (original(), event(sender="@bob:x")),
        (original(), event(room_id="!other:x")),
        (original(), event(event_type="m.sticker")),
        (original(), event(state_key="")),
        (original(state_key=""), event()),
        (event("$original"), event()),
        (original(), event(content={"body": "* new", **relates(rel_type="m.replace", event_id=ORIGINAL)})),
        (original(), event(content={"m.new_content": {}, **relates(rel_type="m.replace", event_id="$other")})),
        (original(), event(content={"m.new_content": {}, **relates(rel_type="m.thread", event_id=ORIGINAL)})),
    ],
)
def test_an_edit_that_breaks_a_rule_does_not_count(first: Event, edit: Event) -> None:
    assert not is_valid_replacement(first, edit)
    assert latest_replacement(first, [edit]) is None


def test_the_new_content_of_an_encrypted_edit_is_not_to_be_seen() -> None:
    edit = event(event_type="m.room.encrypted", content=relates(rel_type="m.replace", event_id=ORIGINAL))
    assert is_valid_replacement(original(event_type="m.room.encrypted"), edit)


def test_the_latest_edit_counts_and_of_equal_ones_the_one_with_the_largest_id() -> None:
    edits = [event("$y", ts_ms=5), event("$c", ts_ms=9), event("$b", ts_ms=9), event("$z", ts_ms=99, sender="@bob:x")]
    latest = latest_replacement(original(), edits)
    assert latest is not None
    assert latest.event_id == "$c"


def test_aggregations_are_bundled_as_in_the_specification() -> None:
    assert bundled_relations() is None
    assert bundled_relations(references=[EventId("$one"), EventId("$two")]) == {
        "m.reference": {"chunk": [{"event_id": "$one"}, {"event_id": "$two"}]}
    }
    latest: JsonObject = {"event_id": "$message"}
    assert bundled_relations(replacement={"event_id": "$edit"}, thread=ThreadSummary(latest, 7, True)) == {
        "m.replace": {"event_id": "$edit"},
        "m.thread": {"latest_event": latest, "count": 7, "current_user_participated": True},
    }


def test_one_takes_part_in_a_thread_by_starting_it_or_by_speaking_in_it() -> None:
    assert participated("@a:x", "@a:x", [])
    assert participated("@a:x", "@b:x", ["@a:x"])
    assert not participated("@a:x", "@b:x", ["@b:x"])
