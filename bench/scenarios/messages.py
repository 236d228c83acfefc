"""Paging 3,000 events back through a room's history, 100 at a time, by ten members one after the other.

They are ten since thirty pages are over in a twentieth of a second: whatever else a database does then would be half of
the result, such as looking through tables that were just filled.
"""

import asyncio
import math
import re
from urllib.parse import quote

from bench.cast import User, Writer
from bench.figures import Figure, Stage, cpu
from bench.wire import Client, path_of

EVENTS = 3000
MOST_EVENTS = 2 * EVENTS
PAGE = 100
WRITERS = 16
READERS = 10
END = re.compile(rb'"end"\s*:\s*"([^"]*)"')


async def run(stage: Stage) -> list[Figure]:
    """Measure a page of 100 events."""
    users = await stage.cast.take(WRITERS)
    room_id = await stage.cast.make_room(users[0])
    await stage.cast.join(room_id, users[1:])
    events = stage.count(EVENTS, least=200)
    await _fill(stage, [Writer(user, room_id) for user in users], events)
    first, *readers = users[: READERS + 1]
    await _walk(stage, first, room_id, events)
    stage.server.postgres.settle()
    meter = stage.server.meter()
    read = sum([await _walk(stage, reader, room_id, events) for reader in readers])
    cost = meter.read()
    return [
        Figure("messages", "time per page of 100", cost.wall_s * 1000 * PAGE / read, "ms"),
        *[
            Figure(figure.scenario, figure.name, figure.value * PAGE, figure.unit)
            for figure in cpu("messages", cost, read, "page of 100")
        ],
    ]


async def _walk(stage: Stage, user: User, room_id: str, least: int) -> int:
    """Page through all of the room; how many events there were."""
    client = Client(stage.server.address, user.token)
    read, position = await _page(client, room_id, None, PAGE)
    while position is not None and read < MOST_EVENTS:
        events, position = await _page(client, room_id, position, PAGE)
        read += events
    client.close()
    if read < least:
        raise RuntimeError(f"/messages gave {read} events, fewer than were sent")
    return read


async def _fill(stage: Stage, writers: list[Writer], events: int) -> None:
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write(stage.server, math.inf, limit=-(-events // len(writers))))


async def _page(client: Client, room_id: str, position: str | None, limit: int) -> tuple[int, str | None]:
    """One page back: how many events it held, and where the next begins (None: this was the last)."""
    path = path_of("rooms", room_id, "messages") + f"?dir=b&limit={limit}"
    if position is not None:
        path += f"&from={quote(position, safe='')}"
    # The event ids are counted in the bytes, since decoding would take the load generator longer than the server.
    body = await client.call("GET", path)
    ends = END.search(body)
    return body.count(b'"event_id":'), None if ends is None else ends[1].decode()
