"""The writer's hold on the database: its connection, and the lock that says it is the only one.

The lock lives as long as the connection does. So whoever has it knows that no transaction of a former connection
is still under way, and what log_head says is final.
"""

from __future__ import annotations

import time
from typing import Any, Final

import psycopg2
import structlog
from twisted.internet.defer import Deferred

from storage import log_connection, log_head
from storage.database import Database
from storage.log_connection import LogConnection
from storage.log_head import LogHead
from storage.migrate import UnusableDatabase

PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0

log: Final = structlog.get_logger("homeserver.log")


class Fenced(Exception):
    """Another process has written to the log."""


class Ended(Exception):
    """The session was closed for good."""


class WriterSession:
    """Holds the writer's connection and opens it again."""

    def __init__(self, database: Database, reactor: Any) -> None:
        self._database = database
        self._reactor = reactor
        self._connection: LogConnection | None = None
        self._former_pid = 0
        self._is_ended = False

    async def begin(self) -> LogHead:
        """The first connection. Waits up to the patience for a former process to end."""
        deadline_s = time.monotonic() + self._database.patience_s
        while True:
            try:
                head = await self._open()
            except psycopg2.Error as error:
                if time.monotonic() > deadline_s:
                    raise UnusableDatabase(f"PostgreSQL cannot be reached: {str(error).strip()}") from error
            else:
                if head is not None:
                    return head
                if time.monotonic() > deadline_s:
                    raise UnusableDatabase(
                        "Another Myelin process works with this database. Stop it first: there must be only one."
                    )
            await self.sleep(PAUSE_S)

    def connection(self) -> LogConnection:
        """The open connection. Raises psycopg2.InterfaceError if there is none now."""
        if self._connection is None or self._connection.is_closed:
            raise psycopg2.InterfaceError("the connection of the log is closed")
        return self._connection

    def forget_prepared(self) -> None:
        """After a failure: prepare statements anew."""
        if self._connection is not None:
            self._connection.prepared.forget()

    async def reopen_if_closed(self, committed: int, under_way: int) -> LogHead | None:
        """Connect again, however long it takes; answers with the log's head, or None if the connection was open.

        Raises Fenced if the head is neither at what we committed nor at what was under way, Ended after `close`.
        """
        if self._is_ended:
            raise Ended("the server has stopped")
        if self._connection is not None and not self._connection.is_closed:
            return None
        pause_s = PAUSE_S
        while True:
            try:
                head = await self._open()
            except psycopg2.Error as error:
                log.warning("the log cannot reach the database", reason=str(error).strip())
            else:
                if head is not None:
                    break
            await self.sleep(pause_s)
            if self._is_ended:
                raise Ended("the server has stopped")
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        if head.position not in (committed, under_way):
            raise Fenced(
                f"the log stands at {head.position}, where {committed} or {under_way} was expected:"
                " another process has written to it, or the database was replaced"
            )
        return head

    def close(self) -> None:
        """Let go, for good."""
        self._is_ended = True
        if self._connection is not None:
            self._connection.close()

    def sleep(self, seconds: float) -> Deferred[None]:
        """Wait."""
        waiting: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, waiting.callback, None)
        return waiting

    async def _open(self) -> LogHead | None:
        """Connect, take the lock, read the head; None if another connection has the lock."""
        dsn = self._database.dsn
        if log_connection.has_named_host(dsn):
            dsn = await self._database.in_thread(log_connection.with_addresses, dsn)
        connection = await log_connection.connect(dsn, self._reactor)
        try:
            if not log_head.row_of(await connection.run(log_head.BECOME_WRITER))[0]:
                if self._former_pid:
                    await connection.run(log_head.END_FORMER_WRITER % self._former_pid)
                connection.close()
                return None
            head = LogHead(*log_head.row_of(await connection.run(log_head.READ_HEAD)))
        except BaseException:
            connection.close()
            raise
        if self._is_ended:
            connection.close()
            raise Ended("the server has stopped")
        self._connection = connection
        self._former_pid = connection.backend_pid
        return head
