"""Tells who came, went, or says something else now: many users in one entry of the log.

The first change after a quiet time is told at once; then changes gather, for longer the more readers each entry wakes.
So however many come and go, presence alone wakes no more than WAKES_PER_S readers a second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from twisted.internet.defer import Deferred

from homeserver.core.canonical_json import JsonObject
from homeserver.rooms.memberships import Memberships
from homeserver.runtime.clock import Clock
from homeserver.runtime.log import Writer
from homeserver.users.presence_records import Record, Records
from storage.database import DatabaseUnavailable
from storage.rows import PresenceRow

WAKES_PER_S: Final = 100
SHORTEST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0

log: Final = structlog.get_logger("homeserver.presence")


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """A local user's presence as other servers should have it, and the rooms the user is in.

    `content` is an item of `push` in an m.presence EDU. It replaces what was told of this user before.
    """

    user_id: str
    rooms: frozenset[int]
    content: JsonObject


class PresenceListener(Protocol):
    """Hears of local users; such as what sends EDUs to the servers in their rooms."""

    def __call__(self, changes: Sequence[PresenceChanged], /) -> None:
        """Some users changed, or are to be told of again. Must not wait."""
        ...


class PresenceNews:
    """Gathers changes and puts them into the log."""

    def __init__(
        self,
        records: Records,
        memberships: Memberships,
        writer: Writer,
        readers: Callable[[int], Collection[object]],
        clock: Clock,
    ) -> None:
        self._records = records
        self._memberships = memberships
        self._writer = writer
        self._readers = readers
        """Who is connected in a room."""
        self._clock = clock
        self._changed: dict[str, Record] = {}
        self._again: dict[str, Record] = {}
        self._themselves: set[str] = set()
        self._listeners: list[PresenceListener] = []
        self._news: Deferred[None] | None = None

    def listen(self, listener: PresenceListener) -> None:
        """Tell a listener from now on."""
        self._listeners.append(listener)

    def changed(self, record: Record, *, themselves: bool = False) -> None:
        """This user is to be told of; `themselves`: also to their own devices."""
        if themselves:
            self._themselves.add(record.user_id)
        self._changed[record.user_id] = record
        self._wake()

    def again(self, record: Record) -> None:
        """The listeners are to hear of this user, though nothing changed."""
        self._again[record.user_id] = record
        self._wake()

    async def run(self) -> None:
        """Tell, until cancelled."""
        while True:
            if not self._changed and not self._again:
                self._news = Deferred()
                await self._news
            woken = await self._tell()
            await self._clock.sleep(pause_s(woken))

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.callback(None)

    async def _tell(self) -> int:
        """Tell what has gathered; how many readers that wakes."""
        changed, self._changed = self._changed, {}
        again, self._again = self._again, {}
        themselves, self._themselves = frozenset(self._themselves), set()
        try:
            await self._records.read(changed.values())
            # Whoever went and came back meanwhile is no news.
            news = [record for record in changed.values() if record.told != (record.presence, record.status_msg)]
            rooms = {
                record.user_id: frozenset((await self._memberships.of_user(record.user_id)).joined)
                for record in [*news, *again.values()]
            }
            woken = self._publish(news, rooms, themselves)
        except DatabaseUnavailable:
            self._changed = {**changed, **self._changed}
            self._again = {**again, **self._again}
            self._themselves |= themselves
            return 0
        self._tell_listeners([*news, *(record for record in again.values() if record not in news)], rooms)
        return woken

    def _publish(self, news: Sequence[Record], rooms: Mapping[str, frozenset[int]], themselves: frozenset[str]) -> int:
        if not news:
            return 0
        members: dict[int, str | None] = {}
        for record in news:
            for room in rooms[record.user_id]:
                members[room] = None if room in members else record.user_id
        row = PresenceRow(tuple(record.user_id for record in news), members, themselves)
        # Nobody waits for it: if the log takes none now, those who look later find the presence as it is.
        self._writer.append([row]).addErrback(lambda failure: log.info("presence not told", reason=str(failure.value)))
        for record in news:
            record.position = row.position
            record.told = (record.presence, record.status_msg)
        return len(set().union(*(self._readers(room) for room in members)))

    def _tell_listeners(self, records: Sequence[Record], rooms: Mapping[str, frozenset[int]]) -> None:
        now_s = self._clock.monotonic_s()
        changes = []
        for record in records:
            if record.is_local:
                record.announced_s = now_s
                content: JsonObject = {"user_id": record.user_id, "last_active_ago": 0, **record.content(now_s)}
                changes.append(PresenceChanged(record.user_id, rooms[record.user_id], content))
        for listener in self._listeners if changes else ():
            listener(changes)


def pause_s(woken: int) -> float:
    """How long changes gather after an entry that woke so many readers."""
    return max(SHORTEST_PAUSE_S, min(woken / WAKES_PER_S, LONGEST_PAUSE_S))
