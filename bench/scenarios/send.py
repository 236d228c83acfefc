"""16 users, each sending in a room of their own as fast as the server answers."""

from bench.cast import Writer
from bench.figures import Figure, Stage, costs
from bench.scenarios.writing import write_for

USERS = 16


async def run(stage: Stage) -> list[Figure]:
    """Measure messages a second and CPU per message, and the server's memory after it."""
    users = await stage.cast.take(USERS)
    rooms = await stage.cast.make_rooms(users)
    writers = [Writer(user, room_id) for user, room_id in zip(users, rooms, strict=True)]
    messages, cost = await write_for(stage, writers, stage.seconds(15))
    return [
        *costs("send", cost, messages, "message"),
        Figure("send", "load generator CPU per message", cost.client_s * 1000 / messages, "ms"),
        Figure("send", "memory of the server after it", stage.server.memory_bytes() / 1e6, "MB"),
    ]
