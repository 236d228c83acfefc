"""Our server and Synapse when they do not reach each other for a while, and how they come together again."""

from __future__ import annotations

import pytest

from tests.cast import Actor
from tests.federated import EVERYTHING, Federated, joins_through
from tests.interop.synapse import Both, Sides, agree
from tests.wire import Json

pytestmark = pytest.mark.interop

MANY = 500


def test_five_hundred_messages_of_before_are_found(both: Both, another: Federated) -> None:
    romeo, juliet, nurse = both.ours.cast("romeo"), both.synapse.cast("juliet"), another.cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    said = [romeo.says(room, f"word {number}") for number in range(MANY)]
    joins_through(juliet, room, both.ours)
    history = juliet.whole_history(room, limit=500)
    assert [each for each in reversed(history.ids) if each in said] == said
    # Those who come when the server is gone that it was said on hear it from Synapse.
    with both.cut_off(both.ours):
        joins_through(nurse, room, both.synapse)
        history = nurse.whole_history(room, limit=500)
    assert [each for each in reversed(history.ids) if each in said] == said


def test_nothing_is_lost_while_synapse_is_stopped(both: Both) -> None:
    romeo, juliet = both.ours.cast("romeo"), both.synapse.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, both.ours)
    since = juliet.sync()
    both.synapse.stop()
    said = [romeo.says(room, f"meanwhile {number}") for number in range(70)]
    topic = romeo.sets_state(room, "m.room.topic", {"topic": "she is away"})
    for number in range(110):
        messages: Json = {"messages": {juliet.user_id: {"*": {"number": number}}}}
        romeo.asks("PUT", "sendToDevice", "m.test", f"away-{number}", body=messages)
    both.synapse.start()
    romeo.says(room, "are you back?")
    numbers = list(range(110))
    seen = juliet.syncs_until(
        since,
        lambda seen: (
            topic in seen.timeline(room)
            and [event["content"]["number"] for answer in seen for event in answer.to_device] == numbers
        ),
        filter=EVERYTHING,
    )
    assert [each for each in reversed(juliet.whole_history(room).ids) if each in said] == said
    assert seen.timeline(room).content("m.room.topic") == {"topic": "she is away"}
    agree(romeo, juliet, room)


def test_nothing_is_lost_while_ours_is_stopped(both: Both) -> None:
    romeo, juliet = both.synapse.cast("romeo"), both.ours.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, both.synapse)
    since = juliet.sync()
    assert both.ours.stop() == 0
    said = [romeo.says(room, f"meanwhile {number}") for number in range(70)]
    romeo.sets_state(room, "m.room.topic", {"topic": "she is away"})
    for number in range(30):
        messages: Json = {"messages": {juliet.user_id: {"*": {"number": number}}}}
        romeo.asks("PUT", "sendToDevice", "m.test", f"away-{number}", body=messages)
    both.ours.start()
    # Synapse tries again when there is something to tell, or when it is spoken to.
    juliet.says(room, "I am back")
    numbers = list(range(30))
    juliet.syncs_until(
        since,
        lambda seen: [event["content"]["number"] for answer in seen for event in answer.to_device] == numbers,
    )
    agree(romeo, juliet, room)
    assert [each for each in reversed(juliet.whole_history(room).ids) if each in said] == said
    assert juliet.state(room, "m.room.topic") == {"topic": "she is away"}


@pytest.mark.parametrize("version", ["1", "11", "12"])
def test_a_conversation_that_was_cut_in_two_grows_together(both: Both, sides: Sides, version: str) -> None:
    romeo, juliet, room = _both_in_charge(sides, version)
    since, before = juliet.sync(), romeo.sync()
    with both.cut():
        theirs, ours = [], []
        for number in range(9):
            theirs.append(romeo.says(room, f"r{number}"))
            ours.append(juliet.says(room, f"j{number}"))
            if number % 4 == 0:
                romeo.sets_state(room, "m.room.topic", {"topic": f"of romeo, {number}"})
                juliet.sets_state(room, "m.room.topic", {"topic": f"of juliet, {number}"})
                romeo.sets_state(room, "test.part", {"by": "romeo"}, state_key=f"r{number}")
                juliet.sets_state(room, "test.part", {"by": "juliet"}, state_key=f"j{number}")
        assert not set(juliet.messages(room)[0].ids) & set(theirs)
        assert not set(romeo.messages(room)[0].ids) & set(ours)
    _meet_again(romeo, juliet, room, since, before)
    for who in (romeo, juliet):
        found = [each for each in reversed(who.whole_history(room).ids) if each in theirs + ours]
        assert [each for each in found if each in theirs] == theirs
        assert [each for each in found if each in ours] == ours
    parts = [event["state_key"] for event in romeo.whole_state(room).of_type("test.part")]
    assert sorted(parts) == ["j0", "j4", "j8", "r0", "r4", "r8"]


@pytest.mark.parametrize("version", ["1", "12"])
def test_a_ban_wins_over_what_the_banned_did_meanwhile(both: Both, sides: Sides, version: str) -> None:
    romeo, juliet, room = _both_in_charge(sides, version)
    tybalt = sides.there.cast("tybalt")
    tybalt.joins(room)
    power = romeo.state(room, "m.room.power_levels")
    power["users"][tybalt.user_id] = 50
    raised = romeo.sets_state(room, "m.room.power_levels", power)
    since, before = juliet.sync(), romeo.sync()
    agree(romeo, tybalt, room)
    assert juliet.state(room, "m.room.power_levels")["users"][tybalt.user_id] == 50, raised
    with both.cut():
        romeo.bans(room, tybalt, reason="a duel")
        power["users"][juliet.user_id] = 60
        power["users"].pop(tybalt.user_id)
        romeo.sets_state(room, "m.room.power_levels", power)
        tybalt.sets_state(room, "m.room.topic", {"topic": "a plague on both your houses"})
        tybalt.sets_state(room, "m.room.name", {"name": "the room of tybalt"})
        juliet.sets_state(room, "m.room.name", {"name": "Balcony"})
    _meet_again(romeo, juliet, room, since, before)
    assert romeo.members(room)[tybalt.user_id] == juliet.members(room)[tybalt.user_id] == "ban"
    if version != "1":  # whose way of agreeing keeps what only one side has set
        assert "m.room.topic" not in juliet.whole_state(room).types


def _both_in_charge(sides: Sides, version: str) -> tuple[Actor, Actor, str]:
    """Two in a room, each of whom may change what it is."""
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    room = romeo.creates_room(preset="public_chat", room_version=version)
    joins_through(juliet, room, sides.here)
    power = romeo.state(room, "m.room.power_levels")
    power["users"][juliet.user_id] = 50
    since = juliet.sync()
    raised = romeo.sets_state(room, "m.room.power_levels", power)
    juliet.syncs_until(since, lambda seen: raised in seen.timeline(room))
    return romeo, juliet, room


def _meet_again(romeo: Actor, juliet: Actor, room: str, since: Json, before: Json) -> None:
    """Both say something, which wakes their servers, until they hear each other; then they see the same."""
    called, answered = romeo.says(room, "where are you?"), juliet.says(room, "here I am!")
    juliet.syncs_until(since, lambda seen: called in seen.timeline(room))
    romeo.syncs_until(before, lambda seen: answered in seen.timeline(room))
    agree(romeo, juliet, room)
