"""What the database keeps: bytes per message, and per state event in a large room.

The messages go to a server that is started anew with an empty database, since what vacuum gives back of earlier work,
and free space that is filled again, would be taken for theirs.
"""

import asyncio
import math
import time

from bench.cast import Cast, Writer
from bench.figures import Figure, Stage
from bench.scenarios.big_room import the_big_room
from bench.scenarios.writing import SETTLE_SECONDS
from bench.wire import Client, path_of

MESSAGES = 2000
STATE_EVENTS = 200
WRITERS = 8
# The slower of the servers need a quarter of an hour for the second 5,000 joins.
MEMBERS = 10_000
MEMBERS_FOR_OTHERS = 5_000


async def run(stage: Stage) -> list[Figure]:
    """Measure by how much the database grows, and how much it writes to its log meanwhile."""
    folder = stage.server.folder
    fresh = type(stage.server)(folder.with_name(f"{folder.name}-disk"))
    try:
        fresh.create()
        figures = await _messages(Stage(fresh, Cast(fresh), stage.scale))
    finally:
        fresh.destroy()
    return [*figures, *await _state_events(stage)]


async def _messages(stage: Stage) -> list[Figure]:
    users = await stage.cast.take(WRITERS)
    rooms = await stage.cast.make_rooms(users)
    writers = [Writer(user, room_id) for user, room_id in zip(users, rooms, strict=True)]
    each = stage.count(MESSAGES, least=160) // WRITERS
    postgres = stage.server.postgres
    postgres.settle()
    size, log = postgres.size_bytes(), postgres.wal_bytes()
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write(stage.server, math.inf, limit=each))
    return _growth(stage, "message", each * WRITERS, size, log)


async def _state_events(stage: Stage) -> list[Figure]:
    room = await the_big_room(stage)
    members = stage.count(MEMBERS if stage.server.has_stream else MEMBERS_FOR_OTHERS, least=20)
    await room.grow(stage.cast, members)
    client = Client(stage.server.address, room.members[0].token)
    events = stage.count(STATE_EVENTS, least=50)
    postgres = stage.server.postgres
    postgres.settle()
    size, log = postgres.size_bytes(), postgres.wal_bytes()
    for number in range(events):
        await client.call(
            "PUT", path_of("rooms", room.room_id, "state", "m.room.topic", ""), {"topic": f"no. {number}"}
        )
    client.close()
    figures = _growth(stage, "state event in a large room", events, size, log)
    return [*figures, Figure("disk", "members of the large room", len(room.members), "")]


def _growth(stage: Stage, what: str, count: int, size_before: int, log_before: int) -> list[Figure]:
    postgres = stage.server.postgres
    time.sleep(SETTLE_SECONDS)
    log_bytes = postgres.wal_bytes() - log_before
    return [
        Figure("disk", f"bytes per {what}", (postgres.size_bytes() - size_before) / count, "B"),
        Figure("disk", f"bytes of write-ahead log per {what}", log_bytes / count, "B"),
    ]
