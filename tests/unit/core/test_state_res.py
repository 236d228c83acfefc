"""State resolution on rooms made up at random, against the plain model and against itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.core import auth
from homeserver.core.auth.selection import needed_auth_keys_of
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.room_rules import ROOM_RULES, RoomRules
from homeserver.core.state_res import AuthNode, MissingEvents, Question, auth_difference, rank_above, resolve, run
from homeserver.core.state_res.auth_chains import Meeting
from homeserver.core.state_res.questions import Answer, Key
from tests.unit.core.resolution_room import Model, Room, split

USERS = [UserId(f"@{name}:example.org") for name in ("alice", "bob", "carol", "dave")]
KINDS = ("join", "leave", "kick", "ban", "unban", "invite", "power", "rule", "topic", "name", "own")
Step = tuple[int, int, int, int, int]
"""Fork, actor, kind, target, a number for time and contents."""

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 3), st.integers(0, len(KINDS) - 1), st.integers(0, 3), st.integers(0, 9)
    ),
    max_size=25,
)
HISTORIES = st.lists(STEPS, min_size=1, max_size=4)
VERSIONS = st.sampled_from(["2", "6", "9", "11", "12"])


class Story:
    """A room that forks in three and is resolved, again and again. Each event is allowed in its own fork."""

    def __init__(self, version: str) -> None:
        self.rules: RoomRules = ROOM_RULES[version]
        self.events: dict[EventId, Event] = {}
        self.room_id = RoomId("!0:example.org" if self.rules.create_in_auth_events else "!0")
        self.state: dict[Key, EventId] = {}
        alice = USERS[0]
        create: JsonObject = {"room_version": version, "creator": alice}
        self.add(self.state, alice, "m.room.create", "", create, 0)
        self.add(self.state, alice, "m.room.member", alice, {"membership": "join"}, 1)
        self.add(self.state, alice, "m.room.join_rules", "", {"join_rule": "public"}, 2)
        self.add(self.state, USERS[1], "m.room.member", USERS[1], {"membership": "join"}, 3)
        self.power(self.state, alice, {USERS[1]: 50}, 4)

    def add(
        self, state: dict[Key, EventId], sender: UserId, type: str, state_key: str, content: JsonObject, time: int
    ) -> bool:
        """Add an event to a fork, if the fork's state allows it."""
        draft = self._event(sender, type, state_key, content, time, ())
        keys = [key for key in needed_auth_keys_of(draft) if key in state]
        event = self._event(sender, type, state_key, content, time, tuple(state[key] for key in keys))
        seen = {key: self.events[event_id] for key, event_id in state.items()}
        try:
            auth.check(event, seen)
        except auth.Rejected:
            return False
        self.events[event.event_id] = event
        state[event.key] = event.event_id
        return True

    def _event(
        self,
        sender: UserId,
        type: str,
        state_key: str,
        content: JsonObject,
        time: int,
        auth_events: tuple[EventId, ...],
    ) -> Event:
        number = len(self.events)
        event_id = EventId(f"${number}" + (":example.org" if self.rules.event_id_in_pdu else ""))
        previous = (EventId(f"${number - 1}"),) if number else ()
        body = json.dumps({"content": content}).encode()
        return Event(
            self.rules, event_id, self.room_id, type, state_key, sender, content, number, time, previous, auth_events,
            None, body,
        )  # fmt: skip

    def power(self, state: dict[Key, EventId], sender: UserId, users: Mapping[UserId, int], time: int) -> None:
        levels: JsonObject = {} if self.rules.infinite_creators else {USERS[0]: 100}
        levels.update({str(user): level for user, level in users.items()})
        self.add(state, sender, "m.room.power_levels", "", {"users": levels, "state_default": 0}, time)

    def step(self, state: dict[Key, EventId], step: Step) -> None:
        _, actor, kind, target, number = step
        sender, other = USERS[actor], USERS[target]
        match KINDS[kind]:
            case "join" | "leave" as membership:
                self.add(state, sender, "m.room.member", sender, {"membership": membership}, number)
            case "kick" | "unban":
                self.add(state, sender, "m.room.member", other, {"membership": "leave"}, number)
            case "ban" | "invite" as membership:
                self.add(state, sender, "m.room.member", other, {"membership": membership}, number)
            case "power":
                users = {USERS[1]: 50, other: (0, 25, 50, 100)[number % 4]}
                self.power(state, sender, {user: n for user, n in users.items() if user != USERS[0]}, number)
            case "rule":
                rule = "public" if number % 2 else "invite"
                self.add(state, sender, "m.room.join_rules", "", {"join_rule": rule}, number)
            case "own":
                self.add(state, sender, "org.example.own", sender, {"n": number}, number)
            case name:
                self.add(state, sender, f"m.room.{name}", "", {name: str(number)}, number)

    def forks(self, steps: Sequence[Step]) -> list[dict[Key, EventId]]:
        forks = [dict(self.state) for _ in range(3)]
        for step in steps:
            self.step(forks[step[0]], step)
        return forks


@settings(max_examples=200, deadline=None)
@given(VERSIONS, HISTORIES, st.booleans())
def test_resolution_from_the_conflicts_alone_agrees_with_the_model_that_walks_full_states(
    version: str, history: list[list[Step]], with_ranks: bool
) -> None:
    story = Story(version)
    for steps in history:
        forks = story.forks(steps)
        expected = Model(Room(story.events.values())).resolve(forks)
        assert Room(story.events.values(), with_ranks=with_ranks).resolve(forks) == expected
        story.state = expected


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["1", "2", "11", "12"]), HISTORIES)
def test_the_result_does_not_depend_on_the_order_of_the_states(version: str, history: list[list[Step]]) -> None:
    story = Story(version)
    for steps in history:
        forks = story.forks(steps)
        results = [Room(story.events.values()).resolve(order) for order in permutations(forks)]
        assert all(result == results[0] for result in results)
        story.state = results[0]


@given(st.sampled_from(["1", "2", "12"]), STEPS)
def test_states_that_agree_are_left_as_they_are_and_nothing_is_asked(version: str, steps: list[Step]) -> None:
    story = Story(version)
    state = story.forks(steps)[0]
    room = Room(story.events.values())
    assert room.resolve([state, dict(state)]) == state
    assert room.asked["rounds"] == 0


@settings(deadline=None)
@given(VERSIONS, HISTORIES)
def test_what_all_states_have_stays(version: str, history: list[list[Step]]) -> None:
    story = Story(version)
    for steps in history:
        forks = story.forks(steps)
        resolved = Room(story.events.values()).resolve(forks)
        _, in_all = split(forks)
        assert resolved.items() >= in_all.items()
        story.state = resolved


GRAPHS = st.lists(st.lists(st.integers(1, 12), max_size=4), min_size=1, max_size=60)
HEADS = st.sets(st.integers(0, 1_000), max_size=4)


@settings(deadline=None)
@given(GRAPHS, st.lists(HEADS, min_size=2, max_size=3), HEADS, st.booleans(), st.sampled_from([1, -1]))
def test_the_auth_difference_is_that_of_the_full_chains(
    graph: list[list[int]], heads: list[set[int]], in_all: set[int], with_ranks: bool, order: int
) -> None:
    nodes: dict[EventId, AuthNode] = {}
    chains: list[set[EventId]] = []
    ranks: list[int] = []
    ids = [EventId(f"${number * 7919 % 1_000}") for number in range(len(graph))]
    for number, steps_back in enumerate(graph):
        cited = sorted({number - back for back in steps_back if back <= number})
        ranks.append(rank_above([ranks[other] for other in cited]))
        nodes[ids[number]] = AuthNode(tuple(ids[other] for other in cited), ranks[-1] if with_ranks else None)
        chains.append({ids[number]}.union(*(chains[other] for other in cited)))
    per_state = [{number % len(graph) for number in numbers} for numbers in heads]
    shared = {number % len(graph) for number in in_all}
    full = [set[EventId]().union(*(chains[number] for number in numbers | shared)) for numbers in per_state]
    expected = set[EventId]().union(*full) - full[0].intersection(*full)

    ids_per_state = [{ids[number] for number in numbers} for numbers in per_state]
    assert auth_difference(ids_per_state, nodes, {ids[number] for number in shared}) == expected

    # Also if nodes are told when they are asked for, and heads come one by one, when the walk was over before.
    meeting = Meeting(len(heads))
    told: dict[EventId, AuthNode] = {}
    masks = [(event_id, 1 << index) for index, event_ids in enumerate(ids_per_state) for event_id in event_ids]
    for event_id, mask in [*masks, *((ids[number], meeting.everyone) for number in shared)][::order]:
        meeting.add(event_id, mask)
        while wanted := meeting.advance(told):
            assert not wanted & told.keys()
            told.update({event_id: nodes[event_id] for event_id in wanted})
    assert meeting.difference() == expected


def test_the_walk_for_the_auth_difference_stops_where_the_chains_meet() -> None:
    chain = {EventId(f"${n}"): AuthNode((EventId(f"${n - 1}"),), n) for n in range(9_990, 10_000)}
    nodes = {**chain, EventId("$a"): AuthNode((EventId("$9999"),), 10_000)}
    nodes[EventId("$b")] = AuthNode((EventId("$9995"),), 9_996)
    found = auth_difference([{EventId("$a")}, {EventId("$b")}], nodes)
    assert found == {"$a", "$b", "$9999", "$9998", "$9997", "$9996"}


def test_a_head_that_comes_late_is_still_found_under_what_all_states_have() -> None:
    nodes = {
        EventId("$p"): AuthNode((), 8),
        EventId("$w"): AuthNode((EventId("$y"),), 5),
        EventId("$y"): AuthNode((), 3),
    }
    meeting = Meeting(2)
    meeting.add(EventId("$p"), 1)
    meeting.add(EventId("$w"), meeting.everyone)
    assert meeting.advance(nodes) == set()
    meeting.add(EventId("$y"), 1)
    assert meeting.advance(nodes) == set()
    assert meeting.difference() == {"$p"}


def test_an_old_join_under_an_unconflicted_ban_is_not_replayed() -> None:
    """Bob sets a topic, on one fork; on both he is banned by an event that cites the same join as his topic does.

    By the conflicted events alone his join would seem to be in the auth difference.
    """
    story = Story("11")
    alice, bob = USERS[:2]
    before = dict(story.state)
    story.add(story.state, alice, "m.room.member", bob, {"membership": "ban"}, 5)
    story.add(before, bob, "m.room.topic", "", {"topic": "too late"}, 6)
    with_topic = {**story.state, ("m.room.topic", ""): before["m.room.topic", ""]}
    room = Room(story.events.values())
    assert room.resolve([story.state, with_topic]) == story.state
    assert Model(room).resolve([story.state, with_topic]) == story.state


def test_a_suspect_under_an_unconflicted_event_at_another_key_is_found_by_asking_upwards() -> None:
    """Dave's join, which is in dispute, cites the old join rules. So does Carol's, which all states have.

    Nothing at the keys of the join rules or of Dave leads to them.
    """
    story = Story("11")
    alice, bob, carol = USERS[:3]
    old_rules = story.state["m.room.join_rules", ""]
    fork = dict(story.state)
    story.add(story.state, carol, "m.room.member", carol, {"membership": "join"}, 5)
    story.add(story.state, alice, "m.room.join_rules", "", {"join_rule": "invite"}, 6)
    # In the fork Dave joined by the old join rules, and is in dispute.
    story.add(fork, USERS[3], "m.room.member", USERS[3], {"membership": "join"}, 7)
    with_dave = {**story.state, ("m.room.member", USERS[3]): fork["m.room.member", USERS[3]]}
    room = Room(story.events.values())
    model = Model(room)
    assert old_rules not in model.full_conflicted_set([story.state, with_dave])
    assert room.resolve([story.state, with_dave]) == model.resolve([story.state, with_dave])
    assert room.asked["cited_by"] > 0


def test_a_rejected_auth_event_gives_nobody_a_right() -> None:
    """Room version 12: what an event may do is at first judged by its own auth events alone."""
    story = Story("12")
    alice, carol = USERS[0], USERS[2]
    story.add(story.state, carol, "m.room.member", carol, {"membership": "join"}, 5)
    join = story.state["m.room.member", carol]
    fork = dict(story.state)
    story.add(fork, carol, "m.room.topic", "", {"topic": "Carol was here"}, 6)
    story.add(story.state, alice, "m.room.member", carol, {"membership": "leave"}, 7)
    with_topic = {**story.state, ("m.room.topic", ""): fork["m.room.topic", ""]}
    states = [with_topic, story.state]
    assert Room(story.events.values()).resolve(states) == with_topic
    assert Room(story.events.values(), rejected=[join]).resolve(states) == story.state


def test_events_that_are_not_stored_are_named() -> None:
    story = Story("11")
    asking = resolve(story.rules, {("m.room.topic", ""): (EventId("$lost"), None)})

    def answer(question: Question) -> Answer:
        return Answer()

    with pytest.raises(MissingEvents) as caught:
        run(asking, answer)
    assert caught.value.event_ids == {"$lost"}
