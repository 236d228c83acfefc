"""Completes rooms that were joined without their members: fetches the rest of the state, then settles what came since.

What is still to be done is in the table partial_rooms, so a server that was stopped or killed goes on with it. It is
tried for as long as a user of ours is in the room: with the server through which we joined first, then with the others
in the room, at growing distances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial as bound
from typing import Final

import structlog
from twisted.internet.defer import DeferredSemaphore

from homeserver.core.ids import EventId, ServerName, server_name_of
from homeserver.rooms.append import Appender
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.gaps import PeerFailed
from homeserver.rooms.heads import Heads
from homeserver.rooms.neighbours import Neighbours
from homeserver.rooms.outcomes import FATES
from homeserver.rooms.plan import Plan, RoomPlan
from homeserver.rooms.room import Partial, Room
from homeserver.rooms.settling import Settled, Settler, Settling, WholeState
from homeserver.rooms.state import StateStore
from homeserver.rooms.whole_states import WholeStates
from homeserver.runtime.clock import Clock
from homeserver.runtime.pauses import Pauses
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.turns import Turns
from homeserver.runtime.writer import Also, Writer
from storage import partial_rooms, room_log, staging
from storage.database import Database
from storage.partial_rooms import UnfinishedState
from storage.rows import EventRow
from storage.staging import VerdictRow

MOST_AT_ONCE: Final = 4
"""Rooms that are completed at the same time."""
MOST_SERVERS: Final = 20
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 600.0
EVENTS_AT_ONCE: Final = 100
"""Events that are gone through before others have their turn."""
MOST_TRIES: Final = 1_000
COMMIT_S: Final = 0.01

log: Final = structlog.get_logger("homeserver.rooms.completion")


class _Moved(Exception):
    """The room is not what it was when this began: it was joined anew, or its head was loaded anew."""


class Settlement:
    """Makes a room whole, once its state is here."""

    def __init__(
        self,
        appender: Appender,
        heads: Heads,
        state: StateStore,
        events: EventCache,
        turns: Turns[str],
        writer: Writer,
        database: Database,
        clock: Clock,
        server_name: ServerName,
    ) -> None:
        self._appender = appender
        self._heads = heads
        self._state = state
        self._events = events
        self._turns = turns
        self._writer = writer
        self._database = database
        self._clock = clock
        self._server_name = server_name

    async def settle(self, room: Room, partial: Partial, whole: WholeState) -> bool:
        """Judge again what came since the join, and have the room go on with all its state; False if it has changed."""
        settling = Settling(partial, whole, dict(whole.nodes))
        try:
            await self._look(room, settling, Settler.begin)
            while await self._go_on(room, settling) > EVENTS_AT_ONCE:
                await self._clock.sleep(0)
            # From here on no event of other servers comes in between.
            async with self._turns.at(room.room_id):
                for _ in range(MOST_TRIES):
                    placed = partial.placed
                    if not room.uncommitted:
                        await self._go_on(room, settling)
                        if await self._finish(room, settling, placed):
                            return True
                    await self._clock.sleep(COMMIT_S)
        except _Moved:
            return False
        log.warning("a room was too busy to be completed now", room=room.room_id)
        return False

    async def _look(self, room: Room, settling: Settling, work: Callable[[Settler], None]) -> None:
        """Do some of the work on a plan."""

        def script(plan: Plan) -> None:
            work(Settler(_planned(plan, room, settling.partial), settling))

        await self._appender.look(script)

    async def _go_on(self, room: Room, settling: Settling) -> int:
        """Go through what came since; how many events that were."""
        join = settling.partial.join
        last = max(settling.seen, default=join.position)
        shown, hidden = await self._database.read(
            partial_rooms.placed_since, room.number, join.position, join.event.depth, last
        )
        count = 0
        hidden_rows = await self._rows([position for position in hidden if position not in settling.seen])
        for start in range(0, len(shown), EVENTS_AT_ONCE):
            rows = await self._rows(shown[start : start + EVENTS_AT_ONCE])
            await self._look(room, settling, bound(_go_on, shown=rows, hidden=hidden_rows))
            count += len(rows)
            await self._clock.sleep(0)
        if hidden_rows:
            await self._look(room, settling, bound(_go_on, shown=(), hidden=hidden_rows))
        return count

    async def _rows(self, positions: Sequence[int]) -> list[EventRow]:
        found = await self._events.by_positions(positions)
        return [found[position] for position in positions if position in found]

    async def _finish(self, room: Room, settling: Settling, placed: int) -> bool:
        """Have it all count, at once; False if something came in between."""

        def script(plan: Plan) -> Settled | None:
            planned = _planned(plan, room, settling.partial)
            if settling.partial.placed != placed or room.uncommitted:
                return None
            return Settler(planned, settling).finish(self._server_name)

        settled = await self._appender.look(script)
        if settled is None:
            return False
        # Nothing is awaited between the look at the room and the change.
        former = [(each.row, each.row.state_root, each.row.status) for each in settling.given.values()]
        self._state.hold(settling.nodes)
        try:
            committed = self._writer.append([settled.row], self._beside(room, settling))
            settled.apply(room)
            for given in settling.given.values():
                given.row.state_root, given.row.status = given.root, given.status
            await committed
        except BaseException:
            for row, root, status in former:
                row.state_root, row.status = root, status
            self._state.abandon(settling.nodes)
            raise
        self._state.committed(settling.nodes)
        self._appender.forget_resolutions()
        self._tell(room, settling)
        return True

    def _beside(self, room: Room, settling: Settling) -> list[Also]:
        """What is written together with the new state."""
        given = [(each.row.position, each.root, int(each.status)) for each in settling.given.values()]
        also: list[Also] = [
            bound(room_log.give_states, room=room.number, given=given, nodes=dict(settling.nodes), found=()),
            bound(partial_rooms.forget, room=room.number),
            self._lacking(room, settling),
        ]
        if settling.changed:
            verdicts = [
                VerdictRow(
                    row.event.event_id,
                    room.room_id,
                    server_name_of(row.event.sender),
                    str(FATES[verdict.status]),
                    verdict.rule,
                    verdict.reason,
                    self._clock.now_ms(),
                )
                for row, verdict in settling.changed
            ]
            also.append(bound(staging.write_verdicts, verdicts=verdicts))
        return also

    def _lacking(self, room: Room, settling: Settling) -> Also:
        """What remains to be done: see homeserver.rooms.unfinished_states."""
        whole = settling.whole
        if not whole.awaits:
            return bound(partial_rooms.forget_unfinished, room=room.number)
        found = UnfinishedState(
            room.number, settling.partial.join.position, whole.server, len(whole.awaits), self._clock.now_ms()
        )
        return bound(partial_rooms.keep_unfinished, found=found)

    @staticmethod
    def _tell(room: Room, settling: Settling) -> None:
        log.info(
            "a room is complete",
            room=room.room_id,
            members=len(settling.whole.members),
            events=len(settling.seen),
            lacking=len(settling.whole.awaits),
        )
        for row, verdict in settling.changed:
            log.info(
                "an event was judged anew with the whole state of its room",
                event_id=row.event.event_id,
                room=room.room_id,
                verdict=str(FATES[verdict.status]),
                rule=verdict.rule,
                reason=verdict.reason,
            )


class Completion:
    """Completes all rooms that need it."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        states: WholeStates,
        settlement: Settlement,
        tasks: Tasks,
        clock: Clock,
        neighbours: Neighbours,
        unfinished: Callable[[int, Mapping[EventId, str]], object],
    ) -> None:
        self._database = database
        self._heads = heads
        self._states = states
        self._unfinished = unfinished
        self._settlement = settlement
        self._tasks = tasks
        self._neighbours = neighbours
        self._running: set[int] = set()
        self._pauses: Pauses[int] = Pauses(clock)
        self._at_once = DeferredSemaphore(MOST_AT_ONCE)

    async def start(self) -> None:
        """Go on with what was to be done when the server was stopped."""
        for found in await self._database.read(partial_rooms.every):
            self.begin(found.room)

    def begin(self, room: int) -> None:
        """Complete a room, beside everything else; at once if it waits for the next time."""
        self._pauses.end(room)
        if room not in self._running:
            self._running.add(room)
            self._tasks.keep(f"complete room {room}", bound(self._work, room))

    async def _work(self, number: int) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            room = await self._heads.by_number(number)
            if room is None or room.partial is None or not room.local_joined:
                self._running.discard(number)
                return
            await self._at_once.acquire()
            try:
                if await self._complete(room, room.partial):
                    continue
            finally:
                self._at_once.release()
            await self._pauses.wait(number, pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _complete(self, room: Room, partial: Partial) -> bool:
        """One round of all servers; whether it is done."""
        found = await self._database.read(partial_rooms.one, room.number)
        # The server through which we joined is asked first.
        first = [] if found is None else [found.server_name]
        for server in await self._neighbours.of(room, first, MOST_SERVERS):
            try:
                whole = await self._states.before_join(room, partial, server)
            except PeerFailed as failed:
                log.info("the rest of a room's state did not come", room=room.room_id, reason=str(failed))
                continue
            is_done = await self._settlement.settle(room, partial, whole)
            if is_done and whole.awaits:
                self._unfinished(room.number, whole.awaits)
            return is_done
        return False


def _go_on(settler: Settler, shown: Sequence[EventRow], hidden: Sequence[EventRow]) -> None:
    settler.go_on(shown, hidden)


def _planned(plan: Plan, room: Room, partial: Partial) -> RoomPlan:
    planned = plan.room(room.room_id)
    if planned.room is not room or room.partial is not partial:
        raise _Moved
    return planned
