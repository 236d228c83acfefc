"""Two servers of one kind: how long messages take from one to the other, what they cost both, and joining a room."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from bench.cast import TEXT, Cast, User, Writer
from bench.figures import Figure, Stage, cpu, percentile
from bench.measure import NOTHING, Cost
from bench.pair import make_pair, server_name_of
from bench.servers import Server
from bench.wire import Client, encode_request, next_batch, path_of

RATE = 10
MEMBERS = 500
EVENTS = 3_000
BURST = 1_000
LAST_DELIVERY_SECONDS = 60
# Servers that do nothing but their regular work use far less than this in such a time.
QUIET_SECONDS = 0.6
QUIET_CPU_SECONDS = 0.02
LOOK_SECONDS = 0.1
MOST_LOOKS = 600
FILTER = "%7B%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A2000%7D%7D%7D"
SENT_AT = re.compile(rb'"sent_at_ns"\s*:\s*(\d+)')


async def run(stage: Stage) -> list[Figure]:
    """Measure on a pair of servers of their own."""
    here, there = make_pair(stage.server.name, stage.server.folder.with_name(stage.server.name + "-pair"))
    try:
        return await _Pair(stage, here, there).measure()
    finally:
        here.destroy()
        there.destroy()


@dataclass(frozen=True, slots=True)
class _Costs:
    """What a stretch of work took both servers together, and the receiving one alone."""

    both: Cost
    there: Cost


class _Pair:
    """The two servers: messages are sent on one, read on the other."""

    def __init__(self, stage: Stage, here: Server, there: Server) -> None:
        self._stage = stage
        self._here, self._there = here, there
        self._cast_here, self._cast_there = Cast(here), Cast(there)

    async def measure(self) -> list[Figure]:
        """All that is measured."""
        sender, *members = await self._cast_here.take(self._stage.count(MEMBERS, least=20))
        reader, newcomer = await self._cast_there.take(2)
        room_id = await self._cast_here.make_room(sender)
        await self._join_elsewhere(room_id, reader)
        await self._spoken(room_id, sender, reader, 3, 20)
        rate = await self._at_rate(room_id, sender, reader)
        burst = await self._in_a_burst(room_id, sender, reader)
        return [*rate, *burst, *await self._joining(sender, members, newcomer)]

    async def _at_rate(self, room_id: str, sender: User, reader: User) -> list[Figure]:
        title = f"federation, {RATE}/s"
        count = round(RATE * max(self._stage.seconds(20), 3))
        latencies, costs = await self._spoken(room_id, sender, reader, count, RATE)
        return [
            Figure(title, "latency to the other server's /sync, median", percentile(latencies, 0.5), "ms"),
            Figure(title, "latency to the other server's /sync, 99 of 100", percentile(latencies, 0.99), "ms"),
            *cpu(title, costs.both, count, "message on both servers"),
        ]

    async def _in_a_burst(self, room_id: str, sender: User, reader: User) -> list[Figure]:
        title = "federation, burst"
        count = self._stage.count(BURST, least=100)
        latencies, costs = await self._spoken(room_id, sender, reader, count, None)
        return [
            Figure(title, "messages a second, until the other server has told them", count / costs.both.wall_s, "/s"),
            Figure(title, "latency to the other server's /sync, 99 of 100", percentile(latencies, 0.99), "ms"),
            *cpu(title, costs.both, count, "message on both servers"),
            Figure(title, "inbound PDUs per second of CPU of the receiving server", count / costs.there.cpu_s, "/s"),
        ]

    async def _joining(self, sender: User, members: list[User], newcomer: User) -> list[Figure]:
        title = f"federation, join of {MEMBERS} members and {EVENTS} events"
        room_id = await self._cast_here.make_room(sender)
        await self._cast_here.join(room_id, members)
        await Writer(sender, room_id).write(self._here, time.perf_counter() + 600, self._stage.count(EVENTS, least=100))
        cost = await self._join_whole(room_id, newcomer)
        found = await self._members_told(room_id, newcomer)
        if found != len(members) + 2:
            raise RuntimeError(f"{found} of {len(members) + 2} members are told after the join")
        return [
            Figure(title, "time until it is usable", cost.wall_s * 1000, "ms"),
            Figure(title, "CPU on both servers", cost.cpu_s * 1000, "ms"),
        ]

    async def _join_whole(self, room_id: str, user: User) -> Cost:
        """Join; the time until the answer, and the CPU time until both servers are quiet.

        What a server leaves for later, such as fetching the members, counts as well.
        """
        cost = (await self._measured(lambda: self._join_elsewhere(room_id, user))).both
        for _ in range(MOST_LOOKS):
            quiet = NOTHING
            while quiet.wall_s < QUIET_SECONDS:
                looked = (await self._measured(lambda: asyncio.sleep(LOOK_SECONDS))).both
                quiet += looked
                if quiet.cpu_s > QUIET_CPU_SECONDS:
                    break
            else:
                return cost
            cost = replace(cost + quiet, wall_s=cost.wall_s)
        raise RuntimeError("the servers have not become quiet after a join")

    async def _members_told(self, room_id: str, user: User) -> int:
        client = Client(self._there.address, user.token)
        try:
            return (await client.call("GET", path_of("rooms", room_id, "members"))).count(b'"m.room.member"')
        finally:
            client.close()

    async def _spoken(
        self, room_id: str, sender: User, reader: User, count: int, rate: float | None
    ) -> tuple[list[float], _Costs]:
        """Send messages, as fast as they are taken or at a rate; how long each took to the reader, and what it cost."""
        client = Client(self._there.address, reader.token)
        since = next_batch(await client.call("GET", path_of("sync") + "?timeout=0"))
        latencies: list[float] = []

        async def read() -> None:
            position = since
            while len(latencies) < count:
                path = f"{path_of('sync')}?timeout=10000&since={position}&filter={FILTER}"
                answer = await client.raw(encode_request("GET", path, reader.token))
                now = time.perf_counter_ns()
                latencies.extend((now - int(sent)) / 1e6 for sent in SENT_AT.findall(answer.body))
                position = next_batch(answer.body)

        async def speak() -> None:
            reading = asyncio.create_task(read())
            await self._write(Writer(sender, room_id), count, rate)
            async with asyncio.timeout(LAST_DELIVERY_SECONDS):
                await reading

        try:
            costs = await self._measured(speak)
        finally:
            client.close()
        return latencies, costs

    async def _write(self, writer: Writer, count: int, rate: float | None) -> None:
        client = Client(self._here.address)
        begin = time.perf_counter_ns()
        try:
            for number in range(count):
                due_ns = time.perf_counter_ns() if rate is None else begin + int(number * 1e9 / rate)
                await asyncio.sleep(max(0, (due_ns - time.perf_counter_ns()) / 1e9))
                content = b'{"msgtype":"m.text","body":"%s","sent_at_ns":%d}' % (TEXT.encode(), due_ns)
                answer = await client.raw(writer.request(f"{begin}.{number}", content))
                if answer.status != 200:
                    raise RuntimeError(f"a message was refused: {answer}")
        finally:
            client.close()

    async def _join_elsewhere(self, room_id: str, user: User) -> None:
        client = Client(self._there.address, user.token)
        via = server_name_of(self._here)
        try:
            await client.call("POST", f"{path_of('join', room_id)}?via={via}&server_name={via}", {})
        finally:
            client.close()

    async def _measured(self, work: Callable[[], Awaitable[None]]) -> _Costs:
        meters = [server.meter() for server in (self._here, self._there)]
        begin = time.perf_counter()
        await work()
        wall_s = time.perf_counter() - begin
        here, there = (meter.read(wall_s) for meter in meters)
        # The load generator is one process for both.
        return _Costs(replace(here + there, wall_s=wall_s, client_s=here.client_s), there)
