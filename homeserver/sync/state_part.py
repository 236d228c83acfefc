"""The `state` (or `state_after`) of a room in an answer: a whole state, or the difference of two, from the trie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from homeserver.rooms.client_events import ClientEvents, json_array
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.state import StateStore
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from homeserver.sync.reader import Reader
from storage.rows import Entry, EventRow, TakesBack

MOST_SHARED_BYTES = 64 * 1024 * 1024
MOST_MEMBERS_KEPT = 500
"""Whole states with more members are read anew each time; they would push everything else out of memory."""


@dataclass(frozen=True, slots=True)
class StateSpan:
    """Which state is to be told: all of it at `root`, or what changed between `since_root` and `root`."""

    room: int
    root: bytes
    since_root: bytes | None


class StatePart:
    """Collects and encodes state. A follower of the ring: after a redaction nothing encoded before goes out again."""

    def __init__(self, state: StateStore, events: EventCache, client_events: ClientEvents, ring: Ring) -> None:
        self._state = state
        self._events = events
        self._client_events = client_events
        self._whole: Lru[tuple[int, bytes, bool], list[int]] = Lru(200_000, lambda _key, positions: 1 + len(positions))
        self._shared: Lru[tuple[int, bytes, bool], bytes] = Lru(
            MOST_SHARED_BYTES, lambda _key, encoded: len(encoded) + 200
        )
        ring.subscribe(self._published, TakesBack)

    async def encode(self, reader: Reader, span: StateSpan, senders: Iterable[str], exclude: frozenset[int]) -> bytes:
        """The state events as an encoded array.

        `senders`: members that lazy loading needs besides what changed. `exclude`: positions that the timeline tells.
        """
        lazy = reader.memory is not None
        common = not exclude and reader.filter.room_state.matches_everything and reader.takes_common_form
        shared: bytes | None = None
        rows: list[EventRow] = []
        if span.since_root is None:
            if common:
                shared = await self._whole_shared(reader, span, members=not lazy)
            else:
                rows = await self._whole_state(span, members=not lazy)
        elif span.since_root != span.root:
            rows = await self._changed(span, lazy=lazy)
        if lazy:
            rows = [*rows, *await self._lazy_members(reader, span, rows, senders)]
        if not common:
            matches = reader.filter.room_state.matches
            rows = [row for row in rows if row.position not in exclude and matches(row.event)]
        await self._client_events.prepare(rows)
        parts = [reader.render(row, None) for row in rows]
        if shared:
            parts.insert(0, shared)
        return json_array(parts)

    async def _whole_shared(self, reader: Reader, span: StateSpan, *, members: bool) -> bytes:
        """The whole state as most readers get it, encoded once for a root: events with commas between them."""
        key = (span.room, span.root, members)
        known = self._shared.get(key)
        if known is None:
            rows = await self._whole_state(span, members=members)
            await self._client_events.prepare(rows)
            known = b",".join(reader.render(row, None) for row in rows)
            self._shared.put(key, known)
        return known

    async def _whole_state(self, span: StateSpan, *, members: bool) -> list[EventRow]:
        key = (span.room, span.root, members)
        positions = self._whole.get(key)
        if positions is None:
            entries = await self._state.items(span.room, span.root, None if members else False)
            positions = [position for _slot, position in entries]
            if len(positions) <= MOST_MEMBERS_KEPT:
                self._whole.put(key, positions)
        return await self._rows(positions)

    async def _changed(self, span: StateSpan, *, lazy: bool) -> list[EventRow]:
        room, old, new = span.room, span.since_root, span.root
        assert old is not None
        if not lazy:
            differences = await self._state.diff(room, old, new)
            return await self._rows(each.new for each in differences if each.new is not None)
        others = await self._state.diff(room, old, new, members=False)
        # Who only came to be known, with the rest of the state of a room that was joined without it, did nothing.
        moved = [
            each
            for each in await self._state.diff(room, old, new, members=True)
            if each.old is not None or (each.new is not None and each.new > 0)
        ]
        return await self._rows(each.new for each in (*others, *moved) if each.new is not None)

    async def _lazy_members(
        self, reader: Reader, span: StateSpan, rows: Sequence[EventRow], senders: Iterable[str]
    ) -> list[EventRow]:
        """Member events of the senders that the device does not have yet."""
        memory = reader.memory
        assert memory is not None
        told = {row.event.state_key for row in rows if row.event.type == "m.room.member"}
        for user_id in told:
            if user_id is not None:
                memory.sends(span.room, user_id)
        redundant_too = reader.filter.include_redundant_members
        wanted = [
            user_id
            for user_id in dict.fromkeys(senders)
            if user_id not in told and (redundant_too or not memory.has(span.room, user_id))
        ]
        if not wanted:
            return []
        positions = []
        for user_id in wanted:
            position = await self._state.get(span.room, span.root, "m.room.member", user_id)
            if position is not None:
                positions.append(position)
                memory.sends(span.room, user_id)
        return await self._rows(positions)

    async def _rows(self, positions: Iterable[int]) -> list[EventRow]:
        wanted = list(positions)
        found = await self._events.by_positions(wanted)
        return [found[position] for position in wanted if position in found]

    def _published(self, entries: Sequence[Entry]) -> None:
        # An event may have changed its form.
        self._shared.clear()
