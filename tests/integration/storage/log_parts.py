"""A log on a database, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import psycopg2
from twisted.internet.defer import Deferred

from homeserver.runtime.log import Ring, Writer
from storage.database import Cursor, Database
from storage.persist import PERSIST, Persist
from storage.rows import Entry

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor


class Log:
    """Database, ring and writer; `published` are the positions of all entries that the ring told of."""

    def __init__(
        self, dsn: str, reactor: EPollReactor, *, patience_s: float = 30.0, persist: Persist = PERSIST
    ) -> None:
        self.reactor = reactor
        self.database = Database(dsn, reactor, patience_s=patience_s)
        self.ring = Ring()
        self.writer = Writer(self.database, self.ring, persist, reactor)
        self.published: list[int] = []
        self.ring.subscribe(self._note)

    def _note(self, entries: Sequence[Entry]) -> None:
        self.published += [entry.position for entry in entries]

    async def started(self) -> Self:
        await self.database.start()
        await self.writer.start()
        return self

    async def stop(self) -> None:
        await self.writer.stop()
        await self.database.stop()

    async def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Ask the database."""
        return await self.database.read(_all_rows, sql)

    def turn(self) -> Deferred[None]:
        """Let the reactor do what is due."""
        waiting: Deferred[None] = Deferred()
        self.reactor.callLater(0, waiting.callback, None)
        return waiting


def _all_rows(tx: Cursor, sql: str) -> list[tuple[object, ...]]:
    tx.execute(sql)
    return tx.fetchall()


def asked(dsn: str, sql: str) -> list[tuple[object, ...]]:
    """Ask a database without a reactor."""
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as tx:
            tx.execute(sql)
            return tx.fetchall()
    finally:
        connection.close()


def execute(dsn: str, sql: str) -> None:
    """Change a database without a reactor."""
    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as tx:
            tx.execute(sql)
    finally:
        connection.close()
