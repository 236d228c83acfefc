"""The one connection that writes the log, driven by the reactor itself: no thread takes part in a commit.

Handing a batch to a thread and its result back costs two wake-ups and two fights for the interpreter's lock;
PostgreSQL's socket in the reactor costs one event.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any, Final

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_WRITE, make_dsn, parse_dsn
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from storage.connection import with_defaults
from storage.statements import Prepared

CONNECT_TIMEOUT_S: Final = 5.0
TICK_S: Final = 0.005
"""While connecting, libpq may go through several sockets; asking it now and then is simpler than following them."""

SURELY_SENT_CHARACTERS: Final = 16_000
"""The socket is empty when a text is sent, and takes many times as much at once."""

SESSION: Final = (
    # The plans of the few statements are made once; all go by keys, whatever the statistics of a young table say.
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;"
    "SET enable_mergejoin = off; SET client_min_messages = error; SET jit = off; SET synchronous_commit = on;"
    "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0; SET lock_timeout = 0"
)


@implementer(IReadDescriptor, IWriteDescriptor)
class LogConnection:
    """An open connection. `run` sends one message and waits for its end; one at a time."""

    def __init__(self, connection: Connection, reactor: Any) -> None:
        self.prepared = Prepared()
        self.backend_pid = connection.info.backend_pid
        self._connection = connection
        self._cursor: Cursor = connection.cursor()
        self._reactor = reactor
        self._waiting: Deferred[Cursor] | None = None
        self._wants_write = False
        self._is_sending = False
        # Of our own: libpq may close its socket whenever it likes, and the reactor must still be able to forget it.
        self._socket = os.dup(connection.fileno())
        reactor.addReader(self)

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._socket < 0 or bool(self._connection.closed)

    def run(self, text: str) -> Deferred[Cursor]:
        """Send the text, one statement or several; fires with the cursor of the last one, or with psycopg2's error."""
        waiting: Deferred[Cursor] = Deferred()
        self._waiting = waiting
        # Also an answer that is there at once comes after this has returned: the caller has things to do before it.
        self._is_sending = True
        try:
            self._cursor.execute(text)
        except psycopg2.Error as error:
            self._end(error)
        else:
            # A short text is in the socket's buffer now, and the reactor will see the answer: nothing to poll for yet.
            if len(text) > SURELY_SENT_CHARACTERS:
                self._poll()
        self._is_sending = False
        return waiting

    def close(self) -> None:
        """Close; whoever waits gets an error."""
        if self._socket < 0:
            return
        self._reactor.removeReader(self)
        if self._wants_write:
            self._reactor.removeWriter(self)
        os.close(self._socket)
        self._socket = -1
        self._connection.close()
        self._end(psycopg2.InterfaceError("the connection was closed"))

    # What the reactor calls.

    def fileno(self) -> int:
        """The socket."""
        return self._socket

    def doRead(self) -> None:
        """PostgreSQL has answered something."""
        self._poll()

    def doWrite(self) -> None:
        """There is room to send more of a long message."""
        self._poll()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor found the socket broken, or stops."""
        self.close()

    def logPrefix(self) -> str:
        """For the reactor's own messages."""
        return "log"

    def _poll(self) -> None:
        try:
            state = self._connection.poll()
        except psycopg2.Error as error:
            waiting, self._waiting = self._waiting, None
            # Without a code it is libpq that speaks: the connection is gone, whether it says so or not.
            if self._connection.closed or not error.pgcode:
                self.close()
            self._waiting = waiting
            self._end(error)
            return
        if (state == POLL_WRITE) != self._wants_write:
            self._wants_write = state == POLL_WRITE
            if self._wants_write:
                self._reactor.addWriter(self)
            else:
                self._reactor.removeWriter(self)
        if state == POLL_OK:
            self._end(self._cursor)

    def _end(self, result: Cursor | psycopg2.Error) -> None:
        """Tell the one who waits, if any."""
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if self._is_sending:
            self._reactor.callLater(0, _fire, waiting, result)
        else:
            _fire(waiting, result)


def _fire(waiting: Deferred[Cursor], result: Cursor | psycopg2.Error) -> None:
    if isinstance(result, psycopg2.Error):
        waiting.errback(result)
    else:
        waiting.callback(result)


async def connect(dsn: str, reactor: Any) -> LogConnection:
    """Open a connection. Raises psycopg2.OperationalError."""
    connection = psycopg2.connect(with_defaults(dsn), async_=1)
    deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
    try:
        while connection.poll() != POLL_OK:
            if time.monotonic() > deadline_s:
                raise psycopg2.OperationalError("PostgreSQL did not answer in time")
            await _tick(reactor)
    except BaseException:
        connection.close()
        raise
    opened = LogConnection(connection, reactor)
    try:
        await opened.run(SESSION)
    except BaseException:
        opened.close()
        raise
    return opened


def has_named_host(dsn: str) -> bool:
    """Whether an address must be looked up, which blocks, before connecting."""
    host = str(parse_dsn(dsn).get("host") or "")
    if not host or host.startswith(("/", "@")) or "," in host or "hostaddr" in parse_dsn(dsn):
        return False
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return True
    return False


def with_addresses(dsn: str) -> str:
    """The same with the addresses of its host. Blocks. Raises psycopg2.OperationalError where there are none."""
    host = str(parse_dsn(dsn)["host"])
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise psycopg2.OperationalError(f"the database host {host} has no address: {error}") from error
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    # libpq tries them in turn. It wants a name for each, and compares it with the server's certificate.
    return str(make_dsn(dsn, host=",".join([host] * len(addresses)), hostaddr=",".join(addresses)))


def _tick(reactor: Any) -> Deferred[None]:
    waiting: Deferred[None] = Deferred()
    reactor.callLater(TICK_S, waiting.callback, None)
    return waiting
