"""The `presence` of an answer: who of those in a room with the reader is there, and who came or went.

Specification: client-server API, "Extensions to /sync"; "Presence".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from heapq import nlargest
from typing import Final

import msgspec

from homeserver.core.presence import OFFLINE
from homeserver.rooms.client_events import json_array
from homeserver.rooms.memberships import Memberships
from homeserver.runtime.clock import Clock
from homeserver.sync.changes import Changes
from homeserver.sync.reader import Reader
from homeserver.users.presence import Presence
from homeserver.users.presence_records import Record, Records

MOST_AT_START: Final = 500
"""Of all who are there, or are in rooms that the reader has come into, an answer tells of so many."""

_encode = msgspec.json.encode


class PresencePart:
    """Tells readers of the presence of others, as it is when they ask."""

    def __init__(self, presence: Presence, records: Records, memberships: Memberships, clock: Clock) -> None:
        self._presence = presence
        self._records = records
        self._memberships = memberships
        self._clock = clock

    async def everything(self, reader: Reader, joined: Set[int]) -> bytes:
        """Those who are there, and the reader: for answers that tell everything. `[]` if presence is not wanted."""
        if not self._is_wanted(reader):
            return b"[]"
        own = await self._presence.known(reader.user_id)
        others = [each for each in self._records.there if each is not own]
        seen = await self._seen(reader, joined, [own, *others] if own is not None else others)
        return self._encoded(reader, _active_last(seen, reader.user_id))

    async def news(self, reader: Reader, joined: Set[int], changes: Changes, since: int) -> bytes:
        """Whose presence changed, and who is there of those whom the reader has newly met. `[]` if nobody is."""
        if not self._is_wanted(reader):
            return b"[]"
        if changes.presence_since:
            # What happened in between is not known: those who are there, and those who went.
            told = {each.user_id: each for each in self._records.there if each.user_id != reader.user_id}
            told |= {each.user_id: each for each in self._records.changed_after(since) if each.presence == OFFLINE}
            return self._encoded(reader, await self._seen(reader, joined, list(told.values())))
        known = [self._records.get(user_id) for user_id in changes.presence | changes.came]
        told = {each.user_id: each for each in known if each is not None}
        told = {name: each for name, each in told.items() if name in changes.presence or each.presence != OFFLINE}
        entered = {change.room for change in changes.memberships if change.membership == "join"} & joined
        if entered:
            others = [each for each in self._records.there if each.user_id not in told]
            met = _active_last(await self._in_rooms(others, entered), reader.user_id)
            told |= {each.user_id: each for each in met}
            if reader.user_id not in changes.presence:
                told.pop(reader.user_id, None)
        return self._encoded(reader, await self._seen(reader, joined, list(told.values())))

    def _is_wanted(self, reader: Reader) -> bool:
        return self._presence.enabled and not reader.filter.presence.matches_nothing

    async def _seen(self, reader: Reader, joined: Set[int], records: Sequence[Record]) -> list[Record]:
        """Of these users those whom the reader may see and wants to."""
        wanted = reader.filter.presence
        asked = [
            each
            for each in records
            # Who is not read yet is about to be told of.
            if each.is_read
            and each.user_id not in reader.ignored
            and (wanted.matches_everything or wanted.matches_parts("m.presence", each.user_id))
        ]
        own = [each for each in asked if each.user_id == reader.user_id]
        return own + await self._in_rooms([each for each in asked if each.user_id != reader.user_id], joined)

    async def _in_rooms(self, records: Iterable[Record], rooms: Set[int]) -> list[Record]:
        found = []
        for record in records:
            theirs = self._memberships.cached(record.user_id)
            if theirs is None:
                theirs = await self._memberships.of_user(record.user_id)
            if not theirs.joined.isdisjoint(rooms):
                found.append(record)
        return found

    def _encoded(self, reader: Reader, records: list[Record]) -> bytes:
        limit = reader.filter.presence.limit
        if limit is not None:
            records = _active_last(records, reader.user_id, limit)
        now_s = self._clock.monotonic_s()
        return json_array(_event(each, now_s) for each in records)


def _active_last(records: list[Record], first: str, most: int = MOST_AT_START) -> list[Record]:
    """Not more than so many: those who were active last, after one who comes first."""
    if len(records) <= most:
        return records
    return nlargest(most, records, key=lambda each: (each.user_id == first, each.active_s or 0.0))


def _event(record: Record, now_s: float) -> bytes:
    """The m.presence event; all of it but the time is the same for everybody until the presence changes."""
    start = record.encoded
    if start is None:
        content = record.content(now_s)
        content.pop("last_active_ago", None)
        event = {"type": "m.presence", "sender": record.user_id, "content": content}
        start = record.encoded = _encode(event)[:-2]
    if record.active_s is None:
        return start + b"}}"
    return start + b',"last_active_ago":%d}}' % max(0, int((now_s - record.active_s) * 1000))
