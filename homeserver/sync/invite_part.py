"""Invites and knocks in an answer: what the room shows to those who are not in it yet.

Specification: client-server API, GET /sync, `invite_state` and `knock_state`; "Stripped state"; "Ignoring Users".
"""

from __future__ import annotations

import msgspec

from homeserver.core.client_format import stripped_event_bytes
from homeserver.rooms.client_events import json_array
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.memberships import Memberships
from homeserver.rooms.stripped import StrippedStates
from homeserver.sync.reader import Reader

_encode = msgspec.json.encode


class InvitePart:
    """Encodes rooms to which a reader is invited, or on which they have knocked."""

    def __init__(self, memberships: Memberships, events: EventCache, stripped: StrippedStates) -> None:
        self._memberships = memberships
        self._events = events
        self._stripped = stripped

    async def encode(self, reader: Reader, room_number: int, membership: str) -> bytes | None:
        """The room as a member of `rooms.invite` or `rooms.knock`; None where the reader is told nothing of it."""
        position = (await self._memberships.of_user(reader.user_id)).get(room_number)[1]
        row = (await self._events.by_positions((position,))).get(position)
        if row is None or row.event.membership != membership:
            return None
        if membership == "invite" and row.event.sender in reader.ignored:
            return None
        received = await self._stripped.received(room_number, reader.user_id) if row.state_root is None else None
        if received is None:
            events = json_array(await self._stripped.for_member(row))
        else:
            events = with_own_member(received, stripped_event_bytes(row.event))
        return b'%s:{"%s_state":{"events":%s}}' % (_encode(row.event.room_id), membership.encode(), events)


def with_own_member(received: bytes, member: bytes) -> bytes:
    """A received JSON array of stripped events with the reader's own member event at its end."""
    inner = received.strip()[1:-1].strip()
    return b"[" + member + b"]" if not inner else b"[" + inner + b"," + member + b"]"
