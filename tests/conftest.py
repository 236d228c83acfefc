"""Fixtures for all tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.cast import Cast
from tests.postgres import TestServer, fresh_database, postgres, restartable_postgres
from tests.servers import Homeserver, MakeServer, Myelin, another_server
from tests.wire import Json

__all__ = ["fresh_database", "postgres", "restartable_postgres"]


@pytest.fixture(scope="session")
def homeserver(request: pytest.FixtureRequest) -> Iterator[Homeserver]:
    """The server that the scenarios of a session (and worker of it) share. It makes no mistakes of its own."""
    other = another_server()
    if other is not None:
        yield other
        return
    database: TestServer = request.getfixturevalue("postgres")
    server = Myelin(database.fresh_database())
    try:
        server.start()
        yield server
        assert server.stop() == 0, server.output()
        assert not server.errors(), "\n".join(server.errors())
    finally:
        server.remove()


@pytest.fixture
def cast(homeserver: Homeserver) -> Cast:
    """People on the shared server."""
    return Cast(homeserver)


@pytest.fixture
def make_server(request: pytest.FixtureRequest) -> Iterator[MakeServer]:
    """Makes servers of the test's own: the arguments are settings, `dsn` names another database than a fresh one."""
    with contextlib.ExitStack() as stack:

        def make(dsn: str | None = None, **settings: Json) -> Myelin:
            if dsn is None:
                database: TestServer = request.getfixturevalue("postgres")
                dsn = database.fresh_database()
            server = Myelin(dsn, **settings)
            stack.callback(server.remove)
            server.start()
            return server

        yield make


@pytest.fixture(autouse=True)
def ours_alone(request: pytest.FixtureRequest) -> None:
    """Leave out what only Myelin can do, where the scenarios are pointed at another server."""
    if request.node.get_closest_marker("myelin") and another_server() is not None:
        pytest.skip("only Myelin does this, and another server is asked")
