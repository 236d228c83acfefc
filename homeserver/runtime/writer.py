"""The one writer of the log: gives positions, commits in batches, publishes to the ring.

While one batch is at the database, the next one gathers. A batch is one message to PostgreSQL and one transaction.
Every batch writes its last position to log_head, so that after a connection broke during a commit we can see
whether it went through.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from psycopg2.extensions import cursor as Cursor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.runtime.ring import Ring
from homeserver.runtime.writer_session import Ended, Fenced, WriterSession
from storage import log_head
from storage.connection import is_passing
from storage.database import PATIENCE_WHILE_AWAY_S, Database, DatabaseUnavailable
from storage.rows import Entry, EventRow, StateRow
from storage.statements import Collector, Statements

BLOCK: Final = 10_000
"""Positions are reserved in blocks of this size."""
MAX_QUEUED_CALLS: Final = 5_000
MAX_BATCH_ENTRIES: Final = 1_000
TICK_S: Final = 1.0
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

log: Final = structlog.get_logger("homeserver.log")

Also = Callable[[Statements], object]
Persist = Mapping[type[Any], Callable[[Statements, Sequence[Any]], object]]
OnFailure = Callable[[Sequence[Entry]], None]


class AppendFailed(Exception):
    """The database refused what an append holds (or what it was built upon); nothing of it was written."""


class _Call:
    """One append. `last` is the last position it took."""

    __slots__ = ("also", "entries", "last", "rows", "since_s", "waiting")

    def __init__(self, entries: Sequence[Entry], rows: Sequence[object], also: Sequence[Also], last: int) -> None:
        self.entries = entries
        self.rows = rows
        self.also = also
        self.last = last
        self.since_s = time.monotonic()
        self.waiting: Deferred[None] | None = Deferred()

    def needs_disk(self) -> bool:
        if self.rows or self.also:
            return True
        for entry in self.entries:  # noqa: SIM110 -- asked of every append, where a generator costs more than the question
            if entry.durable:
                return True
        return False

    def rooms(self) -> set[int]:
        """Rooms that got events, or another state."""
        return {entry.room for entry in self.entries if isinstance(entry, (EventRow, StateRow))}


class Writer:
    """Appends to the log.

    `persist` says for each class of entries and side rows how to write many of them; it is gone through in its
    order, so parents come before children. Its functions bear several rows with the same key (the last one holds).
    """

    def __init__(self, database: Database, ring: Ring, persist: Persist, reactor: Any) -> None:
        self.batches = 0
        """Number of transactions so far."""
        self._database = database
        self._ring = ring
        self._persist = persist
        self._reactor = reactor
        self._session = WriterSession(database, reactor)
        self._next = 0
        self._next_history = 0
        self._committed = 0
        self._reserved = 0
        self._queue: deque[_Call] = deque()
        self._batch: Sequence[_Call] = ()
        self._is_busy = False
        self._is_open = False
        self._is_ticking = False
        self._stopped: Deferred[None] | None = None
        self._failure_listeners: list[OnFailure] = []
        self._last_refusal = ""
        self._is_away = False
        """Somebody waited in vain, and the batch that he waited for is at the database still."""

    async def start(self) -> None:
        """Become the writer of this database. Raises UnusableDatabase if another process is."""
        head = await self._session.begin()
        # A restart never gives a position again, also not one of an entry that was in the ring alone.
        self._next = head.reserved
        self._next_history = head.oldest
        self._committed = head.position
        self._reserved = head.reserved
        self._ring.begin(head.position, head.reserved)
        self._is_open = True

    async def stop(self) -> None:
        """Take nothing more, commit what waits (for as long as the patience lasts), and let go of the database."""
        if self._is_open:
            self._is_open = False
            if self._is_busy or self._queue:
                stopped = self._stopped = Deferred()
                timeout = self._reactor.callLater(self._database.patience_s, self._give_up)
                await stopped
                if timeout.active():
                    timeout.cancel()
        self._session.close()

    def append(
        self, entries: Sequence[Entry], also: Sequence[Also] = (), rows: Sequence[object] = ()
    ) -> Deferred[None]:
        """Give positions at once, in order, and commit soon; fires when all is on disk and published.

        `rows` are side rows, of classes that `persist` knows, written together with those of other appends.
        `also` are small statements for the same transaction; they come after all rows and entries of the batch.
        Raises DatabaseUnavailable if it takes nothing now. The Deferred fails with DatabaseUnavailable after the
        patience (it may still be committed later), or with AppendFailed.
        """
        if not self._is_open:
            raise DatabaseUnavailable("the log takes no entries: the server starts or stops")
        if len(self._queue) >= MAX_QUEUED_CALLS:
            raise DatabaseUnavailable("too many changes wait for the database")
        first = position = self._next
        for entry in entries:
            if isinstance(entry, EventRow) and entry.is_history:
                self._next_history -= 1
                entry.position = self._next_history
            else:
                position += 1
                entry.position = position
        if position == first:
            # A batch needs a mark of its own in log_head.
            position += 1
        self._next = position
        call = _Call(entries, rows, also, position)
        if self._is_away:
            # Those who come in turn, as for one room, must not have to wait ever longer.
            call.since_s -= max(0.0, self._database.patience_s - PATIENCE_WHILE_AWAY_S)
        waiting = call.waiting
        assert waiting is not None
        self._queue.append(call)
        if not self._is_busy:
            # Not at once: what else the reactor has read in this turn goes into the same batch.
            self._is_busy = True
            self._reactor.callLater(0, self._go_on)
        if not self._is_ticking:
            self._is_ticking = True
            self._reactor.callLater(TICK_S, self._tick)
        return waiting

    def on_failure(self, listener: OnFailure) -> None:
        """Tell a listener about entries that were not written: whatever was built upon them must be dropped."""
        self._failure_listeners.append(listener)

    @property
    def next_position(self) -> int:
        """What the next append gives to its first entry that is not history, for those who must know beforehand."""
        return self._next + 1

    @property
    def next_history_position(self) -> int:
        """The same for the first entry that is history."""
        return self._next_history - 1

    @property
    def queued_calls(self) -> int:
        """How many appends wait, without those at the database."""
        return len(self._queue)

    # The normal way: take, send, publish.

    def _go_on(self) -> None:
        """Send the next batch; what needs no disk is published right away."""
        while self._queue:
            self._batch = self._take()
            if self._send(self._batch):
                return
            self._publish(self._batch)
        self._batch = ()
        self._is_busy = False
        if self._stopped is not None:
            self._give_up()

    def _take(self) -> Sequence[_Call]:
        queue = self._queue
        if len(queue) < MAX_BATCH_ENTRIES // 16:
            batch = list(queue)
            queue.clear()
            return batch
        batch, size = [], 0
        while queue and size < MAX_BATCH_ENTRIES:
            call = queue.popleft()
            batch.append(call)
            size += len(call.entries) + len(call.rows) + len(call.also)
        return batch

    def _send(self, batch: Sequence[_Call]) -> bool:
        """Send a batch to the database; False if it needs none."""
        if batch[-1].last <= self._reserved and True not in [call.needs_disk() for call in batch]:
            return False
        try:
            sent = self._commit(batch)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is looked into call by call
            self._recover_from(error)
            return True
        sent.addCallbacks(self._on_commit, self._recover_from).addErrback(self._on_broken)
        return True

    def _commit(self, batch: Sequence[_Call]) -> Deferred[Cursor]:
        """One transaction in one message."""
        connection = self._session.connection()
        collector = Collector(connection.prepared)
        groups: dict[type[Any], list[object]] = {}
        for call in batch:
            for entry in call.entries:
                if entry.durable:
                    groups.setdefault(type(entry), []).append(entry)
            for row in call.rows:
                groups.setdefault(type(row), []).append(row)
        for kind, write in self._persist.items():
            if kind in groups:
                write(collector, groups.pop(kind))
        if groups:
            raise TypeError(f"nobody knows how to write {', '.join(kind.__name__ for kind in groups)}")
        for call in batch:
            for statement in call.also:
                statement(collector)
        last = batch[-1].last
        log_head.move(collector, last, self._reservation(last))
        self._database.count_log_statements(collector.count)
        self.batches += 1
        return connection.run(collector.text())

    def _reservation(self, last: int) -> int:
        """A new block well before the old one is used up, so that entries for the ring alone need not wait for it."""
        return self._reserved if last + BLOCK // 2 <= self._reserved else last + BLOCK

    def _on_commit(self, _: Cursor | None) -> None:
        batch, self._batch = self._batch, ()
        self._note_commit(batch)
        # The database works on the next batch while this one is told around.
        if self._queue:
            self._batch = self._take()
            was_sent = self._send(self._batch)
            self._publish(batch)
            if was_sent:
                return
            self._publish(self._batch)
        else:
            self._publish(batch)
        self._go_on()

    def _note_commit(self, batch: Sequence[_Call]) -> None:
        last = batch[-1].last
        self._reserved = self._reservation(last)
        self._committed = last
        self._is_away = False

    def _publish(self, batch: Sequence[_Call]) -> None:
        self._ring.publish([entry for call in batch for entry in call.entries if entry.position > 0])
        for call in batch:
            waiting, call.waiting = call.waiting, None
            if waiting is not None:
                waiting.callback(None)

    # When something goes wrong.

    def _recover_from(self, failed: Failure | Exception) -> None:
        error = failed.value if isinstance(failed, Failure) else failed
        work = Deferred.fromCoroutine(self._recover(self._batch, error))
        work.addErrback(self._on_broken)

    async def _recover(self, batch: Sequence[_Call], error: BaseException | None) -> None:
        """Bring a batch to its end: committed as a whole, or call by call without those that the database refuses."""
        # Not at once: the batch before may not have been published yet.
        await self._session.sleep(0)
        try:
            if await self._try_until_answered(batch, error):
                self._publish(batch)
            else:
                await self._one_by_one(batch)
        except Fenced as fenced:
            self._is_open = False
            log.error("another process writes to this database: restart this server", reason=str(fenced))
            self._refuse(self._drain(batch), DatabaseUnavailable(str(fenced)))
        except Ended as ended:
            self._refuse(self._drain(batch), DatabaseUnavailable(str(ended)))
        self._go_on()

    async def _one_by_one(self, batch: Sequence[_Call]) -> None:
        failed_rooms: set[int] = set()
        for call in batch:
            if failed_rooms & call.rooms():
                self._refuse([call], AppendFailed("an earlier event of the room could not be written"))
            elif await self._try_until_answered([call], None, is_first=True):
                self._publish([call])
            else:
                failed_rooms |= call.rooms()
                # What waits in the queue was built upon the failed events; what comes later is not.
                upon = [each for each in self._queue if failed_rooms & each.rooms()]
                self._queue = deque(each for each in self._queue if each not in upon)
                self._refuse([call], AppendFailed(f"the database refused the change: {self._last_refusal}"))
                self._refuse(upon, AppendFailed("an earlier event of the room could not be written"))

    async def _try_until_answered(
        self, batch: Sequence[_Call], error: BaseException | None, *, is_first: bool = False
    ) -> bool:
        """Try for as long as the database is away. True: committed; False: refused for what the batch holds."""
        pause_s = FIRST_PAUSE_S
        while True:
            if not is_first:
                self._session.forget_prepared()
                if error is not None and not is_passing(error):
                    self._last_refusal = str(error).strip()
                    log.warning("the database refused a batch of the log", reason=self._last_refusal, calls=len(batch))
                    return False
                log.warning("the database does not take the log; trying again", reason=str(error).strip())
                await self._session.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                head = await self._session.reopen_if_closed(self._committed, batch[-1].last)
                if head is not None and head.position == batch[-1].last:
                    break
            is_first = False
            try:
                await self._commit(batch)
            except Exception as failed:  # noqa: BLE001 -- judged above
                error = failed
            else:
                break
        self._note_commit(batch)
        return True

    def _refuse(self, calls: Iterable[_Call], error: Exception) -> None:
        refused = list(calls)
        entries = [entry for call in refused for entry in call.entries]
        for listener in self._failure_listeners if entries else ():
            try:
                listener(entries)
            except Exception:  # the others must hear of it
                log.exception("a listener to failures of the log failed")
        for call in refused:
            waiting, call.waiting = call.waiting, None
            if waiting is not None:
                waiting.errback(error)

    def _drain(self, batch: Sequence[_Call]) -> list[_Call]:
        calls = [*batch, *self._queue]
        self._queue.clear()
        return calls

    def _on_broken(self, failure: Failure) -> None:
        """A mistake in the writer itself: better no log than one with a hole."""
        log.critical("the writer of the log stopped", reason=failure.getTraceback())
        self._is_open = False
        self._refuse(self._drain(self._batch), DatabaseUnavailable("the writer of the log stopped"))

    def _give_up(self) -> None:
        """The stop need not wait any longer."""
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped.callback(None)

    def _tick(self) -> None:
        """Tell those who have waited too long; what they wait for stays in the queue."""
        self._is_ticking = bool(self._is_busy or self._queue)
        if not self._is_ticking:
            return
        self._reactor.callLater(TICK_S, self._tick)
        oldest_s = time.monotonic() - self._database.patience_s
        for call in (*self._batch, *self._queue):
            if call.since_s > oldest_s:
                continue
            waiting, call.waiting = call.waiting, None
            self._is_away = True
            if waiting is not None:
                waiting.errback(DatabaseUnavailable("the database does not answer"))
