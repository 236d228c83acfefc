"""A room's state as a persistent, content-addressed hash trie: (type, state_key) → event number.

Every state a room ever had is named by the id of a root node, and states share the nodes in which they agree:
- two states are equal if and only if their roots are equal, because the form depends on the contents alone: a subtree
  is a leaf if and only if it holds at most 48 entries;
- changing one entry makes one path of new nodes (`update`);
- the difference of two states costs as much as they differ (`diff`), one entry is four or five look-ups (`get`).

Members and the rest are two sub-tries under the root, so that what never asks for members never reads their nodes.
An event number is a signed 64-bit integer, the position of the event in the database.

Nothing here reads storage. Each function is given `load`, which has the bytes of a node at hand or raises MissingNode;
who catches that fetches the node and calls again. `missing_on_paths`, `missing_in_items` and `missing_in_diff` say for
a whole level at once what a walk will want, so that storage answers with one query a level (call until the set is
empty):

    while wanted := missing_in_diff(load, old, new):
        cache.update(read_nodes(tx, room, wanted))

Layout of the nodes: `state_nodes`. Walks over many entries: `state_walk`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from homeserver.core.state_nodes import (
    CHILD,
    CHILD_BYTES,
    INNER,
    INNER_TAG,
    LEAF_CAPACITY,
    NOTHING,
    TOP_SHIFT,
    Entry,
    Load,
    MissingNode,
    NodeId,
    Slot,
    SlotHasher,
    child,
    children,
    leaf_bytes,
    leaf_entries,
    leaf_get,
    node_id_of,
    root_bytes,
    sub_trie,
)
from homeserver.core.state_walk import (
    Difference,
    diff,
    differing,
    items,
    missing_in_diff,
    missing_in_items,
    missing_on_paths,
)

__all__ = [
    "EMPTY_ROOT",
    "Difference",
    "Load",
    "MissingNode",
    "NodeId",
    "Slot",
    "SlotHasher",
    "build",
    "counts",
    "diff",
    "differing",
    "get",
    "items",
    "missing_in_diff",
    "missing_in_items",
    "missing_on_paths",
    "update",
]

EMPTY_ROOT: NodeId = NOTHING
"""The root of the empty state: never stored, never loaded."""

Change = tuple[int, int | None]
"""Hash of the key, new event number or None to delete."""

Subtree = list[Entry] | bytes
"""A changed subtree whose own node is not yet stored: the entries of what will be a leaf, or an inner node."""


def get(load: Load, root: NodeId, slot: Slot) -> int | None:
    """The event number at a place of the state, None if there is none."""
    if root == NOTHING:
        return None
    members, hash = slot
    node = load(root)
    node_id = node[5:21] if members else node[25:41]
    shift = TOP_SHIFT
    while node_id != NOTHING:
        node = load(node_id)
        if node[0] != INNER_TAG:
            return leaf_get(node, hash)
        at = 1 + (hash >> shift & 15) * CHILD_BYTES
        node_id = node[at : at + 16]
        shift -= 4
    return None


def counts(load: Load, root: NodeId) -> tuple[int, int]:
    """How many member entries and how many others the state holds."""
    if root == NOTHING:
        return 0, 0
    node = load(root)
    return sub_trie(node, True)[1], sub_trie(node, False)[1]


def update(load: Load, root: NodeId, changes: Mapping[Slot, int | None]) -> tuple[NodeId, dict[NodeId, bytes]]:
    """The root of the state after the changes (None deletes), and its new nodes: those that were not there in `root`.

    May need siblings of the changed paths where deletions make a subtree small enough for a leaf.
    """
    sides: tuple[list[Change], list[Change]] = ([], [])
    for (members, hash), number in changes.items():
        sides[members].append((hash, number))
    old_node = load(root) if root != NOTHING else b""
    new_nodes: dict[NodeId, bytes] = {}
    parts: list[tuple[NodeId, int]] = []
    for members, side in zip((False, True), sides, strict=True):
        old = sub_trie(old_node, members) if old_node else (NOTHING, 0)
        parts.append(_updated(load, old, sorted(side, key=_hash_of), TOP_SHIFT, new_nodes) if side else old)
    rest, member_part = parts
    if not rest[1] and not member_part[1]:
        return EMPTY_ROOT, {}
    return _store(root_bytes(member_part, rest), root, new_nodes), new_nodes


def build(entries: Mapping[Slot, int] | Iterable[tuple[Slot, int]]) -> tuple[NodeId, dict[NodeId, bytes]]:
    """The root of a state with these entries, and all of its nodes."""
    return update(_load_nothing, EMPTY_ROOT, dict(entries))


def _load_nothing(node_id: NodeId) -> bytes:
    raise MissingNode(node_id)


def _hash_of(change: Change) -> int:
    return change[0]


def _updated(
    load: Load, old: tuple[NodeId, int], changes: list[Change], shift: int, new_nodes: dict[NodeId, bytes]
) -> tuple[NodeId, int]:
    count, subtree = _changed(load, old, changes, shift, new_nodes)
    return _stored(subtree, old[0], new_nodes), count


def _changed(
    load: Load, old: tuple[NodeId, int], changes: list[Change], shift: int, new_nodes: dict[NodeId, bytes]
) -> tuple[int, Subtree]:
    """Number of entries and contents of a subtree after the changes.

    Stores what is below, not the subtree's own node: that is for the caller, who knows whether it stays a node at all.
    """
    old_id, count = old
    node = load(old_id) if count else b""
    if not node or node[0] != INNER_TAG:
        return _changed_leaf(node, changes, shift, new_nodes)
    subtrees: dict[int, Subtree] = {}
    child_counts: dict[int, int] = {}
    for index, part in _by_child(changes, shift):
        old_child = child(node, index)
        child_counts[index], subtrees[index] = _changed(load, old_child, part, shift - 4, new_nodes)
        count += child_counts[index] - old_child[1]
    if count <= LEAF_CAPACITY:
        return count, _gathered(load, node, subtrees)
    changed_node = bytearray(node)
    for index, subtree in subtrees.items():
        at = 1 + index * CHILD_BYTES
        child_id = _stored(subtree, node[at : at + 16], new_nodes)
        CHILD.pack_into(changed_node, at, child_id, child_counts[index])
    return count, bytes(changed_node)


def _changed_leaf(
    node: bytes, changes: list[Change], shift: int, new_nodes: dict[NodeId, bytes]
) -> tuple[int, Subtree]:
    numbers = dict(leaf_entries(node)) if node else {}
    for hash, number in changes:
        if number is None:
            numbers.pop(hash, None)
        else:
            numbers[hash] = number
    entries = sorted(numbers.items())
    return len(entries), _grown(entries, shift, new_nodes)


def _grown(entries: list[Entry], shift: int, new_nodes: dict[NodeId, bytes]) -> Subtree:
    """A subtree made from its sorted entries alone."""
    if len(entries) <= LEAF_CAPACITY:
        return entries
    parts: list[list[Entry]] = [[] for _ in range(16)]
    for entry in entries:
        parts[entry[0] >> shift & 15].append(entry)
    fields = chain.from_iterable(
        (_stored(_grown(part, shift - 4, new_nodes), NOTHING, new_nodes), len(part)) for part in parts
    )
    return INNER.pack(b"I", *fields)


def _gathered(load: Load, node: bytes, subtrees: Mapping[int, Subtree]) -> list[Entry]:
    """The entries of an inner node that has become small enough for a leaf; so all its children are leaves or empty."""
    entries: list[Entry] = []
    for index, child_id in enumerate(children(node)):
        if index in subtrees:
            subtree = subtrees[index]
            entries += subtree if isinstance(subtree, list) else leaf_entries(subtree)
        elif child_id != NOTHING:
            entries += leaf_entries(load(child_id))
    return entries


def _by_child(changes: list[Change], shift: int) -> list[tuple[int, list[Change]]]:
    if len(changes) == 1:
        return [(changes[0][0] >> shift & 15, changes)]
    parts: dict[int, list[Change]] = {}
    for change in changes:
        parts.setdefault(change[0] >> shift & 15, []).append(change)
    return list(parts.items())


def _stored(subtree: Subtree, old_id: NodeId, new_nodes: dict[NodeId, bytes]) -> NodeId:
    if not subtree:
        return NOTHING
    return _store(leaf_bytes(subtree) if isinstance(subtree, list) else subtree, old_id, new_nodes)


def _store(node: bytes, old_id: NodeId, new_nodes: dict[NodeId, bytes]) -> NodeId:
    node_id = node_id_of(node)
    if node_id != old_id:
        new_nodes[node_id] = node
    return node_id
