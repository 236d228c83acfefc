"""The heads of the rooms in use: each is loaded once, in one visit to the database, and no room ever has two.

Specification of what a head holds: homeserver.rooms.room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from homeserver.core.auth.state import CREATE, JOIN_RULES, POWER_LEVELS
from homeserver.core.ids import RoomId, ServerName
from homeserver.core.policy import POLICY, policy_server_of
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.state_trie import EMPTY_ROOT, NodeId
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.room import MOST_WAITING_REDACTIONS, Partial, Room
from homeserver.rooms.state import StateKey, StateStore
from homeserver.runtime.writer import Writer
from homeserver.web.errors import NotFound
from storage import events as event_table
from storage import memberships as membership_table
from storage import redactions as redaction_table
from storage import room_log
from storage import rooms as room_table
from storage.database import Cursor, Database
from storage.rooms import StoredRoom
from storage.rows import EventRow

MOST_ROOMS = 5_000
ALWAYS_KNOWN: Sequence[StateKey] = (CREATE, POWER_LEVELS, JOIN_RULES, POLICY)
ROOM_NUMBERS_AT_ONCE = 32


@dataclass(slots=True)
class _Loaded:
    stored: StoredRoom
    local_joined: list[str]
    known: list[int | None]
    """Positions of the events at ALWAYS_KNOWN."""
    events: list[EventRow]
    nodes: dict[NodeId, bytes]
    state_changed: int
    waiting_redactions: dict[str, tuple[str, ...]]


class Heads:
    """All heads in memory, the least recently used first."""

    def __init__(
        self,
        database: Database,
        state: StateStore,
        events: EventCache,
        writer: Writer,
        server_name: ServerName,
        most_rooms: int = MOST_ROOMS,
    ) -> None:
        self._database = database
        self._state = state
        self._events = events
        self._writer = writer
        self._server_name = server_name
        self._most_rooms = most_rooms
        self._rooms: dict[str, Room] = {}
        self._by_number: dict[int, Room] = {}
        self._loading: dict[str | int, list[Deferred[None]]] = {}
        self._numbers: list[int] = []

    async def get(self, room_id: str) -> Room:
        """The head of a room; NotFound if we have no events of it."""
        room = await self.if_known(room_id)
        if room is None:
            raise NotFound(f"This server does not know the room {room_id}.")
        return room

    async def if_known(self, room_id: str) -> Room | None:
        """The head of a room; None if we have no events of it."""
        room = self.cached(room_id)
        return room or await self._load(room_id)

    async def by_number(self, number: int) -> Room | None:
        """The head of a room by its number; None if we have no events of it."""
        return self._by_number.get(number) or await self._load(number)

    async def root_at(self, room: Room, position: int) -> NodeId:
        """Root of a room's current state as it was after this position of the log."""
        recent = room.recent_roots
        if position >= recent[-1][0]:
            return recent[-1][1]
        if position >= recent[0][0]:
            return next(root for changed, root in reversed(recent) if changed <= position)
        root = await self._database.read(room_table.root_at, room.number, position)
        return EMPTY_ROOT if root is None else root

    def __len__(self) -> int:
        return len(self._rooms)

    def cached(self, room_id: str) -> Room | None:
        """The head if it is in memory."""
        room = self._rooms.pop(room_id, None)
        if room is not None:
            self._rooms[room_id] = room
        return room

    def cached_by_number(self, number: int) -> Room | None:
        """The head if it is in memory."""
        return self._by_number.get(number)

    def put(self, room: Room) -> None:
        """Take the head of a new room."""
        self._rooms[room.room_id] = room
        self._by_number[room.number] = room
        if len(self._rooms) > self._most_rooms:
            self._make_space()

    def drop(self, number: int, failed_position: int) -> None:
        """An event at this position was not written: the head that was built upon it must be loaded anew."""
        room = self._by_number.get(number)
        if room is not None and failed_position >= room.loaded_at:
            del self._by_number[number]
            self._rooms.pop(room.room_id, None)

    async def new_number(self) -> int:
        """A number for a new room."""
        while not self._numbers:
            self._numbers += await self._database.write(room_log.reserve_rooms, ROOM_NUMBERS_AT_ONCE)
        return self._numbers.pop()

    def _make_space(self) -> None:
        for room in list(self._rooms.values()):
            if len(self._rooms) <= self._most_rooms:
                return
            # A head with events that wait for their commit knows what the database does not.
            if not room.queued:
                del self._rooms[room.room_id]
                del self._by_number[room.number]

    async def _load(self, key: str | int) -> Room | None:
        waiting = self._loading.get(key)
        if waiting is not None:
            turn: Deferred[None] = Deferred()
            waiting.append(turn)
            await turn
            return self._found(key)
        waiting = self._loading[key] = []
        try:
            loaded = await self._database.read(_read_head, key, self._state, self._server_name)
        except BaseException:
            failure = Failure()  # type: ignore[no-untyped-call]  # Twisted leaves it untyped
            del self._loading[key]
            for turn in waiting:
                turn.errback(failure)
            raise
        del self._loading[key]
        room = None if loaded is None else self._admit(loaded)
        for turn in waiting:
            turn.callback(None)
        return room

    def _found(self, key: str | int) -> Room | None:
        return self._by_number.get(key) if isinstance(key, int) else self._rooms.get(key)

    def _admit(self, loaded: _Loaded) -> Room:
        # By id and by number two loads of one room may run at once: the first one stays.
        present = self._by_number.get(loaded.stored.room)
        if present is not None:
            return present
        self._state.remember(loaded.nodes)
        rows = {row.position: row for row in self._events.remember_all(loaded.events)}
        stored = loaded.stored
        room = Room(stored.room, RoomId(stored.room_id), ROOM_RULES[stored.version])
        room.loaded_at = self._writer.next_position
        room.extremities = tuple(rows[position] for position in sorted(stored.head.extremities, reverse=True))
        room.depth = stored.head.depth
        room.position = stored.head.position
        room.state_root = stored.head.state_root
        room.recent_roots = [(loaded.state_changed, stored.head.state_root)]
        room.summary = stored.summary
        room.local_joined = set(loaded.local_joined)
        room.waiting_redactions = loaded.waiting_redactions
        if stored.partial_join is not None:
            room.partial = Partial(rows[stored.partial_join])
        for key, position in zip(ALWAYS_KNOWN, loaded.known, strict=True):
            room.known[key] = None if position is None else rows[position]
        policy = room.known[POLICY]
        room.policy = None if policy is None else policy_server_of(policy.event)
        self.put(room)
        return room


def _read_head(tx: Cursor, key: str | int, state: StateStore, server_name: ServerName) -> _Loaded | None:
    stored = room_table.stored_by_number(tx, key) if isinstance(key, int) else room_table.stored(tx, key)
    if stored is None:
        return None
    reader = state.loader_for(tx, stored.room)
    known = reader.positions(stored.head.state_root, [state.slot_in_thread(*each) for each in ALWAYS_KNOWN])
    named = (*stored.head.extremities, *known, stored.partial_join)
    wanted = {position for position in named if position is not None}
    return _Loaded(
        stored,
        membership_table.joined_of_server(tx, stored.room, server_name),
        known,
        event_table.by_positions(tx, list(wanted)),
        reader.found,
        room_table.last_state_change(tx, stored.room),
        redaction_table.waiting(tx, stored.room, MOST_WAITING_REDACTIONS),
    )
