"""The member events of rooms, encoded once for a state and carried on to the next one by their difference.

Specification: client-server API, GET /rooms/{roomId}/members and /joined_members.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from homeserver.core.event import Event
from homeserver.core.state_trie import NodeId
from homeserver.rooms.client_events import base_of, with_room_id
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.state import StateStore
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage.rows import Entry, EventRow, TakesBack

MOST_BYTES: Final = 96 * 1024 * 1024
OVERHEAD_BYTES: Final = 250
MOST_AT_ONCE: Final = 2_000
"""Member events that are read in one go: between two of these the server does other things."""

_encode = msgspec.json.encode
_MEMBERSHIPS: Final = ("join", "invite", "knock", "leave", "ban")


class MemberList:
    """The members of a room in one state, as client events with commas between them."""

    __slots__ = ("_joined", "_joined_parts", "_parts", "_texts", "count", "root", "size_bytes")

    def __init__(self, root: NodeId, parts: dict[str, dict[int, bytes]], joined_parts: dict[int, bytes]) -> None:
        self.root = root
        self._parts = parts
        """Membership → position → encoded event."""
        self._joined_parts = joined_parts
        """Position → `"@user:…":{"display_name":…}`."""
        self._texts: dict[Sequence[str], bytes] = {}
        self._joined: bytes | None = None
        self.count = sum(map(len, parts.values()))
        self.size_bytes = 2 * sum(len(each) for some in parts.values() for each in some.values())
        self.size_bytes += OVERHEAD_BYTES * self.count

    @property
    def all(self) -> bytes:
        """All member events."""
        return self.with_memberships(tuple(self._parts))

    def chosen(self, membership: str | None, not_membership: str | None) -> bytes:
        """Those with a membership, or with another than a second one; both: where either is true."""
        if membership is None and not_membership is None:
            return self.all
        return self.with_memberships(
            tuple(
                each
                for each in self._parts
                if each == membership or (not_membership is not None and each != not_membership)
            )
        )

    def with_memberships(self, memberships: Sequence[str]) -> bytes:
        """Those with one of these memberships."""
        text = self._texts.get(memberships)
        if text is None:
            text = b",".join(part for each in memberships for part in self._parts.get(each, {}).values())
            self._texts[memberships] = text
        return text

    @property
    def joined(self) -> bytes:
        """User id → profile for all who are joined, as members of a JSON object."""
        if self._joined is None:
            self._joined = b",".join(self._joined_parts.values())
        return self._joined

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
        ring.subscribe(self._published, TakesBack)

    async def of(self, room: int, root: NodeId) -> MemberList:
        """The members in this state of a room."""
        known = self._lists.get(room)
        if known is not None and known.root == root:
            return known
        if known is None:
            members, count = await self._whole(room, root)
        else:
            differences = await self._state.diff(room, known.root, root, members=True)
            gone = [each.old for each in differences if each.old is not None]
            come = [each.new for each in differences if each.new is not None]
            members, count = known.changed(root, gone, await self._rows(come)), known.count - len(gone) + len(come)
        if members.count == count:
            # What lacks somebody is not remembered: those that follow would be made from it.
            self._lists.put(room, members)
        return members

    async def _whole(self, room: int, root: NodeId) -> tuple[MemberList, int]:
        """The list, and how many should be in it."""
        positions = [position for _, position in await self._state.items(room, root, members=True)]
        parts: dict[str, dict[int, bytes]] = {}
        joined_parts: dict[int, bytes] = {}
        for start in range(0, len(positions), MOST_AT_ONCE):
            _add(parts, joined_parts, await self._rows(positions[start : start + MOST_AT_ONCE]))
        return MemberList(root, parts, joined_parts), len(positions)

    async def _rows(self, positions: Sequence[int]) -> list[EventRow]:
        found = await self._events.by_positions(positions)
        return [found[position] for position in positions if position in found]

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, EventRow) and entry.event.redacts is not None:
                self._lists.discard(entry.room)


def _add(parts: dict[str, dict[int, bytes]], joined_parts: dict[int, bytes], rows: Iterable[EventRow]) -> None:
    for row in rows:
        membership = row.event.membership or "leave"
        parts.setdefault(membership, {})[row.position] = with_room_id(row, base_of(row))
        if membership == "join":
            joined_parts[row.position] = _encode(row.event.state_key) + b":" + _encode(_profile(row.event))


def _profile(event: Event) -> dict[str, str]:
    """What GET /joined_members tells of a member."""
    profile: dict[str, str] = {}
    for name, key in (("display_name", "displayname"), ("avatar_url", "avatar_url")):
        value = event.content.get(key)
        if isinstance(value, str):
            profile[name] = value
    return profile
