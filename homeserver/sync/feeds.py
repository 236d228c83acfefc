"""Wakes those who wait for news.

A feed stands for one user who is, or lately was, connected. It is listed under the rooms that the user has joined, so
an entry of the log touches the feeds of its room's connected readers and nobody else: what an entry costs does not grow
with members who are away, nor with clients that are connected elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from twisted.internet.defer import Deferred

from homeserver.rooms.memberships import Memberships
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Ring
from storage.rows import (
    AccountDataRow,
    DeviceListRow,
    Entry,
    EventRow,
    KeyCountsRow,
    PresenceRow,
    ReceiptRow,
    SignedOthersRow,
    StateRow,
    Status,
    ToDeviceRow,
    TypingRow,
)

log: Final = structlog.get_logger("homeserver.sync")

IDLE_S = 600
"""A feed that nobody asked for in this time is dropped; the next request makes it anew."""


class Feed:
    """The news of one user: the newest position that concerns them, and who waits for it."""

    __slots__ = ("last_used_s", "rooms", "touched", "user_id", "waiting")

    def __init__(self, user_id: str, touched: int, rooms: set[int]) -> None:
        self.user_id = user_id
        self.touched = touched
        self.rooms = rooms
        self.waiting: list[Deferred[None]] = []
        self.last_used_s = 0.0


class Feeds:
    """All feeds of this process. A follower of the ring."""

    def __init__(self, ring: Ring, memberships: Memberships, clock: Clock) -> None:
        self._ring = ring
        self._memberships = memberships
        self._clock = clock
        self._feeds: OrderedDict[str, Feed] = OrderedDict()
        self._by_room: dict[int, set[Feed]] = {}
        ring.subscribe(self._published)

    async def of(self, user_id: str) -> Feed:
        """The feed of a user, listed under the rooms they have joined; made where there is none."""
        feed = self._feeds.get(user_id)
        if feed is None:
            rooms = await self._memberships.of_user(user_id)
            feed = self._feeds.get(user_id)
            if feed is None:
                # Between here and the listing nothing is awaited, so no entry can slip through.
                feed = self._feeds[user_id] = Feed(user_id, self._ring.head, set(rooms.joined))
                for room in feed.rooms:
                    self._by_room.setdefault(room, set()).add(feed)
        feed.last_used_s = self._clock.monotonic_s()
        self._feeds.move_to_end(user_id)
        self._drop_idle()
        return feed

    async def touched(self, feed: Feed, position: int) -> None:
        """Wait until the feed is touched after `position`, however long that takes."""
        if feed.touched <= position:
            waiter: Deferred[None] = Deferred()
            feed.waiting.append(waiter)
            try:
                await waiter
            finally:
                if waiter in feed.waiting:
                    feed.waiting.remove(waiter)
                feed.last_used_s = self._clock.monotonic_s()

    async def wait(self, feed: Feed, position: int, timeout_s: float) -> bool:
        """Wait until the feed is touched after `position`; False when the time is over first."""
        if feed.touched > position:
            return True
        if timeout_s <= 0:
            return False
        waiter: Deferred[None] = Deferred()
        feed.waiting.append(waiter)
        timer = self._clock.call_later(timeout_s, lambda: self._time_over(feed, waiter))
        try:
            await waiter
        finally:
            timer.cancel()
            if waiter in feed.waiting:
                feed.waiting.remove(waiter)
            feed.last_used_s = self._clock.monotonic_s()
        return feed.touched > position

    def __len__(self) -> int:
        return len(self._feeds)

    @property
    def waiting(self) -> int:
        """How many wait for news."""
        return sum(len(feed.waiting) for feed in self._feeds.values())

    def connected(self, room: int) -> set[Feed]:
        """The feeds of a room's members who are, or lately were, connected."""
        return self._by_room.get(room, set())

    def _published(self, entries: Sequence[Entry]) -> None:
        woken: dict[Feed, None] = {}
        for entry in entries:
            for feed in self._concerned(entry):
                feed.touched = entry.position
                if feed.waiting:
                    woken[feed] = None
        self._wake(woken)

    @staticmethod
    def _wake(feeds: Iterable[Feed]) -> None:
        for feed in feeds:
            waiting, feed.waiting = feed.waiting, []
            for waiter in waiting:
                waiter.callback(None)

    def _concerned(self, entry: Entry) -> list[Feed]:
        if isinstance(entry, (EventRow, StateRow)):
            return self._concerned_by_event(entry)
        if isinstance(entry, ReceiptRow):
            if entry.type == "m.read.private":
                return self._of_user(entry.user_id)
            return list(self._by_room.get(entry.room, ()))
        if isinstance(entry, TypingRow):
            return list(self._by_room.get(entry.room, ()))
        if isinstance(entry, (AccountDataRow, ToDeviceRow, SignedOthersRow)):
            return self._of_user(entry.user_id)
        if isinstance(entry, KeyCountsRow):
            users = set(entry.devices.values()) if entry.is_urgent else ()
            return [feed for user_id in users for feed in self._of_user(user_id)]
        if isinstance(entry, DeviceListRow):
            return self._concerned_by_device(entry)
        if isinstance(entry, PresenceRow):
            return self._concerned_by_presence(entry)
        return []

    def _concerned_by_presence(self, row: PresenceRow) -> list[Feed]:
        concerned: dict[Feed, None] = {}
        for room, only in row.rooms.items():
            concerned.update((feed, None) for feed in self._by_room.get(room, ()) if feed.user_id != only)
        for user_id in row.themselves:
            concerned.update(dict.fromkeys(self._of_user(user_id)))
        return list(concerned)

    def _concerned_by_device(self, row: DeviceListRow) -> list[Feed]:
        if not self._feeds:
            return []
        rooms = self._memberships.cached(row.user_id)
        if rooms is None:
            # Until it is known whom it concerns, whoever asks must look: who is told that there is nothing goes on
            # behind it.
            for feed in self._feeds.values():
                feed.touched = row.position
            Deferred.fromCoroutine(self._touch_later(row)).addErrback(
                lambda failure: log.error("device lists could not be told", error=repr(failure.value))
            )
            return self._of_user(row.user_id)
        return self._near(row.user_id, rooms.joined)

    async def _touch_later(self, row: DeviceListRow) -> None:
        """Wake those who are in a room with the user, once it is known in which rooms the user is."""
        rooms = await self._memberships.of_user(row.user_id)
        near = self._near(row.user_id, rooms.joined)
        for feed in near:
            feed.touched = max(feed.touched, row.position)
        self._wake(near)

    def _near(self, user_id: str, rooms: Iterable[int]) -> list[Feed]:
        """The feeds of the user, and of all who are in one of the rooms."""
        near = dict.fromkeys(self._of_user(user_id))
        for room in rooms:
            near.update(dict.fromkeys(self._by_room.get(room, ())))
        return list(near)

    def _concerned_by_event(self, row: EventRow | StateRow) -> list[Feed]:
        if row.is_history or row.status is not Status.ACCEPTED:
            return []
        concerned = dict.fromkeys(self._by_room.get(row.room, ()))
        for change in row.members:
            own = self._feeds.get(change.user_id) if change.is_local else None
            if own is not None:
                concerned[own] = None
                self._list(own, row.room, change.membership == "join")
        return list(concerned)

    def _of_user(self, user_id: str) -> list[Feed]:
        feed = self._feeds.get(user_id)
        return [] if feed is None else [feed]

    def _list(self, feed: Feed, room: int, joined: bool) -> None:
        if joined and room not in feed.rooms:
            feed.rooms.add(room)
            self._by_room.setdefault(room, set()).add(feed)
        elif not joined and room in feed.rooms:
            feed.rooms.discard(room)
            self._unlist(feed, room)

    def _unlist(self, feed: Feed, room: int) -> None:
        readers = self._by_room.get(room)
        if readers is not None:
            readers.discard(feed)
            if not readers:
                del self._by_room[room]

    def _drop_idle(self) -> None:
        limit = self._clock.monotonic_s() - IDLE_S
        while self._feeds:
            user_id, feed = next(iter(self._feeds.items()))
            if feed.last_used_s > limit or feed.waiting:
                return
            del self._feeds[user_id]
            for room in feed.rooms:
                self._unlist(feed, room)

    @staticmethod
    def _time_over(feed: Feed, waiter: Deferred[None]) -> None:
        if waiter in feed.waiting:
            feed.waiting.remove(waiter)
            waiter.callback(None)
