"""The reader's own member event joins the stripped state that came with an invite."""

from __future__ import annotations

import json

import pytest

from homeserver.sync.invite_part import with_own_member


@pytest.mark.parametrize(
    ("received", "count"), [(b"[]", 0), (b" [ ] ", 0), (b'[{"type":"a"}]', 1), (b'[{"type":"a"}, {"type":"b"}]\n', 2)]
)
def test_the_own_member_event_stands_last(received: bytes, count: int) -> None:
    events = json.loads(with_own_member(received, b'{"type":"m.room.member"}'))
    assert len(events) == count + 1
    assert events[-1] == {"type": "m.room.member"}
