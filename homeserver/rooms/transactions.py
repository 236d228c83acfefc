"""The same PUT twice makes one event: which events each device has sent, by the path that it used.

What is on its way to the disk counts: a repeat waits for it. After a restart the answer is in the table of events.
Specification: client-server API, "Transaction identifiers".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred

from homeserver.core.ids import EventId
from homeserver.runtime.lru import Lru
from homeserver.runtime.ring import Ring
from homeserver.runtime.writer import AppendFailed, Writer
from storage import events as event_table
from storage.database import Database, DatabaseUnavailable
from storage.rows import Entry, EventRow, SentHere

MOST_OF_ONE = 500
"""Events remembered for one device. A client repeats what it sent last."""
MOST_OF_ALL = 500_000
"""Events remembered for all devices together."""

Key = tuple[str, str]
"""Room id and end of the path."""

Queued = tuple[EventId, Awaitable[None]]
"""An event that is queued, and what tells of its commit."""


class _Pending:
    """An event that is not committed yet."""

    __slots__ = ("is_late", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Deferred[EventId]] = []
        self.is_late = False
        """The database is away; the event is in the queue and will be written once it is back."""


class _Device:
    """What one device has sent, oldest first."""

    __slots__ = ("pending", "sent")

    def __init__(self, sent: dict[Key, EventId | _Pending]) -> None:
        self.sent = sent
        self.pending = 0


def _weigh(device: int, known: _Device) -> int:
    return 1 + len(known.sent)


class Transactions:
    """What devices have sent. A follower of the ring, which tells what was committed."""

    def __init__(self, database: Database, ring: Ring, writer: Writer) -> None:
        self._database = database
        self._devices: Lru[int, _Device] = Lru(MOST_OF_ALL, _weigh)
        self._pending: dict[int, _Device] = {}
        """Devices with pending events: these may not be forgotten, so they are not in `_devices`."""
        self._loading: dict[int, list[Deferred[None]]] = {}
        ring.subscribe(self._published, SentHere)
        writer.on_failure(self._failed)

    async def once(self, device: int, room_id: str, txn_path: str, work: Callable[[], Awaitable[Queued]]) -> EventId:
        """The id of the event that this device sent by this path: the first answer, or that of `work`."""
        known = self._known(device)
        if known is None:
            known = await self._load(device)
        key = (room_id, txn_path)
        earlier = known.sent.get(key)
        if isinstance(earlier, str):
            return earlier
        if earlier is not None:
            return await self._wait(earlier)
        pending = _Pending()
        self._devices.discard(device)
        known.sent[key] = pending
        known.pending += 1
        self._pending[device] = known
        try:
            event_id, committed = await work()
        except BaseException as error:
            self._end(device, key, error)
            raise
        try:
            await committed
        except DatabaseUnavailable as error:
            # It stays in the queue. Whoever repeats it is told to come again, until it is written.
            pending.is_late = True
            _tell(pending, error)
            raise
        except AppendFailed as error:
            self._end(device, key, error)
            raise
        # An event that was there already, such as a state that is set again, is never published.
        self._done(device, key, event_id)
        return event_id

    def _known(self, device: int) -> _Device | None:
        known = self._pending.get(device)
        return self._devices.get(device) if known is None else known

    @staticmethod
    async def _wait(pending: _Pending) -> EventId:
        if pending.is_late:
            raise DatabaseUnavailable("the database does not answer")
        answer: Deferred[EventId] = Deferred()
        pending.waiting.append(answer)
        return await answer

    async def _load(self, device: int) -> _Device:
        waiting = self._loading.get(device)
        if waiting is not None:
            turn: Deferred[None] = Deferred()
            waiting.append(turn)
            await turn
            known = self._known(device)
            return await self._load(device) if known is None else known
        waiting = self._loading[device] = []
        try:
            rows = await self._database.read(event_table.sent_by_device, device, MOST_OF_ONE)
            known = _Device({(room_id, path): EventId(event_id) for room_id, path, event_id in rows})
            self._devices.put(device, known)
        finally:
            del self._loading[device]
            for turn in waiting:
                turn.callback(None)
        return known

    def _done(self, device: int, key: Key, event_id: EventId) -> None:
        pending = self._settle(device, key, event_id)
        if pending is not None:
            for each in pending.waiting:
                each.callback(event_id)

    def _end(self, device: int, key: Key, error: BaseException) -> None:
        """Nothing came of it: the next try begins anew."""
        pending = self._settle(device, key, None)
        if pending is not None:
            _tell(pending, error)

    def _settle(self, device: int, key: Key, event_id: EventId | None) -> _Pending | None:
        """Replace what is pending by its outcome; None if it was settled before."""
        known = self._pending.get(device)
        pending = None if known is None else known.sent.get(key)
        if known is None or not isinstance(pending, _Pending):
            return None
        if event_id is None:
            del known.sent[key]
        else:
            known.sent[key] = event_id
        known.pending -= 1
        if not known.pending:
            del self._pending[device]
            while len(known.sent) > MOST_OF_ONE:
                del known.sent[next(iter(known.sent))]
            self._devices.put(device, known)
        return pending

    def _published(self, entries: Sequence[Entry]) -> None:
        if not self._pending:
            return
        for entry in entries:
            if isinstance(entry, EventRow) and entry.device is not None and entry.txn_path is not None:
                self._done(entry.device, (entry.event.room_id, entry.txn_path), entry.event.event_id)

    def _failed(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, EventRow) and entry.device is not None and entry.txn_path is not None:
                error = DatabaseUnavailable("the event could not be written")
                self._end(entry.device, (entry.event.room_id, entry.txn_path), error)


def _tell(pending: _Pending, error: BaseException) -> None:
    waiting, pending.waiting = pending.waiting, []
    for each in waiting:
        each.errback(error)
