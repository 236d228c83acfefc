"""Followers of the log that remember how far they have come: the loop behind every durable cursor.

A follower reads the ring, or where that does not reach back far enough, the tables. Its cursor goes to the database
now and then, so after a crash it meets some entries again: whoever handles them bears a repeat.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from homeserver.runtime.ring import Ring
from storage import log_head
from storage.database import Cursor, Database
from storage.rows import Entry

PAGE_ENTRIES: Final = 500
SAVE_EVERY_S: Final = 10.0
"""A save is a transaction of its own; a follower that is behind by as much reads that again in no time."""
PASSED_OVER: Final = 1_000
"""Entries of no concern after which the cursor is saved all the same."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 60.0

log: Final = structlog.get_logger("homeserver.log")

ReadAfter = Callable[[Cursor, int, int, int], Sequence[Entry]]
"""`read_after(tx, after, upto, limit)`: the entries of interest in (after, upto] from the tables, oldest first."""
Handle = Callable[[Sequence[Entry]], Awaitable[object]]


class Follower:
    """One cursor on the log. `run` goes on until it is cancelled.

    `handle` gets entries in their order: from the ring all of them, from the tables those that `read_after` picks;
    when it fails, it gets the same again after a pause. A follower that is new begins at `begin_at` (None: with
    what comes after now). Where `concerns` is given, it is woken only for entries that it says are of interest.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        ring: Ring,
        read_after: ReadAfter,
        handle: Handle,
        reactor: Any,
        *,
        begin_at: int | None = None,
        concerns: Callable[[Entry], bool] | None = None,
    ) -> None:
        self.name = name
        self.position = 0
        """Everything up to here is handled."""
        self._database = database
        self._ring = ring
        self._read_after = read_after
        self._handle = handle
        self._reactor = reactor
        self._begin_at = begin_at
        self._concerns = concerns
        self._is_started = False
        self._saved: int | None = None
        self._saved_s = 0.0
        self._waiting: Deferred[None] | None = None
        self._waits_for_news = False
        self._is_stopping = False

    async def run(self) -> None:
        """Follow. Ends when `stop` was called; the cursor is then saved."""
        end = self._ring.subscribe(self._on_entries)
        try:
            pause_s = FIRST_PAUSE_S
            while not self._is_stopping:
                try:
                    await self._step()
                    pause_s = FIRST_PAUSE_S
                except CancelledError:
                    raise
                except Exception:
                    log.exception("a follower failed and will try again", follower=self.name, pause_s=pause_s)
                    await self._wait(pause_s, for_news=False)
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            if self._is_started:
                await self._save()
        finally:
            end()

    def stop(self) -> None:
        """Let `run` end after what it is at."""
        self._is_stopping = True
        self._wake()

    async def _start(self) -> None:
        self._saved = await self._database.read(log_head.cursor_of, self.name)
        if self._saved is not None:
            self.position = self._saved
        else:
            self.position = self._ring.head if self._begin_at is None else self._begin_at
        self._is_started = True
        await self._save()

    async def _step(self) -> None:
        """Handle what there is, or wait for more."""
        if not self._is_started:
            await self._start()
        upto = self._ring.head
        if self.position >= upto:
            await self._rest()
            return
        if self._ring.covers(self.position):
            entries: Sequence[Entry] = self._ring.after(self.position)
            reached = upto
        else:
            # No further than to where the ring begins: it has all that follows, also what is in no table.
            floor = self._ring.floor
            entries = await self._database.read(self._read_after, self.position, floor, PAGE_ENTRIES)
            reached = floor if len(entries) < PAGE_ENTRIES else entries[-1].position
        if entries:
            await self._handle(entries)
        self.position = reached
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            await self._save()

    async def _rest(self) -> None:
        """Wait for news. Once it has been quiet for a while, the stored cursor is exact."""
        if self.position == self._saved:
            await self._wait(None, for_news=True)
            return
        await self._wait(SAVE_EVERY_S, for_news=True)
        if self.position >= self._ring.head:
            await self._save()

    async def _save(self) -> None:
        self._saved_s = time.monotonic()
        if self.position != self._saved:
            position = self.position
            await self._database.write(log_head.save_cursor, self.name, position)
            self._saved = position

    def _wait(self, seconds: float | None, *, for_news: bool) -> Deferred[None]:
        """Wait for this long, or for ever, or for news; `stop` ends it."""
        waiting: Deferred[None] = Deferred()
        if self._is_stopping:
            waiting.callback(None)
            return waiting
        self._waiting, self._waits_for_news = waiting, for_news
        if seconds is not None:
            timer = self._reactor.callLater(seconds, self._wake)

            def end(outcome: None | Failure) -> None | Failure:
                if timer.active():
                    timer.cancel()
                return outcome  # a cancellation has to reach who waits

            waiting.addBoth(end)
        return waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def _on_entries(self, entries: Sequence[Entry]) -> None:
        if not self._waits_for_news or self._waiting is None:
            return
        if self._concerns is None or any(map(self._concerns, entries)):
            self._wake()
            return
        # It had handled all that came before, so this is handled too.
        self.position = self._ring.head
        if self._saved is not None and self.position - self._saved > PASSED_OVER:
            self._wake()  # to save, so that a restart need not look through all that
