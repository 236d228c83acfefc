"""Filters. Specification: Client-Server API, "Filtering"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import canonical_json
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.filters import EVERYTHING, NO_FILTER, EventFilter, Filter, FilterError
from homeserver.core.ids import EventId
from homeserver.core.property_path import format_path, parse_path
from homeserver.core.room_rules import ROOM_RULES

# The example of `POST /user/{userId}/filter`.
EXAMPLE: JsonObject = {
    "room": {
        "state": {"types": ["m.room.*"], "not_rooms": ["!726s6s6q:example.com"]},
        "timeline": {
            "limit": 10,
            "types": ["m.room.message"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
        "ephemeral": {
            "types": ["m.receipt", "m.typing"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
    },
    "presence": {"types": ["m.presence"], "not_senders": ["@alice:example.com"]},
    "event_format": "client",
    "event_fields": ["type", "content", "sender"],
}


def event(
    event_type: str = "m.room.message",
    sender: str = "@bob:example.com",
    room_id: str = "!room:example.com",
    content: JsonObject | None = None,
) -> Event:
    pdu: JsonObject = {
        "type": event_type,
        "sender": sender,
        "room_id": room_id,
        "content": content or {},
        "depth": 1,
        "origin_server_ts": 1,
        "prev_events": [],
        "auth_events": [],
    }
    return Event.load(canonical_json.encode(pdu), ROOM_RULES["11"], EventId("$event"))


def test_the_example_of_the_specification_filters_as_it_says() -> None:
    given_filter = Filter.parse(EXAMPLE)
    timeline = given_filter.room_timeline
    assert timeline.limit == 10
    assert timeline.matches(event())
    assert not timeline.matches(event("m.room.topic"))
    assert not timeline.matches(event(sender="@spam:example.com"))
    assert not timeline.matches(event(room_id="!726s6s6q:example.com"))
    assert given_filter.room_state.matches(event("m.room.topic"))
    assert not given_filter.room_state.matches(event("org.example.state"))
    assert given_filter.presence.matches_parts("m.presence", "@bob:example.com")
    assert not given_filter.presence.matches_parts("m.presence", "@alice:example.com")
    assert given_filter.account_data is EVERYTHING
    assert given_filter.json == EXAMPLE
    assert not given_filter.matches_everything


def test_an_empty_filter_lets_everything_pass() -> None:
    for empty in (NO_FILTER, Filter.parse({}), Filter.parse({"room": {"timeline": {}, "state": {"limit": 3}}})):
        assert empty.matches_everything
        assert empty.room_timeline.matches(event())
        assert empty.includes_room("!any:example.com")
        assert empty.event_format == "client"
        assert not empty.include_leave


def test_what_is_excluded_stays_out_even_if_it_is_included() -> None:
    both = EventFilter.parse({"types": ["a", "b"], "not_types": ["a"], "senders": ["@x:y"], "not_senders": ["@x:y"]})
    assert not both.matches(event("b", "@x:y"))
    types = EventFilter.parse({"types": ["a", "b"], "not_types": ["a"]})
    assert not types.matches(event("a"))
    assert types.matches(event("b"))
    rooms = EventFilter.parse({"rooms": ["!a:x", "!b:x"], "not_rooms": ["!a:x"]})
    assert not rooms.matches(event(room_id="!a:x"))
    assert rooms.matches(event(room_id="!b:x"))
    assert not rooms.matches(event(room_id="!c:x"))


@pytest.mark.parametrize("key", ["types", "senders", "rooms"])
def test_an_empty_list_includes_nothing_and_excludes_nothing(key: str) -> None:
    nothing = EventFilter.parse({key: []})
    assert nothing.matches_nothing
    assert not nothing.matches(event())
    everything = EventFilter.parse({f"not_{key}": []})
    assert everything.matches_everything
    assert not everything.matches_nothing


def test_a_star_in_a_type_is_any_text_and_a_question_mark_is_itself() -> None:
    star = EventFilter.parse({"types": ["m.*.message", "a?"], "not_types": ["*.secret.*"]})
    assert star.matches(event("m.room.message"))
    assert star.matches(event("a?"))
    assert not star.matches(event("ab"))
    assert not star.matches(event("M.room.message"))
    assert not star.matches(event("m.secret.message"))


def test_contains_url_looks_at_the_content() -> None:
    picture, words = event(content={"url": "mxc://x/y"}), event(content={"body": "url"})
    assert EventFilter.parse({"contains_url": True}).matches(picture)
    assert not EventFilter.parse({"contains_url": True}).matches(words)
    assert EventFilter.parse({"contains_url": False}).matches(words)
    assert not EventFilter.parse({"contains_url": False}).matches(picture)


def test_rooms_are_chosen_before_the_sections() -> None:
    chosen = Filter.parse({"room": {"rooms": ["!a:x", "!b:x"], "not_rooms": ["!b:x"], "include_leave": True}})
    assert [chosen.includes_room(room) for room in ("!a:x", "!b:x", "!c:x")] == [True, False, False]
    assert chosen.include_leave
    parts: list[JsonObject] = [{"rooms": ["!a:x"]}, {"not_rooms": ["!a:x"]}, {"state": {"not_rooms": ["!a:x"]}}]
    for part in parts:
        assert not Filter.parse({"room": part}).matches_everything


def test_members_are_loaded_lazily_if_either_section_asks_for_it() -> None:
    for section in ("state", "timeline"):
        lazy = Filter.parse({"room": {section: {"lazy_load_members": True, "include_redundant_members": True}}})
        assert lazy.lazy_load_members
        assert lazy.include_redundant_members
    assert not NO_FILTER.lazy_load_members
    assert not NO_FILTER.include_redundant_members


def test_unread_counts_by_thread_are_asked_for_by_the_new_and_the_old_name() -> None:
    for key in ("unread_thread_notifications", "org.matrix.msc3773.unread_thread_notifications"):
        assert Filter.parse({"room": {"timeline": {key: True}}}).unread_thread_notifications
    assert not NO_FILTER.unread_thread_notifications


def test_a_limit_has_a_default_and_a_maximum() -> None:
    assert EventFilter.parse({}).limit_or(10, 100) == 10
    assert EventFilter.parse({"limit": 20}).limit_or(10, 100) == 20
    assert EventFilter.parse({"limit": 2000}).limit_or(10, 100) == 100
    assert EventFilter.parse({"limit": 0}).matches_nothing


def test_parents_are_found_by_the_children_they_have() -> None:
    threads = EventFilter.parse({"related_by_rel_types": ["m.thread"], "related_by_senders": ["@me:x"]})
    assert threads.needs_relations
    assert threads.matches_children([("m.annotation", "@me:x"), ("m.thread", "@me:x")])
    assert not threads.matches_children([("m.annotation", "@me:x"), ("m.thread", "@you:x")])
    assert not EVERYTHING.needs_relations


def test_event_fields_keep_only_what_they_name() -> None:
    chosen = Filter.parse({"event_fields": ["type", "content.body", r"content.m\.relates_to.rel_type", "absent.thing"]})
    shown = chosen.select_fields(
        {"type": "t", "sender": "@x:y", "content": {"body": "b", "more": 1, "m.relates_to": {"rel_type": "r", "k": 2}}}
    )
    assert shown == {"type": "t", "content": {"body": "b", "m.relates_to": {"rel_type": "r"}}}
    assert NO_FILTER.select_fields({"type": "t"}) == {"type": "t"}
    assert Filter.parse({"event_fields": []}).select_fields({"type": "t"}) == {}


def test_event_fields_may_overlap_in_any_order() -> None:
    source: JsonObject = {"content": {"body": "b", "more": {"deep": 1}}}
    for fields in (["content", "content.body"], ["content.body", "content"], ["content.more.deep", "content"]):
        assert Filter.parse({"event_fields": list[JsonValue](fields)}).select_fields(source) == source


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ([], "filter must be an object"),
        ({"room": []}, "room must be an object"),
        ({"room": {"timeline": "x"}}, "room.timeline must be an object"),
        ({"room": {"timeline": {"types": "m.room.message"}}}, "room.timeline.types must be a list"),
        ({"room": {"state": {"types": [5]}}}, "room.state.types must be a list of strings"),
        ({"room": {"timeline": {"limit": "5"}}}, "room.timeline.limit must be an integer"),
        ({"room": {"timeline": {"limit": -1}}}, "room.timeline.limit must be an integer"),
        ({"room": {"timeline": {"limit": True}}}, "room.timeline.limit must be an integer"),
        ({"room": {"timeline": {"lazy_load_members": "yes"}}}, "lazy_load_members must be true or false"),
        ({"room": {"timeline": {"contains_url": 1}}}, "contains_url must be true or false"),
        ({"room": {"rooms": ["#alias:x"]}}, "room.rooms must be a list of IDs that start with !"),
        ({"room": {"ephemeral": {"not_rooms": ["x"]}}}, "room.ephemeral.not_rooms"),
        ({"room": {"include_leave": "true"}}, "room.include_leave must be true or false"),
        ({"presence": {"senders": ["bob"]}}, "presence.senders must be a list of IDs that start with @"),
        ({"account_data": {"not_types": {}}}, "account_data.not_types must be a list"),
        ({"event_format": "xml"}, "event_format must be"),
        ({"event_format": 5}, "event_format must be"),
        ({"event_fields": "type"}, "event_fields must be a list"),
        ({"room": {"timeline": {"types": ["*x"] * 101}}}, "at most 100 types with a wildcard"),
    ],
)
def test_a_malformed_filter_is_refused_with_the_place_of_the_mistake(bad: JsonValue, complaint: str) -> None:
    with pytest.raises(FilterError, match=complaint):
        Filter.parse(bad)


def test_null_is_as_good_as_absent_and_unknown_keys_mean_nothing() -> None:
    nulls: JsonObject = {"presence": None, "event_format": None, "room": {"rooms": None, "timeline": {"limit": None}}}
    assert Filter.parse(nulls).matches_everything
    assert Filter.parse({"org.example": 1, "room": {"org.example": []}}).matches_everything


names = st.lists(st.text(alphabet="ab.\\", max_size=6), min_size=1, max_size=4)


@given(names)
def test_a_property_path_is_read_back_as_it_was_written(path: list[str]) -> None:
    assert parse_path(format_path(tuple(path))) == tuple(path)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to", ("content", "m.relates_to")),
        (r"content.m\\foo", ("content", "m\\foo")),
        (r"content.m\xfoo", ("content", "m\\xfoo")),
        ("content.end\\", ("content", "end\\")),
        ("a..b", ("a", "", "b")),
    ],
)
def test_property_paths_are_read_as_the_specification_says(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path
