"""The state trie against plain dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core import state_trie
from homeserver.core.state_trie import EMPTY_ROOT, Difference, MissingNode, NodeId, Slot, SlotHasher

# Half of the hashes share their upper 56 bits, so that subtrees grow deep and shrink again.
HASHES = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 255).map(lambda low: 0xABCDEF0123456700 + low))
SLOTS = st.builds(Slot, st.booleans(), HASHES)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
STATES = st.dictionaries(SLOTS, NUMBERS, max_size=300)
CROWDED = st.builds(
    lambda low, numbers: {Slot(True, 0xABCDEF0123456700 + low + n): number for n, number in enumerate(numbers)},
    st.integers(0, 100),
    st.lists(st.integers(0, 3), min_size=0, max_size=150),
)
ANY_STATE = st.one_of(STATES, CROWDED, st.builds(lambda a, b: {**a, **b}, STATES, CROWDED))
BATCHES = st.lists(st.dictionaries(SLOTS, st.one_of(st.none(), NUMBERS), max_size=120), max_size=6)


class Store(dict[NodeId, bytes]):
    """Nodes by id, as storage would keep them."""

    def load(self, node_id: NodeId) -> bytes:
        try:
            return self[node_id]
        except KeyError:
            raise MissingNode(node_id) from None

    def build(self, state: Mapping[Slot, int]) -> NodeId:
        root, nodes = state_trie.build(state)
        self.update(nodes)
        return root

    def change(self, root: NodeId, changes: Mapping[Slot, int | None]) -> NodeId:
        root, nodes = state_trie.update(self.load, root, changes)
        self.update(nodes)
        return root

    def reachable(self, root: NodeId) -> set[NodeId]:
        """All nodes of a state, found by asking for what is missing, level by level."""
        seen = Store()
        while wanted := state_trie.missing_in_items(seen.load, root):
            seen.update({node_id: self[node_id] for node_id in wanted})
        return set(seen)


def applied(state: Mapping[Slot, int], changes: Mapping[Slot, int | None]) -> dict[Slot, int]:
    merged = {**state, **changes}
    return {slot: number for slot, number in merged.items() if number is not None}


def expected_difference(old: Mapping[Slot, int], new: Mapping[Slot, int]) -> set[Difference]:
    return {Difference(slot, old.get(slot), new.get(slot)) for slot in {*old, *new} if old.get(slot) != new.get(slot)}


@given(ANY_STATE, BATCHES)
def test_the_root_depends_on_the_contents_alone(state: dict[Slot, int], batches: list[dict[Slot, int | None]]) -> None:
    store = Store()
    root = store.build(state)
    for changes in batches:
        root = store.change(root, changes)
        state = applied(state, changes)
    fresh, nodes = state_trie.build(state)
    assert root == fresh
    assert store.reachable(root) == set(nodes)


@given(ANY_STATE, st.randoms(use_true_random=False))
def test_inserts_one_by_one_in_any_order_and_deletes_back_to_nothing(state: dict[Slot, int], random: Random) -> None:
    store = Store()
    slots = list(state)
    random.shuffle(slots)
    root = EMPTY_ROOT
    for slot in slots:
        root = store.change(root, {slot: state[slot]})
    assert root == state_trie.build(state)[0]
    random.shuffle(slots)
    left = dict(state)
    for slot in slots:
        root = store.change(root, {slot: None})
        del left[slot]
        if 40 < len(left) < 60:  # about where inner nodes become leaves
            assert root == state_trie.build(left)[0]
    assert root == EMPTY_ROOT


@given(ANY_STATE, st.dictionaries(SLOTS, st.one_of(st.none(), NUMBERS), max_size=20))
def test_an_update_stores_new_nodes_only_and_all_that_the_new_state_needs(
    state: dict[Slot, int], changes: dict[Slot, int | None]
) -> None:
    store = Store()
    old = store.build(state)
    new, nodes = state_trie.update(store.load, old, changes)
    assert not set(nodes) & {old}
    store.update(nodes)
    assert set(nodes) <= store.reachable(new)
    if applied(state, changes) == state:
        assert new == old
        assert nodes == {}


@given(ANY_STATE)
def test_get_and_items_and_counts_agree_with_the_dictionary(state: dict[Slot, int]) -> None:
    store = Store()
    root = store.build(state)
    assert dict(state_trie.items(store.load, root)) == state
    assert dict(state_trie.items(store.load, root, members=True)) == {s: n for s, n in state.items() if s.members}
    assert dict(state_trie.items(store.load, root, members=False)) == {s: n for s, n in state.items() if not s.members}
    for slot, number in state.items():
        assert state_trie.get(store.load, root, slot) == number
        other = Slot(not slot.members, slot.hash)
        assert state_trie.get(store.load, root, other) == state.get(other)
        neighbour = Slot(slot.members, slot.hash ^ 1)
        assert state_trie.get(store.load, root, neighbour) == state.get(neighbour)
    members = sum(slot.members for slot in state)
    assert state_trie.counts(store.load, root) == (members, len(state) - members)


@given(ANY_STATE, ANY_STATE, st.booleans())
def test_the_difference_is_that_of_the_dictionaries(
    first: dict[Slot, int], second: dict[Slot, int], overlapping: bool
) -> None:
    new_state = {**first, **second} if overlapping else second
    store = Store()
    old, new = store.build(first), store.build(new_state)
    expected = expected_difference(first, new_state)
    found = list(state_trie.diff(store.load, old, new))
    assert len(found) == len(expected)
    assert set(found) == expected
    for side in (True, False):
        assert set(state_trie.diff(store.load, old, new, side)) == {d for d in expected if d.slot.members is side}


@given(ANY_STATE, st.lists(st.dictionaries(SLOTS, st.one_of(st.none(), NUMBERS), max_size=30), min_size=1, max_size=3))
def test_differing_gives_the_number_in_every_state(base: dict[Slot, int], forks: list[dict[Slot, int | None]]) -> None:
    store = Store()
    states = [base, *(applied(base, fork) for fork in forks)]
    roots = [store.build(state) for state in states]
    slots = {slot for state in states for slot in state}
    expected = {slot: tuple(state.get(slot) for state in states) for slot in slots}
    expected = {slot: numbers for slot, numbers in expected.items() if len(set(numbers)) > 1}
    assert state_trie.differing(store.load, roots) == expected


@given(ANY_STATE, ANY_STATE)
def test_what_is_missing_is_told_level_by_level_and_nothing_else_is_fetched(
    first: dict[Slot, int], second: dict[Slot, int]
) -> None:
    store = Store()
    old, new = store.build(first), store.build({**first, **second})

    cache = Store()
    rounds = 0
    while wanted := state_trie.missing_in_diff(cache.load, old, new):
        rounds += 1
        assert not wanted & set(cache)
        cache.update({node_id: store[node_id] for node_id in wanted})
    assert set(state_trie.diff(cache.load, old, new)) == expected_difference(first, {**first, **second})
    assert rounds <= 18

    cache = Store()
    slots = list(second)[:5]
    while wanted := state_trie.missing_on_paths(cache.load, new, slots):
        assert not wanted & set(cache)
        cache.update({node_id: store[node_id] for node_id in wanted})
    assert [state_trie.get(cache.load, new, slot) for slot in slots] == [second[slot] for slot in slots]


@pytest.mark.parametrize("left", [0, 1, 47, 48, 49, 50, 119])
def test_a_subtree_becomes_a_leaf_again_at_48_entries(left: int) -> None:
    slots = [Slot(True, 0xABCDEF0123456700 + n) for n in range(120)]
    store = Store()
    root = store.build(dict.fromkeys(slots, 1))
    root = store.change(root, dict.fromkeys(slots[left:]))
    assert root == state_trie.build(dict.fromkeys(slots[:left], 1))[0]
    nodes = len(store.reachable(root))
    assert nodes == (2 if left else 0) if left <= 48 else nodes > 10


def test_a_hash_that_stands_astride_two_others_in_a_leaf_is_not_mistaken_for_an_entry() -> None:
    low, high = 0x1111_1111_2222_2222, 0x3333_3333_4444_4444
    astride = 0x2222_2222_3333_3333
    store = Store()
    root = store.build({Slot(False, low): 1, Slot(False, high): 2})
    assert state_trie.get(store.load, root, Slot(False, astride)) is None
    root = store.build({Slot(False, low): 1, Slot(False, high): 2, Slot(False, 0x3333_3333_1111_1111): 3})
    assert state_trie.get(store.load, root, Slot(False, high)) == 2
    assert state_trie.get(store.load, root, Slot(False, 0x1111_1111_3333_3333)) is None
    between = {Slot(False, 0x1111_1111_3333_3333): 1, Slot(False, 0x3333_3333_3333_3333): 2}
    root = store.build(between)
    assert dict(state_trie.items(store.load, root)) == between
    assert all(state_trie.get(store.load, root, slot) == number for slot, number in between.items())


def test_a_missing_node_names_itself() -> None:
    root, _ = state_trie.build({Slot(False, 7): 1})
    with pytest.raises(MissingNode) as caught:
        state_trie.get(Store().load, root, Slot(False, 7))
    assert caught.value.node_id == root


def test_one_change_in_a_large_state_makes_one_path_and_the_difference_reads_two_paths() -> None:
    hasher = SlotHasher(b"secret")
    state = {hasher.slot("m.room.member", f"@user{n}:example.org"): n for n in range(50_000)}
    store = Store()
    old = store.build(state)
    new, nodes = state_trie.update(store.load, old, {hasher.slot("m.room.member", "@user7:example.org"): -7})
    store.update(nodes)
    assert len(nodes) == 5  # root, three inner nodes, leaf
    asked: list[NodeId] = []

    def counting_load(node_id: NodeId) -> bytes:
        asked.append(node_id)
        return store.load(node_id)

    slot = hasher.slot("m.room.member", "@user7:example.org")
    assert list(state_trie.diff(counting_load, old, new)) == [Difference(slot, 7, -7)]
    assert len(asked) <= 14


def test_the_place_of_a_key_depends_on_the_secret_and_on_where_type_ends() -> None:
    hasher = SlotHasher(b"secret")
    assert hasher.slot("m.room.member", "@a:b").members
    assert not hasher.slot("m.room.members", "@a:b").members
    assert hasher.slot("m.room.name", "") == SlotHasher(b"secret").slot("m.room.name", "")
    assert hasher.slot("m.room.name", "") != SlotHasher(b"other").slot("m.room.name", "")
    assert hasher.slot("ab", "c") != hasher.slot("a", "bc")


def test_nodes_have_the_documented_bytes() -> None:
    root, nodes = state_trie.build({Slot(True, 1): -1, Slot(True, 0): 5})
    leaf = b"L" + bytes(8) + (1).to_bytes(8, "big") + (5).to_bytes(8, "big") + b"\xff" * 8
    leaf_id = next(node_id for node_id, node in nodes.items() if node == leaf)
    assert nodes[root] == b"R" + (2).to_bytes(4, "big") + leaf_id + bytes(4) + bytes(16)
