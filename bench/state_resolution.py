"""What resolving two forks costs, in rooms of different size: `python -m bench.state_resolution`.

In memory, without a database: the trie, the walks over auth edges and the authorisation rules by themselves. Each
fork has 100 state events that the other has not: bans, leaves, joins, settings, a change of the power levels. The
time should depend on those, and not on how many entries the state of the room holds. Times are CPU time, the median
of several runs. Also run with auth edges whose rank is unknown, where every walk goes to the ground.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from time import process_time

from homeserver.core import state_trie
from homeserver.core.auth.selection import needed_auth_keys_of
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from homeserver.core.state_res import Answer, AuthNode, Key, Question, rank_above, resolve, run
from homeserver.core.state_trie import NodeId, Slot, SlotHasher

SIZES = (1_000, 10_000, 50_000, 200_000)
EVENTS_A_FORK = 100
POWER_CHANGES = 50
ROUNDS = 7
CITING_AT_ONCE = 100
ADMIN = UserId("@admin:example.org")
CREATE_KEY: Key = ("m.room.create", "")
POWER_KEY: Key = ("m.room.power_levels", "")
RULE_KEY: Key = ("m.room.join_rules", "")


@dataclass(slots=True)
class Room:
    """A room with a state of `size` entries, nearly all members, whose history forks in two."""

    rules: RoomRules
    size: int
    room_id: RoomId = RoomId("!0")
    events: list[Event] = field(default_factory=list)
    numbers: dict[EventId, int] = field(default_factory=dict)
    ranks: dict[EventId, int] = field(default_factory=dict)
    citing: dict[EventId, list[EventId]] = field(default_factory=dict)
    nodes: dict[NodeId, bytes] = field(default_factory=dict)
    hasher: SlotHasher = field(default_factory=lambda: SlotHasher(b"bench"))

    def load(self, node_id: NodeId) -> bytes:
        return self.nodes[node_id]

    def event_at(self, state: Mapping[Key, EventId], root: NodeId, key: Key) -> EventId | None:
        """The event of a state which is a root and what has changed since."""
        if key in state:
            return state[key]
        number = state_trie.get(self.load, root, self.hasher.slot(*key))
        return None if number is None else self.events[number].event_id

    def add(
        self, state: dict[Key, EventId], root: NodeId, sender: UserId, type: str, state_key: str, content: JsonObject
    ) -> None:
        number = len(self.events)
        event = self._event(number, sender, type, state_key, content, ())
        found = [self.event_at(state, root, key) for key in needed_auth_keys_of(event)]
        auth_events = tuple(event_id for event_id in found if event_id is not None)
        event = self._event(number, sender, type, state_key, content, auth_events)
        self.events.append(event)
        self.numbers[event.event_id] = number
        self.ranks[event.event_id] = rank_above([self.ranks[other] for other in auth_events])
        for other in auth_events:
            self.citing.setdefault(other, []).append(event.event_id)
        state[event.key] = event.event_id

    def _event(
        self, number: int, sender: UserId, type: str, state_key: str, content: JsonObject, auth: tuple[EventId, ...]
    ) -> Event:
        event_id = EventId(f"${number}")
        previous = (EventId(f"${number - 1}"),) if number else ()
        return Event(
            self.rules,
            event_id,
            self.room_id,
            type,
            state_key,
            sender,
            content,
            number,
            number,
            previous,
            auth,
            None,
            b"",
        )

    def root_of(self, state: Mapping[Key, EventId], root: NodeId) -> NodeId:
        changes: dict[Slot, int | None] = {
            self.hasher.slot(*key): self.numbers[event_id] for key, event_id in state.items()
        }
        root, nodes = state_trie.update(self.load, root, changes)
        self.nodes.update(nodes)
        return root


def member(number: int) -> UserId:
    return UserId(f"@user{number}:example.org")


def power_levels(room: Room, change: int) -> JsonObject:
    users: JsonObject = {member(0): 50}
    if not room.rules.infinite_creators:
        users[ADMIN] = 100
    return {"users": users, "state_default": 0, "events": {"org.example.change": change}}


def build_room(rules: RoomRules, size: int) -> tuple[Room, NodeId]:
    """The room before it forks. Its power levels change now and then while members join."""
    room, state, empty = Room(rules, size), dict[Key, EventId](), state_trie.EMPTY_ROOT
    room.add(state, empty, ADMIN, *CREATE_KEY, {"creator": ADMIN})
    room.add(state, empty, ADMIN, "m.room.member", ADMIN, {"membership": "join"})
    room.add(state, empty, ADMIN, *POWER_KEY, power_levels(room, 0))
    room.add(state, empty, ADMIN, *RULE_KEY, {"join_rule": "public"})
    members = size - len(state)
    for number in range(members):
        room.add(state, empty, member(number), "m.room.member", member(number), {"membership": "join"})
        if number == members // 2:
            room.add(state, empty, ADMIN, *RULE_KEY, {"join_rule": "public", "rule": 1})
        if number % (members // POWER_CHANGES) == 0:
            room.add(state, empty, ADMIN, *POWER_KEY, power_levels(room, number))
    room.add(state, empty, ADMIN, *RULE_KEY, {"join_rule": "public", "rule": 2})
    return room, room.root_of(state, empty)


def fork(room: Room, root: NodeId, index: int) -> NodeId:
    """One side of the fork: 100 events, spread over older members and new ones."""
    state: dict[Key, EventId] = {}
    step = room.size // (4 * EVENTS_A_FORK)
    moderator = member(0)
    if index == 0:
        # Somebody who joined by the join rules before, and whom the other side does not know. Half of the members cite
        # these rules as well, but none whom the forks touch: only asking upwards tells that all states stand on them.
        state[RULE_KEY] = next(event.event_id for event in room.events if event.content.get("rule") == 1)
        latecomer = UserId("@late:example.org")
        room.add(state, root, latecomer, "m.room.member", latecomer, {"membership": "join"})
        del state[RULE_KEY]
    room.add(state, root, ADMIN, *POWER_KEY, power_levels(room, 1_000_000 + index))
    room.add(state, root, moderator, "m.room.topic", "", {"topic": f"fork {index}"})
    for number in range(EVENTS_A_FORK - len(state)):
        user = member(1 + (number * 2 + index) * step)
        match number % 4:
            case 0:
                room.add(state, root, moderator, "m.room.member", user, {"membership": "ban"})
            case 1:
                room.add(state, root, user, "m.room.member", user, {"membership": "leave"})
            case 2:
                new = UserId(f"@new{index}.{number}:example.org")
                room.add(state, root, new, "m.room.member", new, {"membership": "join"})
            case _:
                room.add(state, root, user, "org.example.setting", user, {"on": True})
    return room.root_of(state, root)


class Driver:
    """Answers the questions from memory and counts them."""

    def __init__(self, room: Room, root: NodeId, with_ranks: bool) -> None:
        self._room, self._root, self._with_ranks = room, root, with_ranks
        self.questions = self.edges = self.events = self.keys = self.upward = 0

    def __call__(self, question: Question) -> Answer:
        room = self._room
        self.questions += 1
        self.edges += len(question.nodes)
        self.events += len(question.events)
        self.keys += len(question.unconflicted)
        self.upward += len(question.cited_by)
        unconflicted = {key: room.event_at({}, self._root, key) for key in question.unconflicted}
        return Answer(
            nodes={event_id: self._node(event_id) for event_id in question.nodes},
            events={event_id: room.events[room.numbers[event_id]] for event_id in question.events},
            unconflicted={key: event_id for key, event_id in unconflicted.items() if event_id is not None},
            cited_by={
                event_id: room.citing.get(event_id, [])[told : told + CITING_AT_ONCE]
                for event_id, told in question.cited_by.items()
            },
        )

    def _node(self, event_id: EventId) -> AuthNode:
        auth_events = self._room.events[self._room.numbers[event_id]].auth_events
        return AuthNode(auth_events, self._room.ranks[event_id] if self._with_ranks else None)


def measure(room: Room, roots: list[NodeId], with_ranks: bool) -> Iterator[str]:
    """One row of the table."""
    conflicted: dict[Key, tuple[EventId | None, ...]] = {}
    changes: dict[Key, EventId | None] = {}
    driver = Driver(room, roots[0], with_ranks)

    def find() -> None:
        found = state_trie.differing(room.load, roots)
        conflicted.clear()
        for numbers in found.values():
            ids = tuple(None if number is None else room.events[number].event_id for number in numbers)
            key = next(room.events[number].key for number in numbers if number is not None)
            conflicted[key] = ids

    def settle() -> None:
        nonlocal changes, driver
        driver = Driver(room, roots[0], with_ranks)
        changes = run(resolve(room.rules, conflicted), driver)

    def apply() -> None:
        places: dict[Slot, int | None] = {
            room.hasher.slot(*key): None if event_id is None else room.numbers[event_id]
            for key, event_id in changes.items()
        }
        state_trie.update(room.load, roots[0], places)

    times = [cpu_ms(part) for part in (find, settle, apply)]
    yield f"{room.size:,}"
    yield room.rules.state_resolution
    yield "yes" if with_ranks else "no"
    yield str(len(conflicted))
    yield from (f"{time:.2f}" for time in (*times, sum(times)))
    yield from (str(n) for n in (driver.questions, driver.edges, driver.events, driver.keys, driver.upward))


def cpu_ms(part: Callable[[], None]) -> float:
    times: list[float] = []
    for _ in range(ROUNDS):
        begin = process_time()
        part()
        times.append((process_time() - begin) * 1_000)
    return median(times)


HEADINGS = (
    ("entries", "algorithm", "ranks", "conflicts", "find ms", "resolve ms", "apply ms", "all ms")
    + ("questions", "edges", "events", "keys", "upward")
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description="CPU time to resolve two forks of 100 events each, by size of the room."
    )
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="entries of the room's state")
    rows: list[tuple[str, ...]] = [HEADINGS]
    for size in parser.parse_args().sizes:
        for version in ("11", "12"):
            room, root = build_room(ROOM_RULES[version], size)
            roots = [fork(room, root, index) for index in range(2)]
            # The room's events in memory are not what is measured; keep the garbage collector away from them.
            gc.collect()
            gc.freeze()
            rows += [tuple(measure(room, roots, with_ranks)) for with_ranks in (True, False)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
