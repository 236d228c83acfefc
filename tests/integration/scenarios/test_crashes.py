"""The server and its database are killed at any moment under load: what was acknowledged stays, once and in order."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.cast import Cast
from tests.integration.admin import until
from tests.integration.scenarios.load import Load
from tests.postgres import TestServer
from tests.servers import MakeServer
from tests.wire import Json

pytestmark = pytest.mark.myelin

KILLS = 3


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_server_loses_and_doubles_nothing(make_server: MakeServer, seed: int) -> None:
    chance = random.Random(seed)
    server = make_server()
    load = Load(Cast(server))
    with load.running():
        for _ in range(KILLS):
            load.wait_a_moment(chance)
            server.kill()
            server.start()
        load.wait_a_moment(chance)
    assert sum(writer.retries for writer in load.writers) > 0
    load.check()


def test_a_stopped_server_finishes_what_it_has_and_goes_on(make_server: MakeServer) -> None:
    chance = random.Random(3)
    server = make_server()
    load = Load(Cast(server))
    with load.running():
        for _ in range(2):
            load.wait_a_moment(chance)
            server.restart()
        load.wait_a_moment(chance)
    load.check()


def test_a_killed_database_loses_and_doubles_nothing(restartable_postgres: TestServer, make_server: MakeServer) -> None:
    chance = random.Random(4)
    server = make_server(restartable_postgres.fresh_database())
    load = Load(Cast(server))
    with load.running():
        for _ in range(KILLS):
            load.wait_a_moment(chance)
            restartable_postgres.crash()
            restartable_postgres.start()
        load.wait_a_moment(chance)
    load.check()


def test_a_database_that_is_away_is_waited_for_and_said_so(
    restartable_postgres: TestServer, make_server: MakeServer, in_parallel: Callable[..., list[Json]]
) -> None:
    server = make_server(restartable_postgres.fresh_database())
    load = Load(Cast(server), writers=2)
    with load.running():
        load.wait_for(20)
        restartable_postgres.stop()
        # Whoever must read the database is told so in time, in words that a client understands.
        health, answer = in_parallel(
            server.health, lambda: load.reader_actor.call("GET", "/_matrix/client/v3/profile/@nobody:test.localhost")
        )
        assert health == 503
        assert answer.status == 503, answer
        assert answer.errcode is not None
        restartable_postgres.start()
        until(lambda: server.health() == 200, "the server has its database again")
        load.wait_for(20)
    load.check()


def test_a_server_and_its_database_killed_together_lose_nothing(
    restartable_postgres: TestServer, make_server: MakeServer
) -> None:
    chance = random.Random(5)
    server = make_server(restartable_postgres.fresh_database())
    load = Load(Cast(server))
    with load.running():
        load.wait_a_moment(chance)
        restartable_postgres.crash()
        server.kill()
        restartable_postgres.start()
        server.start()
        load.wait_a_moment(chance)
    load.check()
