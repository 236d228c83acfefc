"""Takes events of other servers into rooms: one room's after the other, each durable before its outcome is told.

`Accepter.accept` fetches what is missing of their past; `accept_at_once` leaves that to whoever calls.
Specification: server-server API, "PDUs". The checks are homeserver.rooms.judge_remote, the place of an event in a room
homeserver.rooms.placing, what is asked of other servers homeserver.rooms.gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Final

import structlog

from homeserver.core.event import Event
from homeserver.core.ids import EventId, server_name_of
from homeserver.core.received import Received
from homeserver.core.signatures import BadSignature, KeysAway
from homeserver.rooms import judge_remote
from homeserver.rooms.append import Appender, sentence
from homeserver.rooms.awaited_keys import AwaitedKeys
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.gaps import Filling, GapFiller, PeerFailed, Peers
from homeserver.rooms.heads import Heads
from homeserver.rooms.incoming import RoomOfEvents, Verifier
from homeserver.rooms.neighbours import Neighbours
from homeserver.rooms.outcomes import Batch, Fate, Outcome, Outcomes, place_events, place_filling
from homeserver.rooms.placed import take_edges, write_edges
from homeserver.rooms.placing import Placer
from homeserver.rooms.plan import Plan
from homeserver.rooms.room import Room
from homeserver.rooms.state import StateStore
from homeserver.runtime.clock import Clock
from homeserver.runtime.turns import Turns
from homeserver.runtime.writer import Also, AppendFailed, Writer
from homeserver.web.errors import Forbidden
from storage import room_log, staging
from storage.rows import EventRow
from storage.staging import VerdictRow
from storage.statements import Statements

MOST_EARLIEST: Final = 20

log: Final = structlog.get_logger("homeserver.rooms.accept")


class Held:
    """What this server has of rooms, for the gap filler."""

    def __init__(self, events: EventCache) -> None:
        self._events = events

    async def absent(self, event_ids: Collection[EventId]) -> set[EventId]:
        """Those of the events that we do not have at all."""
        found = await self._events.by_ids(event_ids) if event_ids else {}
        return {event_id for event_id in event_ids if event_id not in found}

    async def lacking(self, event_ids: Collection[EventId]) -> set[EventId]:
        """Those that we do not have, or of which we do not know the state."""
        found = await self._events.by_ids(event_ids) if event_ids else {}
        return {each for each in event_ids if (row := found.get(each)) is None or row.state_root is None}

    async def events(self, event_ids: Collection[EventId]) -> list[Event]:
        """Those of the events that we have."""
        found = await self._events.by_ids(event_ids) if event_ids else {}
        return [row.event for row in found.values()]


class Accepter:
    """Takes events of other servers."""

    def __init__(
        self,
        appender: Appender,
        heads: Heads,
        state: StateStore,
        events: EventCache,
        peers: Peers,
        neighbours: Neighbours,
        verifier: Verifier,
        writer: Writer,
        clock: Clock,
    ) -> None:
        self._appender = appender
        self._heads = heads
        self._state = state
        self._gaps = GapFiller(peers, Held(events))
        self._neighbours = neighbours
        self._verifier = verifier
        self._writer = writer
        self._clock = clock
        self.turns: Turns[str] = Turns()
        """Whoever holds the turn of a room: no event of another server gets its place there meanwhile."""

    async def accept(
        self, room_id: str, events: Sequence[Event], origin: str, awaited: AwaitedKeys | None = None
    ) -> Outcomes:
        """Take events of a room in order; what is missing of their past is fetched from `origin` first.

        They are well formed and their content is what was hashed (homeserver.rooms.incoming); signatures are checked
        here, but no keys are asked for: see `get_keys_of`.
        """
        problems = await self._verifier.verify_events(events, asks=False)
        outcomes, signed, unsure = await self._sorted(room_id, events, problems, origin)
        outcomes.update(unsure)
        awaited = awaited or AwaitedKeys()
        signed = _set_aside(signed, awaited.held_up_by(unsure), outcomes)
        async with self.turns.at(room_id):
            batch = await self._place(room_id, signed, origin)
            outcomes.update(batch.outcomes())
            if batch.unplaced:
                waiting = [gap.event for gap in batch.unplaced]
                outcomes.update(
                    await self._with_past(
                        room_id, waiting, origin, lambda event_id: event_id in unsure or awaited.is_put_off(event_id)
                    )
                )
        return outcomes

    async def accept_at_once(
        self, room_id: str, received: Sequence[Received], origin: str
    ) -> tuple[Outcomes, list[Event]]:
        """Take those events whose past is here; gives the others back. They may have to wait for their turn.

        No other server is waited for: what the room's policy server has to be asked for, and what is signed with keys
        that are not here, is given back too.
        """
        events = [each.event for each in received]
        problems = await self._verifier.verify_received(received, asks=False)
        outcomes, signed, unsure = await self._sorted(room_id, events, problems, origin)
        if signed:
            async with self.turns.at(room_id):
                batch = await self._place(room_id, signed, origin, asks=False)
            outcomes.update(batch.outcomes())
        return outcomes, [event for event in events if event.event_id in unsure or event.event_id not in outcomes]

    async def get_keys_of(self, events: Sequence[Event]) -> None:
        """Ask for the keys that events are signed with."""
        await self._verifier.get_keys_of(events)

    async def accept_membership(self, event: Event, origin: str) -> EventRow:
        """Take a signed join, leave or knock; Forbidden unless it is accepted. Returns when it is committed."""
        outcome = (await self.accept(event.room_id, [event], origin))[event.event_id]
        if outcome.row is None or outcome.fate is not Fate.ACCEPTED:
            raise Forbidden(sentence(outcome.reason or "The event was not accepted"))
        return outcome.row

    async def accept_history(self, room_id: str, filling: Filling, origin: str) -> int:
        """Take events that came before what we have; how many were new."""
        async with self.turns.at(room_id):
            batch = await self._run(room_id, origin, lambda placer: place_filling(placer, filling, is_history=True))
        return sum(each.is_new for each in batch.placed) + len(batch.given)

    async def history(self, room: Room, server: str, start: Sequence[str], limit: int) -> Filling:
        """What a server knows of the past of a room. Raises PeerFailed."""
        return await self._gaps.history(server, RoomOfEvents(room.room_id, room.rules), start, limit)

    async def refuse(self, room_id: str, origin: str, refused: Sequence[tuple[str, Outcome]]) -> None:
        """Note events that were dropped."""
        self._tell(room_id, origin, refused)
        verdicts = self._verdict_rows(room_id, origin, refused)
        if verdicts:
            await self._writer.append([], [partial(staging.write_verdicts, verdicts=verdicts)])

    async def _sorted(
        self, room_id: str, events: Sequence[Event], problems: Sequence[BadSignature | None], origin: str
    ) -> tuple[Outcomes, list[Event], Outcomes]:
        """Outcomes of those whose signatures do not hold, those whose signatures do, and of which it cannot be told."""
        outcomes: Outcomes = {}
        unsure: Outcomes = {}
        signed: list[Event] = []
        for event, problem in zip(events, problems, strict=True):
            if problem is None and event.room_id == room_id:
                signed.append(event)
            elif isinstance(problem, KeysAway) and event.room_id == room_id:
                unsure[event.event_id] = Outcome(Fate.UNDECIDED, judge_remote.SIGNATURES, str(problem))
            else:
                reason = "it is of another room" if problem is None else str(problem)
                outcomes[event.event_id] = Outcome(Fate.DROPPED, judge_remote.SIGNATURES, reason)
        if outcomes:
            await self.refuse(room_id, origin, list(outcomes.items()))
        return outcomes, signed, unsure

    async def _place(self, room_id: str, events: Sequence[Event], origin: str, *, asks: bool = True) -> Batch:
        def place(placer: Placer) -> Batch:
            plan = placer.room.plan
            if not asks and plan.recommending is not None:
                plan.recommending = plan.recommending.asking_nobody()
            return place_events(placer, events)

        return await self._run(room_id, origin, place)

    async def _with_past(
        self, room_id: str, events: Sequence[Event], origin: str, waits: Callable[[EventId], bool]
    ) -> Outcomes:
        """Fetch the past of events, then take them. What stands on something that `waits` is not given up before it."""
        room = await self._heads.get(room_id)
        # Who sent them should know; if not, whoever made the room is likely to.
        likely = {origin, server_name_of(room.create.sender)} - {self._appender.server_name}
        others = [each for each in await self._neighbours.of(room) if each not in likely]
        asked = _of_events(room, is_hurried=len(likely) + len(others) > 1)
        outcomes: Outcomes = {}
        named = _named_by(events)
        lost, reason, is_passing = list(events), "what it follows or leans on cannot be had", False
        for server in (*sorted(likely, key=lambda each: each != origin), *others):
            if server in others and not is_passing:
                # These who are likely to know have spoken.
                break
            try:
                filling = await self._gaps.fill(server, asked, lost, room.extremity_ids[:MOST_EARLIEST])
            except PeerFailed as failed:
                # What is told is why it is tried again, if it is.
                reason = reason if is_passing else str(failed)
                is_passing = is_passing or failed.is_passing
                continue
            named |= _named_in(filling)
            batch = await self._run(room_id, origin, partial(place_filling, filling=filling))
            outcomes.update(batch.outcomes())
            lost = [event for event in lost if event.event_id not in outcomes]
            if not lost:
                break
        unsure = {event_id: event for event_id, event in asked.undecided.items() if event_id in named - outcomes.keys()}
        if unsure and not is_passing:
            reason, is_passing = f"the keys are not to be had now that {min(unsure)} is signed with", True
        fate = Outcome(Fate.UNDECIDED if is_passing else Fate.DROPPED, judge_remote.PAST, reason)
        fates = {event.event_id: fate for event in lost}
        for event in lost:
            if any(map(waits, _named_by([event]))):
                fates[event.event_id] = Outcome(Fate.UNDECIDED, judge_remote.PAST, "it stands on an event that waits")
        refused = [(event_id, fate) for event_id, fate in fates.items() if fate.fate is Fate.DROPPED]
        if refused:
            await self.refuse(room_id, origin, refused)
        outcomes.update(fates)
        for event_id, event in unsure.items():
            reason = "the keys that it is signed with are not to be had now"
            outcomes.setdefault(event_id, Outcome(Fate.UNDECIDED, judge_remote.SIGNATURES, reason, event=event))
        return outcomes

    async def _run(self, room_id: str, origin: str, place: Callable[[Placer], Batch]) -> Batch:
        """Place events and commit; notes what was not accepted and why."""
        try:
            return await self._try(room_id, origin, place, look_up_all=False)
        except AppendFailed:
            # Some event was here already, though nothing in memory knew of it.
            return await self._try(room_id, origin, place, look_up_all=True)

    async def _try(self, room_id: str, origin: str, place: Callable[[Placer], Batch], *, look_up_all: bool) -> Batch:
        also: list[Also] = []
        placers: list[Placer] = []

        def script(plan: Plan) -> Batch:
            placer = Placer(plan.room(room_id), look_up_all=look_up_all)
            batch = place(placer)
            also[:] = self._beside(placer, batch, room_id, origin)
            placers[:] = [placer]
            return batch

        batch, committed = await self._appender.queue_script(script, also)
        await committed
        for given in batch.given:
            given.row.state_root, given.row.status = given.root, given.status
        take_edges(placers[0].given_edges.values())
        self._state.committed(placers[0].given_nodes)
        self._tell(room_id, origin, batch.not_accepted())
        return batch

    def _beside(self, placer: Placer, batch: Batch, room_id: str, origin: str) -> list[Also]:
        """What is written in the same transaction as the events."""
        also = write_edges(placer.given_edges.values())
        uncommitted = placer.room.room.uncommitted
        if any(not each.is_new and each.row.event.event_id in uncommitted for each in batch.placed):
            # Who sends again what is still on its way to the disk has to wait for it, too.
            also.append(_nothing)
        if batch.given:
            given = [(each.row.position, each.root, int(each.status)) for each in batch.given]
            nodes, found = dict(placer.given_nodes), list(placer.given_found)
            room = placer.room.room.number
            also.append(partial(room_log.give_states, room=room, given=given, nodes=nodes, found=found))
        refused = batch.not_accepted()
        if refused:
            verdicts = self._verdict_rows(room_id, origin, refused)
            also.append(partial(staging.write_verdicts, verdicts=verdicts))
        return also

    def _verdict_rows(self, room_id: str, origin: str, judged: Iterable[tuple[str, Outcome]]) -> list[VerdictRow]:
        now_ms = self._clock.now_ms()
        return [
            VerdictRow(event_id, room_id, origin, str(outcome.fate), outcome.rule, outcome.reason, now_ms)
            for event_id, outcome in judged
            if outcome.fate is not Fate.ACCEPTED
        ]

    @staticmethod
    def _tell(room_id: str, origin: str, refused: Iterable[tuple[str, Outcome]]) -> None:
        for event_id, outcome in refused:
            log.info(
                f"an event was {outcome.fate}",
                event_id=event_id,
                room=room_id,
                origin=origin,
                rule=outcome.rule,
                reason=outcome.reason,
            )


def _named_by(events: Iterable[Event]) -> set[EventId]:
    """What events follow and lean on."""
    return {event_id for event in events for event_id in (*event.prev_events, *event.auth_events)}


def _named_in(filling: Filling) -> set[EventId]:
    claimed = {event_id for step in filling.steps for event_id in step.claim or ()}
    return claimed | _named_by([*filling.outliers, *(step.event for step in filling.steps)])


def _set_aside(events: Sequence[Event], awaited: set[str], outcomes: Outcomes) -> list[Event]:
    """Those of the events that do not stand on what is awaited."""
    going_on: list[Event] = []
    for event in events:
        if awaited.isdisjoint((*event.prev_events, *event.auth_events)):
            going_on.append(event)
        else:
            awaited.add(event.event_id)
            reason = "it may be judged when that is"
            outcomes[event.event_id] = Outcome(Fate.UNDECIDED, judge_remote.AWAITED, reason)
    return going_on


def _nothing(tx: Statements) -> None:
    """Adds nothing to a transaction, which comes after those before it all the same."""


def _of_events(room: Room, *, is_hurried: bool) -> RoomOfEvents:
    followed = None if room.partial is None else room.partial.followed
    known = frozenset() if followed is None else frozenset((followed,))
    return RoomOfEvents(room.room_id, room.rules, known, is_hurried=is_hurried)
