"""A room that grows to 500 and to 5,000 members: a join in it, the list of its members, a message in it."""

import asyncio
import time
from dataclasses import dataclass, field

from bench.cast import Cast, User, Writer
from bench.figures import Figure, Stage, costs, cpu
from bench.measure import NOTHING, Cost
from bench.scenarios.writing import write_for
from bench.wire import Client, path_of

SIZES = (500, 5000)
LISTINGS = 4
WRITERS = 16
# The last joins before a size is reached tell what a join in a room of that size costs.
LAST_JOINS = 100


@dataclass(slots=True)
class BigRoom:
    """A public room and who has joined it."""

    room_id: str
    members: list[User] = field(default_factory=list)

    async def grow(self, cast: Cast, size: int) -> Cost:
        """Have users join until the room has so many members; returns what the joins cost."""
        users = await cast.any(size)
        joining = users[len(self.members) : size]
        self.members += joining
        return await cast.join(self.room_id, joining)


async def run(stage: Stage) -> list[Figure]:
    """Measure at each of the sizes."""
    room = await the_big_room(stage)
    figures: list[Figure] = []
    for full_size in SIZES:
        title = f"big_room, {full_size}"
        size = stage.count(full_size, least=20)
        last = max(1, min(LAST_JOINS, size // 4))
        begin = time.perf_counter()
        await room.grow(stage.cast, size - last)
        await asyncio.sleep(1)
        cost = await room.grow(stage.cast, size)
        figures.append(Figure(title, "members", len(room.members), ""))
        figures.append(Figure(title, "time to grow to it", time.perf_counter() - begin, "s"))
        figures += costs(title, cost, last, "join")
        figures += await _list_members(stage, title, room)
        writers = [Writer(user, room.room_id) for user in room.members[:WRITERS]]
        messages, cost = await write_for(stage, writers, stage.seconds(8))
        figures += costs(title, cost, messages, "message")
        figures.append(Figure(title, "memory of the server after it", stage.server.memory_bytes() / 1e6, "MB"))
    return figures


async def the_big_room(stage: Stage) -> BigRoom:
    """The room that this scenario and others fill."""

    async def make() -> BigRoom:
        (owner,) = await stage.cast.any(1)
        return BigRoom(await stage.cast.make_room(owner), [owner])

    room = await stage.cast.keep("the big room", make)
    assert isinstance(room, BigRoom)
    return room


async def _list_members(stage: Stage, title: str, room: BigRoom) -> list[Figure]:
    cost = NOTHING
    client = Client(stage.server.address, room.members[0].token)
    for number in range(1 + LISTINGS):
        await asyncio.sleep(0.2)
        meter = stage.server.meter()
        body = await client.call("GET", path_of("rooms", room.room_id, "members"))
        if body.count(b'"m.room.member"') < len(room.members):
            raise RuntimeError(f"/members left out some of {len(room.members)} members")
        if number:  # The first one warms up.
            cost += meter.read()
    client.close()
    return [
        Figure(title, "time of /members", cost.wall_s * 1000 / LISTINGS, "ms"),
        *cpu(title, cost, LISTINGS, "list of members"),
    ]
