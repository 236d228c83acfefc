"""The way to PostgreSQL: functions that take a cursor run in a few threads of their own, off the reactor.

One hop a function, never one a statement. A lost connection is opened again; whoever waits longer than its
patience gets DatabaseUnavailable. The log has a connection of its own, see storage/log_connection.py.
"""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from twisted.internet.defer import Deferred

from storage import migrate
from storage.connection import is_lost, is_passing, may_go_through_again, with_defaults
from storage.job_queue import JobQueue
from storage.preparing_cursor import PreparingCursor
from storage.watch import Watch

__all__ = ["CommitUnknown", "Cursor", "Database", "DatabaseUnavailable", "StatementCounts"]

PATIENCE_S: Final = 10.0
PATIENCE_WHILE_AWAY_S: Final = 2.0
"""Of those who ask after others have waited in vain: what waits in turn, as for one room, must not add up."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
SESSION: Final = (
    "-c default_transaction_read_only=on"
    # A plan is kept for as long as the connection, so it must be right for the tables as they will be: by index.
    " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
)
MAX_TRIES: Final = 6
"""For transactions that lose against others."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DatabaseUnavailable(Exception):
    """PostgreSQL did not answer within the patience. The request may be repeated later."""


class CommitUnknown(Exception):
    """The connection broke during COMMIT: the change may or may not have been made."""


class CallsFromThreads(Protocol):
    """The one method of the reactor that worker threads use."""

    def callFromThread(self, call: Callable[..., object], /, *args: object) -> object:
        """Run a call in the reactor's thread."""
        ...


@dataclass(slots=True)
class StatementCounts:
    """How many statements were sent: by readers, by writing transactions (without BEGIN and COMMIT), by the log."""

    read: int = 0
    write: int = 0
    log: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.read + self.write + self.log


@dataclass(slots=True)
class _Hurry:
    """Until when anything may wait for the database at all; no limit but at the end."""

    until_s: float = math.inf


@dataclass(slots=True)
class _Job:
    work: Callable[[Cursor], Any]
    writes: bool
    answer: Deferred[Any]
    deadline_s: float
    context: contextvars.Context
    is_over: bool = False
    """Somebody has got the answer, or was told that there is none."""


class Database:
    """Connections to one PostgreSQL database."""

    def __init__(
        self,
        dsn: str,
        reactor: CallsFromThreads,
        *,
        pool_size: int = 4,
        server_name: str | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.dsn = with_defaults(dsn)
        self.patience_s = patience_s
        self._reactor = reactor
        self._server_name = server_name
        self._jobs: JobQueue[_Job | None] = JobQueue()
        self._pool_size = pool_size
        self._workers: list[_Worker] = []
        self._log_statements = 0
        self._hurry = _Hurry()
        self._watch = Watch(self.dsn, patience_s, self._tell)

    async def start(self) -> None:
        """Bring the schema up to date and open the pool. Raises migrate.UnusableDatabase, which says what to do."""
        self._start_worker()
        await self.in_thread(migrate.prepare, self.dsn, self._server_name, self.patience_s)
        self._watch.start()
        while len(self._workers) < self._pool_size:
            self._start_worker()

    def hurry(self, within_s: float) -> None:
        """Whatever is asked, has waited or will: the database is waited for only this long from now on."""
        self._hurry.until_s = time.monotonic() + within_s

    async def stop(self) -> None:
        """Finish what was asked for, then close the connections."""
        self._watch.stop()
        for _ in self._workers:
            self._jobs.put(None)
        stopped: Deferred[None] = Deferred()

        def join() -> None:
            for worker in self._workers:
                worker.join()
            self._reactor.callFromThread(stopped.callback, None)

        threading.Thread(target=join, name="database-stop", daemon=True).start()
        await stopped

    def read(
        self, function: Callable[Concatenate[Cursor, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Deferred[_T]:
        """Run `function(tx, …)` in a thread, each statement for itself, none writing. Repeated on a lost connection."""
        return self._submit(lambda tx: function(tx, *args, **kwargs), writes=False)

    def write(
        self, function: Callable[Concatenate[Cursor, _P], _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Deferred[_T]:
        """Run `function(tx, …)` as one transaction. Repeated after deadlocks, and connections lost before COMMIT."""
        return self._submit(lambda tx: function(tx, *args, **kwargs), writes=True)

    async def answers(self) -> None:
        """Return once the database has answered. Raises DatabaseUnavailable."""
        await self.read(lambda tx: tx.execute("SELECT 1"))

    @property
    def statements(self) -> StatementCounts:
        """Statements sent so far."""
        return StatementCounts(
            sum(worker.read_statements for worker in self._workers),
            sum(worker.write_statements for worker in self._workers),
            self._log_statements,
        )

    def count_log_statements(self, number: int) -> None:
        """The log tells how many statements it sent."""
        self._log_statements += number

    def _submit(self, work: Callable[[Cursor], _T], *, writes: bool) -> Deferred[_T]:
        answer: Deferred[_T] = Deferred()
        patience_s = min(self.patience_s, PATIENCE_WHILE_AWAY_S) if self._watch.is_away else self.patience_s
        job = _Job(work, writes, answer, time.monotonic() + patience_s, contextvars.copy_context())
        self._jobs.put(job)
        self._watch.over(job)
        return answer

    def _tell(self, job: _Job) -> None:
        """Tell the one who waits for this that there is no answer. It goes on where it was begun, for nobody."""
        self._reactor.callFromThread(_end, job, DatabaseUnavailable("the database does not answer"))

    def _start_worker(self) -> None:
        worker = _Worker(self.dsn, self._jobs, self._reactor, self._hurry, len(self._workers), self._is_connected)
        self._workers.append(worker)
        worker.start()

    def _is_connected(self) -> bool:
        return any(worker.is_connected for worker in self._workers)

    def in_thread(self, function: Callable[..., _T], *args: object) -> Deferred[_T]:
        """Run something that needs no connection of the pool, in a thread."""
        answer: Deferred[_T] = Deferred()

        def run() -> None:
            try:
                self._reactor.callFromThread(answer.callback, function(*args))
            except Exception as error:  # noqa: BLE001 -- handed to the one who waits
                self._reactor.callFromThread(answer.errback, error)

        threading.Thread(target=run, name="database-start", daemon=True).start()
        return answer


class _NoConnection(Exception):
    """This thread cannot get one; another has one."""


class _Worker(threading.Thread):
    """A thread with one connection. Sessions are read-only, but for the transactions of `write`."""

    def __init__(
        self,
        dsn: str,
        jobs: JobQueue[_Job | None],
        reactor: CallsFromThreads,
        hurry: _Hurry,
        number: int,
        is_any_connected: Callable[[], bool],
    ) -> None:
        super().__init__(name=f"database-{number}", daemon=True)
        self.read_statements = 0
        self.write_statements = 0
        self._dsn = with_defaults(dsn, SESSION)
        self._jobs = jobs
        self._mailbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._reactor = reactor
        self._hurry = hurry
        self._is_any_connected = is_any_connected
        self._connection: Connection | None = None
        self._cursor: PreparingCursor | None = None
        self._away = False
        self._pause_s = FIRST_PAUSE_S
        """Before the next try to connect, while others are connected."""

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection, as far as it knows."""
        return self._cursor is not None

    def run(self) -> None:
        while (job := self._jobs.get(self._mailbox)) is not None:
            if not job.is_over:
                self._do(job)
        self._close()

    def _do(self, job: _Job) -> None:
        try:
            result = job.context.run(self._until_done, job)
        except _NoConnection:
            self._jobs.put(job, first=True)
            time.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        except Exception as error:  # noqa: BLE001 -- handed to the one who waits
            self._reactor.callFromThread(_end, job, error)
        else:
            self._reactor.callFromThread(_end, job, result)

    def _until_done(self, job: _Job) -> object:
        pause_s = FIRST_PAUSE_S
        tries = 0
        while True:
            if self._away and time.monotonic() > min(job.deadline_s, self._hurry.until_s):
                raise DatabaseUnavailable("the database does not answer")
            try:
                tx = self._open()
                tx.may_prepare = not job.writes
                result = self._transaction(tx, job.work) if job.writes else job.work(tx)
            except CommitUnknown:
                self._close()
                raise
            except psycopg2.errors.ReadOnlySqlTransaction:
                if not job.writes:
                    raise  # a mistake of ours; a write is refused like this by a standby
                self._close()
                self._pause(job, pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            except psycopg2.Error as error:
                if self._connection is None and self._is_any_connected() and time.monotonic() < self._hurry.until_s:
                    # As where all connections of the server are taken: those who have one do it meanwhile.
                    raise _NoConnection from error
                if is_lost(self._connection, error):
                    self._close()
                    self._away = True
                elif may_go_through_again(error):
                    tries += 1
                    if tries >= MAX_TRIES:
                        raise DatabaseUnavailable(f"a transaction lost against others {tries} times") from error
                elif not is_passing(error):
                    raise
                self._pause(job, pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                self._away = False
                self._count(tx, job.writes)
                return result

    def _pause(self, job: _Job, pause_s: float) -> None:
        """Wait before the next try. Called where an error is handled; raises DatabaseUnavailable when there is none."""
        if time.monotonic() + pause_s > min(job.deadline_s, self._hurry.until_s):
            raise DatabaseUnavailable("the database does not answer")
        time.sleep(pause_s)

    def _transaction(self, tx: PreparingCursor, work: Callable[[Cursor], object]) -> object:
        tx.execute_uncounted("BEGIN READ WRITE")
        try:
            result = work(tx)
        except BaseException:
            if not tx.connection.closed:
                tx.execute_uncounted("ROLLBACK")
            raise
        try:
            tx.execute_uncounted("COMMIT")
        except psycopg2.Error as error:
            if is_lost(self._connection, error):
                raise CommitUnknown("the connection to the database broke during COMMIT") from error
            raise
        return result

    def _open(self) -> PreparingCursor:
        if self._cursor is None:
            self._connection = psycopg2.connect(self._dsn)
            self._connection.autocommit = True
            self._cursor = self._connection.cursor(cursor_factory=PreparingCursor)
            self._pause_s = FIRST_PAUSE_S
        return self._cursor

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._cursor = None

    def _count(self, tx: PreparingCursor, writes: bool) -> None:
        if writes:
            self.write_statements += tx.sent
        else:
            self.read_statements += tx.sent
        tx.sent = 0


def _end(job: _Job, result: object) -> None:
    """Give the answer, unless one was given."""
    is_late, job.is_over = job.is_over or bool(job.answer.called), True
    if is_late:
        return
    if isinstance(result, Exception):
        job.answer.errback(result)
    else:
        job.answer.callback(result)
