"""Paging 3,000 events back through a room's history, 100 at a time."""

import asyncio
import math
import re
from urllib.parse import quote

from bench.cast import Writer
from bench.figures import Figure, Stage, cpu
from bench.wire import Client, path_of

EVENTS = 3000
PAGE = 100
WRITERS = 16
END = re.compile(rb'"end"\s*:\s*"([^"]*)"')


async def run(stage: Stage) -> list[Figure]:
    """Measure a page of 100 events, each page once."""
    users = await stage.cast.take(WRITERS)
    room_id = await stage.cast.make_room(users[0])
    await stage.cast.join(room_id, users[1:])
    await _fill(stage, [Writer(user, room_id) for user in users], stage.count(EVENTS, least=200))
    client = Client(stage.server.address, users[0].token)
    await _page(client, room_id, None, limit=10)
    read = 0
    pages = 0
    position: str | None = None
    meter = stage.server.meter()
    while pages < EVENTS:
        events, position = await _page(client, room_id, position, PAGE)
        read += events
        pages += 1
        if position is None:
            break
    cost = meter.read()
    client.close()
    if read < stage.count(EVENTS, least=200):
        raise RuntimeError(f"/messages gave {read} events, fewer than were sent")
    return [
        Figure("messages", "time per page of 100", cost.wall_s * 1000 * PAGE / read, "ms"),
        *[
            Figure(figure.scenario, figure.name, figure.value * PAGE, figure.unit)
            for figure in cpu("messages", cost, read, "page of 100")
        ],
    ]


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
