"""Messages from device to device: delivered once, in order, through crashes and reconnects; queues are bounded."""

from __future__ import annotations

import random
import time

import psycopg2
import pytest

from homeserver.sync.to_device import MOST_AT_START
from tests.cast import Cast, Device
from tests.key_ring import Keys, changed
from tests.persistence import killed_now_and_then, numbers, persistently, sends, sends_all
from tests.postgres import FreshDatabase
from tests.servers import MakeServer, Myelin
from tests.sync_answer import Synced
from tests.ws_client import Stream

MESSAGES = 150


def test_each_message_comes_once_and_in_order_though_the_server_is_killed_again_and_again(
    make_server: MakeServer,
) -> None:
    server = make_server(rate_limits={"enabled": False})
    romeo, juliet = Cast(server)("romeo"), Cast(server)("juliet")
    start = juliet.sync()
    with killed_now_and_then([server], times=3, seed=1), sends_all(romeo, juliet, MESSAGES):
        got: list[int] = []
        at = start
        rng = random.Random(2)
        while len(got) < MESSAGES:
            answer = persistently(lambda since: juliet.sync(since, timeout_ms=300), at)
            if rng.random() < 0.3:
                continue  # as if the answer had been lost: what was in it comes again
            got += numbers(answer)
            at = answer
    assert got == list(range(MESSAGES))
    # The connection of the last sync may have ended with a server that was killed after it.
    assert numbers(persistently(juliet.sync, at)) == []


def test_a_queue_holds_the_newest_messages_only(make_server: MakeServer) -> None:
    server = make_server(rate_limits={"enabled": False}, to_device={"max_waiting": 100})
    romeo, juliet = Cast(server)("romeo"), Cast(server)("juliet")
    for number in range(250):
        sends(romeo, juliet, number)
    until_s = time.monotonic() + 20
    while len(got := numbers(juliet.sync())) > 110 and time.monotonic() < until_s:
        pass
    assert 100 <= len(got) <= 110
    assert got == list(range(250 - len(got), 250))


def test_messages_that_nobody_fetches_go_with_time_and_those_of_sleepers_stay(
    fresh_database: FreshDatabase, make_server: MakeServer
) -> None:
    dsn = fresh_database()
    server: Myelin = make_server(dsn, to_device={"max_age": "1h"})
    romeo, juliet = Cast(server)("romeo"), Cast(server)("juliet")
    sleeper = Keys(Device(juliet.wire, juliet.user_id, "SLEEPER", ""))
    body = {"device_id": "SLEEPER", "device_data": {}, "device_keys": sleeper.device_keys()}
    path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
    assert juliet.call("PUT", path, body).status == 200
    for number in range(2):
        sends(romeo, juliet, number)
        sends(romeo, sleeper.device, number, f"sleeper {number}")
    assert server.stop() == 0
    with psycopg2.connect(dsn) as connection, connection.cursor() as tx:
        two_hours_ms = 2 * 3_600_000
        tx.execute("UPDATE to_device SET created_ts = created_ts - %s WHERE json LIKE %s", (two_hours_ms, b'%"n":0%'))
        assert tx.rowcount == 2
    connection.close()
    server.start()
    # What is too old is looked for at the start, too.
    until_s = time.monotonic() + 20
    while numbers(juliet.sync()) != [1] and time.monotonic() < until_s:
        pass
    assert numbers(juliet.sync()) == [1]
    events = juliet.call("GET", f"{path}/SLEEPER/events").json["events"]
    assert [event["content"]["n"] for event in events] == [0, 1]


def test_a_device_that_starts_anew_gets_a_long_queue_in_parts(
    fresh_database: FreshDatabase, make_server: MakeServer
) -> None:
    dsn = fresh_database()
    server = make_server(dsn)
    romeo, juliet = Cast(server)("romeo"), Cast(server)("juliet")
    sends(romeo, juliet, 0)
    assert server.stop() == 0
    count = MOST_AT_START + 150
    with psycopg2.connect(dsn) as connection, connection.cursor() as tx:
        tx.execute(
            "INSERT INTO to_device (device, position, json) SELECT device, position + number,"
            " convert_to(replace(%s, 'N', number::text), 'UTF8') FROM to_device, generate_series(1, %s) AS number",
            ('{"content":{"n":N},"sender":"@x:y","type":"m.test"}', count),
        )
        tx.execute("UPDATE log_head SET position = (SELECT max(position) FROM to_device) WHERE reserved > %s", (count,))
        assert tx.rowcount == 1
    connection.close()
    server.start()
    at = juliet.sync()
    got = numbers(at)
    assert len(got) == MOST_AT_START
    while news := numbers(at := juliet.sync(at)):
        got += news
    assert got == list(range(count + 1))


def test_a_device_that_is_deleted_takes_its_queue_along(fresh_database: FreshDatabase, make_server: MakeServer) -> None:
    dsn = fresh_database()
    server = make_server(dsn)
    romeo, juliet = Cast(server)("romeo"), Cast(server)("juliet", devices=["one", "two"])
    sends(romeo, juliet.two, 1)
    juliet.two.asks("POST", "logout")
    with psycopg2.connect(dsn) as connection, connection.cursor() as tx:
        tx.execute("SELECT count(*) FROM to_device")
        assert tx.fetchone() == (0,)
    connection.close()


@pytest.mark.myelin
def test_the_stream_tells_what_sync_tells(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    juliet.joins(romeo.creates_room(preset="public_chat"))
    keys = Keys(romeo).publishes(2)
    with Stream(romeo.wire.host, romeo.wire.port, romeo.token) as stream:
        stream.asks("subscribe")
        first = stream.delta()
        assert first["device_one_time_keys_count"] == {"signed_curve25519": 2}
        Keys(juliet).publishes()
        delta = stream.delta()
        assert changed(delta) == [juliet.user_id]
        assert delta["device_unused_fallback_key_types"] == []
        sends(juliet, romeo, 7)
        assert numbers(Synced(stream.delta())) == [7]
        assert keys.uploads() == {"signed_curve25519": 2}
