"""Rooms that are joined without their members: usable at once, complete in the end, whatever happens in between."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from homeserver.core.ids import EventId
from tests.cast import Actor, refused
from tests.federated import EVERYTHING, Federated, MakeFederated, TestAuthority, joins_through
from tests.gate import Gate
from tests.stranger import Stranger
from tests.sync_answer import Events
from tests.wire import Json

PATIENCE_S = 60.0
LAZY = {"room": {"state": {"lazy_load_members": True}}}
BANNED = 150


@pytest.fixture
def stranger(authority: TestAuthority) -> Iterator[Stranger]:
    made = Stranger(authority)
    yield made
    made.stop()


def crowded_room(romeo: Actor) -> str:
    """A room with hundreds of member events."""
    room = romeo.creates_room(preset="public_chat", name="Ball")
    for number in range(BANNED):
        romeo.asks("POST", "rooms", room, "ban", body={"user_id": f"@capulet{number}:nowhere.example"})
    return room


def in_the_end(holds: Callable[[], bool]) -> None:
    """It takes a while: ask again until it holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.1)


def member_event(who: Actor, room: str) -> EventId:
    """Id of the user's own member event."""
    whole = who.asks("GET", "rooms", room, "state", "m.room.member", who.user_id, format="event")
    return EventId(whole["event_id"])


def known_members(who: Actor, room: str) -> int:
    """How many member events a client that is new gets."""
    state = who.sync(filter={"room": {"timeline": {"limit": 1}}}).state(room)
    return len(state.of_type("m.room.member"))


def same_state(one: Actor, other: Actor, room: str) -> bool:
    return sorted(one.whole_state(room).ids) == sorted(other.whole_state(room).ids)


def test_a_room_is_usable_before_its_members_are_known(
    here: Federated, gate: Gate, make_federated: MakeFederated
) -> None:
    there = make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    nurse = here.cast("nurse")
    room = crowded_room(romeo)
    nurse.joins(room)
    gate.holds("state_ids", "state")
    gate.listens("send_join")
    joins_through(juliet, room, here)
    gate.waits_for("state_ids")
    answer = gate.answers["send_join"]
    assert answer["members_omitted"] is True
    assert {pdu["type"] for pdu in answer["state"]}.isdisjoint({"m.room.member"})
    # Juliet sees the room and those who speak, hears others and is heard.
    seen = juliet.sync(filter=LAZY)
    assert seen.state(room).content("m.room.name") == {"name": "Ball"}
    since = romeo.sync()
    said = juliet.says(room, "what's in a name?")
    romeo.syncs_until(since, lambda told: said in told.timeline(room))
    answered = [romeo.says(room, "my dear"), nurse.says(room, "madam!")]
    told = juliet.syncs_until(seen, lambda told: set(answered) <= set(told.timeline(room).ids), filter=LAZY)
    members = Events([event for each in told for event in each.state(room)]).memberships
    assert members[romeo.user_id] == members[nurse.user_id] == "join"
    assert known_members(juliet, room) < 10
    # Now the rest comes.
    everything = juliet.sync()
    lazy = juliet.sync(filter=LAZY)
    gate.opens()
    told = juliet.syncs_until(everything, lambda told: len(told.last.state(room)) >= BANNED)
    assert f"@capulet{BANNED - 1}:nowhere.example" in told.last.state(room).memberships
    told = juliet.syncs_until(lazy, lambda told: room in told.last.joined, filter=LAZY)
    assert told.last.summary(room)["m.joined_member_count"] == 3
    assert len(told.last.state(room)) < 10
    assert same_state(romeo, juliet, room)
    assert juliet.members(room) == romeo.members(room)
    assert set(answered) | {said} <= set(juliet.whole_history(room).ids)
    assert there.errors() == []


def test_a_server_that_is_killed_goes_on_with_it(here: Federated, gate: Gate, make_federated: MakeFederated) -> None:
    there = make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = crowded_room(romeo)
    gate.holds("state_ids")
    joins_through(juliet, room, here)
    gate.waits_for("state_ids")
    said = juliet.says(room, "do you hear me?")
    there.kill()
    gate.opens()
    gate.holds("state")
    there.start()
    gate.waits_for("state")
    heard = romeo.says(room, "I do")
    in_the_end(lambda: heard in juliet.sync().timeline(room))
    there.kill()
    gate.opens()
    for pause_s in (0.05, 0.1, 0.2):
        # Wherever it has come to by now.
        there.start()
        time.sleep(pause_s)
        there.kill()
    there.start()
    assert juliet.members(room) == romeo.members(room)
    assert same_state(romeo, juliet, room)
    in_the_end(lambda: {said, heard} <= set(romeo.whole_history(room).ids) & set(juliet.whole_history(room).ids))
    assert there.errors() == []


def test_another_server_helps_where_the_first_one_is_gone(
    here: Federated, gate: Gate, make_federated: MakeFederated
) -> None:
    there, third = make_federated(), make_federated()
    romeo, juliet, nurse = here.cast("romeo"), there.cast("juliet"), third.cast("nurse")
    room = crowded_room(romeo)
    joins_through(nurse, room, here)
    in_the_end(lambda: same_state(romeo, nurse, room))
    gate.holds("state_ids", "state")
    joins_through(juliet, room, here)
    gate.waits_for("state_ids")
    # The third server hears of it from the first one.
    in_the_end(lambda: nurse.members(room).get(juliet.user_id) == "join")
    gate.cuts()
    assert juliet.members(room) == nurse.members(room)
    assert same_state(juliet, nurse, room)
    since = nurse.sync()
    said = juliet.says(room, "are you still there?")
    nurse.syncs_until(since, lambda told: said in told.timeline(room))


def test_what_the_whole_state_forbids_is_taken_back(
    here: Federated, gate: Gate, make_federated: MakeFederated, stranger: Stranger
) -> None:
    there = make_federated()
    romeo, juliet, iago = here.cast("romeo"), there.cast("juliet"), stranger.user("iago")
    room = crowded_room(romeo)
    visit = stranger.joins(here.server_name, room, iago)
    romeo.asks("POST", "rooms", room, "ban", body={"user_id": iago})
    gate.holds("state_ids")
    joins_through(juliet, room, here)
    gate.waits_for("state_ids")
    joined = member_event(juliet, room)
    stranger.answers["event_auth/"] = lambda asked: {"auth_chain": [each.to_pdu() for each in visit.state.values()]}
    lie = visit.says(iago, "your name be Montague", prev=[joined], depth=1_000)
    name = visit.build(iago, "m.room.member", {"membership": "join", "displayname": "I"}, iago, prev=[joined])
    since = juliet.sync()
    assert stranger.sends(there.server_name, [lie])[0] == 200
    # As far as is known he may speak.
    juliet.syncs_until(since, lambda told: lie.event_id in told.timeline(room))
    assert stranger.sends(there.server_name, [name])[0] == 200
    assert "it is judged again when they are" in explained(there, lie.event_id)
    answered = juliet.says(room, "who is he?")
    gate.opens()
    assert juliet.members(room)[iago] == "ban"
    assert same_state(romeo, juliet, room)
    shown = juliet.whole_history(room).ids
    assert answered in shown
    assert lie.event_id not in shown
    assert lie.event_id not in juliet.sync(filter=EVERYTHING).timeline(room)
    told = explained(there, lie.event_id)
    assert "It was rejected" in told
    assert "Decided by: 5." in told
    # And nothing of what was built upon it is lost.
    in_the_end(lambda: answered in romeo.whole_history(room).ids)
    since = romeo.sync()
    said = juliet.says(room, "he is gone")
    romeo.syncs_until(since, lambda seen: said in seen.timeline(room))


def test_who_leaves_meanwhile_is_rid_of_it(here: Federated, gate: Gate, make_federated: MakeFederated) -> None:
    there = make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = crowded_room(romeo)
    gate.holds("state_ids")
    joins_through(juliet, room, here)
    gate.waits_for("state_ids")
    since = romeo.sync()
    juliet.leaves(room)
    romeo.syncs_until(since, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
    assert room not in juliet.sync().joined
    gate.opens()
    there.restart()
    assert gate.count("state_ids") == 1
    # Coming back begins anew.
    joins_through(juliet, room, here)
    assert juliet.members(room) == romeo.members(room)
    assert same_state(romeo, juliet, room)


def test_a_stop_does_not_wait_for_it(here: Federated, gate: Gate, make_federated: MakeFederated) -> None:
    there = make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = crowded_room(romeo)
    gate.holds("state_ids", "state")
    joins_through(juliet, room, here)
    gate.waits_for("state_ids")
    assert there.stop() == 0
    there.start()
    gate.waits_for("state_ids", 2)
    gate.opens()
    assert juliet.members(room) == romeo.members(room)
    assert there.errors() == []


def test_what_needs_all_members_waits_or_is_left_to_others(
    here: Federated, gate: Gate, make_federated: MakeFederated, stranger: Stranger
) -> None:
    there = make_federated()
    romeo, juliet, nurse = here.cast("romeo"), there.cast("juliet"), there.cast("nurse")
    room = crowded_room(romeo)
    stranger.joins(here.server_name, room, stranger.user("rosaline"))
    gate.holds("state_ids")
    joins_through(juliet, room, here)
    gate.waits_for("state_ids")
    # Other servers are told to ask others.
    joined = member_event(juliet, room)
    for parts, query in (
        (("make_join", room, stranger.user("x")), {"ver": "12"}),
        (("make_leave", room, stranger.user("rosaline")), {}),
        (("state", room), {"event_id": joined}),
        (("state_ids", room), {"event_id": joined}),
    ):
        status, answer = stranger.reads(there.server_name, *parts, **query)
        assert (status, answer["errcode"]) == (404, "M_NOT_FOUND"), parts
    # The servers in the room are known; what is only read from one event is answered.
    status, answer = stranger.reads(there.server_name, "event", joined)
    assert status == 200, answer
    # Who else comes in is let in by a server that knows whether they may.
    before = gate.count("send_join")
    joins_through(nurse, room, here)
    assert gate.count("send_join") == before + 1
    # Clients wait for what they ask.
    waiting = threading.Thread(target=gate_opens_later, args=(gate,))
    waiting.start()
    assert juliet.members(room) == romeo.members(room)
    waiting.join()
    with refused("M_FORBIDDEN", 403):
        juliet.kicks(room, romeo)


def test_a_server_that_tells_another_state_than_at_first_is_not_believed(
    here: Federated, gate: Gate, make_federated: MakeFederated
) -> None:
    there = make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = crowded_room(romeo)
    create, name = (romeo.whole_state(room).of_type(kind).ids[0] for kind in ("m.room.create", "m.room.name"))
    lies = 0

    def without(dropped: str) -> Callable[[Json], Json]:
        def change(answer: Json) -> Json:
            nonlocal lies
            lies += 1
            return {**answer, "pdu_ids": [each for each in answer["pdu_ids"] if each != dropped]}

        return change

    # No state is without the event that made the room.
    gate.changes("state_ids", without(create))
    joins_through(juliet, room, here)
    in_the_end(lambda: lies >= 2)
    assert juliet.sync(filter=LAZY).state(room).content("m.room.name") == {"name": "Ball"}
    # What it told first stays in force, though it tells now that there is no such thing.
    gate.changes("state_ids", without(name))
    assert juliet.members(room) == romeo.members(room)
    assert juliet.asks("GET", "rooms", room, "state", "m.room.name") == {"name": "Ball"}
    assert same_state(romeo, juliet, room)


def test_events_that_follow_what_the_join_follows_are_placed(
    here: Federated, gate: Gate, make_federated: MakeFederated
) -> None:
    there = make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = crowded_room(romeo)
    gate.holds("state_ids", "state", "send_join")
    joining = threading.Thread(target=joins_through, args=(juliet, room, here))
    joining.start()
    gate.waits_for("send_join")
    # Said beside the join, which follows the same event; nobody sends it.
    beside = romeo.says(room, "who comes?")
    gate.opens("send_join")
    joining.join()
    since = juliet.sync()
    said = romeo.says(room, "it is you")
    told = juliet.syncs_until(since, lambda told: said in told.timeline(room))
    assert beside in told.timeline(room)
    # It took no state of another server to place them.
    assert gate.count("state_ids") == 1
    gate.opens()
    assert same_state(romeo, juliet, room)


def gate_opens_later(gate: Gate) -> None:
    time.sleep(1.0)
    gate.opens()


def explained(server: Federated, event_id: str) -> str:
    """What `synctl explain` says."""
    command = [sys.executable, "-m", "homeserver.cli", "explain", event_id, "--data", str(server.folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
