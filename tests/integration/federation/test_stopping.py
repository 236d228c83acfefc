"""A server stops in time, whatever it is at."""

from __future__ import annotations

import contextlib
import threading
import time

from tests.cast import Actor
from tests.federated import Federated, MakeFederated, TestAuthority, joins_through
from tests.postgres import TestServer

UNAVAILABLE = 503
MOST_S = 30
"""How long a stop may take, as admins and service managers are told."""


def test_a_server_whose_database_hangs_stops_in_time(
    restartable_postgres: TestServer, authority: TestAuthority
) -> None:
    here = Federated(restartable_postgres.fresh_database(), authority)
    try:
        here.start()
        romeo = here.cast("romeo")
        room = romeo.creates_room(preset="public_chat")
        with restartable_postgres.frozen():
            talking = _says_in_vain(romeo, room)
            assert here.health() == UNAVAILABLE
            began_s = time.monotonic()
            ended = here.stop()
            took_s = time.monotonic() - began_s
        talking.join()
        assert ended == 0, here.output()
        assert took_s < MOST_S
    finally:
        here.remove()


def test_a_server_whose_database_and_peer_are_gone_stops_in_time(
    restartable_postgres: TestServer, authority: TestAuthority, make_federated: MakeFederated
) -> None:
    there = make_federated()
    here = Federated(restartable_postgres.fresh_database(), authority)
    try:
        here.start()
        romeo, juliet = here.cast("romeo"), there.cast("juliet")
        room = romeo.creates_room(preset="public_chat")
        joins_through(juliet, room, here)
        there.kill()
        romeo.says(room, "are you there")
        restartable_postgres.crash()
        talking = _says_in_vain(romeo, room)
        # The log has begun to try again: only then is there something that a stop has to cut short.
        while "trying again" not in here.output():
            assert here.health() is not None
        began_s = time.monotonic()
        ended = here.stop()
        took_s = time.monotonic() - began_s
        talking.join()
        assert ended == 0, here.output()
        assert took_s < MOST_S
    finally:
        here.remove()


def _says_in_vain(who: Actor, room: str) -> threading.Thread:
    def say() -> None:
        with contextlib.suppress(OSError, AssertionError):
            who.says(room, "is anybody there")

    talking = threading.Thread(target=say)
    talking.start()
    return talking
