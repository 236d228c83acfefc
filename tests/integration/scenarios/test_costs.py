"""What a message costs at the database, as the server itself counts it; what it tells Prometheus."""

from __future__ import annotations

import re

import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.ids import RoomId, UserId
from homeserver.parts.foundations import SLOT_SECRET
from storage import secrets as secret_table
from tests.cast import Cast
from tests.integration.admin import free_port
from tests.integration.rooms.house import SERVER, SLOT_KEY, House, at_house
from tests.postgres import FreshDatabase
from tests.servers import MakeServer, Myelin
from tests.ws_client import Stream

pytestmark = pytest.mark.myelin

MEMBERS = 5_000
MESSAGES = 20


def measured(server: Myelin) -> dict[str, float]:
    """What /metrics says."""
    text = server.wire.ask("GET", "/metrics").body.decode()
    return {name: float(value) for name, value in re.findall(r"^(myelin_\S+) (\S+)$", text, re.MULTILINE)}


def serving_metrics(make_server: MakeServer, **more: object) -> Myelin:
    """A server of the test's own that also serves its measures."""
    port = free_port()
    listeners = [{"port": port, "serves": ["client", "federation", "media", "admin", "metrics"]}]
    return make_server(port=port, listeners=listeners, **more)


def test_a_warm_message_reads_nothing_whatever_the_size_of_the_room(
    make_server: MakeServer, fresh_database: FreshDatabase
) -> None:
    dsn = fresh_database()
    rooms: list[RoomId] = []

    async def fill(house: House) -> None:
        # So that the server finds the states which the house makes.
        await house.database.write(secret_table.keep, SLOT_SECRET, SLOT_KEY)
        rooms.append(await house.room(preset="public_chat"))
        rooms.append(await house.room(preset="public_chat"))
        for start in range(0, MEMBERS, 500):
            users = [UserId(f"@guest{number}:{SERVER}") for number in range(start, start + 500)]
            await gatherResults([Deferred.fromCoroutine(house.changes.join(user, rooms[1])) for user in users])

    at_house(dsn, fill)
    server = serving_metrics(make_server, dsn=dsn, server_name=SERVER)
    romeo = Cast(server)("romeo")
    for room in rooms:
        romeo.joins(room)
        romeo.says(room, "warm")
        before = measured(server)
        for number in range(MESSAGES):
            romeo.says(room, str(number))
        after = measured(server)
        grown = {
            by: after[f'myelin_database_statements_total{{by="{by}"}}']
            - before[f'myelin_database_statements_total{{by="{by}"}}']
            for by in ("read", "log")
        }
        assert grown == {"read": 0, "log": 3 * MESSAGES}
        assert after["myelin_log_batches_total"] - before["myelin_log_batches_total"] == MESSAGES
    assert len(romeo.members(rooms[1])) > MEMBERS


def test_the_log_and_its_readers_are_measured(make_server: MakeServer) -> None:
    server = serving_metrics(make_server)
    romeo = Cast(server)("romeo")
    room = romeo.creates_room()
    before = measured(server)
    romeo.says(room, "hello")
    with Stream(romeo.wire.host, romeo.wire.port, romeo.token) as stream:
        stream.asks("subscribe")
        stream.delta()
        after = measured(server)
    assert after["myelin_log_position"] > before["myelin_log_position"]
    assert after["myelin_log_ring_entries"] > before["myelin_log_ring_entries"]
    assert after["myelin_log_ring_bytes"] > before["myelin_log_ring_bytes"]
    assert after["myelin_log_waiting"] == 0
    assert (before["myelin_streams"], after["myelin_streams"]) == (0, 1)
    assert after["myelin_readers"] == 1
    assert after["myelin_rooms_in_memory"] == 1
