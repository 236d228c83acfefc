"""One room in an answer: a joined one, or one that the user has left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from homeserver.core.state_trie import EMPTY_ROOT
from homeserver.rooms.heads import Heads
from homeserver.rooms.room import Room
from homeserver.rooms.visible import Visible
from homeserver.sync.changes import RoomNews
from homeserver.sync.ephemeral_part import EphemeralPart
from homeserver.sync.reader import Reader
from homeserver.sync.state_part import StatePart, StateSpan
from homeserver.sync.summary import Summaries
from homeserver.sync.timeline_gaps import TimelineGaps
from homeserver.sync.timeline_part import TimelinePart
from homeserver.sync.timelines import Timeline, Timelines
from homeserver.sync.unread import Unread
from storage.rows import EventRow

_encode = msgspec.json.encode

DEFAULT_LIMIT = 10
MOST_EVENTS = 100


class Bundles(Protocol):
    """Where the aggregations of relations come from (client-server API, "Aggregations of child events")."""

    async def bundled(self, user_id: str, room: int, rows: Sequence[EventRow]) -> Mapping[str, bytes]:
        """Event id → the encoded `m.relations`, for those of the events that have any."""
        ...


class Span(msgspec.Struct, frozen=True):
    """The part of the log that is told of a room. `since` None: the client starts with this room from nothing.

    `whole_state`: the state is told from nothing too, although the timeline goes on from `since`.
    """

    since: int | None
    upto: int
    whole_state: bool = False

    @property
    def starts_state(self) -> bool:
        """Whether the client gets the whole state."""
        return self.since is None or self.whole_state


@dataclass(frozen=True, slots=True)
class Extras:
    """What stands beside timeline and state in a joined room."""

    summaries: Summaries
    unread: Unread
    ephemeral: EphemeralPart


class RoomPart:
    """Puts rooms together."""

    def __init__(
        self,
        heads: Heads,
        timelines: Timelines,
        gaps: TimelineGaps,
        timeline_part: TimelinePart,
        state_part: StatePart,
        extras: Extras,
        visible: Visible,
        bundles: Bundles,
    ) -> None:
        self._heads = heads
        self._timelines = timelines
        self._gaps = gaps
        self._timeline_part = timeline_part
        self._state_part = state_part
        self._extras = extras
        self._visible = visible
        self._bundles = bundles

    async def joined(
        self, reader: Reader, room: Room, span: Span, joined_at: int, news: RoomNews, account_data: bytes
    ) -> bytes | None:
        """A joined room as a member of `rooms.join`, or None where there is nothing to tell of it."""
        if reader.memory is not None and span.starts_state:
            reader.memory.forget_room(room.number)
        timeline, memberships = await self._timeline(reader, room, span, has_events=news.has_events)
        summary: bytes | None = None
        heroes: Sequence[str] = ()
        members_changed = news.members_moved or "m.room.member" in [row.event.type for row in timeline.rows]
        if span.starts_state or members_changed or timeline.limited:
            summary, heroes = await self._extras.summaries.of(room, reader.user_id)
        state = await self._state(reader, room, span, timeline, heroes)
        if span.since is None:
            first = timeline.rows[0].position if timeline.rows else span.upto
            ephemeral = await self._extras.ephemeral.everything(reader, room.number, first)
        elif news.receipts or news.typing:
            ephemeral = self._extras.ephemeral.encode(reader, room.number, news.receipts, typing=news.typing)
        else:
            ephemeral = b"[]"
        own_receipt = reader.user_id in [receipt.user_id for receipt in news.receipts]
        counts_changed = span.starts_state or news.has_events or own_receipt
        if not (timeline.rows or counts_changed) and state == ephemeral == account_data == b"[]":
            return None
        parts = [await self._encoded_timeline(reader, room, span, timeline, memberships)]
        parts.append(b'"%s":{"events":%s}' % (reader.state_as, state))
        if summary is not None:
            parts.append(b'"summary":' + summary)
        if ephemeral != b"[]":
            parts.append(b'"ephemeral":{"events":' + ephemeral + b"}")
        if account_data != b"[]":
            parts.append(b'"account_data":{"events":' + account_data + b"}")
        if counts_changed:
            parts.append(await self._unread(reader, room, joined_at, span.upto))
        return _member(room, parts)

    async def left(self, reader: Reader, room: Room, span: Span, left_at: int, account_data: bytes) -> bytes:
        """A room that the user has left or was banned from, up to that moment, as a member of `rooms.leave`."""
        span = Span(span.since, min(span.upto, left_at), span.whole_state)
        if reader.memory is not None:
            reader.memory.forget_room(room.number)
        timeline = await self._newest(reader, room, span)
        rows, memberships = await self._visible.of(reader.user_id, room.number, timeline.rows)
        timeline = msgspec.structs.replace(timeline, rows=rows)
        state = b"[]"
        if rows and memberships.get(rows[0].position) == "join":
            state = await self._state(reader, room, span, timeline, ())
        parts = [await self._encoded_timeline(reader, room, span, timeline, memberships)]
        parts.append(b'"%s":{"events":%s}' % (reader.state_as, state))
        if account_data != b"[]":
            parts.append(b'"account_data":{"events":' + account_data + b"}")
        return _member(room, parts)

    async def _timeline(
        self, reader: Reader, room: Room, span: Span, *, has_events: bool
    ) -> tuple[Timeline, Mapping[int, str] | None]:
        """The timeline, and the reader's memberships at its events (None: joined throughout)."""
        if span.since is not None:
            # Joined since before `since`: all that came since can be seen.
            if not has_events:
                return Timeline((), False), None
            return await self._gaps.cut(await self._newest(reader, room, span)), None
        timeline = await self._gaps.cut(await self._newest(reader, room, span))
        rows, memberships = await self._visible.of(reader.user_id, room.number, timeline.rows)
        if all(membership == "join" for membership in memberships.values()):
            return msgspec.structs.replace(timeline, rows=rows), None
        return msgspec.structs.replace(timeline, rows=rows), memberships

    async def _newest(self, reader: Reader, room: Room, span: Span) -> Timeline:
        limit = reader.filter.room_timeline.limit_or(DEFAULT_LIMIT, MOST_EVENTS)
        takes_all = reader.filter.room_timeline.matches_everything and not reader.ignored
        wanted = None if takes_all else reader.wants_in_timeline
        return await self._timelines.newest(room.number, span.since, span.upto, limit, wanted)

    async def _state(self, reader: Reader, room: Room, span: Span, timeline: Timeline, heroes: Sequence[str]) -> bytes:
        rows = timeline.rows
        exclude: frozenset[int] = frozenset()
        takes_all = reader.filter.room_timeline.matches_everything
        # While members are unknown, they are found out one by one, by events in the timeline: none must be missing.
        if rows and not reader.state_after and takes_all and room.partial is None:
            root = rows[0].state_root or EMPTY_ROOT
        else:
            # To the end: what a filter keeps out of the timeline must not be missing from the state.
            root = await self._heads.root_at(room, span.upto)
            if not reader.state_after:
                exclude = frozenset(row.position for row in rows if row.event.is_state)
        since_root = None if span.starts_state or span.since is None else await self._heads.root_at(room, span.since)
        senders: list[str] = []
        if reader.memory is not None:
            senders.extend(row.event.sender for row in rows)
            if span.starts_state:
                senders.append(reader.user_id)
            senders.extend(heroes)
        if since_root == root and not senders:
            return b"[]"
        return await self._state_part.encode(reader, StateSpan(room.number, root, since_root), senders, exclude)

    async def _encoded_timeline(
        self, reader: Reader, room: Room, span: Span, timeline: Timeline, memberships: Mapping[int, str] | None
    ) -> bytes:
        relations: Mapping[str, bytes] = {}
        if timeline.rows and (span.since is None or timeline.limited):
            relations = await self._bundles.bundled(reader.user_id, room.number, timeline.rows)
        start = span.upto if span.since is None else span.since
        return b'"timeline":' + await self._timeline_part.encode(reader, timeline, start, memberships, relations)

    async def _unread(self, reader: Reader, room: Room, joined_at: int, upto: int) -> bytes:
        counts = await self._extras.unread.counts(reader.user_id, room, joined_at, upto)
        by_thread = reader.filter.unread_thread_notifications
        count = counts.main if by_thread else counts.room
        encoded = b'"unread_notifications":{"notification_count":%d,"highlight_count":%d}' % (
            count.notifications,
            count.highlights,
        )
        if by_thread and counts.threads:
            threads = b",".join(
                _encode(root)
                + b':{"notification_count":%d,"highlight_count":%d}' % (each.notifications, each.highlights)
                for root, each in counts.threads.items()
            )
            encoded += b',"unread_thread_notifications":{' + threads + b"}"
        return encoded


def _member(room: Room, parts: Sequence[bytes]) -> bytes:
    return _encode(room.room_id) + b":{" + b",".join(parts) + b"}"
