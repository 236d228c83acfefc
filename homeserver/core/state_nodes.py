"""The bytes of the state trie: how a node is laid out, and what a node's id is.

`state_trie` is the module to use; this one is beneath it and knows nothing of walks.

Three kinds of node, told apart by their first byte, all integers big-endian:

    root   R | members: count u32, id 16 bytes | rest: count u32, id 16 bytes
    inner  I | 16 children: id 16 bytes, count u32     (child n holds the hashes whose next four bits are n)
    leaf   L | the hashes, u64 each, ascending | the event numbers, i64 each, in the order of the hashes

A node's id is the 16-byte BLAKE2b hash of its bytes. Sixteen zero bytes stand for what holds nothing: an empty child,
an empty sub-trie, the empty state. They are never stored and never loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

NodeId = bytes
Entry = tuple[int, int]
"""Hash of the key, event number."""

Load = Callable[[NodeId], bytes]
"""Gives the bytes of a stored node, or raises MissingNode."""

NOTHING: NodeId = bytes(16)
LEAF_CAPACITY = 48
TOP_SHIFT = 60
"""The topmost inner node is indexed by bits 60 to 63 of the hash, each deeper one by the next four bits down."""

INNER_TAG = ord("I")
CHILD_BYTES = 20
ROOT = Struct(">cI16sI16s")
CHILD = Struct(">16sI")
INNER = Struct(">c" + "16sI" * 16)
LEAVES = tuple(Struct(f">{count}Q{count}q") for count in range(LEAF_CAPACITY + 1))


class MissingNode(LookupError):
    """A node that is needed is not at hand: load it from storage and try again."""

    def __init__(self, node_id: NodeId) -> None:
        super().__init__(f"state node {node_id.hex()} is not at hand")
        self.node_id = node_id


class Slot(NamedTuple):
    """The place of a (type, state_key) in the trie."""

    members: bool
    hash: int


class SlotHasher:
    """Finds the place of a key. Keyed, so that nobody outside can aim two keys at one place.

    Two keys of one room with the same 64-bit hash would overwrite each other. With a secret key that is chance alone:
    one in some four hundred million for a room of 300,000 entries; we accept it as impossible in practice.
    """

    def __init__(self, secret: bytes) -> None:
        self._base = blake2b(key=secret, digest_size=8)

    def slot(self, type: str, state_key: str) -> Slot:
        encoded_type = type.encode("utf-8", "surrogatepass")
        hasher = self._base.copy()
        # The length in front keeps ("a", "bc") and ("ab", "c") apart.
        hasher.update(b"%d:%b%b" % (len(encoded_type), encoded_type, state_key.encode("utf-8", "surrogatepass")))
        return Slot(type == "m.room.member", int.from_bytes(hasher.digest(), "big"))


def node_id_of(node: bytes) -> NodeId:
    return blake2b(node, digest_size=16).digest()


def sub_trie(root_node: bytes, members: bool) -> tuple[NodeId, int]:
    """Id and number of entries of one of the two sub-tries."""
    if members:
        return root_node[5:21], int.from_bytes(root_node[1:5], "big")
    return root_node[25:41], int.from_bytes(root_node[21:25], "big")


def root_bytes(members: tuple[NodeId, int], rest: tuple[NodeId, int]) -> bytes:
    return ROOT.pack(b"R", members[1], members[0], rest[1], rest[0])


def leaf_bytes(entries: Iterable[Entry]) -> bytes:
    """A leaf of at most LEAF_CAPACITY entries, which are given by ascending hash."""
    hashes, numbers = zip(*entries, strict=True)
    return b"L" + LEAVES[len(hashes)].pack(*hashes, *numbers)


def leaf_entries(leaf: bytes) -> list[Entry]:
    count = len(leaf) >> 4
    values = LEAVES[count].unpack_from(leaf, 1)
    return list(zip(values[:count], values[count:], strict=True))


def leaf_get(leaf: bytes, hash: int) -> int | None:
    wanted = hash.to_bytes(8, "big")
    numbers_at = 1 + (len(leaf) >> 4 << 3)
    at = leaf.find(wanted, 1, numbers_at)
    while at >= 0 and (at - 1) & 7:  # the same eight bytes astride two neighbours
        at = leaf.find(wanted, at + 1, numbers_at)
    if at < 0:
        return None
    number_at = at + numbers_at - 1
    return int.from_bytes(leaf[number_at : number_at + 8], "big", signed=True)


def child(inner: bytes, index: int) -> tuple[NodeId, int]:
    at = 1 + index * CHILD_BYTES
    return inner[at : at + 16], int.from_bytes(inner[at + 16 : at + 20], "big")


def children(inner: bytes) -> list[NodeId]:
    return [inner[at : at + 16] for at in range(1, 1 + 16 * CHILD_BYTES, CHILD_BYTES)]
