"""The recent entries of the log in memory, for all who follow it live."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from storage.rows import Entry

CAPACITY_ENTRIES: Final = 20_000
CAPACITY_BYTES: Final = 64 * 1024 * 1024
"""Ordinary messages take 2 kB in memory, so 20,000 of them fit; of the largest that there are, 300 do."""

MOST_MIXTURES: Final = 1_000
"""Of kinds of entries in one batch for which it is remembered whom they concern."""

log: Final = structlog.get_logger("homeserver.log")

Subscriber = Callable[[Sequence[Entry]], None]


class Ring:
    """The newest entries in order of their positions. Only the writer of the log publishes."""

    def __init__(self, capacity_entries: int = CAPACITY_ENTRIES, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self.head = 0
        """Position of the newest published entry."""
        self.floor = 0
        """All entries after this position are held."""
        self.size_bytes = 0
        """About what the entries take in memory."""
        self._capacity = capacity_entries
        self._capacity_bytes = capacity_bytes
        self._entries: list[Entry] = []
        self._positions: list[int] = []
        self._weights: list[int] = []
        self._rooms: dict[int, deque[Entry]] = {}
        self._subscribers: list[tuple[Subscriber, frozenset[type]]] = []
        self._concerned: dict[frozenset[type], tuple[Subscriber, ...]] = {}
        """Kinds of entries → the subscribers that get a batch of just these kinds."""

    def begin(self, floor: int, head: int) -> None:
        """At the start: between `floor` and `head` lie only lost entries of the ring; new ones come after `head`."""
        self.floor, self.head = floor, head

    def publish(self, entries: Sequence[Entry]) -> None:
        """Take entries in and tell the subscribers. Their positions come after all before."""
        if not entries:
            return
        for entry in entries:
            self._entries.append(entry)
            self._positions.append(entry.position)
            weight = entry.weight_bytes
            self._weights.append(weight)
            self.size_bytes += weight
            room: int = getattr(entry, "room", 0)
            if room:
                held = self._rooms.get(room)
                if held is None:
                    held = self._rooms[room] = deque()
                held.append(entry)
        self.head = self._positions[-1]
        # In big steps: cutting a list at its front costs its whole length.
        if len(self._entries) > self._capacity + self._capacity // 4:
            self._drop(len(self._entries) - self._capacity)
        if self.size_bytes > self._capacity_bytes + self._capacity_bytes // 4:
            self._drop(self._too_heavy())
        here = entries[0].kinds if len(entries) == 1 else frozenset[type]().union(*[entry.kinds for entry in entries])
        for subscriber in self._concerned.get(here) or self._find_concerned(here):
            try:
                subscriber(entries)
            except Exception:  # one follower's mistake must not hold up the log
                log.exception("a follower of the log failed")

    def covers(self, position: int) -> bool:
        """Whether all entries after this position are held."""
        return position >= self.floor

    def after(self, position: int) -> Sequence[Entry]:
        """The entries after a position, oldest first. Complete only where `covers(position)`."""
        if position >= self.head:
            return ()
        return self._entries[bisect_right(self._positions, position) :]

    def room_after(self, room: int, position: int) -> list[Entry]:
        """The entries of a room (events, receipts, typing) after a position, oldest first."""
        held = self._rooms.get(room)
        if held is None or held[-1].position <= position:
            return []
        newest_first = []
        for entry in reversed(held):
            if entry.position <= position:
                break
            newest_first.append(entry)
        newest_first.reverse()
        return newest_first

    def room_last(self, room: int) -> int:
        """Position of the newest entry of a room; 0 if none is held."""
        held = self._rooms.get(room)
        return held[-1].position if held else 0

    def subscribe(self, callback: Subscriber, *kinds: type) -> Callable[[], None]:
        """Call back once for every published batch, in the reactor. Answers with a function that ends it.

        With `kinds` (see `Entry.kinds`), only for batches that hold entries of one of them, beside whatever else is in
        the batch.
        """
        subscriber = callback, frozenset(kinds)
        self._subscribers.append(subscriber)
        self._concerned.clear()

        def end() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
                self._concerned.clear()

        return end

    def __len__(self) -> int:
        return len(self._entries)

    def _find_concerned(self, here: frozenset[type]) -> tuple[Subscriber, ...]:
        if len(self._concerned) >= MOST_MIXTURES:
            self._concerned.clear()
        found = tuple(each for each, kinds in self._subscribers if not kinds or not kinds.isdisjoint(here))
        self._concerned[here] = found
        return found

    def _too_heavy(self) -> int:
        """How many of the oldest entries must go, so that the rest is light enough."""
        excess = self.size_bytes - self._capacity_bytes
        for number, weight in enumerate(self._weights, 1):
            excess -= weight
            if excess <= 0:
                return number
        return len(self._weights)

    def _drop(self, number: int) -> None:
        for entry in self._entries[:number]:
            room: int = getattr(entry, "room", 0)
            if room:
                held = self._rooms[room]
                held.popleft()
                if not held:
                    del self._rooms[room]
        self.floor = self._positions[number - 1]
        del self._entries[:number]
        del self._positions[:number]
        self.size_bytes -= sum(self._weights[:number])
        del self._weights[:number]
