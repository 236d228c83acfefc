"""Peers that do not answer, servers that are killed, histories that are read from far back."""

from __future__ import annotations

import subprocess
import sys
import threading

from homeserver.core.event import Event
from tests.federated import Federated, MakeFederated, joins_through
from tests.stranger import Asked, NoAnswer, Stranger, Visit
from tests.wire import Json


def chain(seen: Visit, count: int) -> list[Event]:
    """Messages of which the server knows nothing yet."""
    made: list[Event] = []
    for number in range(count):
        made.append(seen.says(seen.stranger.user("juliet"), f"{number}"))
        seen.saw(made[-1])
    return made


def test_a_room_whose_past_does_not_come_holds_up_no_other(make_federated: MakeFederated, stranger: Stranger) -> None:
    server = make_federated()
    romeo, juliet = server.cast("romeo"), stranger.user("juliet")
    slow, quick = (romeo.creates_room(preset="public_chat") for _ in range(2))
    in_slow, in_quick = (stranger.joins(server.server_name, room, juliet) for room in (slow, quick))
    messages = chain(in_slow, 3)
    may_answer, was_asked = threading.Event(), threading.Event()

    def between(asked: Asked) -> Json:
        was_asked.set()
        may_answer.wait(60)
        return {"events": [event.to_pdu() for event in messages[:-1]]}

    stranger.answers["get_missing_events/"] = between
    since = romeo.sync()
    quick_message = in_quick.says(juliet, "quick")
    status, answer = stranger.sends(server.server_name, [messages[-1], quick_message])
    assert (status, answer["pdus"]) == (200, {messages[-1].event_id: {}, quick_message.event_id: {}})
    assert was_asked.wait(30)
    heard = romeo.syncs_until(since, lambda seen: quick_message.event_id in seen.timeline(quick))
    assert messages[-1].event_id not in heard.timeline(slow)
    # What comes after it in the slow room waits, too; it is taken at once.
    after = in_slow.says(juliet, "3")
    assert in_slow.sends(after) == {after.event_id: {}}
    may_answer.set()
    heard = romeo.syncs_until(since, lambda seen: after.event_id in seen.timeline(slow))
    assert heard.timeline(slow).bodies == ["0", "1", "2", "3"]


def test_an_event_whose_past_cannot_be_had_now_waits_until_it_can(
    make_federated: MakeFederated, stranger: Stranger
) -> None:
    server = make_federated()
    romeo, juliet = server.cast("romeo"), stranger.user("juliet")
    room = romeo.creates_room(preset="public_chat")
    seen = stranger.joins(server.server_name, room, juliet)
    known = [event.event_id for event in seen.state.values()]
    messages = chain(seen, 3)
    is_away, was_asked = threading.Event(), threading.Event()
    is_away.set()

    def between(asked: Asked) -> Json:
        was_asked.set()
        if is_away.is_set():
            raise NoAnswer
        return {"events": [event.to_pdu() for event in messages[:-1]]}

    stranger.answers["get_missing_events/"] = between
    since = romeo.sync()
    assert seen.sends(messages[-1]) == {messages[-1].event_id: {}}
    assert was_asked.wait(30)
    # Others do not wait for it, and it is not lost when the server stops.
    after = seen.build(juliet, "m.room.message", {"body": "meanwhile"}, prev=known[-1:], depth=messages[0].depth)
    seen.sends(after)
    heard = romeo.syncs_until(since, lambda seen: after.event_id in seen.timeline(room))
    assert heard.timeline(room).bodies == ["meanwhile"]
    server.restart()
    is_away.clear()
    # The server hears from the other that it is back.
    stranger.sends(server.server_name)
    heard = romeo.syncs_until(heard.last, lambda seen: messages[-1].event_id in seen.timeline(room))
    assert heard.timeline(room).bodies == ["0", "1", "2"]


def test_what_was_taken_outlives_a_kill(make_federated: MakeFederated, stranger: Stranger) -> None:
    server = make_federated()
    romeo, juliet = server.cast("romeo"), stranger.user("juliet")
    room = romeo.creates_room(preset="public_chat")
    seen = stranger.joins(server.server_name, room, juliet)
    messages = chain(seen, 3)
    is_down, was_asked = threading.Event(), threading.Event()

    def between(asked: Asked) -> Json:
        if not is_down.is_set():
            was_asked.set()
            is_down.wait(60)
        return {"events": [event.to_pdu() for event in messages[:-1]]}

    stranger.answers["get_missing_events/"] = between
    since = romeo.sync()
    first = stranger.sends(server.server_name, [messages[-1]], txn_id="only")
    assert first == (200, {"pdus": {messages[-1].event_id: {}}})
    assert was_asked.wait(30)
    server.kill()
    is_down.set()
    server.start()
    heard = romeo.syncs_until(since, lambda seen: messages[-1].event_id in seen.timeline(room))
    assert heard.timeline(room).bodies == ["0", "1", "2"]
    assert stranger.sends(server.server_name, [messages[-1]], txn_id="only") == first
    assert romeo.whole_history(room).bodies == ["2", "1", "0"]


def test_what_came_before_its_past_and_comes_again_after_it_is_there_once(
    make_federated: MakeFederated, stranger: Stranger
) -> None:
    server = make_federated()
    romeo, juliet = server.cast("romeo"), stranger.user("juliet")
    room = romeo.creates_room(preset="public_chat")
    seen = stranger.joins(server.server_name, room, juliet)
    since = romeo.sync()
    past, early, later = chain(seen, 3)
    state = [event.event_id for event in seen.state.values()]
    stranger.answers["get_missing_events/"] = lambda asked: {"events": []}
    stranger.answers["state_ids/"] = lambda asked: {"pdu_ids": state, "auth_chain_ids": state}
    seen.sends(early, later)
    romeo.syncs_until(since, lambda seen: later.event_id in seen.timeline(room))
    # Nothing of it is in memory after this, but for the last event.
    server.restart()
    assert seen.sends(past) == {past.event_id: {}}
    # What it follows came just now, so it looks as if it were new.
    newest = seen.says(juliet, "newest")
    assert seen.sends(early, newest) == {early.event_id: {}, newest.event_id: {}}
    romeo.syncs_until(since, lambda seen: newest.event_id in seen.timeline(room))
    history = romeo.whole_history(room)
    assert sorted(history.bodies) == ["0", "1", "2", "newest"]
    assert history.ids[0] == newest.event_id
    assert server.errors() == []


def test_history_from_before_the_join_is_read_from_the_other_server(
    make_federated: MakeFederated, pair: tuple[Federated, Federated]
) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat", name="Verona")
    said = [romeo.says(room, f"{number}") for number in range(130)]
    romeo.sets_state(room, "m.room.topic", {"topic": "later"})
    joins_through(juliet, room, here)
    history = juliet.whole_history(room)
    assert [event["event_id"] for event in history if event["type"] == "m.room.message"] == said[::-1]
    assert history[-1]["type"] == "m.room.create"
    assert [event["event_id"] for event in juliet.whole_history(room, backwards=False)] == [
        event["event_id"] for event in reversed(history)
    ]


def test_the_admin_is_told_what_became_of_an_event(make_federated: MakeFederated, stranger: Stranger) -> None:
    server = make_federated()
    romeo, juliet = server.cast("romeo"), stranger.user("juliet")
    room = romeo.creates_room(preset="public_chat")
    seen = stranger.joins(server.server_name, room, juliet)
    good = seen.says(juliet, "good")
    name = seen.build(juliet, "m.room.name", {"name": "mine"}, "")
    seen.sends(good, name)

    def explained(event_id: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "homeserver.cli", "explain", event_id, "--data", str(server.folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    told = explained(good.event_id)
    assert told.returncode == 0, told.stderr
    assert "It was accepted." in told.stdout
    told = explained(name.event_id)
    assert "It was rejected" in told.stdout
    assert "4. authorisation rules, by its auth events" in told.stdout
    assert "needs power level 50" in told.stdout
    told = explained("$never")
    assert told.returncode == 1
    assert "never came" in told.stderr
