"""Followers of the log: they meet every entry, in order, and go on where they were after a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime import follow
from homeserver.runtime.follow import Follower
from storage.database import Cursor
from storage.rows import AccountDataRow, Entry
from tests.integration.storage.log_parts import Log
from tests.integration.storage.samples import data, typing
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor


def read_after(tx: Cursor, after: int, upto: int, limit: int) -> list[Entry]:
    tx.execute(
        "SELECT user_id, room_id, type, json, position FROM account_data WHERE position > %s AND position <= %s"
        " ORDER BY position LIMIT %s",
        (after, upto, limit),
    )
    rows: list[Entry] = []
    for user_id, room_id, type, json, position in tx.fetchall():
        row = AccountDataRow(user_id, room_id, type, bytes(json))
        row.position = position
        rows.append(row)
    return rows


class Reader:
    """A follower that notes what it meets, and can be waited for."""

    def __init__(self, log: Log, *, begin_at: int | None = 0, fail_first: int = 0) -> None:
        self.met: list[int] = []
        self.calls = 0
        self._fail_first = fail_first
        self._awaited = 0
        self._there: Deferred[None] | None = None
        handle: Callable[[Sequence[Entry]], Awaitable[object]] = self._handle
        self.follower = Follower("reader", log.database, log.ring, read_after, handle, log.reactor, begin_at=begin_at)
        self.done: Deferred[None] = Deferred.fromCoroutine(self.follower.run())

    async def _handle(self, entries: Sequence[Entry]) -> None:
        self.calls += 1
        if self.calls <= self._fail_first:
            raise RuntimeError("not yet")
        self.met += [entry.position for entry in entries]
        if self._there is not None and self.met[-1] >= self._awaited:
            there, self._there = self._there, None
            there.callback(None)

    async def reaches(self, position: int) -> None:
        if not self.met or self.met[-1] < position:
            self._awaited, self._there = position, Deferred()
            await self._there

    async def stop(self) -> None:
        self.follower.stop()
        await self.done


def test_a_follower_meets_what_was_there_before_and_what_comes(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        await log.writer.append([data("before"), typing()])
        reader = Reader(log)
        await reader.reaches(2)
        await log.writer.append([data("after")])
        await reader.reaches(3)
        assert reader.met == [1, 2, 3]
        await reader.stop()
        assert await log.rows("SELECT follower, position FROM follower_cursors") == [("reader", 3)]
        await log.stop()

    run_on_reactor(story)


def test_a_new_follower_may_begin_with_what_comes(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        await log.writer.append([data("before")])
        reader = Reader(log, begin_at=None)
        # It has begun once its cursor is there.
        while not await log.rows("SELECT 1 FROM follower_cursors"):
            await log.turn()
        await log.writer.append([data("after")])
        await reader.reaches(2)
        assert reader.met == [2]
        await reader.stop()
        await log.stop()

    run_on_reactor(story)


def test_after_a_restart_a_follower_goes_on_from_the_tables_and_joins_the_ring(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        dsn = fresh_database()
        log = await Log(dsn, reactor).started()
        await log.writer.append([data("seen")])
        reader = Reader(log)
        await reader.reaches(1)
        await reader.stop()
        # More than one page of the tables, while nobody follows.
        missed = [data(f"missed{number}") for number in range(follow.PAGE_ENTRIES + 10)]
        await log.writer.append(missed)
        await log.stop()
        again = await Log(dsn, reactor).started()
        reader = Reader(again)
        live = [data("live"), typing()]
        await again.writer.append(live)
        await reader.reaches(live[-1].position)
        assert reader.met == [entry.position for entry in [*missed, *live]]
        await reader.stop()
        await again.stop()

    run_on_reactor(story)


def test_a_follower_that_fails_gets_the_same_again(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        await log.writer.append([data("a"), data("b")])
        reader = Reader(log, fail_first=2)
        await reader.reaches(2)
        assert reader.met == [1, 2]
        assert reader.calls == 3
        await reader.stop()
        await log.stop()

    run_on_reactor(story)


def test_a_follower_ends_when_it_is_cancelled_while_it_rests(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        reader = Reader(log)
        await log.writer.append([data("a")])
        await reader.reaches(1)
        # Right after an entry it rests with a timer, until it saves its cursor.
        await log.turn()
        reader.done.cancel()
        with pytest.raises(CancelledError):
            await reader.done
        await log.stop()

    run_on_reactor(story)


def test_a_quiet_follower_has_its_exact_cursor_on_disk(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        log = await Log(fresh_database(), reactor).started()
        reader = Reader(log)
        await log.writer.append([data("a"), data("b")])
        await reader.reaches(2)
        while await log.rows("SELECT position FROM follower_cursors") != [(2,)]:
            await log.turn()
        await reader.stop()
        await log.stop()

    run_on_reactor(story)
