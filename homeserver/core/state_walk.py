"""Walks over many entries of the state trie: all of them, the difference of states, and the nodes such walks will want.

Use them through `state_trie`. All of them go only into subtrees that matter to the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from homeserver.core.state_nodes import (
    CHILD_BYTES,
    INNER_TAG,
    NOTHING,
    TOP_SHIFT,
    Entry,
    Load,
    MissingNode,
    NodeId,
    Slot,
    children,
    leaf_entries,
    sub_trie,
)

NodePair = tuple[NodeId, NodeId]


class Difference(NamedTuple):
    """A place at which two states have different events; None where a state has none."""

    slot: Slot
    old: int | None
    new: int | None


def items(load: Load, root: NodeId, members: bool | None = None) -> Iterator[tuple[Slot, int]]:
    """All entries, or only the members (True) or only the others (False)."""
    for side in _sides(members):
        for hash, number in _entries(load, _top(load, root, side)):
            yield Slot(side, hash), number


def diff(load: Load, old: NodeId, new: NodeId, members: bool | None = None) -> Iterator[Difference]:
    """Where two states differ, in everything or in members only (True) or the rest only (False)."""
    if old == new:
        return
    for side in _sides(members):
        stack = [(_top(load, old, side), _top(load, new, side))]
        while stack:
            old_id, new_id = stack.pop()
            if old_id == new_id:
                continue
            old_node = load(old_id) if old_id != NOTHING else b""
            new_node = load(new_id) if new_id != NOTHING else b""
            if old_node and new_node and old_node[0] == INNER_TAG == new_node[0]:
                stack += _differing_children(old_node, new_node)
                continue
            # One of the two holds few entries; the other holds few as well, or what it holds is nearly all difference.
            old_entries, new_entries = dict(_entries(load, old_id)), dict(_entries(load, new_id))
            for hash, number in old_entries.items():
                other = new_entries.pop(hash, None)
                if other != number:
                    yield Difference(Slot(side, hash), number, other)
            for hash, number in new_entries.items():
                yield Difference(Slot(side, hash), None, number)


def differing(load: Load, roots: Sequence[NodeId]) -> dict[Slot, tuple[int | None, ...]]:
    """The places at which two or more states do not all agree, with the event number in each of the states.

    What state resolution calls the conflicted state set, at the cost of the differences alone.
    """
    found: dict[Slot, list[int | None]] = {}
    for index, root in enumerate(roots):
        for slot, first, other in diff(load, roots[0], root):
            # A state that does not show up in a difference has what the first one has.
            found.setdefault(slot, [first] * len(roots))[index] = other
    return {slot: tuple(numbers) for slot, numbers in found.items()}


def missing_on_paths(load: Load, root: NodeId, slots: Iterable[Slot]) -> set[NodeId]:
    """The next nodes that `get` (or `update`) of these places wants and `load` does not have."""
    missing: set[NodeId] = set()
    root_node = _try(load, root, missing)
    if root_node:
        for members, hash in slots:
            node_id, shift = sub_trie(root_node, members)[0], TOP_SHIFT
            while (node := _try(load, node_id, missing)) and node[0] == INNER_TAG:
                at = 1 + (hash >> shift & 15) * CHILD_BYTES
                node_id, shift = node[at : at + 16], shift - 4
    return missing


def missing_in_items(load: Load, root: NodeId, members: bool | None = None) -> set[NodeId]:
    """The next nodes that `items` wants and `load` does not have."""
    missing: set[NodeId] = set()
    root_node = _try(load, root, missing)
    stack = [sub_trie(root_node, side)[0] for side in _sides(members)] if root_node else []
    while stack:
        node = _try(load, stack.pop(), missing)
        if node and node[0] == INNER_TAG:
            stack += children(node)
    return missing


def missing_in_diff(load: Load, old: NodeId, new: NodeId, members: bool | None = None) -> set[NodeId]:
    """The next nodes that `diff` wants and `load` does not have."""
    missing: set[NodeId] = set()
    if old == new:
        return missing
    old_node, new_node = _try(load, old, missing), _try(load, new, missing)
    if missing:
        return missing
    stack = [
        (sub_trie(old_node, side)[0] if old_node else NOTHING, sub_trie(new_node, side)[0] if new_node else NOTHING)
        for side in _sides(members)
    ]
    while stack:
        old_id, new_id = stack.pop()
        if old_id == new_id:
            continue
        old_node, new_node = _try(load, old_id, missing), _try(load, new_id, missing)
        if old_id in missing or new_id in missing:
            continue
        # A leaf against an inner node: all below the inner node is wanted, so pair each of its children with nothing.
        old_inner, new_inner = old_node[:1] == b"I", new_node[:1] == b"I"
        if old_inner and new_inner:
            stack += _differing_children(old_node, new_node)
        elif old_inner:
            stack += [(child_id, NOTHING) for child_id in children(old_node)]
        elif new_inner:
            stack += [(NOTHING, child_id) for child_id in children(new_node)]
    return missing


def _sides(members: bool | None) -> tuple[bool, ...]:
    return (True, False) if members is None else (members,)


def _top(load: Load, root: NodeId, side: bool) -> NodeId:
    return NOTHING if root == NOTHING else sub_trie(load(root), side)[0]


def _entries(load: Load, node_id: NodeId) -> Iterator[Entry]:
    """The entries of a subtree, by ascending hash."""
    stack = [node_id]
    while stack:
        node_id = stack.pop()
        if node_id == NOTHING:
            continue
        node = load(node_id)
        if node[0] == INNER_TAG:
            stack += reversed(children(node))
        else:
            yield from leaf_entries(node)


def _differing_children(old_node: bytes, new_node: bytes) -> list[NodePair]:
    pairs: list[NodePair] = []
    for at in range(1, 1 + 16 * CHILD_BYTES, CHILD_BYTES):
        old_child, new_child = old_node[at : at + 16], new_node[at : at + 16]
        if old_child != new_child:
            pairs.append((old_child, new_child))
    return pairs


def _try(load: Load, node_id: NodeId, missing: set[NodeId]) -> bytes:
    """The node, or nothing if it is empty or missing; notes the latter."""
    if node_id == NOTHING:
        return b""
    try:
        return load(node_id)
    except MissingNode:
        missing.add(node_id)
        return b""
