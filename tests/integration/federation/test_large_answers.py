"""Answers with states of rooms: how many may come at once, and how much of them may be put down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from federation.outbound.errors import RemoteNonsense, RemoteUnreachable
from federation.outbound.space import NoSpace, Space
from federation.outbound.state_answers import StateAnswer, fetch
from tests.integration.federation.house import House, in_house
from tests.integration.federation.network import Asked, Connection, answer
from tests.postgres import FreshDatabase

STATE = "/_matrix/federation/v1/state/!room"


def state(asked: Asked, connection: Connection) -> bytes:
    return answer(json.dumps({"pdus": [{"number": number} for number in range(1000)], "auth_chain": []}).encode())


def test_no_more_than_so_many_states_come_at_once_and_others_are_asked_meanwhile(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        silent = house.peer("silent.example", lambda asked, connection: None)
        house.peer("peer.example", state)
        coming = [StateAnswer(("pdus",)) for _ in range(3)]
        running = [
            Deferred.fromCoroutine(fetch(house.client, "silent.example:8448", STATE, {"n": number}, None, each))
            for number, each in enumerate(coming)
        ]
        with StateAnswer(("pdus", "auth_chain")) as other:
            await fetch(house.client, "peer.example:8448", STATE, {}, None, other)
            assert len(other) == 1000
        assert len(silent.asked) == 2
        for each in running:
            each.addErrback(lambda failure: None)
            each.cancel()
        silent.script = state
        with StateAnswer(("pdus", "auth_chain")) as last:
            await fetch(house.client, "silent.example:8448", STATE, {}, None, last)
            assert len(last) == 1000

    in_house(story, fresh_database(), tmp_path)


def test_what_is_put_down_is_limited_for_all_and_for_each_and_given_back(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async def story(house: House) -> None:
        house.client.space = Space(25_000, 20_000)
        for name in ("one", "two"):
            house.peer(f"{name}.example", state)
        with StateAnswer(("pdus",)) as first:
            await fetch(house.client, "one.example:8448", STATE, {}, None, first)
            for name in ("one", "two"):
                with StateAnswer(("pdus",)) as second, pytest.raises(RemoteUnreachable, match="space"):
                    await fetch(house.client, f"{name}.example:8448", STATE, {}, None, second)
        with StateAnswer(("pdus",)) as third:
            await fetch(house.client, "two.example:8448", STATE, {}, None, third)

    in_house(story, fresh_database(), tmp_path)


def test_a_state_without_end_is_ended(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    async def story(house: House) -> None:
        def endless(asked: Asked, connection: Connection) -> bytes:
            event = b'{"content":{"body":"%s"}},' % (b"x" * 60_000)
            return b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n" + b'{"pdus":[' + event * 20

        house.peer("peer.example", endless)
        with StateAnswer(("pdus",)) as events, pytest.raises(RemoteNonsense, match="longer than"):
            await fetch(house.client, "peer.example:8448", STATE, {}, None, events)

    in_house(story, fresh_database(), tmp_path)


def test_space_is_counted_for_all_and_for_each() -> None:
    space = Space(10, 6)
    space.take("one", 6)
    with pytest.raises(NoSpace, match="of this server"):
        space.take("one", 1)
    with pytest.raises(NoSpace, match="all the space"):
        space.take("two", 5)
    space.take("two", 4)
    space.give_back("one", 6)
    space.take("three", 6)
