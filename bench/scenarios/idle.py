"""1,000 clients who wait for something to happen, and nothing does: what each holds, and what each costs meanwhile."""

import asyncio

from bench.cast import User
from bench.figures import Figure, Stage
from bench.scenarios.fanout import STREAM_PATH, STREAM_PROTOCOL
from bench.wire import Client, Stream, next_batch, path_of

CLIENTS = 1000
WARM_UP = 20
OPENING_AT_ONCE = 16
SYNC = path_of("sync")


async def run(stage: Stage) -> list[Figure]:
    """Measure memory and CPU of waiting by long poll, and where there is one by stream; the server freshly started."""
    users = await stage.cast.take(stage.count(CLIENTS, least=50))
    figures = await _measure(stage, users, by_stream=False)
    if stage.server.has_stream:
        figures += await _measure(stage, users, by_stream=True)
    return figures


async def _measure(stage: Stage, users: list[User], by_stream: bool) -> list[Figure]:
    title = f"idle, {'WebSocket' if by_stream else 'long poll'}"
    stage.server.restart()
    waiting: list[asyncio.Task[None]] = []
    connected = 0
    turnstile = asyncio.Semaphore(OPENING_AT_ONCE)

    async def wait(user: User) -> None:
        nonlocal connected
        client = Client(stage.server.address, user.token)
        stream: Stream | None = None
        try:
            async with turnstile:
                since = next_batch(await client.call("GET", f"{SYNC}?timeout=0"))
                if by_stream:
                    client.close()
                    stream = await Stream.open(stage.server.address, STREAM_PATH, STREAM_PROTOCOL, user.token)
                    stream.send({"id": 1, "op": "subscribe", "since": since})
            connected += 1
            if stream is None:
                await client.call("GET", f"{SYNC}?timeout=300000&since={since}")
                raise RuntimeError("a sync was answered although nothing had happened")
            while True:
                await stream.receive()
        finally:
            client.close()
            if stream is not None:
                stream.close()

    async def all_wait(those: list[User]) -> None:
        wanted = connected + len(those)
        waiting.extend(asyncio.create_task(wait(user)) for user in those)
        while connected < wanted:
            for task in waiting:
                if task.done():
                    task.result()
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)

    try:
        await all_wait(users[:WARM_UP])
        before_bytes = stage.server.memory_bytes()
        await all_wait(users[WARM_UP:])
        after_bytes = stage.server.memory_bytes()
        meter = stage.server.meter()
        await asyncio.sleep(stage.seconds(15))
        cost = meter.read()
        for task in waiting:
            if task.done():
                task.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return [
        Figure(title, "memory per waiting client", (after_bytes - before_bytes) / (len(users) - WARM_UP) / 1000, "kB"),
        Figure(title, "memory of the server", after_bytes / 1e6, "MB"),
        Figure(title, "CPU of one core while they wait", cost.cpu_s / cost.wall_s * 100, "%"),
    ]
