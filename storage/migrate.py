"""The schema: numbered SQL files, applied in order at the start. Owns the tables migrations and this_server.

A file is applied in one transaction, once; several servers that start at the same time wait for each other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from storage.connection import OLDEST_POSTGRESQL, is_passing, with_defaults

FOLDER: Final = Path(__file__).parent / "migrations"
LOCK: Final = 0x6D79656C01
"""Advisory lock of the one who migrates."""
PAUSE_S: Final = 0.2


class UnusableDatabase(Exception):
    """The database cannot be used as it is; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    path: Path

    @property
    def sql(self) -> str:
        """What it does."""
        return self.path.read_text("utf-8")


def known_migrations(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """All files, in order."""
    return tuple(Migration(int(path.name.split("_", 1)[0]), path) for path in sorted(folder.glob("*.sql")))


def prepare(dsn: str, server_name: str | None, patience_s: float) -> None:
    """Check the database and bring its schema up to date. Waits until PostgreSQL answers, up to the patience."""
    connection = _connect(dsn, patience_s)
    try:
        apply(connection, known_migrations())
        if server_name is not None:
            _claim(connection, server_name)
    finally:
        connection.close()


def apply(connection: Connection, migrations: tuple[Migration, ...]) -> list[int]:
    """Apply what is missing; answers with the numbers applied."""
    connection.autocommit = True
    with connection.cursor() as tx:
        _check_server(tx)
        tx.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        try:
            missing = _missing(tx, migrations)
            for migration in missing:
                # One message is one transaction: the file and the note that it was applied.
                note = tx.mogrify(
                    "INSERT INTO migrations (number, file, applied_ts) VALUES (%s, %s, %s)",
                    (migration.number, migration.path.name, int(time.time() * 1000)),
                ).decode()
                tx.execute(f"{migration.sql.rstrip().rstrip(';')};\n{note}")
        finally:
            if not connection.closed:
                tx.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
    return [migration.number for migration in missing]


def _connect(dsn: str, patience_s: float) -> Connection:
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return psycopg2.connect(with_defaults(dsn))
        except psycopg2.OperationalError as error:
            refused = not is_passing(error) or any(
                sign in str(error) for sign in ("does not exist", "authentication failed", "no pg_hba.conf entry")
            )
            if refused or time.monotonic() > deadline_s:
                raise UnusableDatabase(
                    f"PostgreSQL cannot be reached: {str(error).strip()}. Check database.url and that PostgreSQL runs."
                ) from error
            time.sleep(PAUSE_S)


def _check_server(tx: Cursor) -> None:
    if tx.connection.server_version < OLDEST_POSTGRESQL:
        raise UnusableDatabase(
            f"PostgreSQL {tx.connection.server_version // 10000} is too old:"
            f" Myelin needs {OLDEST_POSTGRESQL // 10000} or newer."
        )
    tx.execute("SELECT current_setting('server_encoding'), current_setting('standard_conforming_strings')")
    encoding, conforming = _row(tx)
    if encoding != "UTF8":
        raise UnusableDatabase(
            f"The database has the encoding {encoding}:"
            " make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )
    if conforming != "on":
        raise UnusableDatabase("The setting standard_conforming_strings must be on for this database and its user.")


def _missing(tx: Cursor, migrations: tuple[Migration, ...]) -> list[Migration]:
    tx.execute("SELECT to_regclass('migrations') IS NOT NULL")
    if not _row(tx)[0]:
        tx.execute(
            "SELECT count(*), min(relname) FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace"
        )
        tables, first = _row(tx)
        if tables:
            raise UnusableDatabase(
                f"The database holds {tables} tables of another program (such as {first}):"
                " give Myelin an empty database of its own."
            )
        return list(migrations)
    tx.execute("SELECT number FROM migrations ORDER BY number")
    applied = [number for (number,) in tx.fetchall()]
    known = [migration.number for migration in migrations]
    if newer := [number for number in applied if number not in known]:
        raise UnusableDatabase(
            f"The database was made by a newer Myelin (schema {newer[-1]}, this one knows up to {known[-1]}): "
            "start that version, or restore a backup from before the upgrade."
        )
    return [migration for migration in migrations if migration.number not in applied]


def _claim(connection: Connection, server_name: str) -> None:
    with connection.cursor() as tx:
        tx.execute("INSERT INTO this_server (server_name) VALUES (%s) ON CONFLICT DO NOTHING", (server_name,))
        tx.execute("SELECT server_name FROM this_server")
        (owner,) = _row(tx)
    if owner != server_name:
        raise UnusableDatabase(
            f"The database belongs to the server {owner}, but the config says server_name: {server_name}. "
            "A server cannot change its name: put the name back, or give it an empty database."
        )


def _row(tx: Cursor) -> tuple[object, ...]:
    row = tx.fetchone()
    if row is None:
        raise UnusableDatabase("The database gave no answer where there is always one.")
    return tuple(row)
