"""100 members of a room who wait for messages that come at a fixed rate: by long poll, and over WebSocket."""

import asyncio
import re
import time
from dataclasses import dataclass, field

from bench.cast import TEXT, User, Writer
from bench.figures import Figure, Stage, cpu, percentile
from bench.wire import Client, Stream, encode_request, next_batch, path_of

READERS = 100
SENDERS = 10
STREAM_PATH = "/_matrix/client/unstable/org.myelin.stream"
STREAM_PROTOCOL = "org.myelin.sync.v1.json"
# The rate at which the servers are compared: one that the slower ones of them keep up with on two cores.
COMMON_RATE = 0.5
SENT_AT = re.compile(rb'"sent_at_ns"\s*:\s*(\d+)')
LAST_DELIVERY_SECONDS = 30


@dataclass(slots=True)
class Deliveries:
    """When what was delivered."""

    latencies_ms: list[float] = field(default_factory=list)

    def note(self, body: bytes) -> None:
        """Note the messages in an answer of /sync or a frame of a stream."""
        now = time.perf_counter_ns()
        for sent_at in SENT_AT.findall(body):
            self.latencies_ms.append((now - int(sent_at)) / 1e6)


async def run(stage: Stage) -> list[Figure]:
    """Measure latency and CPU per delivery, at a rate for all servers and at the rates that Myelin should bear."""
    sender, *readers = await stage.cast.take(1 + stage.count(READERS, least=10))
    room_id = await stage.cast.make_room(sender)
    await stage.cast.join(room_id, readers)
    writer = Writer(sender, room_id)
    seconds = stage.seconds(30)
    figures = await _measure(stage, writer, readers, COMMON_RATE, max(seconds, 6), by_stream=False)
    if stage.server.has_stream:
        figures += await _measure(stage, writer, readers, 10, seconds / 2, by_stream=False)
        figures += await _measure(stage, writer, readers, 10, seconds / 2, by_stream=True)
        figures += await _measure(stage, writer, readers, 30, seconds / 2, by_stream=True)
    return figures


async def _measure(
    stage: Stage, writer: Writer, readers: list[User], rate: float, seconds: float, by_stream: bool
) -> list[Figure]:
    title = f"fanout, {'WebSocket' if by_stream else 'long poll'}, {rate:g}/s"
    deliveries = Deliveries()
    ready = asyncio.Barrier(len(readers) + 1)
    read = _read_stream if by_stream else _read_long_poll
    tasks = [asyncio.create_task(read(stage, user, deliveries, ready)) for user in readers]
    try:
        await asyncio.wait([asyncio.ensure_future(ready.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED)
        _raise_first_failure(tasks)
        await asyncio.sleep(0.5)
        expected = max(3, round(rate * seconds))
        meter = stage.server.meter()
        await _send_at_rate(stage, writer, rate, expected)
        deadline = time.perf_counter() + LAST_DELIVERY_SECONDS
        while len(deliveries.latencies_ms) < expected * len(readers) and time.perf_counter() < deadline:
            _raise_first_failure(tasks)
            await asyncio.sleep(0.05)
        cost = meter.read()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    delivered = len(deliveries.latencies_ms)
    if delivered != expected * len(readers):
        raise RuntimeError(f"{title}: {delivered} deliveries where {expected * len(readers)} were due")
    return [
        Figure(title, "latency, median", percentile(deliveries.latencies_ms, 0.5), "ms"),
        Figure(title, "latency, 99 of 100", percentile(deliveries.latencies_ms, 0.99), "ms"),
        *cpu(title, cost, delivered, "delivery"),
        Figure(title, "load generator CPU per delivery", cost.client_s * 1000 / delivered, "ms"),
    ]


async def _read_long_poll(stage: Stage, user: User, deliveries: Deliveries, ready: asyncio.Barrier) -> None:
    """Sync for ever, each time from where the last answer ended."""
    client = Client(stage.server.address, user.token)
    try:
        since = next_batch(await client.call("GET", path_of("sync") + "?timeout=0"))
        await ready.wait()
        while True:
            path = f"{path_of('sync')}?timeout=30000&since={since}"
            answer = await client.raw(encode_request("GET", path, user.token))
            if answer.status != 200:
                raise RuntimeError(f"a sync was refused: {answer}")
            deliveries.note(answer.body)
            since = next_batch(answer.body)
    finally:
        client.close()


async def _read_stream(stage: Stage, user: User, deliveries: Deliveries, ready: asyncio.Barrier) -> None:
    """Subscribe once; acknowledge each frame as it comes."""
    client = Client(stage.server.address, user.token)
    since = next_batch(await client.call("GET", path_of("sync") + "?timeout=0"))
    client.close()
    stream = await Stream.open(stage.server.address, STREAM_PATH, STREAM_PROTOCOL, user.token)
    try:
        stream.send({"id": 1, "op": "subscribe", "since": since})
        await ready.wait()
        while True:
            frame = await stream.receive()
            if b'"next_batch"' in frame:
                deliveries.note(frame)
                stream.send({"op": "ack", "position": next_batch(frame)})
            elif b'"error"' in frame:
                raise RuntimeError(f"the stream refused a request: {frame[:300]!r}")
    finally:
        stream.close()


async def _send_at_rate(stage: Stage, writer: Writer, rate: float, count: int) -> None:
    """Send messages on a fixed timetable, late answers or not; each says when it was due, by this process's clock."""
    clients = [Client(stage.server.address) for _ in range(SENDERS)]
    begin = time.perf_counter_ns()

    async def send_every_tenth(first: int) -> None:
        for number in range(first, count, SENDERS):
            due_ns = begin + int(number * 1e9 / rate)
            await asyncio.sleep(max(0, (due_ns - time.perf_counter_ns()) / 1e9))
            content = b'{"msgtype":"m.text","body":"%s","sent_at_ns":%d}' % (TEXT.encode(), due_ns)
            answer = await clients[first].raw(writer.request(f"{begin}.{number}", content))
            if answer.status != 200:
                raise RuntimeError(f"a message was refused: {answer}")

    try:
        async with asyncio.TaskGroup() as group:
            for first in range(SENDERS):
                group.create_task(send_every_tenth(first))
    finally:
        for client in clients:
            client.close()


def _raise_first_failure(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()
            raise RuntimeError("a reader stopped")
