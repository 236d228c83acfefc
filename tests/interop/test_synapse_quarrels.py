"""People of ours and of Synapse who change a room against each other, by dice, while the link comes and goes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from tests.cast import Actor, Refused
from tests.federated import joins_through
from tests.interop.synapse import Both, Sides, described
from tests.wire import Json

pytestmark = pytest.mark.interop

ROUNDS = 3
STEPS_A_ROUND = 14


@pytest.mark.parametrize(("version", "seed"), [("1", 1), ("2", 2), ("6", 3), ("10", 4), ("11", 5), ("12", 6)])
def test_whatever_they_do_both_servers_agree_in_the_end(both: Both, version: str, seed: int) -> None:
    dice = random.Random(seed)
    here, there = Sides(*both) if seed % 2 else Sides(*reversed(both))
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    tybalt, nurse = here.cast("tybalt"), there.cast("nurse")
    people = [romeo, juliet, tybalt, nurse]
    levels = {juliet.user_id: 100, tybalt.user_id: 60, nurse.user_id: 50}
    # Before version 12, whoever makes a room has power by a level like others.
    levels |= {} if version == "12" else {romeo.user_id: 100}
    room = romeo.creates_room(
        preset="public_chat", room_version=version, power_level_content_override={"users": levels, "invite": 0}
    )
    tybalt.joins(room)
    joins_through(juliet, room, here)
    joins_through(nurse, room, here)
    for number in range(ROUNDS):
        since = {who: who.sync() for who in (romeo, juliet)}
        with both.cut():
            for step in range(STEPS_A_ROUND):
                _does_something(dice, dice.choice(people), people, room, f"{number}.{step}")
        _meet(romeo, juliet, room, since)
        assert described(romeo, room) == described(juliet, room)
        assert romeo.members(room) == juliet.members(room)
    # Of those who were put out on one side meanwhile, the other side may show what it had taken before.
    found = [_said_by(who, (romeo, juliet), room) for who in (romeo, juliet)]
    assert found[0] == found[1]


def _said_by(who: Actor, speakers: Sequence[Actor], room: str) -> set[str]:
    names = [each.user_id for each in speakers]
    messages = who.whole_history(room).of_type("m.room.message")
    return {event["event_id"] for event in messages if event["sender"] in names}


def _does_something(dice: random.Random, who: Actor, people: list[Actor], room: str, mark: str) -> None:
    """One step of one of them, which their server may well refuse."""
    # Those by whose eyes the rooms are compared are not put out.
    victims = [each for each in people[2:] if each is not who]
    actions: list[Callable[[], object]] = [
        lambda: who.says(room, mark),
        lambda: who.sets_state(room, "m.room.topic", {"topic": mark}),
        lambda: who.sets_state(room, "m.room.name", {"name": mark}),
        lambda: who.sets_state(room, "test.part", {"by": mark}, state_key=dice.choice("abc")),
        lambda: _changes_power(dice, who, people, room),
        lambda: who.kicks(room, dice.choice(victims)),
        lambda: who.bans(room, dice.choice(victims)),
        lambda: who.unbans(room, dice.choice(victims)),
        lambda: who.invites(room, dice.choice(victims)),
        lambda: who.joins(room),
        lambda: who.sets_state(room, "m.room.join_rules", {"join_rule": dice.choice(["public", "invite"])}),
    ]
    try:
        dice.choice(actions)()
    except Refused as refusal:
        assert refusal.status in (400, 403, 404, 502, 504), refusal


def _changes_power(dice: random.Random, who: Actor, people: list[Actor], room: str) -> None:
    power: Json = who.state(room, "m.room.power_levels")
    power["users"][dice.choice(people[2:]).user_id] = dice.choice([0, 25, 50, 60])
    power["events"]["m.room.topic"] = dice.choice([0, 50, 60])
    who.sets_state(room, "m.room.power_levels", power)


def _meet(romeo: Actor, juliet: Actor, room: str, since: Json) -> None:
    """Both say something until all that was said on either side is known on both."""
    for first, second in ((romeo, juliet), (juliet, romeo)):
        called = first.says(room, "where are you?")
        second.syncs_until(since[second], lambda seen: called in seen.timeline(room))  # noqa: B023
    for first, second in ((romeo, juliet), (juliet, romeo)):
        before = second.sync()
        called = first.says(room, "is all as it was?")
        second.syncs_until(before, lambda seen: called in seen.timeline(room))  # noqa: B023
