"""/sync of a user in 100 rooms: the first one of a new device, and those that bring one message."""

import asyncio
from dataclasses import dataclass

from bench.cast import User, Writer, log_in
from bench.figures import Figure, Stage, costs, cpu
from bench.measure import NOTHING
from bench.wire import Client, next_batch, path_of

ROOMS = 100
DEVICES = 12
FIRST_SYNCS = 8
ROUNDS = 12
SYNC = path_of("sync")


@dataclass(frozen=True, slots=True)
class ManyRooms:
    """A user in many rooms, with the tokens of some devices that have not synced yet."""

    user: User
    friend: User
    room_ids: list[str]


async def run_initial(stage: Stage) -> list[Figure]:
    """Measure the first /sync of new devices, after one which warmed the server's caches.

    Each comes from a device of its own: servers keep answers for a device that asks the same again.
    """
    many = await _many_rooms(stage)
    client = Client(stage.server.address)
    tokens = [await log_in(client, many.user) for _ in range(1 + FIRST_SYNCS)]
    body = await client.call("GET", SYNC + "?timeout=0", token=tokens[0])
    await asyncio.sleep(0.3)
    meter = stage.server.meter()
    for token in tokens[1:]:
        await client.call("GET", SYNC + "?timeout=0", token=token)
    cost = meter.read()
    client.close()
    return [
        Figure("sync_initial", "time per sync", cost.wall_s * 1000 / FIRST_SYNCS, "ms"),
        *cpu("sync_initial", cost, FIRST_SYNCS, "sync"),
        Figure("sync_initial", "size of the answer", len(body) / 1000, "kB"),
    ]


async def run_incremental(stage: Stage) -> list[Figure]:
    """Measure /sync that answers at once with one new message in one of the rooms, for each of some devices."""
    many = await _many_rooms(stage)
    client = Client(stage.server.address)
    tokens = [await log_in(client, many.user) for _ in range(DEVICES)]
    positions = {token: next_batch(await client.call("GET", SYNC + "?timeout=0", token=token)) for token in tokens}
    cost = NOTHING
    rounds = stage.count(ROUNDS, least=3)
    for number in range(1 + rounds):
        writer = Writer(many.friend, many.room_ids[number % len(many.room_ids)])
        said = await client.raw(
            writer.request(f"incremental{id(positions)}.{number}", b'{"msgtype":"m.text","body":"news"}')
        )
        if said.status != 200:
            raise RuntimeError(f"a message was refused: {said}")
        await asyncio.sleep(0.2)
        meter = stage.server.meter()
        for token, since in positions.items():
            body = await client.call("GET", f"{SYNC}?timeout=0&since={since}", token=token)
            if b'"news"' not in body:
                raise RuntimeError(f"a sync without the message that was sent: {body[:500]!r}")
            positions[token] = next_batch(body)
        if number:  # The first round warms up.
            cost += meter.read()
    client.close()
    return costs("sync_incremental", cost, rounds * DEVICES, "sync")


async def _many_rooms(stage: Stage) -> ManyRooms:
    async def make() -> ManyRooms:
        user, friend = await stage.cast.take(2)
        room_ids = await stage.cast.make_rooms([friend] * stage.count(ROOMS, least=5))
        client = Client(stage.server.address)
        for room_id in room_ids:
            await client.call("POST", path_of("rooms", room_id, "join"), {}, user.token)
            writer = Writer(friend, room_id)
            for text in (b"one", b"two", b"three"):
                await client.raw(writer.request(text.decode(), b'{"msgtype":"m.text","body":"%s"}' % text))
        client.close()
        return ManyRooms(user, friend, room_ids)

    many = await stage.cast.keep("a user in many rooms", make)
    assert isinstance(many, ManyRooms)
    return many
