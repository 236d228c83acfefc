"""What a message costs between the door and the database: `python -m tests.integration.rooms.measure`.

In one process, without HTTP, on a PostgreSQL of its own. First a plan alone (build, judge, hash, sign, work out what
changes), then whole sends with their commits, many at a time, then joins to a room that grows. Times are CPU time of
this process for one event, the median of several runs; PostgreSQL's own is not in them.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from statistics import median
from time import process_time

from twisted.internet.defer import Deferred, gatherResults

from homeserver.core.draft import Draft
from homeserver.core.ids import RoomId, UserId
from homeserver.rooms.plan import Plan
from tests.integration.rooms.house import ROMEO, SERVER, House, at_house
from tests.postgres import installed_programs, running

ROUNDS = 7
EVENTS = 1_000
AT_ONCE = 100


def plan_once(house: House, room_id: RoomId, number: int) -> None:
    """Everything that is done for a message before it is queued."""
    plan = Plan(house.appender._inputs, house.writer.next_position, house.clock.now_ms())
    draft = Draft(room_id, "m.room.message", ROMEO, {"msgtype": "m.text", "body": f"message {number}"})
    plan.room(room_id).add(draft, device=1, txn_path="send/m.room.message/1")
    plan.finish()


async def together(deeds: Iterator[Awaitable[object]]) -> None:
    """Do them all, some at a time."""

    async def work_through() -> None:
        for deed in deeds:
            await deed

    await gatherResults([Deferred.fromCoroutine(work_through()) for _ in range(AT_ONCE)])


async def rounds(title: str, work: Callable[[int], Awaitable[object]]) -> None:
    """Measure and print."""
    times: list[float] = []
    for round_number in range(ROUNDS):
        gc.collect()
        began = process_time()
        await work(round_number)
        times.append((process_time() - began) / EVENTS * 1e6)
    print(f"{title:<50} {median(times):7.1f} µs")


async def measure(house: House) -> None:
    """All measurements, one after the other."""
    room_id = await house.room(preset="public_chat")
    await house.says(ROMEO, room_id, "warm", device=1, txn_id="warm")

    async def plans(_: int) -> None:
        for number in range(EVENTS):
            plan_once(house, room_id, number)

    def sends(turn: int) -> Awaitable[None]:
        return together(
            house.says(ROMEO, room_id, f"message {turn} {each}", device=1, txn_id=f"{turn} {each}")
            for each in range(EVENTS)
        )

    def joins(turn: int) -> Awaitable[None]:
        return together(
            house.changes.join(UserId(f"@guest{turn * EVENTS + each}:{SERVER}"), room_id) for each in range(EVENTS)
        )

    await rounds("plan of a message, signature and all", plans)
    await rounds(f"message sent and committed, {AT_ONCE} at a time", sends)
    await rounds(f"join, {AT_ONCE} at a time, room of up to {ROUNDS * EVENTS}", joins)


def main() -> None:
    """Run on the newest PostgreSQL that is installed."""
    programs = installed_programs()
    with running(programs[max(programs)]) as server:
        at_house(server.fresh_database(), measure, cache_bytes=256_000_000)


if __name__ == "__main__":
    main()
