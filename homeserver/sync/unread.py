"""How much is unread for a user in a room: computed from positions when somebody asks, not written for each member.

What is kept in memory for a user and a room is the list of events since their receipts that notify them. A new event is
judged once by the user's push rules, a new receipt takes a prefix of the list away.
Specification: client-server API, "Receiving notifications" and "Threaded read receipts".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from homeserver.core.ids import EventId
from homeserver.core.push.evaluate import Evaluator, EventFacts, RoomContext
from homeserver.core.push.unread import Notification, PlacedReceipt, ReadUpTo, UnreadCounts, count_unread, read_up_to
from homeserver.core.receipts import MAIN
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.room import Room
from homeserver.rooms.state import StateStore
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import events as event_table
from storage import receipts as receipt_table
from storage.database import Database
from storage.rows import AccountDataRow, ChangesMembers, Entry, EventRow, ReceiptRow, StateRow, Status

MOST_USERS = 20_000
MOST_UNREAD = 10_000
"""Unread events kept for a user and a room; beyond that the oldest count as read."""
MOST_COLD_EVENTS = 2_000
"""Unread events that are judged when a room is asked for the first time; older ones count as read."""


class EvaluatorSource(Protocol):
    """Where the compiled push rules of users come from."""

    async def evaluator(self, user_id: str) -> Evaluator:
        """The user's compiled push rules."""
        ...


@dataclass(slots=True)
class _RoomState:
    """What is unread for a user in a room, up to `upto`."""

    upto: int
    read: ReadUpTo
    notifying: list[Notification] = field(default_factory=list)
    counts: UnreadCounts | None = None

    def has_read_upto(self, thread: str, position: int) -> None:
        """The user has read up to `position`: everywhere for '', else in the main timeline or in one thread."""
        read = self.read
        if thread == "":
            self.read = replace(read, room=max(read.room, position))
        elif thread == MAIN:
            self.read = replace(read, main=max(read.main, position))
        else:
            here = max(read.threads.get(thread, 0), position)
            self.read = replace(read, threads={**read.threads, thread: here})
        if self.notifying and self.read != read:
            self.notifying = [each for each in self.notifying if not self.read.has_read(each)]
            self.counts = None

    def add(self, notification: Notification) -> None:
        """One more event notifies. Its cost does not grow with what is unread already."""
        if self.read.has_read(notification):
            return
        self.notifying.append(notification)
        if len(self.notifying) > MOST_UNREAD:
            del self.notifying[: MOST_UNREAD // 10]
            self.counts = None
        elif self.counts is not None:
            self.counts = self.counts.plus(notification)

    def count(self) -> UnreadCounts:
        """The counts as they stand."""
        if self.counts is None:
            self.counts = count_unread(self.notifying, self.read)
        return self.counts


class Unread:
    """Unread counts of local users. A follower of the ring, which brings receipts and changes of push rules."""

    def __init__(
        self,
        database: Database,
        ring: Ring,
        events: EventCache,
        heads: Heads,
        state: StateStore,
        push_rules: EvaluatorSource,
    ) -> None:
        self._database = database
        self._ring = ring
        self._events = events
        self._heads = heads
        self._state = state
        self._push_rules = push_rules
        self._users: Lru[str, dict[int, _RoomState]] = Lru(MOST_USERS)
        self._facts: Lru[int, EventFacts] = Lru(512)
        ring.subscribe(self._published, AccountDataRow, ChangesMembers, ReceiptRow)

    async def counts(self, user_id: str, room: Room, joined_at: int, upto: int) -> UnreadCounts:
        """Unread counts of a joined room. `joined_at`: position at which the user joined; what is older is read."""
        rooms = self._users.get(user_id)
        if rooms is None:
            rooms = {}
            self._users.put(user_id, rooms)
        state = rooms.get(room.number)
        if state is None:
            state = await self._load(user_id, room.number, joined_at)
            rooms = self._users.get(user_id)
            if rooms is not None:
                state = rooms.setdefault(room.number, state)
        if state.upto < upto:
            rows = await self._events_after(room.number, state.upto, upto)
            if rows:
                await self._judge(user_id, room, state, rows, upto)
                await self._take_back(state, [row.event.redacts for row in rows if row.event.redacts is not None])
            else:
                state.upto = max(state.upto, upto)
        return state.count()

    async def _load(self, user_id: str, room: int, joined_at: int) -> _RoomState:
        receipts = await self._database.read(receipt_table.of_user_in_room, room, user_id)
        placed = [PlacedReceipt(each.type, each.thread or None, each.event_position) for each in receipts]
        read = read_up_to(placed, since=joined_at)
        return _RoomState(read.room, read)

    async def _events_after(self, room: int, after: int, upto: int) -> Sequence[EventRow]:
        if self._ring.covers(after):
            rows: Iterable[Entry] = self._ring.room_after(room, after)
            return [
                row
                for row in rows
                if isinstance(row, EventRow)
                and row.position <= upto
                and row.status is Status.ACCEPTED
                and not row.is_history
            ]
        found = await self._database.read(event_table.newest_in_room, room, upto, MOST_COLD_EVENTS, after)
        return self._events.remember_all(found)

    async def _judge(self, user_id: str, room: Room, state: _RoomState, rows: Sequence[EventRow], upto: int) -> None:
        evaluator = await self._push_rules.evaluator(user_id)
        display_name = await self._display_name(user_id, room) if evaluator.needs_display_name else None
        done = state.upto
        for row in rows:
            # Somebody else may have gone on while we waited above.
            if row.position <= max(done, state.upto):
                continue
            if row.event.sender == user_id:
                # Who writes has read what was there: sending counts as a receipt for its thread.
                state.has_read_upto(row.thread or MAIN, row.position)
                continue
            if row.redacted_by is not None:
                continue
            actions = evaluator.evaluate(self._facts_of(row, room), display_name)
            if actions.notify:
                thread = None if row.thread is None else EventId(row.thread)
                state.add(Notification(row.position, thread, actions.highlight))
        state.upto = max(state.upto, upto)

    async def _take_back(self, state: _RoomState, targets: Sequence[EventId]) -> None:
        """Whatever was redacted meanwhile is no news any more."""
        if not targets or not state.notifying:
            return
        found = await self._events.by_ids(targets)
        gone = {row.position for row in found.values() if row.redacted_by is not None}
        state.notifying = [each for each in state.notifying if each.position not in gone]
        state.counts = None

    def _facts_of(self, row: EventRow, room: Room) -> EventFacts:
        facts = self._facts.get(row.position)
        if facts is None:
            power = room.power
            levels = {"room": power.needed_for_notification("room")}
            context = RoomContext(room.joined_members, power.of_user(row.event.sender), levels)
            facts = EventFacts(row.event, context)
            self._facts.put(row.position, facts)
        return facts

    async def _display_name(self, user_id: str, room: Room) -> str | None:
        position = await self._state.get(room.number, room.committed_root, "m.room.member", user_id)
        if position is None:
            return None
        rows = await self._events.by_positions([position])
        name = rows[position].event.content.get("displayname") if position in rows else None
        return name if isinstance(name, str) else None

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, ReceiptRow):
                rooms = self._users.peek(entry.user_id)
                state = rooms.get(entry.room) if rooms is not None else None
                if state is not None:
                    state.has_read_upto(entry.thread, entry.event_position)
            elif isinstance(entry, AccountDataRow) and entry.type == "m.push_rules":
                self._users.discard(entry.user_id)
            elif isinstance(entry, (EventRow, StateRow)):
                for change in entry.members:
                    rooms = self._users.peek(change.user_id)
                    if rooms is not None and change.membership != "join":
                        rooms.pop(entry.room, None)
