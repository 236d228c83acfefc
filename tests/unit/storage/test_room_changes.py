"""What is written beside an event: nothing of it is passed over because an event looks like an ordinary message."""

import dataclasses

import pytest

from storage.rows import NewRoom, RoomChanges, RoomHead, RoomSummary

HEAD = RoomHead((7,), b"r" * 16, 12, 7)
# Any value that is there: what reads them looks at nothing but that.
THERE = {
    "nodes": {b"n" * 16: b"data"},
    "auth": (),
    "relates_to": ("$thread", "m.thread"),
    "redaction": object(),
    "summary": RoomSummary(),
    "new_room": NewRoom("!room:example.org", "12"),
    "missing": ("$missing",),
    "found": ("$found",),
    "awaits": "$target",
    "was_awaited": True,
}


def test_a_message_changes_the_head_of_its_room_alone() -> None:
    assert RoomChanges(HEAD).is_head_alone
    assert RoomChanges(None).is_head_alone


@pytest.mark.parametrize("field", [each.name for each in dataclasses.fields(RoomChanges) if each.name != "head"])
def test_whatever_else_changes_is_more_than_that(field: str) -> None:
    changes = RoomChanges(HEAD)
    setattr(changes, field, THERE[field])

    assert not changes.is_head_alone
