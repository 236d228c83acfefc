"""Hostile servers where members come and go: tampered proposals, denied servers, replays, attempts to reset a room.

Specification: server-server API, "Joining Rooms", "Server Access Control Lists (ACLs)", "Room State Resolution".
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.room_rules import ROOM_RULES
from tests.cast import Actor, Refused
from tests.federated import Federated, MakeFederated, joins_through
from tests.stranger import NotHere, Stranger, Visit
from tests.wire import Json

V1 = "/_matrix/federation/v1/"
V2 = "/_matrix/federation/v2/"


def path(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)


def asked_paths(stranger: Stranger) -> list[str]:
    """What the server wanted of the stranger, without what its keys and presence need."""
    return [asked.path.split("/")[4] for asked in stranger.asked if "federation" in asked.path]


# A room of the stranger's own, which Romeo wants to join, to knock on, or to leave.

Tamper = Callable[[JsonObject], JsonObject]

TAMPERED: dict[str, Tamper] = {
    "another type": lambda event: {**event, "type": "m.room.message"},
    "another room": lambda event: {**event, "room_id": "!other:example.org"},
    "another sender": lambda event: {**event, "sender": "@romeo:example.org"},
    "another user": lambda event: {**event, "state_key": "@tybalt:example.org"},
    "a ban": lambda event: {**event, "content": {"membership": "ban"}},
    "no content": lambda event: {**event, "content": []},
    "no depth": lambda event: {key: value for key, value in event.items() if key != "depth"},
    "a depth below zero": lambda event: {**event, "depth": -1},
    "no place": lambda event: {key: value for key, value in event.items() if key != "prev_events"},
    "nonsense as a place": lambda event: {**event, "prev_events": [5]},
    "no ids as a place": lambda event: {**event, "auth_events": ["no id"]},
}


def proposing(stranger: Stranger, tamper: Tamper, version: str = "10") -> None:
    """The stranger proposes member events, tampered with."""

    def propose(asked: Json) -> Json:
        _, room, user = asked.path.rsplit("/", 2)
        membership = asked.path.split("/")[4].removeprefix("make_")
        event: JsonObject = {
            "type": "m.room.member",
            "room_id": room,
            "sender": user,
            "state_key": user,
            "content": {"membership": membership},
            "depth": 7,
            "prev_events": ["$prev"],
            "auth_events": ["$auth"],
            "origin_server_ts": 1,
        }
        return {"room_version": version, "event": tamper(event)}

    for change in ("join", "knock", "leave"):
        stranger.answers[f"make_{change}/"] = propose


@pytest.mark.parametrize("how", TAMPERED)
def test_a_proposal_that_was_tampered_with_is_never_signed(server: Federated, stranger: Stranger, how: str) -> None:
    romeo = server.cast("romeo")
    room = f"!theirs:{stranger.name}"
    proposing(stranger, TAMPERED[how])
    for door in ("join", "knock"):
        with pytest.raises(Refused) as refusal:
            romeo.asks("POST", door, room, body={}, via=stranger.name)
        assert refusal.value.status in (400, 403, 404, 502)
        assert str(refusal.value.errcode).startswith("M_")
    assert asked_paths(stranger) == ["make_join", "make_knock"]
    romeo.creates_room()


def test_of_a_proposal_only_the_place_is_taken(server: Federated, stranger: Stranger) -> None:
    romeo = server.cast("romeo")
    room = f"!theirs:{stranger.name}"
    more: JsonObject = {"membership": "join", "displayname": "Fool", "reason": "ours", "is_direct": True}
    proposing(stranger, lambda event: {**event, "content": more, "redacts": "$x", "origin": "evil", "extra": 1})
    with pytest.raises(Refused):
        romeo.asks("POST", "join", room, body={"reason": "mine"}, via=stranger.name)
    signed = next(asked.body for asked in stranger.asked if "send_join" in asked.path)
    assert signed["content"] == {"membership": "join", "reason": "mine"}
    assert (signed["prev_events"], signed["auth_events"], signed["depth"]) == (["$prev"], ["$auth"], 7)
    assert not {"redacts", "origin", "extra"} & signed.keys()
    assert signed["origin_server_ts"] > 1


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"state": [], "auth_chain": []},
        {"state": "all of it", "auth_chain": 5},
        {"state": [{}, 5, None], "auth_chain": [[]], "event": 7},
        {"state": [{"type": "m.room.create"}] * 3, "auth_chain": []},
    ],
)
def test_a_join_that_is_answered_with_nonsense_leaves_nothing_behind(
    server: Federated, stranger: Stranger, answer: Json
) -> None:
    romeo = server.cast("romeo")
    room = f"!theirs:{stranger.name}"
    proposing(stranger, lambda event: event)
    stranger.answers["/_matrix/federation/v2/send_join"] = lambda asked: answer
    with pytest.raises(Refused) as refusal:
        romeo.asks("POST", "join", room, body={}, via=stranger.name)
    assert refusal.value.status == 502
    assert room not in romeo.asks("GET", "joined_rooms")["joined_rooms"]


@pytest.mark.parametrize("lie", ["unsigned", "of another server", "without power", "of another version"])
def test_a_join_into_a_forged_room_is_refused(server: Federated, stranger: Stranger, lie: str) -> None:
    romeo = server.cast("romeo")
    juliet = stranger.user("juliet")
    visit = Visit(stranger, server.server_name, RoomId(f"!forged:{stranger.name}"), ROOM_RULES["10"])
    version = "9" if lie == "of another version" else "10"
    maker = juliet if lie != "of another server" else UserId(romeo.user_id)
    create = visit.build(
        maker, "m.room.create", {"room_version": version, "creator": maker}, "", prev=[], auth=[], depth=1
    )
    visit.saw(create)
    member = visit.build(juliet, "m.room.member", {"membership": "join"}, juliet)
    visit.saw(member)
    rules = visit.build(juliet, "m.room.join_rules", {"join_rule": "public"}, "")
    if lie == "without power":
        # The rule by which Romeo could come in is that of someone who was never in the room.
        mallory = stranger.user("mallory")
        rules = visit.build(mallory, "m.room.join_rules", {"join_rule": "public"}, "")
    state = [event.to_pdu() for event in (create, member, rules)]
    if lie == "unsigned":
        state = [{**pdu, "signatures": {}} for pdu in state]
    proposing(
        stranger,
        lambda event: {
            **event,
            "prev_events": [rules.event_id],
            "auth_events": [create.event_id] if lie == "without power" else [create.event_id, rules.event_id],
        },
    )
    stranger.answers["/_matrix/federation/v2/send_join"] = lambda asked: {"state": state, "auth_chain": state}
    with pytest.raises(Refused) as refusal:
        romeo.asks("POST", "join", visit.room_id, body={}, via=stranger.name)
    assert refusal.value.status in (403, 502), refusal.value
    assert visit.room_id not in romeo.asks("GET", "joined_rooms")["joined_rooms"]


# A room of Romeo's that the stranger's users are in.


def visited(server: Federated, stranger: Stranger, **room: Json) -> tuple[Actor, str, Visit]:
    romeo = server.cast("romeo")
    room_id = romeo.creates_room(preset="public_chat", **room)
    return romeo, room_id, stranger.joins(server.server_name, room_id, stranger.user("juliet"))


def test_a_denied_server_neither_enters_nor_invites_nor_reads(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visited(server, stranger, room_version="10")
    paris = server.cast("paris")
    juliet, nurse = seen.stranger.user("juliet"), seen.stranger.user("nurse")
    assert seen.last is not None
    known = seen.last.event_id
    romeo.sets_state(room, "m.room.server_acl", {"allow": ["*"], "deny": [stranger.name.rpartition(":")[0]]})
    invite = seen.build(juliet, "m.room.member", {"membership": "invite"}, paris.user_id)
    join = seen.build(nurse, "m.room.member", {"membership": "join"}, nurse)
    leave = seen.build(juliet, "m.room.member", {"membership": "leave"}, juliet)
    knock = seen.build(nurse, "m.room.member", {"membership": "knock"}, nurse)
    invited = {"event": invite.to_pdu(), "room_version": "10", "invite_room_state": []}
    versions = "ver=10"
    for method, target, body in (
        ("GET", V1 + path("make_join", room, nurse) + f"?{versions}", None),
        ("GET", V1 + path("make_leave", room, juliet), None),
        ("GET", V1 + path("make_knock", room, nurse) + f"?{versions}", None),
        ("PUT", V1 + path("send_join", room, join.event_id), join.to_pdu()),
        ("PUT", V2 + path("send_join", room, join.event_id), join.to_pdu()),
        ("PUT", V1 + path("send_leave", room, leave.event_id), leave.to_pdu()),
        ("PUT", V2 + path("send_leave", room, leave.event_id), leave.to_pdu()),
        ("PUT", V1 + path("send_knock", room, knock.event_id), knock.to_pdu()),
        ("PUT", V2 + path("invite", room, invite.event_id), invited),
        ("GET", V1 + path("state", room) + f"?event_id={quote(known, safe='')}", None),
        ("GET", V1 + path("state_ids", room) + f"?event_id={quote(known, safe='')}", None),
        ("GET", V1 + path("backfill", room) + f"?v={quote(known, safe='')}&limit=5", None),
        ("GET", V1 + path("event_auth", room, known), None),
        ("POST", V1 + path("get_missing_events", room), {"earliest_events": [], "latest_events": [known]}),
    ):
        status, answer = stranger.asks(server.server_name, method, target, body)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN"), (method, target, answer)
    assert room not in paris.sync().invited
    assert romeo.members(room) == {romeo.user_id: "join", juliet: "join"}
    paris.joins(room)


def test_a_denied_server_cannot_invite_in_the_old_form_either(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visited(server, stranger, room_version="1")
    paris = server.cast("paris")
    romeo.sets_state(room, "m.room.server_acl", {"allow": ["*"], "deny": [stranger.name.rpartition(":")[0]]})
    juliet = seen.stranger.user("juliet")
    invite = seen.build(juliet, "m.room.member", {"membership": "invite"}, paris.user_id)
    target = V1 + path("invite", room, invite.event_id)
    status, answer = stranger.asks(server.server_name, "PUT", target, invite.to_pdu())
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert room not in paris.sync().invited


def test_a_join_that_is_replayed_after_a_ban_brings_nobody_back(server: Federated, stranger: Stranger) -> None:
    romeo, room, seen = visited(server, stranger)
    juliet = seen.stranger.user("juliet")
    join = seen.last
    assert join is not None
    romeo.asks("POST", "rooms", room, "ban", body={"user_id": juliet})
    assert seen.sends(join) == {join.event_id: {}}
    stranger.asks(server.server_name, "PUT", V2 + path("send_join", room, join.event_id), join.to_pdu())
    after = romeo.says(room, "still banned")
    assert romeo.members(room)[juliet] == "ban"
    assert romeo.whole_history(room).ids.count(join.event_id) == 1
    status, answer = stranger.reads(server.server_name, "event", after)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", ["2", "10", "12"])
def test_a_fork_from_before_a_ban_resets_nothing(server: Federated, stranger: Stranger, version: str) -> None:
    juliet, mallory = stranger.user("juliet"), stranger.user("mallory")
    romeo = server.cast("romeo")
    room = romeo.creates_room(preset="public_chat", room_version=version, name="Verona")
    stranger.joins(server.server_name, room, juliet)
    seen = stranger.joins(server.server_name, room, mallory)
    levels = romeo.state(room, "m.room.power_levels")
    levels["users"][juliet] = 50
    given = romeo.sets_state(room, "m.room.power_levels", levels)
    status, answer = stranger.reads(server.server_name, "event", given)
    assert status == 200, answer
    seen.saw(Event.parse(answer["pdus"][0], seen.rules))
    banned = romeo.asks("POST", "rooms", room, "ban", body={"user_id": juliet})
    assert banned == {}
    ban = next(
        event["event_id"] for event in romeo.whole_state(room).of_type("m.room.member") if event["state_key"] == juliet
    )
    # As if she had not heard of the ban, she gives her friend power, takes Romeo's away, and renames the room.
    fork = EventId(given)
    grab = seen.build(
        juliet,
        "m.room.power_levels",
        {**levels, "users": {**levels["users"], mallory: 50}, "users_default": 50},
        "",
        prev=[fork],
        depth=1_000,
    )
    name = seen.build(juliet, "m.room.name", {"name": "Mantua"}, "", prev=[grab.event_id], depth=1_001)
    kick = seen.build(juliet, "m.room.member", {"membership": "leave"}, romeo.user_id, prev=[fork], depth=1_002)
    # Her friend, who is still there, brings both pasts together, and claims that all of it was the state.
    both = seen.says(mallory, "both", prev=[name.event_id, kick.event_id, EventId(ban)], depth=1_003)

    def state_ids(asked: Json) -> Json:
        lie = {**seen.state, grab.key: grab, name.key: name, kick.key: kick}
        return {"pdu_ids": [event.event_id for event in lie.values()], "auth_chain_ids": []}

    def event(asked: Json) -> Json:
        found = {each.event_id: each for each in (grab, name, kick, both)}.get(asked.last)
        if found is None:
            raise NotHere
        return {"pdus": [found.to_pdu()]}

    stranger.answers["get_missing_events/"] = lambda asked: {"events": []}
    stranger.answers["state_ids/"] = state_ids
    stranger.answers["event/"] = event
    since = romeo.sync()
    seen.sends(grab, name, kick, both)
    last = romeo.says(room, "Verona still")
    romeo.syncs_until(since, lambda seen: {both.event_id, last} <= set(seen.timeline(room).ids))
    assert romeo.state(room, "m.room.name") == {"name": "Verona"}
    assert romeo.state(room, "m.room.power_levels") == levels
    members = romeo.members(room)
    assert (members[romeo.user_id], members[juliet], members[mallory]) == ("join", "ban", "join")


def test_the_log_says_in_one_line_why_an_event_was_not_taken(make_federated: MakeFederated, stranger: Stranger) -> None:
    server = make_federated(log={"level": "info"})
    romeo, room, seen = visited(server, stranger)
    juliet = seen.stranger.user("juliet")
    good = seen.says(juliet, "good")
    unsigned: JsonObject = {**seen.says(juliet, "unsigned").to_pdu()}
    unsigned["signatures"] = {stranger.name: {"ed25519:x": "A" * 86}}
    forbidden = seen.build(juliet, "m.room.name", {"name": "mine"}, "")
    odd: JsonObject = {**seen.says(juliet, "odd").to_pdu(), "depth": "deep"}
    results = seen.sends(good, unsigned, forbidden, odd)
    assert results[good.event_id] == {}
    unsigned_id = Event.parse(unsigned, seen.rules).event_id
    (odd_id,) = results.keys() - {good.event_id, forbidden.event_id, unsigned_id}
    romeo.sets_state(room, "m.room.server_acl", {"allow": ["*"], "deny": [stranger.name.rpartition(":")[0]]})
    denied = seen.says(juliet, "denied")
    seen.sends(denied)
    reasons = {
        unsigned_id: ("2. signatures", "does not match"),
        forbidden.event_id: ("4. authorisation rules", "needs power level 50"),
        odd_id: ("1. format", "depth must be an integer"),
        denied.event_id: ("server access control list", "shut out"),
    }
    assert server.stop() == 0
    lines = server.output().splitlines()
    for event_id, told in reasons.items():
        about = [line for line in lines if event_id in line]
        assert len(about) == 1, about
        assert all(text in about[0] for text in (*told, stranger.name, room)), about
    assert not any(good.event_id in line for line in lines)
    assert server.errors() == []


@pytest.mark.parametrize(("claimed", "true"), [("1", "10"), ("10", "1"), ("9", "11")])
def test_a_room_is_of_the_version_that_its_servers_say_whatever_an_invite_told(
    make_federated: MakeFederated, server: Federated, stranger: Stranger, claimed: str, true: str
) -> None:
    here = make_federated()
    romeo, juliet = here.cast("romeo"), server.cast("juliet")
    room = juliet.creates_room(preset="public_chat", room_version=true)
    lie = _invite_of(stranger, room, claimed, romeo.user_id)
    target = V2 + path("invite", room, lie.event_id)
    body: Json = {"room_version": claimed, "event": lie.to_pdu(), "invite_room_state": []}
    assert stranger.asks(here.server_name, "PUT", target, body)[0] == 200
    assert room in romeo.sync().invited
    joins_through(romeo, room, server)
    # What is in memory is true anyway: the version was taken from the answer to the join.
    here.restart()
    since = romeo.sync()
    said = juliet.says(room, "good night")
    romeo.syncs_until(since, lambda seen: said in seen.timeline(room))
    since = juliet.sync()
    answered = romeo.says(room, "parting is such sweet sorrow")
    juliet.syncs_until(since, lambda seen: answered in seen.timeline(room))
    assert romeo.members(room)[romeo.user_id] == "join"


def _invite_of(stranger: Stranger, room: str, version: str, user: str) -> Event:
    visit = Visit(stranger, "", RoomId(room), ROOM_RULES[version])
    content: JsonObject = {"membership": "invite"}
    prev = [EventId("$prev:example.org")]
    return visit.build(stranger.user("mallory"), "m.room.member", content, user, prev=prev, auth=prev, depth=5)
