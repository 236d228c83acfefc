"""The past of an event that we do not have: what to ask other servers for, within bounds, and in what order to take it.

First the events in between (`/get_missing_events`); where these do not lead to what we know, the state at the first of
those that remain unknown (`/state_ids`, then the events that we lack). Specification: server-server API, "Backfilling
and retrieving missing events", "Retrieving events". Knows neither network nor database: see `Peers` and `Holdings`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Final, Protocol, TypeVar

import structlog

from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.rooms.incoming import RoomOfEvents

MOST_ROUNDS: Final = 6
EVENTS_A_ROUND: Final = 50
MOST_EVENTS: Final = 250
MOST_CLAIMS: Final = 10
MOST_LATEST: Final = 20
WHOLE_STATE_FROM: Final = 30
"""So many unknown events of a state are fetched at once with it rather than one by one."""
MOST_SINGLE_EVENTS: Final = 60
MOST_AUTH_ROUNDS: Final = 10

log: Final = structlog.get_logger("homeserver.rooms.gaps")


class Leaning(Protocol):
    """An event, or what is known of it."""

    @property
    def event_id(self) -> EventId:
        """Its id."""
        ...

    @property
    def depth(self) -> int:
        """How far it is from the beginning, as its sender says."""
        ...

    @property
    def prev_events(self) -> Sequence[EventId]:
        """What it follows."""
        ...

    @property
    def auth_events(self) -> Sequence[EventId]:
        """What it leans on."""
        ...


L = TypeVar("L", bound=Leaning)


class PeerFailed(Exception):
    """Another server did not answer, or with nothing that can be used. `is_passing`: it may do so another time."""

    def __init__(self, reason: str, *, is_passing: bool = False) -> None:
        super().__init__(reason)
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class StateIds:
    """A state as another server tells it: its events, and the chain of events that these lean on."""

    state: Sequence[EventId]
    auth_chain: Sequence[EventId]


Absent = Callable[[Collection[EventId]], Awaitable[set[EventId]]]
"""Tells those of some events that we do not have at all."""


class Peers(Protocol):
    """Other servers. The events that come from there are well formed, signed, and of the room. Raises PeerFailed."""

    async def missing_events(
        self, server: str, room: RoomOfEvents, earliest: Sequence[str], latest: Sequence[str], limit: int
    ) -> list[Event]:
        """What lies between events that we have and events that we were told of."""
        ...

    async def state_ids(self, server: str, room: RoomOfEvents, event_id: str) -> StateIds:
        """The state before an event."""
        ...

    async def state(self, server: str, room: RoomOfEvents, event_id: str, absent: Absent) -> list[Event]:
        """Those events of the state before an event, and of their auth chain, that are absent here."""
        ...

    async def events(self, server: str, room: RoomOfEvents, event_ids: Sequence[str]) -> list[Event]:
        """Those of the events that the server has."""
        ...

    async def event_auth(self, server: str, room: RoomOfEvents, event_id: str) -> list[Event]:
        """The auth chain of an event."""
        ...

    async def backfill(self, server: str, room: RoomOfEvents, start: Sequence[str], limit: int) -> list[Event]:
        """Events and what came before them."""
        ...


class Holdings(Protocol):
    """What we have."""

    async def absent(self, event_ids: Collection[EventId]) -> set[EventId]:
        """Those of the events that we do not have at all."""
        ...

    async def lacking(self, event_ids: Collection[EventId]) -> set[EventId]:
        """Those that we do not have, or of which we do not know the state."""
        ...

    async def events(self, event_ids: Collection[EventId]) -> list[Event]:
        """Those of the events that we have."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """An event to be placed. `claim`: ids of the state before it as another server tells it; None: it follows."""

    event: Event
    claim: Sequence[EventId] | None = None


@dataclass(slots=True)
class Filling:
    """What is to be taken, in this order: events without their place first, then those with it."""

    outliers: list[Event] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


class GapFiller:
    """Fetches the past of events."""

    def __init__(self, peers: Peers, holdings: Holdings) -> None:
        self._peers = peers
        self._holdings = holdings

    async def fill(self, server: str, room: RoomOfEvents, events: Sequence[Event], earliest: Sequence[str]) -> Filling:
        """All that it takes to place these events, from one server. `earliest`: the newest events that we have."""
        pool = {event.event_id: event for event in events}
        missing = await self._missing(room, pool)
        for _ in range(MOST_ROUNDS):
            if not missing or len(pool) >= MOST_EVENTS:
                break
            latest = [event.event_id for event in pool.values() if missing.intersection(event.prev_events)]
            found = await self._peers.missing_events(server, room, earliest, latest[:MOST_LATEST], EVENTS_A_ROUND)
            size = len(pool)
            for event in found:
                pool.setdefault(event.event_id, event)
            pool = _ancestry(pool, events)
            missing = await self._missing(room, pool)
            if len(pool) == size:
                break
        claims = await self._claims(server, room, pool, missing)
        steps = [Step(event, claims.get(event.event_id)) for event in in_order(pool.values(), by_prev=True)]
        return Filling(await self._outliers(server, room, steps), steps)

    async def history(self, server: str, room: RoomOfEvents, start: Sequence[str], limit: int) -> Filling:
        """Events that came before what we have, with the states before the first of them."""
        found = await self._peers.backfill(server, room, start, limit)
        pool = {event.event_id: event for event in found}
        pool = _ancestry(pool, [pool[EventId(event_id)] for event_id in start if event_id in pool])
        known = pool.keys() - await self._holdings.lacking(pool.keys())
        pool = {event_id: event for event_id, event in pool.items() if event_id not in known}
        missing = await self._missing(room, pool)
        steps: list[Step] = []
        asked = 0
        for event in in_order(pool.values(), by_prev=True):
            if not missing.intersection(event.prev_events):
                steps.append(Step(event))
            elif asked < MOST_CLAIMS:
                asked += 1
                claims: dict[EventId, Sequence[EventId]] = {}
                await self._claim(server, room, event.event_id, claims)
                # Without it, what stands upon the event cannot be placed either, and is left out when its turn comes.
                steps += [Step(event, state) for state in claims.values()]
        return Filling(await self._outliers(server, room, steps), steps)

    async def _missing(self, room: RoomOfEvents, pool: Mapping[EventId, Event]) -> set[EventId]:
        """Events that those in the pool follow, and that are neither there nor known with their state."""
        followed = {event_id for event in pool.values() for event_id in event.prev_events}
        return await self._holdings.lacking(followed - pool.keys() - room.known_pasts)

    async def _claims(
        self, server: str, room: RoomOfEvents, pool: dict[EventId, Event], missing: Collection[EventId]
    ) -> dict[EventId, Sequence[EventId]]:
        """States before the events that end the gap. These join the pool.

        An event that follows also what we know is gone below, as far as there is patience: the state before it follows
        from what is claimed further down. What is claimed of it itself is only resolved with what we know.
        """
        claims: dict[EventId, Sequence[EventId]] = {}
        waiting, asked = sorted(missing), 0
        while waiting and asked < MOST_CLAIMS:
            below: set[EventId] = set()
            for event in await self._ends(server, room, waiting[: MOST_CLAIMS - asked]):
                asked += 1
                pool[event.event_id] = event
                lacking = await self._holdings.lacking(set(event.prev_events) - pool.keys())
                if lacking and lacking != set(event.prev_events) and asked + len(lacking) < MOST_CLAIMS:
                    below |= lacking
                elif lacking:
                    await self._claim(server, room, event.event_id, claims)
            waiting = sorted(below - pool.keys())
        # What nobody has any more must not cut off what follows it: then the state is asked for one step higher.
        lost = await self._missing(room, pool)
        for event in in_order(pool.values(), by_prev=True) if lost else ():
            if lost.intersection(event.prev_events) and event.event_id not in claims and asked < 2 * MOST_CLAIMS:
                asked += 1
                await self._claim(server, room, event.event_id, claims)
        return claims

    async def _claim(
        self, server: str, room: RoomOfEvents, event_id: EventId, claims: dict[EventId, Sequence[EventId]]
    ) -> None:
        try:
            claims[event_id] = (await self._peers.state_ids(server, room, event_id)).state
        except PeerFailed as failed:
            if failed.is_passing:
                raise
            log.info("no state was told", room=room.room_id, server=server, event_id=event_id, reason=str(failed))

    async def _ends(self, server: str, room: RoomOfEvents, wanted: Sequence[EventId]) -> list[Event]:
        """Events that we have without their state, or that the server has."""
        absent = await self._holdings.absent(wanted)
        events = await self._holdings.events([event_id for event_id in wanted if event_id not in absent])
        return events + await self._peers.events(server, room, sorted(absent)) if absent else events

    async def _outliers(self, server: str, room: RoomOfEvents, steps: Sequence[Step]) -> list[Event]:
        """The events that the steps lean on and that we lack, with their own auth chains."""
        found: dict[EventId, Event] = {}
        stepped = {step.event.event_id: step.event for step in steps}
        for step in steps:
            if step.claim is None:
                continue
            absent = await self._holdings.absent(set(step.claim) - found.keys())
            if len(absent) > WHOLE_STATE_FROM:
                self._keep(found, await self._peers.state(server, room, step.event.event_id, self._holdings.absent))
            wanted = [event_id for event_id in absent if event_id not in found]
            self._keep(found, [stepped[event_id] for event_id in wanted if event_id in stepped])
            await self._fetch(server, room, found, wanted)
        await self._auth_of_steps(server, room, found, stepped)
        for _ in range(MOST_AUTH_ROUNDS):
            named = {event_id for event in found.values() for event_id in event.auth_events}
            absent = await self._holdings.absent(named - found.keys())
            self._keep(found, [stepped[event_id] for event_id in absent if event_id in stepped])
            if not await self._fetch(server, room, found, absent):
                break
        return in_order(found.values(), by_prev=False)

    async def _auth_of_steps(
        self, server: str, room: RoomOfEvents, found: dict[EventId, Event], stepped: Mapping[EventId, Event]
    ) -> None:
        """The auth events of the steps that come neither with them nor are known."""
        for event in stepped.values():
            absent = await self._holdings.absent(set(event.auth_events) - found.keys() - stepped.keys())
            if absent:
                try:
                    self._keep(found, await self._peers.event_auth(server, room, event.event_id))
                except PeerFailed:
                    await self._fetch(server, room, found, absent)

    async def _fetch(
        self, server: str, room: RoomOfEvents, found: dict[EventId, Event], wanted: Iterable[EventId]
    ) -> bool:
        """Fetch events one by one; whether any came."""
        asked = [event_id for event_id in sorted(wanted) if event_id not in found][:MOST_SINGLE_EVENTS]
        if not asked:
            return False
        size = len(found)
        self._keep(found, await self._peers.events(server, room, asked))
        return len(found) > size

    @staticmethod
    def _keep(found: dict[EventId, Event], events: Iterable[Event]) -> None:
        for event in events:
            found.setdefault(event.event_id, event)


def _ancestry(pool: Mapping[EventId, Event], events: Iterable[Event]) -> dict[EventId, Event]:
    """Those in the pool that came before the events, and these: whatever else a server sends is not our matter."""
    kept: dict[EventId, Event] = {}
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        if event.event_id in kept:
            continue
        kept[event.event_id] = event
        waiting += [pool[event_id] for event_id in event.prev_events if event_id in pool]
    return kept


def in_order(events: Iterable[L], *, by_prev: bool) -> list[L]:
    """Events after those that they lean on (and follow, if `by_prev`). Those that go round in a circle are left out."""
    pool = {event.event_id: event for event in events}
    graph: dict[EventId, list[EventId]] = {}
    for event in sorted(pool.values(), key=lambda event: (event.depth, event.event_id)):
        under = (*event.prev_events, *event.auth_events) if by_prev else event.auth_events
        graph[event.event_id] = [event_id for event_id in dict.fromkeys(under) if event_id in pool]
    while True:
        try:
            return [pool[event_id] for event_id in TopologicalSorter(graph).static_order()]
        except CycleError as cycle:
            circle = set(cycle.args[1])
            graph = {
                event_id: [each for each in under if each not in circle]
                for event_id, under in graph.items()
                if event_id not in circle
            }
