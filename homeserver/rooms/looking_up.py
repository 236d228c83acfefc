"""What is at hand of a room on a plan: events, states, nodes of states. What is not, is named by `Missing`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from homeserver.core import state_trie
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.state_trie import Load, MissingNode, NodeId, Slot
from homeserver.rooms.missing import MissingEvents, MissingNodes, MissingPositions
from homeserver.rooms.plan import RoomPlan
from homeserver.rooms.resolutions import Overlay
from homeserver.rooms.state import StateKey
from storage.rows import EventRow

T = TypeVar("T")


class LookUps:
    """Looks up events and states for whoever gives events their place."""

    def __init__(self, room: RoomPlan, *, look_up_all: bool) -> None:
        self.room = room
        self._looks_up_all = look_up_all
        self._surely_new: set[EventId] = set()
        self._by_id: dict[str, EventRow] = {}
        self._found: dict[str, EventRow] = {}  # each event is looked for more than once
        self._by_position: dict[int, EventRow] = {}
        self._fresh: dict[NodeId, bytes] = {}
        """Nodes made for the event at hand."""

    def prefetch(self, events: Iterable[Event], others: Iterable[EventId] = ()) -> None:
        """Have all that these events name in memory, at once."""
        wanted = dict.fromkeys(others)
        for event in events:
            if not self._looks_up_all and self._is_surely_new(event):
                self._surely_new.add(event.event_id)
            wanted.update(dict.fromkeys((event.event_id, *event.prev_events, *event.auth_events)))
        self.find(wanted)

    def are_new(self, event_ids: Iterable[EventId]) -> None:
        """These events need not be looked for: they cannot be here."""
        self._surely_new.update(event_ids)

    def find(self, event_ids: Iterable[EventId]) -> dict[EventId, EventRow | None]:
        """Events by their ids; None for those that we do not have."""
        found: dict[EventId, EventRow | None] = {}
        missing: list[str] = []
        inputs, absent = self.room.plan.inputs, self.room.plan.absent
        uncommitted = self.room.room.uncommitted
        for event_id in event_ids:
            row = self._found.get(event_id) or self._by_id.get(event_id) or uncommitted.get(event_id)
            row = row or inputs.events.cached_by_id(event_id)
            if row is not None:
                self._found[event_id] = row
            elif event_id not in absent and event_id not in self._surely_new:
                missing.append(event_id)
            found[event_id] = row
        if missing:
            raise MissingEvents(missing)
        return found

    def _is_surely_new(self, event: Event) -> bool:
        """Whether an event that is not in memory need not be looked for: what it follows came just now.

        Only of messages, which never come before what they follow as a part of some state; and only where the id is a
        hash over the event. What follows a gap may still have come before it: the log then refuses to have it twice.
        """
        if event.is_state or event.rules.event_id_in_pdu:
            return False
        uncommitted, cache = self.room.room.uncommitted, self.room.plan.inputs.events
        if event.event_id in uncommitted or cache.cached_by_id(event.event_id) is not None:
            return False
        for event_id in event.prev_events:
            row = uncommitted.get(event_id) or cache.cached_by_id(event_id)
            if event_id not in self._surely_new and (row is None or not cache.is_recent(row)):
                return False
        return bool(event.prev_events)

    def _events_at(self, root: NodeId, keys: Sequence[StateKey]) -> dict[StateKey, Event]:
        if root == self.room.state_root:
            self.room.want(keys)
            return {key: row.event for key in keys if (row := self.room.state(*key)) is not None}
        slots = [self.room.plan.inputs.state.slot(*key) for key in keys]
        rows = self._rows_at([position for position in self._positions_at(root, slots) if position is not None])
        return {row.event.key: row.event for row in rows.values()}

    def _positions_at(self, root: NodeId, slots: Sequence[Slot]) -> list[int | None]:
        return self._ask(
            lambda load: state_trie.missing_on_paths(load, root, slots),
            lambda load: [state_trie.get(load, root, slot) for slot in slots],
        )

    def _rows_at(self, positions: Iterable[int]) -> dict[int, EventRow]:
        found: dict[int, EventRow] = {}
        missing: list[int] = []
        events = self.room.plan.inputs.events
        waiting = {row.position: row for row in self.room.room.uncommitted.values()}
        for position in positions:
            row = self._by_position.get(position) or waiting.get(position) or events.cached(position)
            if row is None:
                missing.append(position)
            else:
                found[position] = row
        if missing:
            raise MissingPositions(missing)
        return found

    def _know(self, row: EventRow) -> None:
        self._by_id[row.event.event_id] = row
        self._by_position[row.position] = row

    # Tries.

    def _updated(self, root: NodeId, changes: Mapping[StateKey, int | None]) -> NodeId:
        state = self.room.plan.inputs.state
        slots = {state.slot(*key): position for key, position in changes.items()}
        try:
            updated, nodes = state_trie.update(self._load, root, slots)
        except MissingNode as missing:
            wanted = state_trie.missing_on_paths(self._load, root, slots)
            raise MissingNodes(self.room.room.number, wanted or {missing.node_id}) from None
        self._fresh.update(nodes)
        return updated

    def _ask(self, missing: Callable[[Load], set[NodeId]], answer: Callable[[Load], T]) -> T:
        try:
            return answer(self._load)
        except MissingNode as absent:
            wanted = missing(self._load)
            raise MissingNodes(self.room.room.number, wanted or {absent.node_id}) from None

    def _load(self, node_id: NodeId) -> bytes:
        node = self._fresh.get(node_id) or self.room.nodes.get(node_id)
        return self.room.plan.inputs.state.load(node_id) if node is None else node

    def _overlay(self) -> Overlay:
        rows = {**self.room.room.uncommitted, **self._by_id}
        return Overlay(rows, {**self.room.nodes, **self._fresh})
