"""The writer of the log: positions, group commit, failures of what is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from homeserver.runtime.log import AppendFailed
from homeserver.runtime.writer import BLOCK, MAX_QUEUED_CALLS
from storage.database import DatabaseUnavailable
from storage.migrate import UnusableDatabase
from storage.persist import PERSIST
from storage.rows import AccountDataRow, Entry
from storage.statements import Statements
from tests.integration.storage.log_parts import Log
from tests.integration.storage.samples import data, event, typing
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor


def test_positions_are_given_at_once_and_an_answer_means_written_and_published(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        first, second, third = data("a"), typing(), data("b")
        done = log.writer.append([first, second, third])
        assert [first.position, second.position, third.position] == [1, 2, 3]
        assert log.published == []
        await done
        assert log.published == [1, 2, 3]
        assert await log.rows("SELECT type, position FROM account_data ORDER BY position") == [("a", 1), ("b", 3)]
        assert log.ring.head == 3
        await log.stop()

    run_on_reactor(story)


def test_what_is_appended_while_a_batch_is_under_way_shares_the_next_transaction(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        await log.writer.append([data("warm")])
        batches, statements = log.writer.batches, log.database.statements.log
        await DeferredList([log.writer.append([data(f"t{n}")]) for n in range(16)])
        assert log.writer.batches - batches == 1
        # One statement for all the account data, one for log_head: however many appends there are.
        assert log.database.statements.log - statements == 2
        first = log.writer.append([data("first")])
        await log.turn()
        later = [log.writer.append([data(f"later{n}")]) for n in range(50)]
        await DeferredList([first, *later])
        assert log.writer.batches - batches == 3
        await log.stop()

    run_on_reactor(story)


def test_sixteen_messages_in_sixteen_rooms_are_three_statements(any_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(any_database(), reactor).started()
        rooms = range(1, 17)
        await log.database.write(
            lambda tx: tx.execute(
                "INSERT INTO rooms (room_id, version) SELECT '!' || n, '11' FROM generate_series(1, 16) n"
            )
        )
        statements = log.database.statements.log
        await DeferredList([log.writer.append([event(room)]) for room in rooms], fireOnOneErrback=True)
        # events, room_heads, log_head; and nothing a message.
        assert log.database.statements.log - statements == 3
        assert await log.rows("SELECT count(*) FROM events") == [(16,)]
        assert await log.rows("SELECT count(*) FROM room_heads") == [(16,)]
        await log.stop()

    run_on_reactor(story)


def test_entries_for_the_ring_alone_need_no_transaction(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        await log.writer.append([data()])
        batches = log.writer.batches
        entries = [typing() for _ in range(20)]
        await DeferredList([log.writer.append([entry]) for entry in entries])
        assert log.writer.batches == batches
        assert log.published == list(range(1, 22))
        await log.stop()

    run_on_reactor(story)


def test_entries_of_both_kinds_are_published_in_the_order_of_their_positions(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        calls = []
        for number in range(300):
            calls.append(log.writer.append([typing() if number % 3 else data(f"t{number}")]))
            if number % 7 == 0:
                await log.turn()
        await DeferredList(calls, fireOnOneErrback=True)
        assert log.published == list(range(1, 301))
        await log.stop()

    run_on_reactor(story)


def test_no_position_is_published_beyond_what_is_reserved_on_disk(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        dsn = fresh_database()
        log = await Log(dsn, reactor).started()
        for _ in range(5):
            await log.writer.append([typing() for _ in range(BLOCK // 2)])
            ((reserved,),) = await log.rows("SELECT reserved FROM log_head")
            assert isinstance(reserved, int)
            assert reserved >= log.ring.head
        last = log.ring.head
        await log.stop()
        again = await Log(dsn, reactor).started()
        entry = data()
        await again.writer.append([entry])
        assert entry.position > last
        assert again.ring.covers(last)
        await again.stop()

    run_on_reactor(story)


def test_history_gets_positions_below_zero_and_live_readers_never_meet_it(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        dsn = fresh_database()
        log = await Log(dsn, reactor).started()
        await log.database.write(lambda tx: tx.execute("INSERT INTO rooms (room_id, version) VALUES ('!r', '11')"))
        old, older, live = event(is_history=True), event(is_history=True), event()
        await log.writer.append([old, older, live])
        assert (old.position, older.position, live.position) == (-1, -2, 1)
        assert log.published == [1]
        await log.stop()
        again = await Log(dsn, reactor).started()
        oldest = event(is_history=True)
        await again.writer.append([oldest])
        assert oldest.position == -3
        assert await again.rows("SELECT array_agg(position ORDER BY position) FROM events") == [([-3, -2, -1, 1],)]
        await again.stop()

    run_on_reactor(story)


def test_small_statements_belong_to_the_same_transaction(fresh_database: FreshDatabase) -> None:
    def note(tx: Statements) -> None:
        tx.execute("INSERT INTO server_secrets VALUES (%s, %s)", ("note", b"\x00'\\"))

    def fails(tx: Statements) -> None:
        tx.execute("INSERT INTO server_secrets VALUES (%s, NULL)", ("bad",))

    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        await log.writer.append([data("good")], also=[note])
        with pytest.raises(AppendFailed):
            await log.writer.append([data("bad")], also=[fails])
        await log.writer.append([], also=[lambda tx: tx.execute("INSERT INTO server_secrets VALUES ('alone', '')")])
        assert await log.rows("SELECT type FROM account_data") == [("good",)]
        found = await log.rows("SELECT name, encode(value, 'hex') FROM server_secrets ORDER BY name DESC")
        assert found == [("note", "00275c"), ("alone", "")]
        await log.stop()

    run_on_reactor(story)


def test_one_bad_append_fails_alone(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        failed: list[Entry] = []
        log.writer.on_failure(failed.extend)
        rows = [data(f"t{number}") for number in range(9)]
        # PostgreSQL refuses a NULL; our own code a NUL.
        rows[3].type = None  # type: ignore[assignment]  # that is the mistake
        rows[6].type = "nul\0"
        results = await DeferredList([log.writer.append([row]) for row in rows], consumeErrors=True)
        assert [succeeded for succeeded, _ in results] == [number not in (3, 6) for number in range(9)]
        for number in (3, 6):
            failure: object = results[number][1]
            assert isinstance(failure, Failure)
            assert isinstance(failure.value, AppendFailed)
        assert failed == [rows[3], rows[6]]
        good = [row.position for number, row in enumerate(rows) if number not in (3, 6)]
        assert log.published == good
        assert await log.rows("SELECT array_agg(position ORDER BY position) FROM account_data") == [(good,)]
        await log.writer.append([data("after")])
        await log.stop()

    run_on_reactor(story)


def test_what_was_built_upon_a_failed_event_fails_with_it_and_other_rooms_do_not(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        await log.database.write(
            lambda tx: tx.execute(
                "INSERT INTO rooms (room_id, version) SELECT '!' || n, '11' FROM generate_series(1, 2) n"
            )
        )
        failed: list[Sequence[Entry]] = []
        log.writer.on_failure(failed.append)
        await log.writer.append([event(1, event_id="$taken")])
        good, bad, upon, other = event(1), event(1, event_id="$taken"), event(1), event(2)
        calls = [log.writer.append([each]) for each in (good, bad, upon, other)]
        await log.turn()
        # These wait in the queue while the batch is under way.
        queued, queued_elsewhere = event(1), event(2)
        calls += [log.writer.append([queued]), log.writer.append([queued_elsewhere])]
        results = await DeferredList(calls, consumeErrors=True)
        assert [succeeded for succeeded, _ in results] == [True, False, False, True, False, True]
        assert [entry for entries in failed for entry in entries] == [bad, queued, upon]
        fresh = event(1)
        await log.writer.append([fresh])
        written = await log.rows("SELECT event_id FROM events ORDER BY position")
        expected = ["$taken", *(each.event.event_id for each in (good, other, queued_elsewhere, fresh))]
        assert [event_id for (event_id,) in written] == expected
        assert log.published == sorted(log.published)
        await log.stop()

    run_on_reactor(story)


def test_an_append_that_nobody_can_write_fails_and_the_log_goes_on(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor, persist={AccountDataRow: PERSIST[AccountDataRow]}).started()
        results = await DeferredList(
            [log.writer.append([data("a")]), log.writer.append([event()]), log.writer.append([data("b")])],
            consumeErrors=True,
        )
        assert [succeeded for succeeded, _ in results] == [True, False, True]
        await log.stop()

    run_on_reactor(story)


def test_of_several_changes_of_the_same_thing_in_a_batch_the_last_holds(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        rows = [data("same", json=b'{"n":%d}' % number) for number in range(5)]
        await DeferredList([log.writer.append([row]) for row in rows], fireOnOneErrback=True)
        assert await log.rows("SELECT convert_from(json, 'UTF8'), position FROM account_data") == [('{"n":4}', 5)]
        assert log.published == [1, 2, 3, 4, 5]
        await log.stop()

    run_on_reactor(story)


def test_strange_texts_and_large_ones_arrive_as_they_are(fresh_database: FreshDatabase) -> None:
    strange = [
        "'",
        '"',
        "\\",
        "\\'",
        "{}",
        ",",
        "NULL",
        "",
        " ",
        "%s",
        "$1",
        "ü",
        "😀",
        "\u2028",
        "; DROP TABLE users; --",
    ]

    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        rows = [data(text, json=b'{"t":"%s"}' % text.encode().replace(b"\\", b"\\\\")) for text in strange]
        large = data("large", json=b'{"t":"%s"}' % (b"x'\\\\" * 1_000_000))
        await DeferredList([log.writer.append([row]) for row in [*rows, large]], fireOnOneErrback=True)
        found = await log.rows("SELECT type, convert_from(json, 'UTF8') FROM account_data")
        assert sorted(found) == sorted((row.type, row.json.decode()) for row in [*rows, large])
        await log.stop()

    run_on_reactor(story)


def test_eight_producers_lose_nothing_and_readers_by_position_meet_all_in_order(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        running = 8
        expected: list[int] = []

        async def produce(name: int) -> None:
            nonlocal running
            for number in range(60):
                entries = [data(f"{name}.{number}.{part}") for part in range(1 + number % 3)]
                await log.writer.append(entries)
                expected.extend(entry.position for entry in entries)
            running -= 1

        async def read_by_position() -> list[int]:
            met: list[int] = []
            while True:
                is_last_time = running == 0
                rows = await log.rows(
                    f"SELECT position FROM account_data WHERE position > {met[-1] if met else 0} ORDER BY position"
                )
                met += [position for (position,) in rows if isinstance(position, int)]
                if is_last_time:
                    return met

        reader = Deferred.fromCoroutine(read_by_position())
        await DeferredList([Deferred.fromCoroutine(produce(name)) for name in range(8)], fireOnOneErrback=True)
        assert await reader == sorted(expected) == log.published
        assert len(expected) == 8 * 120
        await log.stop()

    run_on_reactor(story)


def test_too_many_waiting_appends_are_refused_at_once(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        calls = [log.writer.append([typing()]) for _ in range(MAX_QUEUED_CALLS)]
        entry = typing()
        with pytest.raises(DatabaseUnavailable):
            log.writer.append([entry])
        assert entry.position == 0
        await DeferredList(calls, fireOnOneErrback=True)
        await log.writer.append([entry])
        assert log.published == list(range(1, MAX_QUEUED_CALLS + 2))
        await log.stop()

    run_on_reactor(story)


def test_a_stop_commits_what_waits_and_takes_nothing_more(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        dsn = fresh_database()
        log = await Log(dsn, reactor).started()
        calls = [log.writer.append([data(f"t{number}")]) for number in range(40)]
        stopped = Deferred.fromCoroutine(log.writer.stop())
        with pytest.raises(DatabaseUnavailable):
            log.writer.append([data("late")])
        await DeferredList(calls, fireOnOneErrback=True)
        await stopped
        assert await log.rows("SELECT count(*) FROM account_data") == [(40,)]
        await log.database.stop()

    run_on_reactor(story)


def test_there_is_only_one_writer(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        dsn = fresh_database()
        log = await Log(dsn, reactor).started()
        second = Log(dsn, reactor, patience_s=0.3)
        with pytest.raises(UnusableDatabase, match="Another Myelin process"):
            await second.started()
        await second.database.stop()
        await log.writer.append([data()])
        await log.writer.stop()
        third = await Log(dsn, reactor).started()
        await third.writer.append([data()])
        await third.stop()
        await log.database.stop()

    run_on_reactor(story)
