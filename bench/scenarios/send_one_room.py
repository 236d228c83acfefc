"""16 users sending in the same room as fast as the server answers."""

from bench.cast import Writer
from bench.figures import Figure, Stage, costs
from bench.scenarios.writing import write_for

USERS = 16


async def run(stage: Stage) -> list[Figure]:
    """Measure messages a second and CPU per message."""
    users = await stage.cast.take(USERS)
    room_id = await stage.cast.make_room(users[0])
    await stage.cast.join(room_id, users[1:])
    messages, cost = await write_for(stage, [Writer(user, room_id) for user in users], stage.seconds(12))
    return costs("send_one_room", cost, messages, "message")
