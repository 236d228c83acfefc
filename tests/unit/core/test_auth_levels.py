"""Who may do what: power levels, and how they are changed."""

from __future__ import annotations

import math

import pytest

from homeserver.core.auth import (
    PowerLevels,
    Rejected,
    check,
)
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.redaction import takes_effect
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import SigningKey
from tests.unit.core.building import ALICE, BOB, CAROL, Workshop, room

VERSIONS = list(ROOM_RULES)
INVITE_KEY = SigningKey("0", b"i" * 32)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def refused(event: Event, state: dict[tuple[str, str], Event]) -> str:
    with pytest.raises(Rejected) as refusal:
        check(event, state)
    return refusal.value.reason


def levels(made: Workshop, **users: int) -> JsonObject:
    """Power levels of Bob and Carol, beside Alice's."""
    named: JsonObject = {} if made.rules.infinite_creators else {ALICE: 100}
    for name, level in users.items():
        named[{"bob": BOB, "carol": CAROL}[name]] = level
    return {"users": named, "users_default": 0}


def with_members(version: str, **users: int) -> Workshop:
    """A public room in which Bob and Carol are too, with these power levels."""
    made = room(version)
    made.member(BOB, "join")
    made.member(CAROL, "join")
    made.add("m.room.power_levels", ALICE, levels(made, **users), "")
    return made


@pytest.mark.parametrize("membership", ["leave", "ban"])
def test_removing_others_takes_the_level_and_more_power_than_theirs(version: str, membership: str) -> None:
    content: JsonObject = {"membership": membership}
    for bob, carol, allowed in ((50, 49, True), (50, 50, False), (49, 0, False), (51, 50, True)):
        made = with_members(version, bob=bob, carol=carol)
        event = made.make("m.room.member", BOB, content, CAROL)
        if allowed:
            check(event, made.state)
        else:
            assert ("as much power" if bob == 50 else "needs power level 50") in refused(event, made.state)
    made.member(BOB, "leave")
    assert "not in this room" in refused(made.make("m.room.member", BOB, content, CAROL), made.state)


def test_lifting_a_ban_takes_the_ban_level_too(version: str) -> None:
    made = with_members(version, bob=60)
    made.add("m.room.power_levels", ALICE, {**levels(made, bob=60), "ban": 61}, "")
    made.member(CAROL, "ban", ALICE)
    lift = made.make("m.room.member", BOB, {"membership": "leave"}, CAROL)
    assert "ban needs power level 61" in refused(lift, made.state)
    made.add("m.room.power_levels", ALICE, {**levels(made, bob=60), "ban": 60}, "")
    check(lift, made.state)


def test_power_is_given_up_to_ones_own_and_taken_only_from_those_below(version: str) -> None:
    made = with_members(version, bob=50, carol=50)

    def change(**users: int) -> Event:
        return made.make("m.room.power_levels", BOB, levels(made, **users), "")

    check(change(bob=50, carol=50), made.state)
    check(change(carol=50), made.state)
    check(change(bob=10, carol=50), made.state)
    assert f"{CAROL} has as much power as you" in refused(change(bob=50), made.state)
    assert f"{CAROL} has as much power as you" in refused(change(bob=50, carol=40), made.state)
    assert "more power than you have" in refused(change(bob=51, carol=50), made.state)
    made.add("m.room.power_levels", ALICE, levels(made, bob=50, carol=49), "")
    check(change(bob=50), made.state)
    check(change(bob=50, carol=50), made.state)
    assert "more power than you have" in refused(change(bob=50, carol=51), made.state)


@pytest.mark.parametrize(
    "name", ["ban", "kick", "invite", "redact", "users_default", "events_default", "state_default"]
)
def test_levels_are_changed_up_to_ones_own(version: str, name: str) -> None:
    made = with_members(version, bob=50)
    for before, after, allowed in ((50, 49, True), (50, 51, False), (51, 50, False), (51, 51, True), (49, None, True)):
        base: JsonObject = {**levels(made, bob=50), "events": {"m.room.power_levels": 0}}
        made.state["m.room.power_levels", ""] = made.make("m.room.power_levels", ALICE, {**base, name: before}, "")
        content: JsonObject = {**base, name: after}
        if after is None:
            del content[name]
        event = made.make("m.room.power_levels", BOB, content, "")
        if allowed:
            check(event, made.state)
        else:
            assert "your own" in refused(event, made.state)


@pytest.mark.parametrize("name", ["events", "notifications"])
def test_levels_of_events_and_notifications_are_changed_up_to_ones_own(version: str, name: str) -> None:
    made = with_members(version, bob=50)
    steps: list[tuple[JsonObject, JsonObject, bool]] = [
        ({}, {"x": 50}, True),
        ({}, {"x": 51}, False),
        ({"x": 51}, {}, False),
        ({"x": 51}, {"x": 51, "y": 1}, True),
        ({"x": 50}, {}, True),
        ({"x": 50}, {"x": 51}, False),
    ]
    for before, after, allowed in steps:
        old, new = {**levels(made, bob=50), name: before}, {**levels(made, bob=50), name: after}
        made.state["m.room.power_levels", ""] = made.make("m.room.power_levels", ALICE, old, "")
        event = made.make("m.room.power_levels", BOB, new, "")
        if allowed or (name == "notifications" and not made.rules.notifications_checked):
            check(event, made.state)
        else:
            assert "your own" in refused(event, made.state)


@pytest.mark.parametrize(
    ("value", "from_1", "from_6", "from_10"),
    [
        (7, 7, 7, 7),
        ("7", 7, 7, None),
        (" +007 ", 7, 7, None),
        ("-7", -7, -7, None),
        ("7.0", None, None, None),
        ("", None, None, None),
        ("\u0667", None, None, None),
        (7.9, 7, None, None),
        (-7.9, -7, None, None),
        (True, None, None, None),
        (None, None, None, None),
        ([7], None, None, None),
    ],
)
def test_what_counts_as_a_level(value: JsonValue, from_1: int | None, from_6: int | None, from_10: int | None) -> None:
    for version, wanted in {"1": from_1, "5": from_1, "6": from_6, "9": from_6, "10": from_10, "12": from_10}.items():
        content: JsonObject = {
            "users": {BOB: value},
            "events": {"x": value},
            "notifications": {"room": value},
            "ban": value,
            "users_default": 1,
            "state_default": 2,
        }
        power = PowerLevels(content, frozenset(), ROOM_RULES[version])
        assert power.of_user(BOB) == (1 if wanted is None else wanted)
        assert power.needed_for_event("x", True) == (2 if wanted is None else wanted)
        assert power.needed_for_notification("room") == (50 if wanted is None else wanted)
        assert power.ban == (50 if wanted is None else wanted)


def test_levels_when_nobody_has_set_any(version: str) -> None:
    made = Workshop(version)
    power = PowerLevels.of_state(made.state, made.rules)
    assert power.of_user(ALICE) == (math.inf if made.rules.infinite_creators else 100)
    assert (power.of_user(BOB), power.invite, power.kick, power.ban, power.redact) == (0, 0, 50, 50, 50)
    assert power.needed_for_event("m.room.message", False) == 0
    assert power.needed_for_event("m.room.topic", True) == 50
    assert power.needed_for_notification("room") == 50


@pytest.mark.parametrize(
    "content", [{"users": []}, {"users": {"bob": 1}}, {"users": {BOB: "x"}}, {"users": {BOB: None}}, {"users": "x"}]
)
def test_users_must_be_users_with_levels(version: str, content: JsonObject) -> None:
    made = room(version)
    first = {key: event for key, event in made.state.items() if key[0] != "m.room.power_levels"}
    for state in (made.state, first):
        assert refused(made.make("m.room.power_levels", ALICE, content, ""), state).startswith(("users", "the power"))


def test_up_to_version_9_a_level_may_not_be_changed_to_nonsense() -> None:
    for version in VERSIONS[:9]:
        made = room(version)
        event = made.make("m.room.power_levels", ALICE, {**levels(made), "ban": "high"}, "")
        assert "'ban' is no integer" in refused(event, made.state)


@pytest.mark.parametrize(
    "content", [{"ban": "50"}, {"kick": None}, {"events": []}, {"events": {"x": "1"}}, {"notifications": {"room": "1"}}]
)
def test_from_version_10_on_levels_are_integers(content: JsonObject) -> None:
    for version in ("10", "11", "12"):
        made = room(version)
        assert "integer" in refused(made.make("m.room.power_levels", ALICE, content, ""), made.state)


def test_who_may_redact_is_asked_in_time(version: str) -> None:
    made = with_members(version)
    target = made.add("m.room.message", CAROL, {"body": "x"})
    power = PowerLevels.of_state(made.state, made.rules)
    by_alice, by_bob, by_carol = (
        made.make("m.room.redaction", user, {}, redacts=target.event_id) for user in (ALICE, BOB, CAROL)
    )
    for redaction in (by_alice, by_carol):
        check(redaction, made.state)
        assert takes_effect(redaction, target, power)
    if made.rules.redaction_rule:
        assert "redacting" in refused(by_bob, made.state)
    else:
        check(by_bob, made.state)
        assert not takes_effect(by_bob, target, power)
    assert not takes_effect(by_alice, made.create, power)
    made.add("m.room.power_levels", ALICE, {**levels(made, bob=30), "redact": 30}, "")
    check(by_bob, made.state)
    assert takes_effect(by_bob, target, PowerLevels.of_state(made.state, made.rules))
