"""Events that are signed by a server whose keys are not to be had just then: they wait, others do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.signatures import Signer, SigningKey, sign_event
from tests.cast import Actor
from tests.federated import Federated, MakeFederated, TestAuthority, faultless
from tests.integration.admin import until
from tests.integration.federation.past import answers_states
from tests.postgres import TestServer
from tests.stranger import Asked, Stranger, Visit
from tests.wire import Json

LOUD: Final[dict[str, Json]] = {"log": {"level": "info"}}


@pytest.fixture
def third(authority: TestAuthority) -> Iterator[Stranger]:
    """A server that does not tell its keys."""
    made = Stranger(authority)
    made.hides_keys = True
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(postgres: TestServer, authority: TestAuthority) -> Iterator[Federated]:
    """One server that says what it does."""
    made = Federated(postgres.fresh_database(), authority, **LOUD)
    with faultless(made):
        yield made


def visit(server: Federated, stranger: Stranger, **room: Json) -> tuple[Actor, str, Visit]:
    """A room of Romeo's with a user of the stranger in it."""
    romeo = server.cast("romeo")
    room_id = romeo.creates_room(preset="public_chat", **room)
    return romeo, room_id, stranger.joins(server.server_name, room_id, stranger.user("juliet"))


def join_of(third: Stranger, seen: Visit) -> Event:
    """A join that the server hears of through the stranger."""
    tybalt = third.user("tybalt")
    return seen.build(tybalt, "m.room.member", {"membership": "join"}, tybalt, signer=third.signer)


def is_member(romeo: Actor, room: str, who: str) -> bool:
    """Whether somebody is in the room."""
    return romeo.members(room).get(who) == "join"


def waits(server: Federated, event: Event) -> bool:
    """Whether the log says that the event waits still, its keys having been asked for in vain."""
    lines = [line for line in server.output().splitlines() if f"event_id={event.event_id}" in line]
    return sum("an event waits" in line for line in lines) >= 2


def test_an_event_waits_for_its_signers_keys_and_nobody_else_does(
    server: Federated, stranger: Stranger, third: Stranger
) -> None:
    romeo, room, seen = visit(server, stranger)
    join = join_of(third, seen)
    beside = seen.says(stranger.user("juliet"), "beside it")
    since = romeo.sync()
    assert seen.sends(join, beside) == {join.event_id: {}, beside.event_id: {}}
    romeo.syncs_until(since, lambda answer: beside.event_id in answer.timeline(room))
    until(lambda: waits(server, join), "the join waits")
    assert not is_member(romeo, room, join.sender)
    third.hides_keys = False
    until(lambda: is_member(romeo, room, join.sender), "the join is taken")
    assert third.asked_for_keys >= 2


def test_an_event_that_waits_for_keys_still_does_after_a_restart(
    make_federated: MakeFederated, stranger: Stranger, third: Stranger
) -> None:
    server = make_federated(**LOUD)
    romeo, room, seen = visit(server, stranger)
    join = join_of(third, seen)
    assert seen.sends(join) == {join.event_id: {}}
    until(lambda: waits(server, join), "the join waits")
    server.kill()
    server.start()
    third.hides_keys = False
    until(lambda: is_member(romeo, room, join.sender), "the join is taken")


def test_a_key_that_a_server_does_not_have_is_not_waited_for(
    server: Federated, stranger: Stranger, third: Stranger
) -> None:
    romeo, room, seen = visit(server, stranger)
    third.hides_keys = False
    other = Signer(third.name, SigningKey.generate("invented"))
    forged = seen.build(
        third.user("tybalt"), "m.room.member", {"membership": "join"}, third.user("tybalt"), signer=other
    )
    assert seen.sends(forged) == {forged.event_id: {}}
    until(
        lambda: any(forged.event_id in line and "dropped" in line for line in server.output().splitlines()),
        "it is dropped",
    )
    third.asked_for_keys = 0
    after = seen.says(stranger.user("juliet"), "no matter")
    since = romeo.sync()
    assert seen.sends(after) == {after.event_id: {}}
    romeo.syncs_until(since, lambda answer: after.event_id in answer.timeline(room))
    assert third.asked_for_keys == 0


def test_the_room_goes_on_without_an_event_whose_keys_are_not_to_be_had(
    server: Federated, stranger: Stranger, third: Stranger
) -> None:
    romeo, room, seen = visit(server, stranger)
    known = list(seen.state.values())
    join = join_of(third, seen)
    seen.saw(join)
    after = seen.says(stranger.user("juliet"), "after it")
    seen.saw(after)
    _answers(stranger, seen, {after.event_id: known})
    since = romeo.sync()
    # It hears of the join only as a part of the past of what follows.
    assert seen.sends(after) == {after.event_id: {}}
    romeo.syncs_until(since, lambda answer: after.event_id in answer.timeline(room))
    assert not is_member(romeo, room, join.sender)
    third.hides_keys = False
    until(lambda: is_member(romeo, room, join.sender), "the join is taken")


def test_what_leans_on_an_event_that_waits_for_keys_waits_with_it(
    make_federated: MakeFederated, stranger: Stranger, third: Stranger
) -> None:
    server = make_federated(**LOUD)
    romeo = server.cast("romeo")
    room = romeo.creates_room(preset="public_chat", power_level_content_override={"invite": 0})
    friar, juliet, mercutio = third.user("friar"), stranger.user("juliet"), stranger.user("mercutio")
    third.hides_keys = False
    third.joins(server.server_name, room, friar)
    seen = stranger.joins(server.server_name, room, juliet)
    rules = romeo.sets_state(room, "m.room.join_rules", {"join_rule": "restricted", "allow": []})
    status, answer = stranger.reads(server.server_name, "event", rules)
    assert status == 200
    seen.saw(Event.parse(answer["pdus"][0], seen.rules))
    # The friar's server has got a new key, of which it has not told yet.
    third.hides_keys = True
    third.signer = Signer(third.name, SigningKey.generate("new"))
    server.restart()
    content: JsonObject = {"membership": "join", "join_authorised_via_users_server": friar}
    join = sign_event(seen.build(mercutio, "m.room.member", content, mercutio), third.signer)
    seen.saw(join)
    speech = seen.says(mercutio, "a plague on both your houses")
    assert seen.sends(join, speech) == {join.event_id: {}, speech.event_id: {}}
    until(lambda: waits(server, join) and waits(server, speech), "both wait")
    assert not is_member(romeo, room, mercutio)
    third.hides_keys = False
    until(lambda: is_member(romeo, room, mercutio), "the join is taken")
    until(lambda: speech.event_id in romeo.whole_history(room), "what leans on it is taken")


def _answers(stranger: Stranger, seen: Visit, states: dict[str, list[Event]]) -> None:
    """The stranger tells of events and of the states before some."""

    def missing(asked: Asked) -> Json:
        latest = [seen.events[event_id] for event_id in asked.body["latest_events"] if event_id in seen.events]
        before = {event_id for event in latest for event_id in event.prev_events if event_id in seen.events}
        return {"events": [seen.events[event_id].to_pdu() for event_id in before]}

    answers_states(stranger, seen, states)
    stranger.answers["get_missing_events/"] = missing
