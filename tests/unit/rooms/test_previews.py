"""Which children a space has, and in which order. The order is that of the specification's own example."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.room_rules import ROOM_RULES
from homeserver.rooms.previews import is_child, order_of


def child(room_id: str, ts: int, **content: object) -> Event:
    pdu = (
        '{"type":"m.space.child","state_key":"%s","sender":"@a:b","room_id":"!s:b","depth":1,"origin_server_ts":%d,'
        '"prev_events":[],"auth_events":[],"hashes":{},"signatures":{},"content":%s}'
    )
    text = pdu % (room_id, ts, json.dumps({"via": ["b"], **content}))
    return Event.load(text.encode(), ROOM_RULES["11"], EventId("$x"))


def test_children_stand_in_the_order_of_the_specification() -> None:
    children = [
        child("!b:example.org", 1640341000000, order=" "),
        child("!a:example.org", 1640141000000, order="aaaa"),
        child("!c:example.org", 1640841000000, order="first"),
        child("!e:example.org", 1640641000000),
        child("!d:example.org", 1640741000000, order=""),
    ]
    ordered = [event.state_key for event in sorted(children, key=order_of)]
    assert ordered[0] == "!d:example.org"
    assert ordered[1:] == ["!b:example.org", "!a:example.org", "!c:example.org", "!e:example.org"]


def test_orders_that_are_not_valid_count_as_none() -> None:
    odd = [child("!a:b", 5, order="x" * 51), child("!c:b", 4, order="\x7f"), child("!d:b", 3, order=7)]
    assert [event.state_key for event in sorted(odd, key=order_of)] == ["!d:b", "!c:b", "!a:b"]


@given(st.one_of(st.none(), st.text(), st.integers(), st.lists(st.integers(), min_size=1), st.just([])))
def test_a_child_without_servers_is_none(via: object) -> None:
    content: JsonObject = {"via": via}  # type: ignore[dict-item]  # any JSON a client may have sent
    assert not is_child(content)
    assert is_child({"via": ["b"]})
