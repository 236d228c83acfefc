"""The checks on events of other servers, in the order of the specification."""

from __future__ import annotations

import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.rooms import judge_remote
from homeserver.rooms.judge_remote import judge
from storage.rows import Status
from tests.unit.core.building import ALICE, BOB, Workshop, room


def named(made: Workshop, event: Event) -> list[Event]:
    """The auth events, as the event names them."""
    by_id = {each.event_id: each for each in made.state.values()}
    return [by_id[event_id] for event_id in event.auth_events]


@pytest.fixture(params=["1", "6", "11", "12"])
def made(request: pytest.FixtureRequest) -> Workshop:
    found = room(request.param)
    found.add("m.room.join_rules", ALICE, {"join_rule": "public"}, "")
    found.member(BOB, "join")
    return found


def test_what_nobody_objects_to_is_accepted(made: Workshop) -> None:
    message = made.make("m.room.message", BOB, {"body": "hello"})
    verdict = judge(message, named(made, message), (), made.create, made.state, made.state)
    assert verdict.is_accepted


def test_its_auth_events_come_first(made: Workshop) -> None:
    topic = made.make("m.room.topic", BOB, {"topic": "mine"}, "")
    verdict = judge(topic, named(made, topic), (), made.create, {}, {})
    assert (verdict.status, verdict.rule) == (Status.REJECTED, judge_remote.AUTH_EVENTS)
    assert "power level" in verdict.reason


def test_an_event_that_leans_on_a_rejected_one_is_rejected(made: Workshop) -> None:
    message = made.make("m.room.message", BOB, {"body": "hello"})
    leaning = named(made, message)
    verdict = judge(message, leaning, {leaning[-1].event_id}, made.create, made.state, made.state)
    assert (verdict.status, verdict.rule) == (Status.REJECTED, judge_remote.AUTH_EVENTS)


def test_an_event_that_names_more_than_it_should_is_rejected(made: Workshop) -> None:
    message = made.make("m.room.message", BOB, {"body": "hello"})
    leaning = [*named(made, message), made.state["m.room.join_rules", ""]]
    verdict = judge(message, leaning, (), made.create, made.state, made.state)
    assert (verdict.status, verdict.rule) == (Status.REJECTED, judge_remote.AUTH_EVENTS)


def test_the_state_before_it_comes_second(made: Workshop) -> None:
    message = made.make("m.room.message", BOB, {"body": "hello"})
    leaning, before = named(made, message), dict(made.state)
    made.member(BOB, "ban", ALICE)
    verdict = judge(message, leaning, (), made.create, made.state, before)
    assert (verdict.status, verdict.rule) == (Status.REJECTED, judge_remote.STATE_BEFORE)


def test_the_current_state_comes_third_and_is_no_reason_to_reject(made: Workshop) -> None:
    message = made.make("m.room.message", BOB, {"body": "hello"})
    leaning, before = named(made, message), dict(made.state)
    made.member(BOB, "ban", ALICE)
    verdict = judge(message, leaning, (), made.create, before, made.state)
    assert (verdict.status, verdict.rule) == (Status.SOFT_FAILED, judge_remote.CURRENT_STATE)


def test_history_is_not_asked_about_the_current_state(made: Workshop) -> None:
    message = made.make("m.room.message", BOB, {"body": "hello"})
    assert judge(message, named(made, message), (), made.create, made.state, None).is_accepted


def test_from_version_twelve_on_the_create_event_counts_without_being_named() -> None:
    made = room("12", {"m.federate": False})
    content: JsonObject = {"membership": "join"}
    join = made.make("m.room.member", BOB, content, BOB)
    assert made.create.event_id not in join.auth_events
    verdict = judge(join, named(made, join), (), made.create, made.state, made.state)
    assert (verdict.status, verdict.rule) == (Status.REJECTED, judge_remote.AUTH_EVENTS)
    assert "closed" in verdict.reason
