"""The connection of the log, driven by a reactor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from psycopg2.extensions import POLL_OK

from storage.log_connection import LogConnection, connect
from tests.postgres import FreshDatabase
from tests.reactors import run_on_reactor

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor


class AnswersAtOnce:
    """psycopg2's connection on a machine where PostgreSQL is always done before we look."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def poll(self) -> int:
        state: int = self._connection.poll()
        while state != POLL_OK:
            time.sleep(0.001)
            state = self._connection.poll()
        return state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_an_answer_that_is_there_at_once_comes_after_the_sending_has_returned(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        connection: Any = AnswersAtOnce(psycopg2.connect(fresh_database(), async_=1))
        connection.poll()
        opened = LogConnection(connection, reactor)
        answer = opened.run("SELECT 1")
        assert not answer.called
        assert (await answer).fetchone() == (1,)
        refused = opened.run("SELECT 1 / 0")
        assert not refused.called
        with pytest.raises(psycopg2.errors.DivisionByZero):
            await refused
        opened.close()

    run_on_reactor(story)


def test_a_message_larger_than_any_buffer_and_an_error_leave_the_connection_usable(
    fresh_database: FreshDatabase,
) -> None:
    async def story(reactor: EPollReactor) -> None:
        opened = await connect(fresh_database(), reactor)
        assert (await opened.run(f"SELECT length('{'x' * 20_000_000}')")).fetchone() == (20_000_000,)
        with pytest.raises(psycopg2.errors.SyntaxError):
            await opened.run("SELEKT")
        assert opened.is_closed is False
        assert (await opened.run("SELECT 1; SELECT 2")).fetchone() == (2,)
        opened.close()
        with pytest.raises(psycopg2.InterfaceError):
            await opened.run("SELECT 1")
        opened.close()

    run_on_reactor(story)


def test_who_waits_when_the_connection_is_closed_is_told(fresh_database: FreshDatabase) -> None:
    async def story(reactor: EPollReactor) -> None:
        opened = await connect(fresh_database(), reactor)
        waiting = opened.run("SELECT pg_sleep(60)")
        opened.close()
        with pytest.raises(psycopg2.InterfaceError):
            await waiting

    run_on_reactor(story)
