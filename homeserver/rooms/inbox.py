"""Events of other servers that wait, room by room, for their past or for keys to be fetched.

They are in the database before the sending server is told that they have been taken; one worker a room deals with them
in order, so that a slow room holds up no other. Those whose past or whose signers' keys cannot be had now are tried
again later (`put_off`). While keys are asked for, the room goes on with what does not stand on them (`awaited_keys`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog
from twisted.internet.defer import CancelledError

from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.signatures import BadSignature, servers_that_must_sign
from homeserver.rooms import judge_remote
from homeserver.rooms.accept import Accepter
from homeserver.rooms.awaited_keys import AwaitedKeys
from homeserver.rooms.heads import Heads
from homeserver.rooms.outcomes import Fate, Outcome, Outcomes
from homeserver.rooms.put_off import PutOff
from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.runtime.writer import Writer
from storage import staging
from storage.database import Database, DatabaseUnavailable
from storage.staging import StagedPdu

PIECE: Final = 50
MOST_WAITING: Final = 5_000
MOST_OF_ALL: Final = 50_000
KEPT_MS: Final = 24 * 3_600_000
"""What could not be judged for so long, whatever restarts there were, is given up."""
MOST_TRIES: Final = 3
PAUSE_S: Final = 5.0
LOOK_EVERY_S: Final = 1.0

log: Final = structlog.get_logger("homeserver.rooms.inbox")


class Inbox:
    """What waits in all rooms."""

    def __init__(
        self,
        database: Database,
        heads: Heads,
        accepter: Accepter,
        writer: Writer,
        tasks: Tasks,
        clock: Clock,
        put_off: PutOff,
    ) -> None:
        self._database = database
        self._heads = heads
        self._accepter = accepter
        self._writer = writer
        self._tasks = tasks
        self._clock = clock
        self._put_off = put_off
        self._waiting: dict[str, int] = {}
        """Rooms with a worker, and about how many events wait there."""
        self._keys: dict[str, AwaitedKeys] = {}

    async def start(self) -> None:
        """Go on with what waited when the server was stopped."""
        for room_id, count in (await self._database.read(staging.counts_staged)).items():
            self._begin(room_id, count)
        self._tasks.every("try events again that were put off", LOOK_EVERY_S, self._look)

    def is_waiting(self, room_id: str) -> bool:
        """Whether events of the room wait: what comes after them waits too."""
        return room_id in self._waiting

    def has_space(self, room_id: str) -> bool:
        """Whether more events of the room may wait."""
        return self._waiting.get(room_id, 0) < MOST_WAITING and sum(self._waiting.values()) < MOST_OF_ALL

    async def put(self, origin: str, events: Sequence[Event]) -> None:
        """Keep events of one room. Returns when they are on disk."""
        room_id = events[0].room_id
        now_ms = self._clock.now_ms()
        pdus = [StagedPdu(room_id, event.event_id, origin, event.json, now_ms) for event in events]
        await self._writer.append([], [partial(staging.stage, pdus=pdus)])
        self._begin(room_id, len(events))

    def _begin(self, room_id: str, count: int) -> None:
        is_new = room_id not in self._waiting
        self._waiting[room_id] = self._waiting.get(room_id, 0) + count
        if is_new:
            self._tasks.start("take events that waited", self._work(room_id))

    async def _work(self, room_id: str) -> None:
        """Deal with a room's events until none is left."""
        tries = 0
        try:
            while True:
                before = self._waiting[room_id]
                not_due = self._put_off.not_due(room_id)
                staged = await self._database.read(staging.staged_in, room_id, not_due, PIECE)
                if not staged and self._waiting[room_id] == before:
                    break
                piece = [pdu for pdu in staged if pdu.origin == staged[0].origin]
                done = {pdu.event_id for pdu in piece}
                try:
                    done -= await self._take(room_id, piece)
                    tries = 0
                except CancelledError:
                    raise
                except Exception:  # the room must not stand still for ever
                    tries += 1
                    log.exception("events that waited could not be taken", room=room_id, tries=tries)
                    if tries < MOST_TRIES:
                        await self._clock.sleep(PAUSE_S)
                        continue
                    tries = 0
                await self._unstage(room_id, sorted(done))
                self._waiting[room_id] = max(0, self._waiting[room_id] - len(piece))
        finally:
            self._waiting.pop(room_id, None)

    async def _take(self, room_id: str, piece: Sequence[StagedPdu]) -> set[str]:
        """Have events judged; those that go on waiting."""
        room = await self._heads.if_known(room_id)
        if room is None or not room.local_joined or not piece:
            return set()
        events = [Event.load(pdu.json, room.rules, EventId(pdu.event_id)) for pdu in piece]
        origin = piece[0].origin
        keys = self._keys.get(room_id)
        if keys is None:
            keys = self._keys[room_id] = AwaitedKeys(is_put_off=partial(self._put_off.has, room_id))
        outcomes = await self._accepter.accept(room_id, events, origin, keys)
        await self._keep_found(room_id, origin, outcomes)
        oldest_ms = self._clock.now_ms() - KEPT_MS
        too_old = {pdu.event_id for pdu in piece if pdu.received_ts < oldest_ms}
        waiting: set[str] = set()
        given_up: list[tuple[str, Outcome]] = []
        to_ask: list[Event] = []
        for event in events:
            outcome, was_asked = outcomes[event.event_id], keys.is_judged(event.event_id)
            if outcome.fate is not Fate.UNDECIDED:
                continue
            asks = outcome.rule == judge_remote.SIGNATURES and not was_asked
            wait = self._put_off.hold if asks or outcome.rule == judge_remote.AWAITED else self._put_off.put_off
            if event.event_id in too_old or not wait(room_id, event.event_id, origin, *_signers(event)):
                given_up.append((event.event_id, msgspec.structs.replace(outcome, fate=Fate.DROPPED)))
                continue
            waiting.add(event.event_id)
            log.info("an event waits", event_id=event.event_id, room=room_id, origin=origin, reason=outcome.reason)
            if asks:
                to_ask.append(event)
        if given_up:
            await self._accepter.refuse(room_id, origin, given_up)
        if to_ask:
            keys.asks(event.event_id for event in to_ask)
            self._tasks.start("get keys of events that wait", self._get_keys(room_id, to_ask))
        self._forget_keys(room_id)
        return waiting

    async def _keep_found(self, room_id: str, origin: str, outcomes: Outcomes) -> None:
        """What came with the past of others, and is signed with keys that are not to be had now, waits too."""
        found = [outcome.event for outcome in outcomes.values() if outcome.event is not None]
        new = [event for event in found if not self._put_off.has(room_id, event.event_id)]
        if new and self.has_space(room_id):
            await self.put(origin, new)

    async def _get_keys(self, room_id: str, events: Sequence[Event]) -> None:
        try:
            await self._accepter.get_keys_of(events)
        except DatabaseUnavailable as error:
            log.warning("keys of events that wait were not read", room=room_id, reason=str(error))
        keys = self._keys[room_id]
        keys.has_asked(event.event_id for event in events)
        self._put_off.release(room_id, keys.asking)
        self._begin(room_id, 0)

    def _forget_keys(self, room_id: str) -> None:
        if self._keys[room_id].is_empty:
            del self._keys[room_id]

    async def _unstage(self, room_id: str, event_ids: Sequence[str]) -> None:
        if event_ids:
            await self._writer.append([], [partial(staging.unstage, room_id=room_id, event_ids=event_ids)])
            self._put_off.forget(room_id, event_ids)
            if room_id in self._keys:
                self._keys[room_id].forget(event_ids)
                self._forget_keys(room_id)

    async def _look(self) -> None:
        for room_id in self._put_off.due_rooms():
            self._begin(room_id, 0)


def _signers(event: Event) -> Collection[str]:
    try:
        return servers_that_must_sign(event)
    except BadSignature:
        return ()
