"""Three servers in one room, and what becomes of it when one of them fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tests.cast import Actor
from tests.federated import EVERYTHING, MakeFederated, joins_through
from tests.sync_answer import Seen

PATIENCE_S = 60.0


def test_who_joins_through_one_server_is_known_to_the_others(make_federated: MakeFederated) -> None:
    one, two, three = make_federated(), make_federated(), make_federated()
    romeo, juliet, nurse = one.cast("romeo"), two.cast("juliet"), three.cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, one)
    before = romeo.sync()
    joins_through(nurse, room, two)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(nurse.user_id) == "join")
    since = [who.sync() for who in (juliet, nurse)]
    said = romeo.says(room, "all of you")
    for who, token in zip((juliet, nurse), since, strict=True):
        who.syncs_until(token, lambda seen: said in seen.timeline(room))
    since = [who.sync() for who in (romeo, juliet)]
    said = nurse.says(room, "my lady")
    for who, token in zip((romeo, juliet), since, strict=True):
        who.syncs_until(token, lambda seen: said in seen.timeline(room))


def test_a_server_that_is_killed_while_all_talk_ends_with_the_same_room(make_federated: MakeFederated) -> None:
    servers = [make_federated() for _ in range(3)]
    people = [server.cast(name) for server, name in zip(servers, ("romeo", "juliet", "nurse"), strict=True)]
    romeo, juliet, nurse = people
    room = romeo.creates_room(preset="public_chat")
    for who in (juliet, nurse):
        before = romeo.sync()
        joins_through(who, room, servers[0])
        romeo.syncs_until(before, _joined(room, who))
    said: list[str] = []
    for number in range(10):
        said += [who.says(room, f"{who.localpart} {number}") for who in people]
        if number == 3:
            servers[1].kill()
            people = [romeo, nurse]
        if number == 6:
            servers[1].start()
            people = [romeo, juliet, nurse]
    topic = romeo.sets_state(room, "m.room.topic", {"topic": "the end"})
    for who in (romeo, juliet, nurse):
        _in_the_end(partial(_has_all, who, room, topic, said))
    states = [sorted(who.whole_state(room).ids) for who in (romeo, juliet, nurse)]
    assert states[0] == states[1] == states[2]
    _all_hear(room, romeo, (juliet, nurse))


def _joined(room: str, who: Actor) -> Callable[[Seen], bool]:
    return lambda seen: seen.timeline(room).memberships.get(who.user_id) == "join"


def _has_all(who: Actor, room: str, topic: str, said: list[str]) -> bool:
    return topic in who.whole_state(room).ids and set(said) <= set(who.whole_history(room).ids)


def _all_hear(room: str, speaker: Actor, others: tuple[Actor, ...]) -> None:
    since = [who.sync() for who in others]
    said = speaker.says(room, "is all well?")
    for who, token in zip(others, since, strict=True):
        who.syncs_until(token, lambda seen: said in seen.timeline(room), filter=EVERYTHING)


def _in_the_end(holds: Callable[[], bool]) -> None:
    """Servers need a while to agree: ask again until it holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(0.2)
