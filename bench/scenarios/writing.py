"""What the scenarios that send messages share: writers that write for a while, measured."""

import asyncio
import time

from bench.cast import Writer
from bench.figures import Stage
from bench.measure import Cost

# What a server does for a message after it answered (push, notifying, its database's clean-up) belongs to the message.
SETTLE_SECONDS = 0.5


async def write_for(stage: Stage, writers: list[Writer], seconds: float) -> tuple[int, Cost]:
    """Warm up, then have all of them write for so long; returns how many messages were sent and what that cost."""
    await _all_write(stage, writers, min(2.0, seconds / 4))
    before = sum(writer.sent for writer in writers)
    meter = stage.server.meter()
    wall_s = await _all_write(stage, writers, seconds)
    await asyncio.sleep(SETTLE_SECONDS)
    return sum(writer.sent for writer in writers) - before, meter.read(wall_s)


async def _all_write(stage: Stage, writers: list[Writer], seconds: float) -> float:
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write(stage.server, begin + seconds))
    return time.perf_counter() - begin
