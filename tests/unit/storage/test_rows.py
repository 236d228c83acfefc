"""What an event is to those who follow the log."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.room_rules import ROOM_RULES
from storage.rows import (
    ChangesMembers,
    ChangesState,
    EventRow,
    MemberChange,
    Relates,
    SentHere,
    TakesBack,
    TypingRow,
)

ROMEO = UserId("@romeo:localhost")


def row_of(content: dict[str, Any], *, state_key: str | None = None, redacts: str | None = None) -> EventRow:
    target = None if redacts is None else EventId(redacts)
    event = Event(
        ROOM_RULES["10"],
        EventId("$it"),
        RoomId("!r:h"),
        "m.test",
        state_key,
        ROMEO,
        content,
        1,
        1,
        (),
        (),
        target,
        b"{}",
    )
    return EventRow(1, event, None)


@pytest.mark.parametrize(
    ("row", "also"),
    [
        (row_of({"body": "hello"}), set()),
        (row_of({}, redacts="$other"), {TakesBack}),
        (row_of({}, state_key=""), {ChangesState}),
        (row_of({"m.relates_to": {"rel_type": "m.thread", "event_id": "$root"}}), {Relates}),
    ],
)
def test_an_event_is_told_to_whom_its_parts_concern(row: EventRow, also: set[type]) -> None:
    assert row.kinds == {EventRow, *also}
    row.device = 7
    assert row.kinds == {EventRow, SentHere, *also}
    row.members = (MemberChange(ROMEO, "join", 1, True),)
    assert row.kinds == {EventRow, SentHere, ChangesMembers, *also}


def test_what_is_no_event_is_told_by_its_class() -> None:
    assert TypingRow(7, ()).kinds == {TypingRow}
