"""A server that is away for a while, and what it finds when it is back."""

from __future__ import annotations

from tests.cast import refused
from tests.federated import EVERYTHING, MakeFederated, joins_through


def test_what_was_said_while_a_server_was_away_arrives_when_it_is_back(make_federated: MakeFederated) -> None:
    here, there = make_federated(), make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    since = juliet.sync()
    said = [romeo.says(room, "before")]
    juliet.syncs_until(since, lambda seen: said[-1] in seen.timeline(room))
    there.stop()
    said += [romeo.says(room, f"meanwhile {number}") for number in range(30)]
    romeo.sets_state(room, "m.room.topic", {"topic": "she is away"})
    there.start()
    seen = juliet.syncs_until(since, lambda seen: said[-1] in seen.timeline(room), filter=EVERYTHING)
    assert [each for each in seen.timeline(room).ids if each in said] == said
    said.append(romeo.says(room, "after"))
    juliet.syncs_until(seen.last, lambda seen: said[-1] in seen.timeline(room))
    assert juliet.state(room, "m.room.topic") == {"topic": "she is away"}


def test_a_server_that_was_long_away_gets_the_latest_and_finds_the_rest(make_federated: MakeFederated) -> None:
    here, there = make_federated(), make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    since = juliet.sync()
    there.stop()
    said = [romeo.says(room, f"meanwhile {number}") for number in range(400)]
    there.start()
    juliet.syncs_until(since, lambda seen: said[-1] in seen.timeline(room))
    history = juliet.whole_history(room)
    assert [each for each in reversed(history.ids) if each in said] == said


def test_a_crash_of_the_sending_server_loses_nothing(make_federated: MakeFederated) -> None:
    here, there = make_federated(), make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    since = juliet.sync()
    there.stop()
    said = [romeo.says(room, f"word {number}") for number in range(10)]
    here.kill()
    there.start()
    here.start()
    seen = juliet.syncs_until(since, lambda seen: said[-1] in seen.timeline(room), filter=EVERYTHING)
    assert [each for each in seen.timeline(room).ids if each in said] == said


def test_receipts_of_just_before_a_crash_are_told_after_it(make_federated: MakeFederated) -> None:
    here, there = make_federated(), make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    said = juliet.says(room, "read this")
    romeo.syncs_until(romeo.sync(), lambda _: said in romeo.messages(room)[0])
    since = juliet.sync()
    there.stop()
    romeo.reads(room, said)
    here.kill()
    there.start()
    here.start()
    juliet.syncs_until(since, lambda seen: any(romeo.user_id in answer.readers(room, said) for answer in seen))


def test_who_was_put_out_while_their_server_was_away_learns_of_it(make_federated: MakeFederated) -> None:
    here, there = make_federated(), make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    since = juliet.sync()
    there.stop()
    romeo.kicks(room, juliet)
    romeo.says(room, "she is gone")
    there.start()
    juliet.syncs_until(since, lambda seen: room in seen.last.left)


def test_a_server_that_is_back_is_asked_at_once_for_what_somebody_waits_for(make_federated: MakeFederated) -> None:
    here, there = make_federated(), make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    other = juliet.creates_room()
    here.stop()
    with refused("M_UNKNOWN", 504):
        joins_through(juliet, room, here)
    here.start()
    joins_through(juliet, room, here)
    here.stop()
    with refused("M_UNKNOWN", 504):
        juliet.invites(other, romeo)
    here.start()
    juliet.invites(other, romeo)
