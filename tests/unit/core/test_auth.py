"""The authorisation rules beyond what the vectors have: create events, auth_events, third-party invites, levels."""

from __future__ import annotations

import math

import pytest

from homeserver.core.auth import (
    PowerLevels,
    Rejected,
    check,
    check_auth_events,
    creators_of,
    needed_auth_keys,
)
from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.event import Event
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import SigningKey, sign_json
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


def test_a_room_can_be_made_and_used(version: str) -> None:
    made = Workshop(version)
    check(made.create, {})
    state: dict[tuple[str, str], Event] = {made.create.key: made.create}
    levels: JsonObject = {"users": {} if made.rules.infinite_creators else {ALICE: 100}}
    steps: list[tuple[str, JsonObject, str]] = [
        ("m.room.member", {"membership": "join"}, ALICE),
        ("m.room.power_levels", levels, ""),
        ("m.room.join_rules", {"join_rule": "public"}, ""),
    ]
    for event_type, content, key in steps:
        event = made.add(event_type, ALICE, content, key)
        check(event, state)
        check_auth_events(event, [state[k] for k in state if state[k].event_id in event.auth_events])
        state[event.key] = event
    join = made.member(BOB, "join")
    check(join, state)
    state[join.key] = join
    check(made.make("m.room.message", BOB, {"body": "hello"}), state)
    assert "needs power level 50" in refused(made.make("m.room.topic", BOB, {"topic": "x"}, ""), state)


def test_only_the_creator_joins_a_new_room_and_only_once(version: str) -> None:
    made = Workshop(version)
    check(made.make("m.room.member", ALICE, {"membership": "join"}, ALICE), made.state)
    assert "not invited" in refused(made.make("m.room.member", BOB, {"membership": "join"}, BOB), made.state)
    made.member(ALICE, "join")
    made.member(ALICE, "leave")
    assert "not invited" in refused(made.make("m.room.member", ALICE, {"membership": "join"}, ALICE), made.state)


def test_a_create_event_begins_a_room(version: str) -> None:
    made = room(version)
    late = made.make("m.room.create", ALICE, {"creator": ALICE}, "")
    assert late.prev_events
    assert "has begun" in refused(late, {})


def test_a_create_event_must_name_a_known_version(version: str) -> None:
    unknown: list[JsonValue] = ["13.unknown", "", 12, None, ["1"]]
    for bad in unknown:
        assert "not known" in refused(Workshop(version, {"room_version": bad}).create, {})
    check(Workshop(version, {"room_version": "1"}).create, {})


def test_up_to_version_10_a_create_event_names_the_creator() -> None:
    for version in VERSIONS:
        made = Workshop(version)
        made.room_id = None if made.rules.room_id_is_create_hash else made.room_id
        create = made.make("m.room.create", ALICE, {"room_version": version}, "", prev_events=())
        if made.rules.creator_in_content:
            assert "creator" in refused(create, {})
        else:
            check(create, {})


def test_before_version_12_the_room_id_is_of_the_creators_server() -> None:
    for version in VERSIONS[:-1]:
        made = Workshop(version)
        create = made.make("m.room.create", BOB, {"creator": BOB}, "", prev_events=())
        assert "another server" in refused(create, {})


@pytest.mark.parametrize("others", [BOB, [1], ["bob"], [BOB, "@x"], {BOB: 1}, None])
def test_additional_creators_must_be_user_ids(others: JsonValue) -> None:
    assert "additional_creators" in refused(Workshop("12", {"additional_creators": others}).create, {})
    check(Workshop("11", {"additional_creators": others}).create, {})


def test_creators_have_all_power_from_version_12_on() -> None:
    made = room("12", {"additional_creators": [BOB]})
    assert creators_of(made.create) == {ALICE, BOB}
    power = PowerLevels.of_state(made.state, made.rules)
    assert power.of_user(ALICE) == power.of_user(BOB) == math.inf
    assert power.of_user(CAROL) == 0
    made.member(BOB, "join")
    high = made.make("m.room.power_levels", BOB, {"users": {CAROL: 2**53 - 1}}, "")
    check(high, made.state)
    for named in (ALICE, BOB):
        assert "creator" in refused(made.make("m.room.power_levels", ALICE, {"users": {named: 5}}, ""), made.state)
    # Not even another creator can be thrown out.
    kick = made.make("m.room.member", ALICE, {"membership": "leave"}, BOB)
    assert "as much power" in refused(kick, made.state)


def test_a_room_needs_its_own_create_event(version: str) -> None:
    made, other = room(version), Workshop(version, {"m.federate": True, "x": 1})
    message = made.make("m.room.message", ALICE, {})
    assert "no m.room.create" in refused(message, {})
    if made.rules.room_id_is_create_hash:
        assert "no m.room.create" in refused(message, {**made.state, other.create.key: other.create})


def test_auth_events_are_those_that_are_needed(version: str) -> None:
    made = room(version)
    message = made.make("m.room.message", ALICE, {})
    events = [made.state[key] for key in needed_auth_keys(message.type, ALICE, None, {}, made.rules)]
    assert tuple(event.event_id for event in events) == message.auth_events
    assert (made.create in events) is made.rules.create_in_auth_events
    check_auth_events(message, events)
    power, other_power = made.state["m.room.power_levels", ""], made.add("m.room.power_levels", ALICE, {}, "")
    with pytest.raises(Rejected, match="two events"):
        check_auth_events(message, [*events, other_power])
    with pytest.raises(Rejected, match="not needed"):
        check_auth_events(message, [*events, made.state["m.room.join_rules", ""]])
    with pytest.raises(Rejected, match="was rejected"):
        check_auth_events(message, events, rejected={power.event_id})
    if made.rules.create_in_auth_events:
        with pytest.raises(Rejected, match=r"no m\.room\.create"):
            check_auth_events(message, events[1:])
    else:
        with pytest.raises(Rejected, match="not needed"):
            check_auth_events(message, [*events, made.create])


def test_auth_events_of_another_room_are_refused() -> None:
    made, other = room("12"), room("12", {"x": 1})
    message = made.make("m.room.message", ALICE, {})
    with pytest.raises(Rejected, match="another room"):
        check_auth_events(message, [other.state["m.room.power_levels", ""]])


def test_what_a_membership_leans_on() -> None:
    signed: JsonObject = {"signed": {"token": "tok", "mxid": BOB}}
    invite: JsonObject = {"membership": "invite", "third_party_invite": signed}
    join: JsonObject = {"membership": "join", "join_authorised_via_users_server": CAROL}
    for rules in ROOM_RULES.values():
        create = [("m.room.create", "")] if rules.create_in_auth_events else []
        base = [*create, ("m.room.power_levels", ""), ("m.room.member", ALICE)]
        assert needed_auth_keys("m.room.create", ALICE, "", {}, rules) == []
        assert needed_auth_keys("m.room.message", ALICE, None, {}, rules) == base
        assert needed_auth_keys("m.room.member", ALICE, BOB, {"membership": "ban"}, rules) == [
            *base,
            ("m.room.member", BOB),
        ]
        assert needed_auth_keys("m.room.member", ALICE, BOB, invite, rules) == [
            *base,
            ("m.room.member", BOB),
            ("m.room.join_rules", ""),
            ("m.room.third_party_invite", "tok"),
        ]
        authoriser = [("m.room.member", CAROL)] if rules.restricted_joins else []
        assert needed_auth_keys("m.room.member", ALICE, ALICE, join, rules) == [
            *base,
            ("m.room.join_rules", ""),
            *authoriser,
        ]


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


def test_a_room_can_be_closed_to_other_servers(version: str) -> None:
    closed, unclear = room(version, {"m.federate": False}), room(version, {"m.federate": "no"})
    for made in (closed, unclear):
        check(made.make("m.room.message", ALICE, {}), made.state)
    assert "closed" in refused(closed.make("m.room.member", BOB, {"membership": "join"}, BOB), closed.state)
    check(unclear.make("m.room.member", BOB, {"membership": "join"}, BOB), unclear.state)


def test_aliases_are_their_servers_own_up_to_version_5() -> None:
    for version in VERSIONS:
        made = with_members(version, bob=50)
        own = made.make("m.room.aliases", BOB, {"aliases": []}, "b.example")
        foreign = made.make("m.room.aliases", BOB, {"aliases": []}, "a.example")
        outsider = made.make("m.room.aliases", CAROL, {"aliases": []}, "c.example")
        check(own, made.state)
        if made.rules.aliases_rule:
            assert "your server's name" in refused(foreign, made.state)
            assert "your server's name" in refused(made.make("m.room.aliases", BOB, {}), made.state)
            check(outsider, made.state)
        else:
            check(foreign, made.state)
            assert "power level 50" in refused(outsider, made.state)


def test_one_can_leave_what_one_is_in_or_invited_to(version: str) -> None:
    made = room(version)
    leave = made.make("m.room.member", BOB, {"membership": "leave"}, BOB)
    for before in ("invite", "join"):
        made.state["m.room.member", BOB] = made.make("m.room.member", ALICE, {"membership": before}, BOB)
        check(leave, made.state)
    for before in ("leave", "ban", "odd"):
        made.state["m.room.member", BOB] = made.make("m.room.member", ALICE, {"membership": before}, BOB)
        assert "not in this room" in refused(leave, made.state)
    made.state["m.room.member", BOB] = made.make("m.room.member", BOB, {"membership": "knock"}, BOB)
    if made.rules.knocking:
        check(leave, made.state)
    else:
        assert refused(leave, made.state)


def test_inviting_takes_membership_and_the_level(version: str) -> None:
    made = with_members(version, bob=10)
    dave = "@dave:d.example"
    invite = made.make("m.room.member", BOB, {"membership": "invite"}, dave)
    for level, allowed in ((10, True), (11, False)):
        made.add("m.room.power_levels", ALICE, {**levels(made, bob=10), "invite": level}, "")
        if allowed:
            check(invite, made.state)
        else:
            assert "inviting needs power level 11" in refused(invite, made.state)
    again = made.make("m.room.member", ALICE, {"membership": "invite"}, BOB)
    assert "already" in refused(again, made.state)
    made.member(BOB, "ban", ALICE)
    assert "banned" in refused(made.make("m.room.member", ALICE, {"membership": "invite"}, BOB), made.state)
    assert "not in this room" in refused(invite, made.state)


def test_a_member_who_may_just_invite_can_let_others_in() -> None:
    for version in ("8", "12"):
        made = with_members(version, bob=10)
        made.add("m.room.join_rules", ALICE, {"join_rule": "restricted"}, "")
        made.member(CAROL, "leave")
        content: JsonObject = {"membership": "join", "join_authorised_via_users_server": BOB}
        join = made.make("m.room.member", CAROL, content, CAROL)
        for level, allowed in ((10, True), (11, False)):
            made.add("m.room.power_levels", ALICE, {**levels(made, bob=10), "invite": level}, "")
            if allowed:
                check(join, made.state)
            else:
                assert "not being allowed to invite" in refused(join, made.state)
        made.member(BOB, "leave")
        assert "not being in the room" in refused(join, made.state)
        alone = made.make("m.room.member", CAROL, {"membership": "join"}, CAROL)
        assert "no member has let you in" in refused(alone, made.state)


class TestThirdPartyInvites:
    """Rule 5.4.1."""

    @staticmethod
    def invited(made: Workshop, public: JsonObject, signed: JsonObject, sender: str = ALICE) -> Event:
        made.add("m.room.third_party_invite", ALICE, public, "tok")
        content: JsonObject = {"membership": "invite", "third_party_invite": {"display_name": "b", "signed": signed}}
        assert sender in (ALICE, CAROL)
        return made.make("m.room.member", ALICE if sender == ALICE else CAROL, content, BOB)

    signed: JsonObject = sign_json({"mxid": BOB, "token": "tok"}, "id.example", INVITE_KEY)
    public: JsonObject = {"public_key": INVITE_KEY.verify_key_base64}
    other_key = SigningKey("1", b"o" * 32).verify_key_base64

    def test_the_holder_of_the_token_is_invited(self, version: str) -> None:
        made = room(version)
        check(self.invited(made, self.public, self.signed), made.state)

    def test_any_of_several_keys_will_do(self, version: str) -> None:
        made = room(version)
        keys: JsonObject = {
            "public_key": self.other_key,
            "public_keys": [{"public_key": self.other_key}, 5, {"public_key": INVITE_KEY.verify_key_base64}],
        }
        check(self.invited(made, keys, self.signed), made.state)

    @pytest.mark.parametrize(
        ("public", "changes", "reason"),
        [
            ({"public_key": other_key}, {}, "not signed"),
            ({}, {}, "not signed"),
            ({"public_key": 5, "public_keys": {"a": 1}}, {}, "not signed"),
            (public, {"mxid": CAROL}, "mxid"),
            (public, {"token": "other"}, "no such"),
            (public, {"token": 5}, "needs mxid and token"),
            (public, {"mxid": None}, "mxid"),
            (public, {"more": 1}, "not signed"),
            (public, {"more": 1.5}, "not signed"),
            (public, {"signatures": []}, "not signed"),
            (public, {"signatures": {"id.example": {"ed25519:0": 5, "rsa:0": "x"}}}, "not signed"),
        ],
    )
    def test_other_invites_are_refused(self, public: JsonObject, changes: JsonObject, reason: str) -> None:
        made = room("5")
        assert reason in refused(self.invited(made, public, {**self.signed, **changes}), made.state)

    def test_without_signed_it_is_no_invite(self, version: str) -> None:
        made = room(version)
        invites: list[JsonValue] = [{}, {"signed": []}, None, "x"]
        for invite in invites:
            content: JsonObject = {"membership": "invite", "third_party_invite": invite}
            assert "no signed" in refused(made.make("m.room.member", ALICE, content, BOB), made.state)

    def test_the_sender_must_be_the_one_of_the_invite(self, version: str) -> None:
        made = room(version)
        made.member(CAROL, "join")
        assert "somebody else" in refused(self.invited(made, self.public, self.signed, CAROL), made.state)

    def test_the_banned_are_not_invited(self, version: str) -> None:
        made = room(version)
        made.member(BOB, "ban", ALICE)
        assert "banned" in refused(self.invited(made, self.public, self.signed), made.state)

    def test_making_such_an_invite_takes_the_invite_level(self, version: str) -> None:
        made = room(version)
        made.member(BOB, "join")
        check(made.make("m.room.third_party_invite", BOB, self.public, "tok"), made.state)
        users: JsonObject = {} if made.rules.infinite_creators else {ALICE: 100}
        made.add("m.room.power_levels", ALICE, {"users": users, "invite": 10}, "")
        assert "10" in refused(made.make("m.room.third_party_invite", BOB, self.public, "tok"), made.state)
        check(made.make("m.room.third_party_invite", ALICE, self.public, "tok"), made.state)


def test_a_membership_has_a_user_and_a_name(version: str) -> None:
    made = room(version)
    assert "state_key" in refused(made.make("m.room.member", ALICE, {"membership": "join"}), made.state)
    assert "needs a membership" in refused(made.make("m.room.member", ALICE, {"membership": 5}, ALICE), made.state)
    assert "unknown" in refused(made.make("m.room.member", ALICE, {"membership": "guest"}, ALICE), made.state)


def test_nobody_knocks_or_joins_for_somebody_else() -> None:
    made = room("12")
    assert "somebody else" in refused(made.make("m.room.member", ALICE, {"membership": "join"}, BOB), made.state)
    made.add("m.room.join_rules", ALICE, {"join_rule": "knock"}, "")
    check(made.make("m.room.member", BOB, {"membership": "knock"}, BOB), made.state)
    assert "somebody else" in refused(made.make("m.room.member", BOB, {"membership": "knock"}, CAROL), made.state)
