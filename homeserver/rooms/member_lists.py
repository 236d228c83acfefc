"""The member events of rooms, encoded once for a state and carried on to the next one by their difference.

Specification: client-server API, GET /rooms/{roomId}/members and /joined_members.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Final

import msgspec

from homeserver.core.event import Event
from homeserver.core.state_trie import NodeId
from homeserver.rooms.client_events import base_of, with_room_id
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.state import StateStore
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from homeserver.web.response import StreamedResponse
from storage.rows import Entry, EventRow, TakesBack

MOST_BYTES: Final = 96 * 1024 * 1024
MOST_ROOMS: Final = 10_000
OVERHEAD_BYTES: Final = 250
MOST_AT_ONCE: Final = 500
"""Member events that are read in one go: between two of these the server does other things."""
STREAMED_FROM: Final = 1_000
"""Members of whom an answer is sent as it is made: whole, it would be in memory several times."""
PARTS_AT_ONCE: Final = 200
"""Some of 64 KiB."""

_encode = msgspec.json.encode


class MemberList:
    """The members of a room in one state, as client events: each is kept once, answers are made in pieces."""

    __slots__ = ("_joined_parts", "_parts", "count", "root", "size_bytes")

    def __init__(self, root: NodeId, parts: dict[str, dict[int, bytes]], joined_parts: dict[int, bytes]) -> None:
        self.root = root
        self._parts = parts
        """Membership → position → encoded event."""
        self._joined_parts = joined_parts
        """Position → `"@user:…":{"display_name":…}`."""
        self.count = sum(map(len, parts.values()))
        self.size_bytes = sum(len(each) for some in (*parts.values(), joined_parts) for each in some.values())
        self.size_bytes += OVERHEAD_BYTES * self.count

    def chosen(self, membership: str | None, not_membership: str | None) -> Iterator[bytes]:
        """Those with a membership, or with another than a second one; both: where either is true. With commas."""
        chosen = [
            known
            for each, known in self._parts.items()
            if (membership is None and not_membership is None)
            or each == membership
            or (not_membership is not None and each != not_membership)
        ]
        return _pieces(chain.from_iterable(known.values() for known in chosen))

    @property
    def joined(self) -> Iterator[bytes]:
        """User id → profile for all who are joined, as members of a JSON object."""
        return _pieces(self._joined_parts.values())

    def answer(self, begin: bytes, pieces: Iterator[bytes], end: bytes) -> bytes | StreamedResponse:
        """An answer with some of them."""
        if self.count < STREAMED_FROM:
            return b"".join((begin, *pieces, end))
        return StreamedResponse(_stream(begin, pieces, end), compresses=True)

    def changed(self, root: NodeId, gone: Iterable[int], come: Sequence[EventRow]) -> MemberList:
        """The list in another state."""
        parts = {membership: dict(known) for membership, known in self._parts.items()}
        joined_parts = dict(self._joined_parts)
        for position in gone:
            joined_parts.pop(position, None)
            for known in parts.values():
                known.pop(position, None)
        _add(parts, joined_parts, come)
        return MemberList(root, parts, joined_parts)


class MemberLists:
    """The lists of the rooms that were asked for lately. A follower of the ring: redactions make lists be made anew."""

    def __init__(self, ring: Ring, state: StateStore, events: EventCache) -> None:
        self._state = state
        self._events = events
        self._lists: Lru[int, MemberList] = Lru(MOST_BYTES, lambda _room, members: members.size_bytes)
        self._redactions: Lru[int, int] = Lru(MOST_ROOMS)
        """Room → position of its last redaction."""
        ring.subscribe(self._published, TakesBack)

    async def of(self, room: int, root: NodeId) -> MemberList:
        """The members in this state of a room."""
        known = self._lists.get(room)
        if known is not None and known.root == root:
            return known
        redactions = self._redactions.get(room)
        if known is None:
            members, count = await self._whole(room, root)
        else:
            differences = await self._state.diff(room, known.root, root, members=True)
            gone = [each.old for each in differences if each.old is not None]
            come = [each.new for each in differences if each.new is not None]
            members, count = known.changed(root, gone, await self._rows(come)), known.count - len(gone) + len(come)
        if members.count == count and self._redactions.get(room) == redactions:
            # What lacks somebody, or has what was redacted meanwhile, is not remembered: others would be made from it.
            self._lists.put(room, members)
        return members

    async def _whole(self, room: int, root: NodeId) -> tuple[MemberList, int]:
        """The list, and how many should be in it."""
        positions = [position for _, position in await self._state.items(room, root, members=True)]
        parts: dict[str, dict[int, bytes]] = {}
        joined_parts: dict[int, bytes] = {}
        read = self._events.by_positions if len(positions) < STREAMED_FROM else self._events.passing_by
        for start in range(0, len(positions), MOST_AT_ONCE):
            piece = positions[start : start + MOST_AT_ONCE]
            found = await read(piece)
            _add(parts, joined_parts, (found[position] for position in piece if position in found))
        return MemberList(root, parts, joined_parts), len(positions)

    async def _rows(self, positions: Sequence[int]) -> list[EventRow]:
        found = await self._events.by_positions(positions)
        return [found[position] for position in positions if position in found]

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, EventRow) and entry.event.redacts is not None:
                self._lists.discard(entry.room)
                self._redactions.put(entry.room, entry.position)


def _add(parts: dict[str, dict[int, bytes]], joined_parts: dict[int, bytes], rows: Iterable[EventRow]) -> None:
    for row in rows:
        membership = row.event.membership or "leave"
        parts.setdefault(membership, {})[row.position] = with_room_id(row, base_of(row))
        if membership == "join":
            joined_parts[row.position] = _encode(row.event.state_key) + b":" + _encode(_profile(row.event))


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """All of it with commas between, so much at a time that others have their turn in between."""
    rest = iter(parts)
    before = b""
    while piece := list(islice(rest, PARTS_AT_ONCE)):
        yield before + b",".join(piece)
        before = b","


async def _stream(begin: bytes, pieces: Iterator[bytes], end: bytes) -> AsyncIterator[bytes]:
    yield begin
    for piece in pieces:
        yield piece
    yield end


def _profile(event: Event) -> dict[str, str]:
    """What GET /joined_members tells of a member."""
    profile: dict[str, str] = {}
    for name, key in (("display_name", "displayname"), ("avatar_url", "avatar_url")):
        value = event.content.get(key)
        if isinstance(value, str):
            profile[name] = value
    return profile
