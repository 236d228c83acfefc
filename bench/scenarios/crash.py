"""Killing the server, and its database, at random moments while several users write, and looking for what was lost.

Every writer says 0, 1, 2, ... and repeats a message with the same transaction id until it is acknowledged. A reader
follows by /sync, from its old token after each crash. In the end both what the reader saw and what /messages tells must
hold every writer's numbers once each, in order, under the event ids that were acknowledged.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import msgspec

from bench.cast import User
from bench.figures import Figure, Stage
from bench.scenarios.history import Said, judge, said_in
from bench.wire import Answer, Client, encode_request, path_of

ROOMS = 4
WRITERS_PER_ROOM = 2
SERVER_KILLS = 8
DATABASE_KILLS = 4
RECOVERY_SECONDS = 20
LAST_WORDS_SECONDS = 60
RETRY_SECONDS = 0.05
SYNC = path_of("sync")
FILTER = quote('{"room":{"timeline":{"limit":40}}}', safe="")


class Repeating:
    """A client that repeats each request until it is answered, over crashes of the server."""

    def __init__(self, stage: Stage, user: User) -> None:
        self._client = Client(stage.server.address, user.token)
        self.repeats = 0

    async def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of the answer 200. An answer that blames the request raises."""
        request = encode_request(method, path, self._client.token, body)
        while True:
            answer = await self._try(request)
            if answer is not None and answer.status == 200:
                return answer.body
            if answer is not None and answer.status < 500:
                raise RuntimeError(f"{method} {path}: refused after a crash: {answer}")
            self.repeats += 1
            await asyncio.sleep(RETRY_SECONDS)

    async def _try(self, request: bytes) -> Answer | None:
        try:
            return await self._client.raw(request)
        except OSError:  # Nobody listens, or the connection broke.
            return None


@dataclass(slots=True)
class Counting:
    """A writer who says 0, 1, 2, ... in a room."""

    user: User
    room_id: str
    client: Repeating
    acknowledged: list[str] = field(default_factory=list)

    async def write(self, may_go_on: Callable[[], bool]) -> None:
        """Write until told to stop; the last message is acknowledged then."""
        while may_go_on():
            number = len(self.acknowledged)
            content = msgspec.json.encode({"msgtype": "m.text", "body": f"{number}", "number": number})
            path = path_of("rooms", self.room_id, "send", "m.room.message", f"crash{number}")
            answer = msgspec.json.decode(await self.client.call("PUT", path, content), type=dict[str, str])
            self.acknowledged.append(answer["event_id"])


@dataclass(slots=True)
class Following:
    """A reader who syncs for ever and fills the gaps that /sync leaves from /messages."""

    client: Repeating
    seen: dict[str, list[Said]]
    since: str = ""

    async def sync(self, timeout_ms: int) -> None:
        """One /sync from the last token."""
        since = f"&since={quote(self.since, safe='')}" if self.since else ""
        body = await self.client.call("GET", f"{SYNC}?timeout={timeout_ms}&filter={FILTER}{since}")
        answer = msgspec.json.decode(body)
        for room_id, room in answer.get("rooms", {}).get("join", {}).items():
            timeline = room.get("timeline", {})
            seen = self.seen.setdefault(room_id, [])
            new = said_in(timeline.get("events", []))
            if timeline.get("limited") and self.since:
                known = {said.event_id for said in seen}
                new = [*await read_back(self.client, room_id, timeline["prev_batch"], known), *new]
            seen += new
        self.since = answer["next_batch"]


async def read_back(client: Repeating, room_id: str, position: str | None, known: set[str]) -> list[Said]:
    """What was said in a room before a position (None: before now), back to what is known already; oldest first."""
    pages: list[list[Said]] = []
    while True:
        path = path_of("rooms", room_id, "messages") + "?dir=b&limit=200"
        if position is not None:
            path += f"&from={quote(position, safe='')}"
        answer = msgspec.json.decode(await client.call("GET", path))
        page = said_in(reversed(answer["chunk"]))
        reached = [index for index, said in enumerate(page) if said.event_id in known]
        pages.append(page[reached[-1] + 1 :] if reached else page)
        position = answer.get("end")
        if reached or position is None:
            return [said for page in reversed(pages) for said in page]


async def run(stage: Stage) -> list[Figure]:
    """Crash the server and the database under load, then compare what was acknowledged with what is there."""
    reader, *users = await stage.cast.take(1 + ROOMS * WRITERS_PER_ROOM)
    rooms = await stage.cast.make_rooms(users[:ROOMS])
    for index, room_id in enumerate(rooms):
        await stage.cast.join(room_id, [reader, *users[index + ROOMS :: ROOMS]])
    writers = [Counting(user, rooms[i % ROOMS], Repeating(stage, user)) for i, user in enumerate(users)]
    follower = Following(Repeating(stage, reader), {})
    await follower.sync(0)
    going_on = True
    tasks = [asyncio.create_task(writer.write(lambda: going_on)) for writer in writers]
    following = asyncio.create_task(_for_ever(lambda: follower.sync(10_000)))
    try:
        recoveries, restarts = await _crash_often(stage, writers, [*tasks, following])
        going_on = False
        async with asyncio.timeout(LAST_WORDS_SECONDS):
            await asyncio.gather(*tasks)
            said = sum(len(writer.acknowledged) for writer in writers)
            await _seen_by(follower, said, following)
    except TimeoutError:
        print("crash: the reader did not get to see everything", file=sys.stderr)
    finally:
        for task in (*tasks, following):
            task.cancel()
        await asyncio.gather(*tasks, following, return_exceptions=True)
    histories = {room_id: await read_back(Repeating(stage, reader), room_id, None, set()) for room_id in rooms}
    acknowledged = {(writer.room_id, writer.user.user_id): writer.acknowledged for writer in writers}
    verdict = judge(acknowledged, histories) + judge(acknowledged, follower.seen)
    for fault in verdict.faults[:20]:
        print(f"crash: {fault}", file=sys.stderr)
    return [
        Figure("crash", "acknowledged events lost", verdict.lost, ""),
        Figure("crash", "events twice", verdict.twice, ""),
        Figure("crash", "events out of order", verdict.out_of_order, ""),
        Figure("crash", "restarts needed after the loss of the database", restarts, ""),
        Figure("crash", "events acknowledged", sum(len(writer.acknowledged) for writer in writers), ""),
        Figure("crash", "crashes", len(recoveries), ""),
        Figure("crash", "requests repeated", sum(writer.client.repeats for writer in writers), ""),
        Figure("crash", "time from crash to the next acknowledgement, longest", max(recoveries), "s"),
    ]


async def _crash_often(
    stage: Stage, writers: list[Counting], tasks: list[asyncio.Task[None]]
) -> tuple[list[float], int]:
    """Crash the server and the database by turns; how long each recovery took, and how often it took a restart."""
    kills = ["server"] * stage.count(SERVER_KILLS, least=2) + ["database"] * stage.count(DATABASE_KILLS, least=1)
    random.shuffle(kills)
    recoveries: list[float] = []
    restarts = 0
    for victim in kills:
        await asyncio.sleep(random.uniform(0.5, 2.0))
        before = [len(writer.acknowledged) for writer in writers]
        begin = time.perf_counter()
        if victim == "server":
            await asyncio.to_thread(stage.server.kill)
            await asyncio.to_thread(stage.server.start)
        else:
            await asyncio.to_thread(stage.server.postgres.kill)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(stage.server.postgres.start)
        if not await _all_get_on(writers, before, tasks, stage):
            restarts += 1
            await asyncio.to_thread(stage.server.restart)
            if not await _all_get_on(writers, before, tasks, stage):
                raise RuntimeError(f"{stage.server.name} takes no messages {RECOVERY_SECONDS} s after a restart")
        recoveries.append(time.perf_counter() - begin)
    return recoveries, restarts


async def _all_get_on(
    writers: list[Counting], before: list[int], tasks: list[asyncio.Task[None]], stage: Stage
) -> bool:
    """Whether every writer gets two more acknowledgements within a time; the first may have been under way."""
    deadline = time.perf_counter() + RECOVERY_SECONDS
    while time.perf_counter() < deadline and stage.server.is_running:
        for task in tasks:
            if task.done():
                task.result()
        if all(len(writer.acknowledged) > count + 1 for writer, count in zip(writers, before, strict=True)):
            return True
        await asyncio.sleep(0.02)
    return False


async def _seen_by(follower: Following, count: int, following: asyncio.Task[None]) -> None:
    while sum(len(seen) for seen in follower.seen.values()) < count:
        if following.done():
            following.result()
        await asyncio.sleep(0.1)


async def _for_ever(act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await act()
