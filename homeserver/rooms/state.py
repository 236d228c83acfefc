"""States of rooms, named by the roots of their tries, with the nodes that are in use kept in memory.

Nodes never change, so what is cached is true for ever. Nodes of events that are not committed yet are held until they
are. Whatever needs nodes that are not here reads them in one visit to the database, a statement a level of the trie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from homeserver.core import state_trie
from homeserver.core.state_trie import Difference, Load, MissingNode, NodeId, Slot, SlotHasher
from homeserver.runtime.lru import Lru
from storage import state_nodes as node_table
from storage.database import Cursor, Database

T = TypeVar("T")
StateKey = tuple[str, str]
"""Type and state key."""

CACHE_BYTES = 128 * 1024 * 1024
NODE_OVERHEAD_BYTES = 200
MOST_SLOTS = 50_000
LARGE_STATE = 500
"""Events from which on a state is made in a thread: some milliseconds."""


class LostNode(Exception):
    """A node that the database must hold is not there: the room's state is damaged."""


def _weigh(node_id: NodeId, node: bytes) -> int:
    return len(node) + NODE_OVERHEAD_BYTES


class StateStore:
    """All states that this server knows. `room` is always the number of the room."""

    def __init__(self, database: Database, hasher: SlotHasher, cache_bytes: int = CACHE_BYTES) -> None:
        self._database = database
        self._hasher = hasher
        self._nodes: Lru[NodeId, bytes] = Lru(cache_bytes, _weigh)
        self._uncommitted: dict[NodeId, bytes] = {}
        self._slots: Lru[StateKey, Slot] = Lru(MOST_SLOTS)

    async def get(self, room: int, root: NodeId, type: str, state_key: str) -> int | None:
        """The position of one state event, None if the state has none."""
        slot = self.slot(type, state_key)
        return await self._ask(
            room,
            lambda load: state_trie.missing_on_paths(load, root, (slot,)),
            lambda load: state_trie.get(load, root, slot),
        )

    async def get_many(self, room: int, root: NodeId, keys: Iterable[StateKey]) -> dict[StateKey, int]:
        """The positions of those of these state events that the state has."""
        slots = {key: self.slot(*key) for key in keys}

        def answer(load: Load) -> dict[StateKey, int]:
            found = ((key, state_trie.get(load, root, slot)) for key, slot in slots.items())
            return {key: position for key, position in found if position is not None}

        return await self._ask(room, lambda load: state_trie.missing_on_paths(load, root, slots.values()), answer)

    async def warm(self, room: int, root: NodeId, keys: Iterable[StateKey]) -> None:
        """Have the paths to these keys in memory, so that `peek` and `update` work."""
        await self.get_many(room, root, keys)

    async def items(self, room: int, root: NodeId, members: bool | None = None) -> list[tuple[Slot, int]]:
        """All of a state, or only its members (True) or only the rest (False): positions of the events."""
        return await self._ask(
            room,
            lambda load: state_trie.missing_in_items(load, root, members),
            lambda load: list(state_trie.items(load, root, members)),
        )

    async def counts(self, room: int, root: NodeId) -> tuple[int, int]:
        """How many member entries and how many others a state has."""
        return await self._ask(
            room,
            lambda load: state_trie.missing_on_paths(load, root, ()),
            lambda load: state_trie.counts(load, root),
        )

    async def diff(self, room: int, old: NodeId, new: NodeId, members: bool | None = None) -> list[Difference]:
        """Where two states differ."""
        return await self._ask(
            room,
            lambda load: state_trie.missing_in_diff(load, old, new, members),
            lambda load: list(state_trie.diff(load, old, new, members)),
        )

    async def ask(self, room: int, missing: Callable[[Load], set[NodeId]], answer: Callable[[Load], T]) -> T:
        """Any question about states: `missing` names the next nodes that `answer` will want."""
        return await self._ask(room, missing, answer)

    async def built(self, positions: Mapping[StateKey, int]) -> tuple[NodeId, dict[NodeId, bytes]]:
        """The root of a state with these events, and all of its nodes; a large one is made in a thread."""
        if len(positions) < LARGE_STATE:
            return self._built(positions)
        return await self._database.in_thread(self._built, positions)

    def _built(self, positions: Mapping[StateKey, int]) -> tuple[NodeId, dict[NodeId, bytes]]:
        return state_trie.build({self.slot_in_thread(*key): position for key, position in positions.items()})

    # What follows works on what is in memory, for those who must not wait.

    def slot(self, type: str, state_key: str) -> Slot:
        """The place of a key in every state."""
        slot = self._slots.get((type, state_key))
        if slot is None:
            slot = self._hasher.slot(type, state_key)
            self._slots.put((type, state_key), slot)
        return slot

    def load(self, node_id: NodeId) -> bytes:
        """A node that is in memory; MissingNode if it is not."""
        node = self._nodes.get(node_id)
        if node is None:
            node = self._uncommitted.get(node_id)
            if node is None:
                raise MissingNode(node_id)
        return node

    def peek(self, root: NodeId, type: str, state_key: str) -> int | None:
        """The position of one state event; MissingNode if the way to it is not in memory."""
        return state_trie.get(self.load, root, self.slot(type, state_key))

    def update(self, root: NodeId, changes: Mapping[StateKey, int]) -> tuple[NodeId, dict[NodeId, bytes]]:
        """The state after some events, and its new nodes, not kept yet; MissingNode if a way is not in memory."""
        return state_trie.update(self.load, root, {self.slot(*key): number for key, number in changes.items()})

    def hold(self, nodes: Mapping[NodeId, bytes]) -> None:
        """Keep nodes that are about to be committed."""
        self._uncommitted.update(nodes)

    def committed(self, nodes: Mapping[NodeId, bytes]) -> None:
        """These nodes are in the database now."""
        for node_id, node in nodes.items():
            self._nodes.put(node_id, node)
            self._uncommitted.pop(node_id, None)

    def abandon(self, nodes: Mapping[NodeId, bytes]) -> None:
        """These nodes will not be committed."""
        for node_id in nodes:
            self._uncommitted.pop(node_id, None)

    def remember(self, nodes: Mapping[NodeId, bytes]) -> None:
        """Cache nodes that were read from the database."""
        for node_id, node in nodes.items():
            self._nodes.put(node_id, node)

    def slot_in_thread(self, type: str, state_key: str) -> Slot:
        """The place of a key, for functions that run in a database thread."""
        return self._hasher.slot(type, state_key)

    def loader_for(self, tx: Cursor, room: int, beside: Mapping[NodeId, bytes] | None = None) -> NodeReader:
        """A way to the nodes for a function that runs in a database thread: memory first, then `tx`.

        `beside`: nodes that nobody keeps yet.
        """
        return NodeReader(tx, room, self._nodes, self._uncommitted, beside or {})

    async def _ask(self, room: int, missing: Callable[[Load], set[NodeId]], answer: Callable[[Load], T]) -> T:
        try:
            return answer(self.load)
        except MissingNode:
            found, result = await self._database.read(self._answer_in_thread, room, missing, answer)
        self.remember(found)
        return result

    def _answer_in_thread(
        self, tx: Cursor, room: int, missing: Callable[[Load], set[NodeId]], answer: Callable[[Load], T]
    ) -> tuple[dict[NodeId, bytes], T]:
        reader = self.loader_for(tx, room)
        reader.fetch(missing)
        return reader.found, answer(reader.load)


class NodeReader:
    """Nodes for one visit to the database.

    Looks into the store's memory without changing it: it runs in another thread.
    """

    def __init__(
        self,
        tx: Cursor,
        room: int,
        cached: Lru[NodeId, bytes],
        uncommitted: Mapping[NodeId, bytes],
        beside: Mapping[NodeId, bytes],
    ) -> None:
        self._tx = tx
        self._room = room
        self._cached = cached
        self._uncommitted = uncommitted
        self.found: dict[NodeId, bytes] = {}
        """What was read from the database."""
        self._seen: dict[NodeId, bytes] = dict(beside)

    def load(self, node_id: NodeId) -> bytes:
        """A node that is at hand."""
        # Once seen, a node stays with this reader: the store may drop it from its memory at any time.
        node = self._seen.get(node_id)
        if node is None:
            node = self._cached.peek(node_id) or self._uncommitted.get(node_id)
            if node is None:
                raise MissingNode(node_id)
            self._seen[node_id] = node
        return node

    def fetch(self, missing: Callable[[Load], set[NodeId]]) -> None:
        """Read until nothing is missing."""
        while wanted := missing(self.load):
            self._read(wanted)

    def fetch_one(self, node_id: NodeId) -> None:
        """Read one node."""
        self._read({node_id})

    def _read(self, wanted: set[NodeId]) -> None:
        nodes = node_table.read(self._tx, self._room, wanted)
        if len(nodes) < len(wanted):
            lost = next(iter(wanted - nodes.keys()))
            raise LostNode(f"state node {lost.hex()} of room {self._room} is not in the database")
        self.found.update(nodes)
        self._seen.update(nodes)

    def positions(self, root: NodeId, slots: Iterable[Slot]) -> list[int | None]:
        """The positions at these places of a state, None where it has nothing."""
        wanted = list(slots)
        self.fetch(lambda load: state_trie.missing_on_paths(load, root, wanted))
        return [state_trie.get(self.load, root, slot) for slot in wanted]
