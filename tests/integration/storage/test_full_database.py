"""A PostgreSQL that has no connection left for us is not one that is away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg2
import pytest
from twisted.internet.defer import gatherResults

from storage.database import Cursor, Database
from storage.own_postgres import programs_folder
from storage.probe import Presence, probe
from tests.postgres import TestServer, running
from tests.reactors import run_on_reactor

if TYPE_CHECKING:
    from twisted.internet.epollreactor import EPollReactor

FEW = 12
PATIENCE_S = 0.3
WITHIN_S = 2


@pytest.fixture
def small_postgres() -> Iterator[TestServer]:
    with running(programs_folder(), f"max_connections={FEW}", "superuser_reserved_connections=1") as server:
        yield server


@contextlib.contextmanager
def all_connections_taken(server: TestServer) -> Iterator[None]:
    """Take what is left, with the last one that is kept for superusers."""
    with contextlib.ExitStack() as taken:
        for _ in range(FEW + 1):
            try:
                taken.enter_context(contextlib.closing(psycopg2.connect(server.dsn("postgres"))))
            except psycopg2.OperationalError:
                break
        else:
            raise AssertionError("there is no end of connections")
        yield


def slow(tx: Cursor) -> str:
    tx.execute("SELECT pg_sleep(1)")
    return "slow"


def quick(tx: Cursor) -> str:
    tx.execute("SELECT 1")
    return "quick"


def test_what_has_a_connection_goes_on_where_the_database_has_no_other_left(small_postgres: TestServer) -> None:
    async def story(reactor: EPollReactor) -> None:
        database = Database(small_postgres.fresh_database(), reactor, patience_s=PATIENCE_S, pool_size=3)
        await database.start()
        assert await database.read(quick) == "quick"
        with all_connections_taken(small_postgres):
            # One thread has a connection; the others hand over what they cannot do, however long it waits.
            answers = await gatherResults([database.read(slow), database.read(quick), database.write(quick)])
            assert answers == ["slow", "quick", "quick"]
        assert await gatherResults([database.read(slow) for _ in range(3)]) == ["slow"] * 3
        await database.stop()

    run_on_reactor(story)


def test_full_stopping_and_silent_are_told_apart(small_postgres: TestServer) -> None:
    dsn = small_postgres.dsn("postgres")
    assert probe(dsn, WITHIN_S) is Presence.ANSWERS
    assert probe(small_postgres.dsn("nowhere"), WITHIN_S) is Presence.TURNS_AWAY
    with all_connections_taken(small_postgres):
        assert probe(dsn, WITHIN_S) is Presence.TURNS_AWAY
    with small_postgres.frozen():
        assert probe(dsn, WITHIN_S) is Presence.SILENT

    inside = psycopg2.connect(dsn)
    with small_postgres.shutting_down():
        deadline_s = time.monotonic() + 10
        while (seen := probe(dsn, WITHIN_S)) is Presence.ANSWERS and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert seen is Presence.STARTS_OR_STOPS
        inside.close()

    small_postgres.crash()
    assert probe(dsn, WITHIN_S) is Presence.SILENT
    small_postgres.start()
    assert [presence for presence in Presence if presence.is_away] == [Presence.STARTS_OR_STOPS, Presence.SILENT]
