"""A room in a dictionary, to answer the questions of state resolution, and a plain model to compare with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from homeserver.core import auth
from homeserver.core.auth import PowerLevels, needed_auth_keys
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.room_rules import RoomRules
from homeserver.core.state_res import Answer, AuthNode, Key, Question, rank_above, resolve, run

State = Mapping[Key, EventId]


class Room:
    """All state events of a room. `asked` counts what resolution wanted to know."""

    def __init__(self, events: Iterable[Event], rejected: Iterable[EventId] = (), with_ranks: bool = True) -> None:
        self.citing_at_once = 3
        self.events = {event.event_id: event for event in events}
        self.rejected = set(rejected)
        self.with_ranks = with_ranks
        self.ranks: dict[EventId, int] = {}
        self.citing: dict[EventId, list[EventId]] = {}
        for event in self.events.values():
            self._rank(event.event_id)
            for cited in event.auth_events:
                self.citing.setdefault(cited, []).append(event.event_id)
        self.asked = dict.fromkeys(("rounds", "nodes", "events", "unconflicted", "cited_by"), 0)

    def _rank(self, event_id: EventId) -> int:
        if event_id not in self.ranks:
            self.ranks[event_id] = rank_above([self._rank(other) for other in self.events[event_id].auth_events])
        return self.ranks[event_id]

    def resolve(self, states: Sequence[State]) -> dict[Key, EventId]:
        """The resolved state, found as the server does: from the conflicts and the answers to questions."""
        rules = next(iter(self.events.values())).rules
        conflicted, in_all = split(states)
        changes = run(resolve(rules, conflicted), lambda question: self.answer(question, in_all))
        merged = {**states[0], **changes}
        return {key: event_id for key, event_id in merged.items() if event_id is not None}

    def answer(self, question: Question, in_all: State) -> Answer:
        self.asked["rounds"] += 1
        for name in ("nodes", "events", "unconflicted", "cited_by"):
            self.asked[name] += len(getattr(question, name))
        return Answer(
            nodes={
                event_id: AuthNode(self.events[event_id].auth_events, self.ranks[event_id] if self.with_ranks else None)
                for event_id in question.nodes
            },
            events={event_id: self.events[event_id] for event_id in question.events},
            rejected=question.events & self.rejected,
            unconflicted={key: in_all[key] for key in question.unconflicted if key in in_all},
            # A few at a time, as a driver may.
            cited_by={
                event_id: self.citing.get(event_id, [])[told : told + self.citing_at_once]
                for event_id, told in question.cited_by.items()
            },
        )


def split(states: Sequence[State]) -> tuple[dict[Key, tuple[EventId | None, ...]], dict[Key, EventId]]:
    """The conflicted keys with each state's event, and the unconflicted state."""
    keys = {key for state in states for key in state}
    every = {key: tuple(state.get(key) for state in states) for key in keys}
    conflicted = {key: ids for key, ids in every.items() if len(set(ids)) > 1}
    return conflicted, {key: states[0][key] for key in keys if key not in conflicted}


class Model:
    """State resolution v2 and v2.1 with full states and full chains: slow, close to the words of the specification."""

    def __init__(self, room: Room) -> None:
        self.events, self.rejected = room.events, room.rejected
        self.rules: RoomRules = next(iter(self.events.values())).rules
        self.create = next(event for event in self.events.values() if event.type == "m.room.create")
        self._chains: dict[EventId, frozenset[EventId]] = {}

    def chain(self, event_id: EventId) -> frozenset[EventId]:
        """The event and its auth chain."""
        if event_id not in self._chains:
            others = (self.chain(other) for other in self.events[event_id].auth_events)
            self._chains[event_id] = frozenset({event_id}).union(*others)
        return self._chains[event_id]

    def power_above(self, event_id: EventId) -> EventId | None:
        others = self.events[event_id].auth_events
        return next((other for other in others if self.events[other].type == "m.room.power_levels"), None)

    def full_conflicted_set(self, states: Sequence[State]) -> set[EventId]:
        conflicted, _ = split(states)
        ids = {event_id for options in conflicted.values() for event_id in options if event_id is not None}
        chains = [frozenset[EventId]().union(*(self.chain(event_id) for event_id in s.values())) for s in states]
        full = ids | (frozenset[EventId]().union(*chains) - chains[0].intersection(*chains))
        if self.rules.state_resolution == "2.1":
            below = frozenset[EventId]().union(*(self.chain(event_id) for event_id in ids))
            full |= {event_id for event_id in below if self.chain(event_id) & ids}
        return full

    def resolve(self, states: Sequence[State]) -> dict[Key, EventId]:
        conflicted, in_all = split(states)
        if not conflicted:
            return dict(in_all)
        full = self.full_conflicted_set(states)
        powerful = {event_id for event_id in full if self.is_power_event(self.events[event_id])}
        first = frozenset[EventId]().union(*(self.chain(event_id) for event_id in powerful)) & full
        state = {} if self.rules.state_resolution == "2.1" else dict(in_all)
        self.apply(self.power_order(first), state)
        self.apply(self.mainline_order(full - first, state.get(("m.room.power_levels", ""))), state)
        return {**state, **in_all}

    @staticmethod
    def is_power_event(event: Event) -> bool:
        if event.type == "m.room.member":
            return event.membership in ("leave", "ban") and event.sender != event.state_key
        return event.key in (("m.room.power_levels", ""), ("m.room.join_rules", ""))

    def power_order(self, chosen: frozenset[EventId]) -> list[EventId]:
        left, order = set(chosen), list[EventId]()
        while left:
            free = [e for e in left if not (self.chain(e) - {e}) & left]
            order.append(min(free, key=self.power_rank))
            left.remove(order[-1])
        return order

    def power_rank(self, event_id: EventId) -> tuple[float, int, EventId]:
        event, power = self.events[event_id], self.power_above(event_id)
        levels = PowerLevels.of(self.create, None if power is None else self.events[power], self.rules)
        return -levels.of_user(event.sender), event.origin_server_ts, event_id

    def mainline_order(self, chosen: set[EventId], top: EventId | None) -> list[EventId]:
        mainline = self.power_line(top)

        def position(event_id: EventId) -> float:
            on_it = [mainline.index(p) for p in self.power_line(self.power_above(event_id)) if p in mainline]
            return on_it[0] if on_it else math.inf

        return sorted(chosen, key=lambda e: (-position(e), self.events[e].origin_server_ts, e))

    def power_line(self, event_id: EventId | None) -> list[EventId]:
        line = []
        while event_id is not None:
            line.append(event_id)
            event_id = self.power_above(event_id)
        return line

    def apply(self, order: Sequence[EventId], state: dict[Key, EventId]) -> None:
        for event_id in order:
            event = self.events[event_id]
            seen: dict[Key, Event] = {}
            if not self.rules.create_in_auth_events:
                seen[self.create.key] = self.create
            for other in event.auth_events:
                if other not in self.rejected:
                    seen[self.events[other].key] = self.events[other]
            for key in needed_auth_keys(event.type, event.sender, event.state_key, event.content, event.rules):
                if key in state:
                    seen[key] = self.events[state[key]]
            try:
                auth.check(event, seen)
            except auth.Rejected:
                continue
            state[event.key] = event_id
