"""A join while the keys of a server are not to be had: whoever is missing in the room then comes when they are."""

from __future__ import annotations

import pytest

from tests.cast import Actor
from tests.federated import Federated, MakeFederated, joins_through
from tests.gate import Gate
from tests.integration.admin import until
from tests.stranger import Stranger, Visit
from tests.wire import Json

MANY = 120


@pytest.fixture
def tybalts(stranger: Stranger) -> Stranger:
    """The server whose keys are not to be had for a while."""
    return stranger


def room_with_tybalt(romeo: Actor, here: Federated, tybalts: Stranger) -> Visit:
    """A room in which Tybalt is, and from here on nobody new hears the keys of his server."""
    room = romeo.creates_room(preset="public_chat", name="Ball")
    # Where very little of a state is lacking, it is fetched another way than all of it.
    for number in range(MANY):
        romeo.asks("POST", "rooms", room, "ban", body={"user_id": f"@capulet{number}:nowhere.example"})
    visit = tybalts.joins(here.server_name, room, tybalts.user("tybalt"))
    tybalts.hides_keys = True
    return visit


def test_who_is_missing_after_a_join_without_members_comes_when_his_server_is_back(
    here: Federated, tybalts: Stranger, make_federated: MakeFederated
) -> None:
    there = make_federated()
    romeo, juliet, tybalt = here.cast("romeo"), there.cast("juliet"), tybalts.user("tybalt")
    visit = room_with_tybalt(romeo, here, tybalts)
    room = visit.room_id
    joins_through(juliet, room, here)
    # This waits until the rest of the state is here.
    members = juliet.members(room)
    assert tybalt not in members
    assert len(members) == MANY + 2
    since = juliet.sync()
    said = juliet.says(room, "how camest thou hither")
    tybalts.hides_keys = False
    tybalts.sends(there.server_name)
    seen = juliet.syncs_until(since, lambda seen: tybalt in seen.last.state(room).memberships)
    assert said in seen.timeline(room)
    assert juliet.members(room) == romeo.members(room)
    assert sorted(juliet.whole_state(room).ids) == sorted(romeo.whole_state(room).ids)
    # He is one of them like any other.
    since = juliet.sync()
    visit.saw(visit.state["m.room.member", tybalt])
    word = visit.says(tybalt, "what, drawn, and talk of peace?")
    tybalts.sends(there.server_name, [word])
    juliet.syncs_until(since, lambda seen: word.event_id in seen.timeline(room))
    assert there.errors() == []


def test_who_is_missing_after_a_join_with_all_members_comes_even_after_a_restart(
    here: Federated, gate: Gate, tybalts: Stranger, make_federated: MakeFederated
) -> None:
    there = make_federated()
    romeo, juliet, tybalt = here.cast("romeo"), there.cast("juliet"), tybalts.user("tybalt")
    visit = room_with_tybalt(romeo, here, tybalts)
    room = visit.room_id

    def whole(answer: Json) -> Json:
        state = [event.to_pdu() for event in visit.state.values()]
        return {**answer, "state": state, "members_omitted": False}

    gate.changes("send_join", whole)
    joins_through(juliet, room, here)
    assert tybalt not in juliet.members(room)
    there.restart()
    assert tybalt not in juliet.members(room)
    tybalts.hides_keys = False
    until(lambda: tybalt in juliet.members(room), "he is among the members")
    assert juliet.members(room) == romeo.members(room)
    assert there.errors() == []
