"""The two orders in which state resolution v2 and v2.1 apply events.

Specification: rooms/v2 and rooms/v12, "Reverse topological power ordering" and "Mainline ordering".
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heappop, heappush
from math import inf

from homeserver.core.auth import PowerLevels
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.room_rules import RoomRules
from homeserver.core.state_res.full_conflict import Graph, under
from homeserver.core.state_res.questions import POWER_LEVELS, Asking, Known


def is_power_event(event: Event) -> bool:
    """Whether an event might take away somebody's ability to do something in the room."""
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return event.state_key == ""
    return event.membership in ("leave", "ban") and event.sender != event.state_key


def power_order(
    known: Known, rules: RoomRules, create: Event | None, chosen: Collection[EventId], graph: Graph
) -> list[EventId]:
    """Reverse topological power ordering: Kahn's algorithm, at each step the greatest power, then the earliest event.

    Events in between that are not chosen go through as soon as they can and are left out: they only carry the order
    from one chosen event to another.
    """
    nodes = under(graph, chosen)
    blocked_by = dict.fromkeys(nodes, 0)
    blocks: dict[EventId, list[EventId]] = {event_id: [] for event_id in nodes}
    for event_id in nodes:
        for other in set(graph.get(event_id, ())):
            blocked_by[event_id] += 1
            blocks[other].append(event_id)
    sender_power = _SenderPower(known, rules, create)
    candidates: list[tuple[float, int, EventId]] = []
    passing = [event_id for event_id, blockers in blocked_by.items() if not blockers]
    order: list[EventId] = []
    while passing or candidates:
        if passing:
            event_id = passing.pop()
            if event_id in chosen:
                event = known.events[event_id]
                heappush(candidates, (-sender_power.of(event), event.origin_server_ts, event_id))
                continue
        else:
            event_id = heappop(candidates)[2]
            order.append(event_id)
        for other in blocks[event_id]:
            blocked_by[other] -= 1
            if not blocked_by[other]:
                passing.append(other)
    return order


class _SenderPower:
    """Power of an event's sender by the event's own auth events; each power-levels event is read once."""

    def __init__(self, known: Known, rules: RoomRules, create: Event | None) -> None:
        self._known, self._rules, self._create = known, rules, create
        self._read: dict[EventId | None, PowerLevels] = {}

    def of(self, event: Event) -> float:
        cited = self._known.auth_event(event, POWER_LEVELS)
        if cited not in self._read:
            levels = None if cited is None else self._known.events[cited]
            self._read[cited] = PowerLevels.of(self._create, levels, self._rules)
        return self._read[cited].of_user(event.sender)


def mainline_order(known: Known, chosen: Collection[EventId], top: EventId | None) -> Asking[list[EventId]]:
    """The events by mainline position from the oldest to `top`, then by time, then by id.

    Goes down the mainline only as far as the events' own power levels reach, if ranks are known. The auth events of the
    chosen events and of `top` must be known.
    """
    mainline = _Mainline(known, top)
    at = {event_id: known.auth_event(known.events[event_id], POWER_LEVELS) for event_id in chosen}
    moving = {power for power in at.values() if power is not None}
    position: dict[EventId | None, float] = {None: inf}
    above: dict[EventId, EventId | None] = {}
    while moving:
        yield from mainline.reach(moving)
        passed: set[EventId] = set()
        for power in moving:
            if power in mainline.positions:
                position[power] = mainline.positions[power]
            else:
                passed.add(power)
        yield from _ask_with_auth_events(known, passed)
        for power in passed:
            above[power] = known.auth_event(known.events[power], POWER_LEVELS)
        moving = {power for power in (above[event_id] for event_id in passed) if power is not None} - above.keys()
        moving -= {power for power in moving if power in position}

    def place(power: EventId | None) -> float:
        while power not in position:
            assert power is not None
            power = above[power]
        return position[power]

    events = [known.events[event_id] for event_id in chosen]
    return [
        event.event_id
        for event in sorted(events, key=lambda e: (-place(at[e.event_id]), e.origin_server_ts, e.event_id))
    ]


class _Mainline:
    """The mainline of a power-levels event, followed down when needed."""

    def __init__(self, known: Known, top: EventId | None) -> None:
        self._known = known
        self._next = top
        self.positions: dict[EventId, int] = {}

    def reach(self, events: Collection[EventId]) -> Asking[None]:
        """Follow the mainline until it is certain which of the events are on it."""
        if self._next is None:
            return
        yield from self._known.ask(nodes=events)
        ranks = [self._known.nodes[event_id].rank for event_id in events if event_id not in self.positions]
        lowest = min((-1 if rank is None else rank for rank in ranks), default=inf)
        while self._next is not None:
            yield from self._known.ask(nodes=[self._next])
            rank = self._known.nodes[self._next].rank
            if rank is not None and rank < lowest:
                return
            yield from _ask_with_auth_events(self._known, [self._next])
            self.positions[self._next] = len(self.positions)
            self._next = self._known.auth_event(self._known.events[self._next], POWER_LEVELS)


def _ask_with_auth_events(known: Known, event_ids: Collection[EventId]) -> Asking[None]:
    yield from known.ask(events=event_ids)
    yield from known.ask(events={other for event_id in event_ids for other in known.events[event_id].auth_events})
