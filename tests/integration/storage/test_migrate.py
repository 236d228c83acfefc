"""The schema, and databases that cannot be used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor

from storage import accounts, devices, migrate, one_time_keys
from storage.accounts import Account
from storage.migrate import Migration, UnusableDatabase, known_migrations
from tests.postgres import TestServer

SCHEMA = Path(migrate.__file__).parent / "schema.sql"

COLUMNS = """
    SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, collation_name,
        is_identity
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 3"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"""
OPTIONS = """
    SELECT relname, relkind, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"""
HEAD = "SELECT * FROM log_head"


@contextlib.contextmanager
def connected(dsn: str) -> Iterator[Cursor]:
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as tx:
            yield tx


def described(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    with connected(dsn) as tx:
        found = {}
        for question in (COLUMNS, INDEXES, CONSTRAINTS, OPTIONS, HEAD):
            tx.execute(question)
            found[question] = tx.fetchall()
        return found


def test_the_migrations_lead_to_the_schema_that_is_written_to_be_read(any_postgres: TestServer) -> None:
    written, migrated = any_postgres.empty_database(), any_postgres.empty_database()
    with connected(written) as tx:
        tx.execute(SCHEMA.read_text("utf-8"))
    migrate.prepare(migrated, None, 10.0)
    assert described(migrated) == described(written)
    assert len(described(written)[COLUMNS]) > 100


def test_the_files_are_numbered_without_a_gap() -> None:
    assert [each.number for each in known_migrations()] == list(range(1, len(known_migrations()) + 1))


def test_a_second_start_applies_nothing(postgres: TestServer) -> None:
    dsn = postgres.empty_database()
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        assert migrate.apply(connection, known_migrations()) == [each.number for each in known_migrations()]
        assert migrate.apply(connection, known_migrations()) == []


def test_a_new_file_is_applied_once_to_a_database_that_has_the_others(postgres: TestServer, tmp_path: Path) -> None:
    dsn = postgres.fresh_database()
    path = tmp_path / "9000_next.sql"
    path.write_text("CREATE TABLE later (one integer);\nINSERT INTO later VALUES (1);\n")
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        everything = (*known_migrations(), Migration(9000, path))
        assert migrate.apply(connection, everything) == [9000]
        assert migrate.apply(connection, everything) == []
    with connected(dsn) as tx:
        tx.execute("SELECT count(*) FROM later")
        assert tx.fetchone() == (1,)


def test_one_time_keys_of_a_database_from_before_are_kept_in_their_order(any_postgres: TestServer) -> None:
    dsn = any_postgres.empty_database()
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        migrate.apply(connection, known_migrations()[:8])
        with connection.cursor() as tx:
            accounts.insert(tx, Account("@romeo:verona", "hash", 1))
            device, _ = devices.put(tx, "@romeo:verona", "PHONE", None, 1)
            other, _ = devices.put(tx, "@romeo:verona", "TABLET", None, 1)
            for key_id, is_claimed in (("z", True), ("y", False), ('x"\\', True), ("w", False)):
                tx.execute(
                    "INSERT INTO one_time_keys (device, algorithm, key_id, is_claimed, json)"
                    " VALUES (%s, 'a', %s, %s, %s)",
                    (device, key_id, is_claimed, f'{{"key":"{ord(key_id[0])}"}}'.encode()),
                )
            tx.execute(
                "INSERT INTO one_time_keys (device, algorithm, key_id, json) VALUES (%s, 'b', 'only', %s)",
                (device, b'"text"'),
            )
        assert 9 in migrate.apply(connection, known_migrations())
        with connection.cursor() as tx:
            held = one_time_keys.of_devices(tx, [device, other])
            assert one_time_keys.counts(tx, device) == {"a": 2, "b": 1}
    assert held[other] == []
    assert [(each.number, each.algorithm, each.given) for each in held[device]] == [(1, "a", 2), (2, "b", 0)]
    assert {key_id: bytes(json) for key_id, json in held[device][0].keys.items()} == {
        "z": b'{"key":"122"}',
        'x"\\': b'{"key":"120"}',
        "y": b'{"key":"121"}',
        "w": b'{"key":"119"}',
    }
    assert list(held[device][0].keys) == ["z", 'x"\\', "y", "w"]


def test_a_file_that_fails_leaves_nothing_behind(postgres: TestServer, tmp_path: Path) -> None:
    dsn = postgres.fresh_database()
    path = tmp_path / "9000_broken.sql"
    path.write_text("CREATE TABLE half (one integer);\nSELECT 1 / 0;\n")
    with contextlib.closing(psycopg2.connect(dsn)) as connection, pytest.raises(psycopg2.errors.DivisionByZero):
        migrate.apply(connection, (*known_migrations(), Migration(9000, path)))
    with connected(dsn) as tx:
        tx.execute("SELECT to_regclass('half'), (SELECT max(number) FROM migrations)")
        assert tx.fetchone() == (None, len(known_migrations()))


def test_a_database_of_a_newer_version_is_refused(postgres: TestServer) -> None:
    dsn = postgres.fresh_database()
    with connected(dsn) as tx:
        tx.execute("INSERT INTO migrations (number, file, applied_ts) VALUES (9000, '9000_future.sql', 0)")
    with pytest.raises(UnusableDatabase, match="newer Myelin"):
        migrate.prepare(dsn, "localhost", 10.0)


def test_a_database_of_another_program_is_refused_and_left_alone(postgres: TestServer) -> None:
    dsn = postgres.empty_database()
    with connected(dsn) as tx:
        tx.execute("CREATE TABLE invoices (number integer)")
    with pytest.raises(UnusableDatabase, match="invoices"):
        migrate.prepare(dsn, "localhost", 10.0)
    with connected(dsn) as tx:
        tx.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert tx.fetchone() == (1,)


def test_a_database_of_another_server_is_refused_with_both_names(postgres: TestServer) -> None:
    dsn = postgres.fresh_database()
    migrate.prepare(dsn, "verona.example", 10.0)
    migrate.prepare(dsn, "verona.example", 10.0)
    with pytest.raises(UnusableDatabase, match=r"verona\.example.*mantua\.example"):
        migrate.prepare(dsn, "mantua.example", 10.0)


def test_a_database_with_another_encoding_is_refused(postgres: TestServer) -> None:
    with connected(postgres.dsn("postgres")) as tx:
        tx.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(UnusableDatabase, match="LATIN1"):
        migrate.prepare(postgres.dsn("latin"), "localhost", 10.0)


def test_a_database_that_is_not_there_is_told_at_once(postgres: TestServer) -> None:
    with pytest.raises(UnusableDatabase, match="does not exist"):
        migrate.prepare(postgres.dsn("nowhere"), "localhost", 600.0)
