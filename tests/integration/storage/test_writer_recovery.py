"""The log while the database, its connection or the process itself goes away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, DeferredList

from storage.database import DatabaseUnavailable
from tests.integration.storage.log_parts import Log, asked, execute
from tests.integration.storage.proxy import Proxy
from tests.integration.storage.samples import data, typing
from tests.postgres import FreshDatabase, TestServer
from tests.reactors import run_on_reactor

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor

ROOT = Path(__file__).parents[3]


def test_a_commit_whose_answer_was_lost_is_not_written_again(postgres: TestServer) -> None:
    async def story(reactor: EPollReactor) -> None:
        with Proxy(postgres.socket_folder) as proxy:
            log = await Log(proxy.dsn(postgres.fresh_database()), reactor).started()
            await log.writer.append([data("before")])
            batches = log.writer.batches
            proxy.break_after(b"{perhaps}")
            entry = data("perhaps")
            await log.writer.append([typing(), entry, typing()])
            assert proxy.has_broken
            # It saw in log_head that all was there.
            assert log.writer.batches == batches + 1
            await log.writer.append([data("after")])
            assert await log.rows("SELECT type, position FROM account_data ORDER BY position") == [
                ("before", 1),
                ("perhaps", 3),
                ("after", 5),
            ]
            assert log.published == [1, 2, 3, 4, 5]
            await log.stop()

    run_on_reactor(story)


def test_a_commit_that_never_arrived_is_sent_again(postgres: TestServer) -> None:
    async def story(reactor: EPollReactor) -> None:
        with Proxy(postgres.socket_folder) as proxy:
            log = await Log(proxy.dsn(postgres.fresh_database()), reactor).started()
            await log.writer.append([data("before")])
            proxy.break_before(b"{again}")
            await log.writer.append([data("again")])
            assert proxy.has_broken
            assert await log.rows("SELECT type, position FROM account_data ORDER BY position") == [
                ("before", 1),
                ("again", 2),
            ]
            await log.stop()

    run_on_reactor(story)


def test_a_transaction_that_runs_on_after_its_connection_was_lost_cannot_come_in_between(
    any_postgres: TestServer,
) -> None:
    async def story(reactor: EPollReactor) -> None:
        with Proxy(any_postgres.socket_folder) as proxy:
            dsn = any_postgres.fresh_database()
            log = await Log(proxy.dsn(dsn), reactor).started()
            await log.writer.append([data("before")])
            await log.database.write(lambda tx: tx.execute("INSERT INTO server_secrets VALUES ('held', '')"))
            holder = Log(dsn, reactor)
            await holder.database.start()
            held: Deferred[None] = Deferred()

            def hold_until_the_writer_is_back(tx: object) -> None:
                execute_in(tx, "LOCK TABLE account_data IN ACCESS EXCLUSIVE MODE")
                reactor.callFromThread(held.callback, None)
                # The former connection waits for the lock; it must be ended before another may wait in its place.
                question = "SELECT pid FROM pg_locks WHERE relation = 'account_data'::regclass AND NOT granted"
                former = until(dsn, question)
                until(dsn, f"{question} AND pid <> {former}")

            holding = holder.database.write(hold_until_the_writer_is_back)
            await held
            proxy.abandon_after(b'{"held up"}')
            await log.writer.append([data("held up")])
            await holding
            assert await log.rows("SELECT type, position FROM account_data ORDER BY position") == [
                ("before", 1),
                ("held up", 2),
            ]
            await holder.database.stop()
            await log.stop()

    run_on_reactor(story)


def execute_in(tx: object, sql: str) -> None:
    tx.execute(sql)  # type: ignore[attr-defined]  # a cursor


def until(dsn: str, question: str) -> object:
    """Ask until there is an answer."""
    while not (rows := asked(dsn, question)):
        pass
    return rows[0][0]


def test_the_log_goes_on_after_the_database_was_killed_in_the_middle_and_came_back(
    restartable_postgres: TestServer,
) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(restartable_postgres.fresh_database(), reactor).started()
        calls = []
        for round_number in range(3):
            for number in range(50):
                calls.append(log.writer.append([data(f"{round_number}.{number}"), typing()]))
                if number % 10 == 0:
                    await log.turn()
            restartable_postgres.crash()
            calls += [log.writer.append([data(f"{round_number}.away.{number}")]) for number in range(50)]
            restartable_postgres.start()
            await calls[-1]
        await DeferredList(calls, fireOnOneErrback=True)
        assert log.published == list(range(1, 3 * 150 + 1))
        assert await log.rows("SELECT count(*), count(DISTINCT position) FROM account_data") == [(300, 300)]
        await log.stop()

    run_on_reactor(story)


def test_a_connection_that_an_admin_ends_while_nothing_is_written_is_opened_again(
    fresh_database: FreshDatabase,
) -> None:
    async def story(reactor: EPollReactor) -> None:
        dsn = fresh_database()
        log = await Log(dsn, reactor).started()
        await log.writer.append([data("before")])
        ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND database ="
        assert asked(dsn, f"{ended} (SELECT oid FROM pg_database WHERE datname = current_database())") == [(True,)]
        await log.writer.append([data("after")])
        assert log.published == [1, 2]
        await log.stop()

    run_on_reactor(story)


def test_who_waits_too_long_is_told_but_what_they_wrote_still_comes_with_its_place(
    restartable_postgres: TestServer,
) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(restartable_postgres.fresh_database(), reactor, patience_s=0.2).started()
        await log.writer.append([data("before")])
        restartable_postgres.crash()
        entry = data("late")
        with pytest.raises(DatabaseUnavailable):
            await log.writer.append([entry])
        restartable_postgres.start()
        arrived: Deferred[None] = Deferred()
        log.ring.subscribe(lambda entries: arrived.callback(None) if entry in entries else None)
        await arrived
        assert await log.rows("SELECT type, position FROM account_data ORDER BY position") == [
            ("before", 1),
            ("late", 2),
        ]
        await log.stop()

    run_on_reactor(story)


def test_a_stop_while_the_database_is_away_ends_after_the_patience_and_tells_who_waits(
    restartable_postgres: TestServer,
) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(restartable_postgres.fresh_database(), reactor, patience_s=0.2).started()
        restartable_postgres.crash()
        waiting = log.writer.append([data("never")])
        await log.writer.stop()
        with pytest.raises(DatabaseUnavailable):
            await waiting
        restartable_postgres.start()
        assert await log.rows("SELECT type FROM account_data") == []
        await log.database.stop()

    run_on_reactor(story)


def test_a_server_whose_database_was_taken_over_stops_writing(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        dsn = fresh_database()
        first = await Log(dsn, reactor, patience_s=5.0).started()
        await first.writer.append([data("first")])
        # The first one's connection is lost (and with it the lock), a second process comes and writes.
        asked(dsn, "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'")
        second = await Log(dsn, reactor).started()
        await second.writer.append([data("second")])
        await second.stop()
        with pytest.raises(DatabaseUnavailable, match="another process has written"):
            await first.writer.append([data("third")])
        with pytest.raises(DatabaseUnavailable):
            first.writer.append([data("fourth")])
        assert await first.rows("SELECT type FROM account_data ORDER BY position") == [("first",), ("second",)]
        await first.stop()

    run_on_reactor(story)


def test_a_full_or_locked_database_is_waited_for(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        dsn = fresh_database()
        log = await Log(dsn, reactor).started()
        await log.writer.append([data("before")])
        # What PostgreSQL says when the disk is full, from a trigger; mended after the first refusal.
        execute(
            dsn,
            "CREATE SEQUENCE tries; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('tries') = 1 THEN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END IF; RETURN NEW;"
            " END $$; CREATE TRIGGER refuse BEFORE INSERT ON account_data FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        await log.writer.append([data("after")])
        assert asked(dsn, "SELECT last_value FROM tries") == [(2,)]
        assert log.published == [1, 2]
        await log.stop()

    run_on_reactor(story)


def test_no_position_is_given_twice_however_often_the_process_is_killed(postgres: TestServer) -> None:
    dsn = postgres.fresh_database()
    given: list[int] = []
    published: list[int] = []
    committed: set[int] = set()
    for life in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.storage.writer_process", dsn],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            word, position = line.split()
            if word == "given":
                given.append(int(position))
            elif word == "published":
                published.append(int(position))
            else:
                committed.add(int(position))
                seen += 1
            if seen == 30 + 25 * life:
                process.kill()
        process.wait()
        process.stdout.close()
    assert given == sorted(set(given))
    assert published == sorted(set(published))
    stored = {position for (position,) in asked(dsn, "SELECT position FROM account_data")}
    assert len(committed) >= 30 + 55 + 80
    assert committed <= stored <= set(given)
    assert asked(dsn, f"SELECT position >= {max(committed)}, reserved >= {max(given)} FROM log_head") == [(True, True)]
