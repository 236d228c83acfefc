"""PostgreSQL for tests: one server a test session (and worker of it), and databases with Myelin's schema, quickly made.

def test_something(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypedDict

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from storage import migrate
from storage.own_postgres import programs_folder
from storage.run_as import RunAs, give, open_the_way, user_for

FreshDatabase = Callable[[], str]

TEMPLATE: Final = "myelin_template"
SUPERUSER: Final = "myelin"
START_TIMEOUT_S: Final = 60.0
ENOUGH_MEMORY_BYTES: Final = 4 * 1024**3

_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1

_SETTINGS: Final = (
    # Without fsync the crash of a process loses nothing, only one of the machine does.
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "listen_addresses=",
    "shared_buffers=32MB",
    "max_connections=200",
    "jit=off",
    "timezone=UTC",
    "log_min_messages=fatal",
)


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


class TestServer:
    """A PostgreSQL in a temporary folder, reached through a socket there."""

    __test__ = False

    def __init__(self, programs: Path, *settings: str) -> None:
        self._programs = programs
        self._settings = (*_SETTINGS, *settings)
        self._folder = Path(tempfile.mkdtemp(prefix="myelin-test-", dir=_memory()))
        self._data = self._folder / "data"
        self._user: RunAs | None = user_for(self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._has_template = False
        if self._user is not None:
            open_the_way(programs / "postgres", self._user)
            give(self._folder, self._user)
        how = ("-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self._run("initdb", "-D", str(self._data), *how)

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        with (self._folder / "log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    str(self._programs / "postgres"),
                    *("-D", str(self._data), "-k", str(self._folder)),
                    *(word for setting in self._settings for word in ("-c", setting)),
                ],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
                preexec_fn=ending_with_tests(),
                **self._identity(),
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg2.connect(self.dsn("postgres")).close()
            except psycopg2.OperationalError:
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT ends all sessions in order, SIGQUIT is as hard as a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    def crash(self) -> None:
        """Stop without any farewell; the next start has to recover."""
        self.stop(signal.SIGQUIT)

    @contextlib.contextmanager
    def shutting_down(self) -> Iterator[None]:
        """From here on it lets nobody in any more; it ends when those who are in have left. Then it starts again."""
        process = self._process
        assert process is not None, "it is not started"
        process.send_signal(signal.SIGTERM)
        yield
        process.wait()
        self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """For a while nothing of it moves, as on a machine whose disk hangs: connections stay, answers do not come."""
        process = self._process
        assert process is not None, "it is not started"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()
        everything = [process.pid, *map(int, children)]
        try:
            for each in everything:
                os.kill(each, signal.SIGSTOP)
            yield
        finally:
            for each in everything:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def socket_folder(self) -> Path:
        """Where its socket is."""
        return self._folder

    def dsn(self, database: str) -> str:
        """How to reach a database."""
        return f"host={self._folder} user={SUPERUSER} dbname={database}"

    def empty_database(self) -> str:
        """A database without any table."""
        return self._create("template0")

    def fresh_database(self) -> str:
        """A database with Myelin's schema, and nothing in it."""
        if not self._has_template:
            self._execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
            migrate.prepare(self.dsn(TEMPLATE), None, 10.0)
            self._has_template = True
        return self._create(TEMPLATE)

    def drop(self, dsn: str) -> None:
        """Delete a database, whoever still uses it."""
        self._execute(f"DROP DATABASE {parse_dsn(dsn)['dbname']} WITH (FORCE)")

    def _create(self, template: str) -> str:
        self._databases += 1
        name = f"test_{self._databases}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}{self._strategy()}")
        return self.dsn(name)

    def _strategy(self) -> str:
        """Without fsync, copying files takes half the time of writing them to the log; PostgreSQL 15 can choose."""
        with contextlib.closing(psycopg2.connect(self.dsn("postgres"))) as connection:
            return " STRATEGY FILE_COPY" if connection.server_version >= 150000 else ""

    def _execute(self, sql: str) -> None:
        with contextlib.closing(psycopg2.connect(self.dsn("postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as tx:
                tx.execute(sql)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments], capture_output=True, cwd="/", check=False, **self._identity()
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')}")

    def _identity(self) -> _Identity:
        if self._user is None:
            return {}
        return {"user": self._user.user_id, "group": self._user.group_id, "extra_groups": []}


def ending_with_tests() -> Callable[[], None] | None:
    """What a new process runs first, so that the kernel stops it when the tests are killed.

    The kernel looks at the thread that made the process: one that is made in a thread of a test must outlive it.
    """
    return _end_with_parent if threading.current_thread() is threading.main_thread() else None


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _memory() -> str | None:
    """A file system in memory, where a database is made ten times as fast; None where there is not enough of it."""
    place = Path("/dev/shm")
    return str(place) if place.is_dir() and shutil.disk_usage(place).free > ENOUGH_MEMORY_BYTES else None


def installed_programs() -> dict[str, Path]:
    """PostgreSQL's programs by version: the ones that come with Myelin, and others that the machine has."""
    folders = [programs_folder(), *Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt").glob("postgresql*/bin")]
    found: dict[str, Path] = {}
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            answer = subprocess.run([str(folder / "postgres"), "--version"], capture_output=True, text=True, check=True)
            found.setdefault(answer.stdout.split()[2].split(".")[0], folder)
    return found


@contextlib.contextmanager
def running(programs: Path, *settings: str) -> Iterator[TestServer]:
    """A server that is removed at the end."""
    server = TestServer(programs, *settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """The server that the tests of a session share. Do not stop it; `restartable_postgres` is for that."""
    with running(programs_folder()) as server:
        yield server


@pytest.fixture
def fresh_database(postgres: TestServer) -> Iterator[FreshDatabase]:
    """Makes databases with the schema; each call another one. They are gone after the test."""
    made: list[str] = []

    def make() -> str:
        made.append(postgres.fresh_database())
        return made[-1]

    yield make
    for dsn in made:
        postgres.drop(dsn)


@pytest.fixture
def restartable_postgres() -> Iterator[TestServer]:
    """A server of the test's own, to be stopped, killed and started at will."""
    with running(programs_folder()) as server:
        yield server
