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

from homeserver.runtime.ring import Ring
from storage import log_head
from storage.database import Cursor, Database
from storage.rows import Entry

PAGE_ENTRIES: Final = 500
SAVE_EVERY_S: Final = 1.0
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
    what comes after now).
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
        self._saved = 0
        self._saved_s = 0.0
        self._news: Deferred[None] | None = None
        self._is_stopping = False

    async def run(self) -> None:
        """Follow. Ends when `stop` was called; the cursor is then saved."""
        # Before the cursor is read: what is published meanwhile lies after it, or is handled at once.
        end = self._ring.subscribe(self._on_entries)
        try:
            await self._start()
            pause_s = FIRST_PAUSE_S
            while not self._is_stopping:
                try:
                    await self._step()
                    pause_s = FIRST_PAUSE_S
                except CancelledError:
                    raise
                except Exception:
                    log.exception("a follower failed and will try again", follower=self.name, pause_s=pause_s)
                    await self._sleep(pause_s)
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            await self._save()
        finally:
            end()

    def stop(self) -> None:
        """Let `run` end after what it is at."""
        self._is_stopping = True
        self._wake()

    async def _start(self) -> None:
        stored = await self._database.read(log_head.cursor_of, self.name)
        if stored is not None:
            self.position = self._saved = stored
        else:
            self.position = self._ring.head if self._begin_at is None else self._begin_at
            await self._save()

    async def _step(self) -> None:
        """Handle what there is, or wait for more."""
        upto = self._ring.head
        if self.position >= upto:
            await self._wait()
            return
        if self._ring.covers(self.position):
            entries: Sequence[Entry] = self._ring.after(self.position)
            reached = upto
        else:
            # Up to the published head only: between what is committed later, entries of the ring may yet come.
            entries = await self._database.read(self._read_after, self.position, upto, PAGE_ENTRIES)
            reached = upto if len(entries) < PAGE_ENTRIES else entries[-1].position
        if entries:
            await self._handle(entries)
        self.position = reached
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            await self._save()

    async def _save(self) -> None:
        self._saved_s = time.monotonic()
        if self.position != self._saved or self._begin_at is None:
            await self._database.write(log_head.save_cursor, self.name, self.position)
            self._saved = self.position

    async def _wait(self) -> None:
        if self.position != self._saved:
            # Nothing else to do: so the cursor is exact while the log is quiet.
            await self._sleep(SAVE_EVERY_S)
            if not self._is_stopping:
                await self._save()
            return
        news = self._news = Deferred()
        if not self._is_stopping:
            await news

    def _sleep(self, seconds: float) -> Deferred[None]:
        """Wait for this long, or for news."""
        news = self._news = Deferred()
        timer = self._reactor.callLater(seconds, self._wake)

        def end(result: None) -> None:
            if timer.active():
                timer.cancel()

        news.addBoth(end)
        return news

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.called:
            news.callback(None)

    def _on_entries(self, _: Sequence[Entry]) -> None:
        self._wake()
