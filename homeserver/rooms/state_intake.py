"""Takes the events of a state from another server: put down as they came, checked and kept some hundred at a time.

What the events lean on may come before them or after. So they are read in the order of their coming, and what leans on
something that is not here yet is read again at the end, then in the right order. Of each event that was taken only a
few words stay in memory: the events themselves are many, and nobody needs them now.
Specification: server-server API, "Checks performed on receipt of a PDU", PUT /v2/send_join/{roomId}/{eventId}.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from sys import intern
from typing import Final, TypeVar, cast

import structlog
from twisted.internet.defer import Deferred

from federation.outbound.state_answers import PutDown, StateAnswer
from homeserver.core.auth.state import CREATE
from homeserver.core.canonical_json import MAX_FEDERATION_NESTING, BadJson, decode_object
from homeserver.core.event import BadEvent, Event
from homeserver.core.ids import EventId, RoomId, server_name_of
from homeserver.core.received import Received, receive
from homeserver.core.room_rules import RoomRules
from homeserver.core.signatures import KeysAway
from homeserver.rooms.append import Appender
from homeserver.rooms.gaps import in_order
from homeserver.rooms.incoming import Verifier
from homeserver.rooms.missing import Unplaceable
from homeserver.rooms.placed import GivenEdges, take_edges, write_edges
from homeserver.rooms.placing import Placer
from homeserver.rooms.plan import Plan, RoomPlan
from homeserver.rooms.room import Room
from homeserver.runtime.clock import Clock
from homeserver.runtime.writer import Also
from storage import room_log
from storage.rows import EventRow, Status

PIECE: Final = 500
"""Events that are checked and written together."""
READ_AT_ONCE: Final = 50
"""Events that are looked at before others have their turn: a millisecond or two."""
MOST_HELD: Final = 1_000
"""Events that wait for others and are held until then; if they are more they are read again."""

T = TypeVar("T", bound=str)

_BEGINNING: Final = EventId("")
"""Stands for the event that made the room, as long as we do not know it."""

log: Final = structlog.get_logger("homeserver.rooms.imports")


@dataclass(frozen=True, slots=True)
class Known:
    """An event that was taken: where it is in the state, and how."""

    event_id: EventId
    key: tuple[str, str]
    position: int
    membership: str | None
    is_rejected: bool


@dataclass(slots=True)
class _Waiting:
    """An event that leans on what has not come yet."""

    event_id: EventId
    depth: int
    auth_events: tuple[EventId, ...]
    at: int
    size: int
    received: Received | None
    prev_events: tuple[EventId, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """The room in which the events are kept. `is_new`: nothing of it is in the database yet, not even its number."""

    number: int
    is_new: bool = False


Begin = Callable[[Event], Awaitable[Place]]
"""Gets the event that made the room, which is rightly signed. Raises what the intake is to end with."""


class Intakes:
    """Takes states."""

    def __init__(self, appender: Appender, verifier: Verifier, clock: Clock) -> None:
        self._appender = appender
        self._verifier = verifier
        self._clock = clock

    async def begin(
        self, room_id: str, rules: RoomRules, answer: StateAnswer, begin: Begin, here: Collection[EventId] = ()
    ) -> Intake:
        """Take all events of an answer that are well formed, rightly signed, and of the room.

        Those that are `here` already are passed over; those of which the auth events are neither here nor among them
        are left out.
        """
        intake = Intake(self._appender, self._verifier, self._clock, room_id, rules, here, begin)
        await intake.take(answer)
        return intake

    async def go_on(self, room: Room, answer: StateAnswer, here: Collection[EventId] = ()) -> Intake:
        """The same for a room that we know."""

        async def known(create: Event) -> Place:
            return Place(room.number)

        intake = Intake(self._appender, self._verifier, self._clock, room.room_id, room.rules, here, known)
        intake.create, intake.place = room.create, Place(room.number)
        await intake.take(answer)
        return intake


class Intake:
    """The taking of one answer."""

    def __init__(
        self,
        appender: Appender,
        verifier: Verifier,
        clock: Clock,
        room_id: str,
        rules: RoomRules,
        here: Collection[EventId],
        begin: Begin,
    ) -> None:
        self.known: dict[EventId, Known] = {}
        """What was taken."""
        self.named: dict[str, list[EventId]] = {}
        """The state events in each array of the answer."""
        self.undecided: dict[EventId, str] = {}
        """What was left out since the keys that sign it are not to be had now, and what leans on that: by whom."""
        self.create: Event | None = None
        self.place: Place | None = None
        self._appender = appender
        self._verifier = verifier
        self._clock = clock
        self._room_id = room_id
        self._rules = rules
        self._here = here
        self._begin = begin
        self._batch: dict[EventId, Received] = {}
        self._waiting: dict[EventId, _Waiting] = {}
        self._awaited: dict[EventId, list[_Waiting]] = {}
        """What waits for an event, whether for others too or not."""
        self._looked_at = 0
        self._is_made = False
        self._committed: Deferred[None] | None = None
        self._left_out = 0
        self._given: Sequence[GivenEdges] = ()

    async def take(self, answer: StateAnswer) -> None:
        """Take all."""
        for put_down in answer.events():
            await self._others_turn()
            received = self._read(put_down.pdu)
            if received is None:
                self._left_out += 1
                continue
            event = received.event
            self.named.setdefault(put_down.array, []).append(event.event_id)
            if self._is_here(event.event_id) or event.event_id in self._waiting:
                continue
            if self.create is None and event.key == CREATE:
                await self._begun(received)
            absent = self._absent_of(event.auth_events)
            if absent is None:
                await self._add(received, answer)
            else:
                self._put_aside(received, put_down, absent)
        # What leans on something that did not come may lean on what is in the database.
        for waiting in in_order(self._waiting.values(), by_prev=False):
            await self._others_turn()
            again = self._again(waiting, answer)
            if again is not None:
                self._batch[waiting.event_id] = again
                await self._flush_if_full()
        await self._flush()
        await self._commit()
        if self._left_out:
            log.info("events of a state were left out", room=self._room_id, events=self._left_out)

    async def _others_turn(self) -> None:
        self._looked_at += 1
        if self._looked_at % READ_AT_ONCE == 0:
            await self._clock.sleep(0)

    def _read(self, pdu: bytes) -> Received | None:
        """The event, in the form in which it is to be used; None if it is none, or not of the state of this room."""
        try:
            received = receive(decode_object(pdu, MAX_FEDERATION_NESTING), self._rules)
        except (BadJson, BadEvent):
            return None
        event = received.event
        return received if event.is_state and event.room_id == self._room_id else None

    def _again(self, waiting: _Waiting, answer: StateAnswer) -> Received | None:
        """An event that was put aside."""
        return waiting.received or self._read(answer.read(waiting.at, waiting.size))

    def _is_here(self, event_id: EventId) -> bool:
        return event_id in self.known or event_id in self._batch or event_id in self._here

    def _absent_of(self, auth_events: Sequence[EventId]) -> EventId | None:
        """The first of the auth events that is not here; None if all are. The event that made the room counts too."""
        if self.create is None:
            return _BEGINNING
        return next((event_id for event_id in auth_events if not self._is_here(event_id)), None)

    async def _begun(self, received: Received) -> None:
        """The event that made the room has come: without it nothing can be judged."""
        problem = (await self._verifier.verify_received([received]))[0]
        if problem is None:
            self.place = await self._begin(received.event)
            self.create = received.event

    def _put_aside(self, received: Received, put_down: PutDown, absent: EventId) -> None:
        event = received.event
        waiting = self._waiting[event.event_id] = _Waiting(
            event.event_id,
            event.depth,
            tuple(map(_shared, event.auth_events)),
            put_down.at,
            len(put_down.pdu),
            received if len(self._waiting) < MOST_HELD else None,
        )
        self._awaited.setdefault(absent, []).append(waiting)

    async def _add(self, received: Received, answer: StateAnswer) -> None:
        """An event whose auth events are here, and then what has waited for it."""
        self._batch[received.event.event_id] = received
        free = self._freed_by(received.event)
        while free:
            await self._flush_if_full()
            await self._others_turn()
            waiting = free.popleft()
            again = self._again(waiting, answer)
            if again is not None:
                self._batch[waiting.event_id] = again
                free += self._freed_by(again.event)
        await self._flush_if_full()

    def _freed_by(self, event: Event) -> deque[_Waiting]:
        """Those that wait for nothing else than this event."""
        freed: deque[_Waiting] = deque()
        names = (event.event_id, _BEGINNING) if event is self.create else (event.event_id,)
        for waiting in [each for name in names for each in self._awaited.pop(name, ())]:
            absent = self._absent_of(waiting.auth_events)
            if absent is None:
                del self._waiting[waiting.event_id]
                freed.append(waiting)
            else:
                self._awaited.setdefault(absent, []).append(waiting)
        return freed

    async def _flush_if_full(self) -> None:
        if len(self._batch) >= PIECE:
            await self._flush()

    async def _flush(self) -> None:
        """Check the signatures of the batch, judge the events, and have them written."""
        place = self.place
        if not self._batch or place is None:
            return
        batch, self._batch = list(self._batch.values()), {}
        problems = await self._verifier.verify_received(batch)
        for each, problem in zip(batch, problems, strict=True):
            if isinstance(problem, KeysAway):
                self.undecided[each.event.event_id] = server_name_of(each.event.sender)
        signed = [each.event for each, problem in zip(batch, problems, strict=True) if problem is None]
        # The next events are read while these are written, but no more than that.
        await self._commit()
        also: list[Also] = []
        rows, self._committed = await self._appender.queue_script(partial(self._script, place, signed, also), also)
        self._is_made = True
        self._left_out += len(batch) - len(rows)
        placed = {row.event.event_id for row in rows}
        for event in signed:
            if event.event_id not in placed and not self.undecided.keys().isdisjoint(event.auth_events):
                self.undecided[event.event_id] = server_name_of(event.sender)
        for row in rows:
            self.known[row.event.event_id] = _known(row)

    async def _commit(self) -> None:
        committed, self._committed = self._committed, None
        if committed is not None:
            await committed
            take_edges(self._given)
            self.known.update((each.row.event.event_id, _known(each.row)) for each in self._given)

    def _script(self, place: Place, events: Sequence[Event], also: list[Also], plan: Plan) -> list[EventRow]:
        """The events without their place. `also` is what has to be written beside them."""
        head = plan.inputs.head_of(self._room_id)
        room = Room(place.number, RoomId(self._room_id), self._rules) if head is None else head
        planned = plan.rooms[self._room_id] = RoomPlan(plan, room)
        plan.forgets_members = True
        placer = Placer(planned)
        placer.create = placer.create or self.create
        # Where senders choose the ids, another room may have an event of the same id.
        if place.is_new and not self._rules.event_id_in_pdu:
            placer.are_new(event.event_id for event in events)
        # What they follow does not matter for events without a place.
        placer.find({each for event in events for each in (event.event_id, *event.auth_events)})
        rows: list[EventRow] = []
        for event in events:
            try:
                rows.append(placer.add_outlier(event).row)
            except Unplaceable:
                continue
        self._given = tuple(placer.given_edges.values())
        also[:] = write_edges(self._given)
        if place.is_new and not self._is_made:
            also.insert(
                0, partial(room_log.make_room, room=place.number, room_id=self._room_id, version=self._rules.version)
            )
        return rows


def _known(row: EventRow) -> Known:
    event = row.event
    membership = None if event.membership is None else _shared(event.membership)
    key = (_shared(event.type), event.state_key or "")
    return Known(event.event_id, key, row.position, membership, row.status is Status.REJECTED)


def _shared(text: T) -> T:
    """One text in memory for all that are the same, which here are very many."""
    return cast(T, intern(text))
