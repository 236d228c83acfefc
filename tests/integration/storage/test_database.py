"""Reads and writes in threads, and a database that goes away."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg2
import pytest
from twisted.internet.defer import DeferredList
from twisted.python.failure import Failure

from storage.database import CommitUnknown, Cursor, Database, DatabaseUnavailable
from tests.integration.storage.proxy import Proxy
from tests.postgres import FreshDatabase, TestServer
from tests.reactors import run_on_reactor

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor


def one(tx: Cursor, number: int) -> int:
    tx.execute("SELECT %s", (number,))
    row = tx.fetchone()
    assert row is not None
    return int(row[0])


def add(tx: Cursor, name: str) -> None:
    tx.execute("INSERT INTO server_secrets VALUES (%s, '')", (name,))


def add_two(tx: Cursor) -> None:
    add(tx, "a")
    add(tx, "b")


def add_and_divide(tx: Cursor) -> None:
    add(tx, "b")
    tx.execute("SELECT 1 / 0")


def names(tx: Cursor) -> set[str]:
    tx.execute("SELECT name FROM server_secrets")
    return {name for (name,) in tx.fetchall()}


def values(tx: Cursor) -> list[bytes]:
    tx.execute("SELECT value FROM server_secrets")
    return [bytes(value) for (value,) in tx.fetchall()]


def test_a_function_runs_in_a_thread_and_its_result_comes_back(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        database = Database(fresh_database(), reactor)
        await database.start()
        assert await database.read(one, 5) == 5
        await database.write(add, "a")
        assert await database.read(names) == {"a"}
        await database.stop()

    run_on_reactor(story)


def test_a_read_cannot_write(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        database = Database(fresh_database(), reactor, patience_s=1.0)
        await database.start()
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            await database.read(add, "a")
        assert await database.read(names) == set()
        await database.stop()

    run_on_reactor(story)


def test_a_write_that_raises_changes_nothing(fresh_database: FreshDatabase) -> None:
    def fails(tx: Cursor) -> None:
        add(tx, "a")
        raise ValueError("thought better of it")

    async def story(reactor: EPollReactor) -> None:
        database = Database(fresh_database(), reactor)
        await database.start()
        with pytest.raises(ValueError, match="thought better"):
            await database.write(fails)
        with pytest.raises(psycopg2.errors.DivisionByZero):
            await database.write(add_and_divide)
        assert await database.read(names) == set()
        await database.stop()

    run_on_reactor(story)


def test_statements_are_counted_by_kind(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        database = Database(fresh_database(), reactor)
        await database.start()
        before = database.statements
        await database.read(one, 1)
        await database.write(add_two)
        after = database.statements
        assert (after.read - before.read, after.write - before.write) == (1, 2)
        assert after.total - before.total == 3
        await database.stop()

    run_on_reactor(story)


def test_what_is_asked_again_and_again_is_planned_once(fresh_database: FreshDatabase) -> None:
    def named(tx: Cursor, names: list[str]) -> list[str]:
        tx.execute("SELECT name FROM server_secrets WHERE name = ANY(%s) AND name <> %s ORDER BY name", (names, "z"))
        return [name for (name,) in tx.fetchall()]

    def prepared(tx: Cursor) -> list[str]:
        tx.execute("SELECT statement FROM pg_prepared_statements")
        return [statement for (statement,) in tx.fetchall()]

    async def story(reactor: EPollReactor) -> None:
        database = Database(fresh_database(), reactor, pool_size=1)
        await database.start()
        await database.write(add_two)
        asked = [["a"], ["a", "b"], [], ["b", "it's"], ["a", "\\", '"', "{}"], ["a", "b", "c"]]
        answers = [await database.read(named, names) for names in asked]
        assert answers == [["a"], ["a", "b"], [], ["b"], ["a"], ["a", "b"]]
        assert len(await database.read(prepared)) == 1
        await database.stop()

    run_on_reactor(story)


def test_a_parameter_that_nothing_tells_the_type_of_keeps_its_own(fresh_database: FreshDatabase) -> None:
    def as_it_is(tx: Cursor, value: object) -> object:
        tx.execute("SELECT %s", (value,))
        row = tx.fetchone()
        assert row is not None
        return row[0]

    def numbers(tx: Cursor, values: list[int]) -> list[int]:
        tx.execute("SELECT unnest(%s)", (values,))
        return [number for (number,) in tx.fetchall()]

    async def story(reactor: EPollReactor) -> None:
        database = Database(fresh_database(), reactor, pool_size=1)
        await database.start()
        assert [await database.read(as_it_is, 5) for _ in range(6)] == [5] * 6
        assert [await database.read(numbers, [1, 2]) for _ in range(6)] == [[1, 2]] * 6
        await database.stop()

    run_on_reactor(story)


def test_two_writes_in_each_others_way_both_go_through(fresh_database: FreshDatabase) -> None:
    both_hold_one = threading.Barrier(2)
    first_time = threading.local()

    def cross(tx: Cursor, mine: str, other: str) -> None:
        tx.execute("UPDATE server_secrets SET value = value || 'x' WHERE name = %s", (mine,))
        if not hasattr(first_time, "over"):
            first_time.over = True
            both_hold_one.wait(10)
        tx.execute("UPDATE server_secrets SET value = value || 'x' WHERE name = %s", (other,))

    async def story(reactor: EPollReactor) -> None:
        database = Database(f"{fresh_database()} options='-c deadlock_timeout=20ms'", reactor)
        await database.start()
        await database.write(add_two)
        await DeferredList([database.write(cross, "a", "b"), database.write(cross, "b", "a")], fireOnOneErrback=True)
        # A deadlock, of which one was the victim, and was repeated.
        assert await database.read(values) == [b"xx", b"xx"]
        await database.stop()

    run_on_reactor(story)


def test_reads_and_writes_go_on_after_the_database_was_killed_and_came_back(
    restartable_postgres: TestServer,
) -> None:
    async def story(reactor: EPollReactor) -> None:
        database = Database(restartable_postgres.fresh_database(), reactor, patience_s=30.0)
        await database.start()
        await database.write(add, "before")
        restartable_postgres.crash()
        reading, writing = database.read(one, 1), database.write(add, "during")
        restartable_postgres.start()
        assert await reading == 1
        await writing
        assert await database.read(names) == {"before", "during"}
        await database.stop()

    run_on_reactor(story)


def test_who_waits_longer_than_the_patience_is_told(restartable_postgres: TestServer) -> None:
    async def story(reactor: EPollReactor) -> None:
        database = Database(restartable_postgres.fresh_database(), reactor, patience_s=0.3, pool_size=2)
        await database.start()
        restartable_postgres.crash()
        # More than there are threads: those in the queue do not each wait their own time.
        results = await DeferredList([database.read(one, number) for number in range(20)], consumeErrors=True)
        assert [succeeded for succeeded, _ in results] == [False] * 20
        for _, result in results:
            failure: object = result
            assert isinstance(failure, Failure)
            assert isinstance(failure.value, DatabaseUnavailable)
        restartable_postgres.start()
        assert await database.read(one, 7) == 7
        await database.stop()

    run_on_reactor(story)


def test_a_connection_that_breaks_before_commit_is_no_harm(postgres: TestServer) -> None:
    async def story(reactor: EPollReactor) -> None:
        with Proxy(postgres.socket_folder) as proxy:
            database = Database(proxy.dsn(postgres.fresh_database()), reactor, pool_size=1)
            await database.start()
            await database.write(add, "before")
            proxy.break_before(b"INSERT INTO server_secrets")
            await database.write(add, "once")
            assert proxy.has_broken
            assert await database.read(names) == {"before", "once"}
            await database.stop()

    run_on_reactor(story)


def test_a_connection_that_breaks_during_commit_is_told_as_what_it_is(postgres: TestServer) -> None:
    async def story(reactor: EPollReactor) -> None:
        with Proxy(postgres.socket_folder) as proxy:
            database = Database(proxy.dsn(postgres.fresh_database()), reactor, pool_size=1)
            await database.start()
            await database.write(add, "before")
            proxy.break_after(b"COMMIT")
            with pytest.raises(CommitUnknown):
                await database.write(add, "perhaps")
            assert await database.read(names) == {"before", "perhaps"}
            await database.stop()

    run_on_reactor(story)
