"""State resolution v2 (room versions 2 to 11) and v2.1 (from version 12).

Specification: rooms/v2 and rooms/v12, "State resolution", "Algorithm".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from homeserver.core import auth
from homeserver.core.auth.selection import needed_auth_keys_of
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.room_rules import RoomRules
from homeserver.core.state_res.full_conflict import full_conflicted_set, under
from homeserver.core.state_res.ordering import is_power_event, mainline_order, power_order
from homeserver.core.state_res.questions import CREATE, POWER_LEVELS, Asking, Key, Known


def resolve_v2(
    rules: RoomRules, conflicted: Mapping[Key, Sequence[EventId | None]]
) -> Asking[dict[Key, EventId | None]]:
    """What the resolved state has at each conflicted key, and at keys that the auth difference brings in."""
    known = Known(conflicted)
    count = len(next(iter(conflicted.values())))
    states = [{ids[index] for ids in conflicted.values()} - {None} for index in range(count)]
    full, graph = yield from full_conflicted_set(known, rules, [_present(state) for state in states])

    yield from known.ask(events={other for event_id in full for other in known.events[event_id].auth_events})
    keys = {event_id: needed_auth_keys_of(known.events[event_id]) for event_id in full}
    yield from known.ask(
        unconflicted={CREATE, *(known.events[event_id].key for event_id in full)}.union(*keys.values())
    )
    starts_empty = rules.state_resolution == "2.1"
    unconflicted = {known.unconflicted(CREATE)}
    if not starts_empty:
        unconflicted.update(known.unconflicted(key) for needed in keys.values() for key in needed)
    yield from known.ask(events=_present(unconflicted))
    create_id = known.unconflicted(CREATE)
    create = None if create_id is None else known.events[create_id]

    state = _PartialState(known, rules, create, starts_empty)
    powerful = {event_id for event_id in full if is_power_event(known.events[event_id])}
    first = under(graph, powerful) & full
    state.apply(power_order(known, rules, create, first, graph))
    top = state.event_at(POWER_LEVELS)
    if top is not None:
        yield from known.ask(events=[top])
    state.apply((yield from mainline_order(known, full - first, top)))
    return {
        **dict.fromkeys(conflicted),
        **{key: event_id for key, event_id in state.applied.items() if known.unconflicted(key) is None},
    }


def _present(event_ids: Iterable[EventId | None]) -> set[EventId]:
    return {event_id for event_id in event_ids if event_id is not None}


class _PartialState:
    """The iterative auth checks: a state that takes in each event which it allows."""

    def __init__(self, known: Known, rules: RoomRules, create: Event | None, starts_empty: bool) -> None:
        self._known = known
        self._starts_empty = starts_empty
        # Room version 12: the create event is named by the room id, not by auth_events.
        self._implied = {} if rules.create_in_auth_events or create is None else {CREATE: create}
        self.applied: dict[Key, EventId] = {}

    def event_at(self, key: Key) -> EventId | None:
        """The event at a key of the partially resolved state, which begins as the unconflicted, or empty in v2.1."""
        if key in self.applied or self._starts_empty:
            return self.applied.get(key)
        return self._known.unconflicted(key)

    def apply(self, order: Collection[EventId]) -> None:
        for event_id in order:
            event = self._known.events[event_id]
            try:
                auth.check(event, self._seen_by(event))
            except auth.Rejected:
                continue
            self.applied[event.key] = event_id

    def _seen_by(self, event: Event) -> dict[Key, Event]:
        """The event's auth events, unless they were rejected, and over them the partially resolved state."""
        events = self._known.events
        seen = dict(self._implied)
        for other in event.auth_events:
            if other not in self._known.rejected:
                seen[events[other].key] = events[other]
        for key in needed_auth_keys_of(event):
            event_id = self.event_at(key)
            if event_id is not None:
                seen[key] = events[event_id]
        return seen
