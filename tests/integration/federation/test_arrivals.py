"""The doors through which users of other servers come in and are invited, knocked at rightly and wrongly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from homeserver.core.event import Event
from homeserver.core.room_rules import ROOM_RULES
from homeserver.core.signatures import sign_event
from tests.cast import Actor
from tests.federated import Federated, TestAuthority
from tests.stranger import PREFIX, Stranger, Visit
from tests.wire import Json, client_path

V2 = "/_matrix/federation/v2/"


@pytest.fixture(scope="module")
def stranger(authority: TestAuthority) -> Iterator[Stranger]:
    """Another server."""
    made = Stranger(authority)
    yield made
    made.stop()


def _path(*parts: str) -> str:
    return "/".join(quote(part, safe="") for part in parts)


def _made(stranger: Stranger, server: Federated, room: str, user: str, versions: str = "ver=10&ver=12") -> Json:
    return stranger.asks(server.server_name, "GET", f"{PREFIX}{_path('make_join', room, user)}?{versions}")


def _join(stranger: Stranger, server: Federated, room: str, user: str, **content: Json) -> Event:
    """A signed join that is as it should be but for what is said of its content."""
    status, template = _made(stranger, server, room, stranger.user(user))
    assert status == 200, template
    proposed = template["event"]
    visit = Visit(stranger, server.server_name, proposed["room_id"], ROOM_RULES[template["room_version"]])
    return visit.build(
        stranger.user(user),
        "m.room.member",
        {**proposed["content"], **content},
        stranger.user(user),
        prev=proposed["prev_events"],
        auth=proposed["auth_events"],
        depth=proposed["depth"],
    )


def _sent(stranger: Stranger, server: Federated, event: Event, query: str = "", version: str = V2) -> Json:
    target = version + _path("send_join", event.room_id, event.event_id) + query
    return stranger.asks(server.server_name, "PUT", target, event.to_pdu())


def _room(server: Federated, **options: Json) -> tuple[Actor, str]:
    romeo = server.cast("romeo")
    return romeo, romeo.creates_room(**{"preset": "public_chat", **options})


def test_members_are_left_out_for_who_asks_for_that(server: Federated, stranger: Stranger) -> None:
    romeo, room = _room(server, name="Verona")
    others = [server.cast(name) for name in ("paris", "nurse")]
    for other in others:
        other.joins(room)
    status, answer = _sent(stranger, server, _join(stranger, server, room, "juliet"), "?omit_members=true")
    assert (status, answer["members_omitted"]) == (200, True)
    state = {(event["type"], event["state_key"]): event for event in answer["state"]}
    assert ("m.room.name", "") in state
    assert not any(("m.room.member", other.user_id) in state for other in others)
    assert set(answer["servers_in_room"]) == {server.server_name, stranger.name}
    told = [*answer["state"], *answer["auth_chain"]]
    assert len(told) == len({str(event["signatures"]) for event in told})
    # Whoever leans on an event finds it.
    status, whole = _sent(stranger, server, _join(stranger, server, room, "rosaline"))
    assert (status, whole["members_omitted"]) == (200, False)
    members = {event["state_key"] for event in whole["state"] if event["type"] == "m.room.member"}
    assert members == {romeo.user_id, *(other.user_id for other in others), stranger.user("juliet")}


def test_a_room_without_a_name_is_told_with_those_it_is_called_after(server: Federated, stranger: Stranger) -> None:
    romeo, room = _room(server)
    status, answer = _sent(stranger, server, _join(stranger, server, room, "juliet"), "?omit_members=true")
    assert status == 200
    assert romeo.user_id in [event["state_key"] for event in answer["state"] if event["type"] == "m.room.member"]


def test_the_old_form_of_send_join_is_answered(server: Federated, stranger: Stranger) -> None:
    romeo, room = _room(server)
    status, answer = _sent(stranger, server, _join(stranger, server, room, "juliet"), version=PREFIX)
    assert (status, answer[0]) == (200, 200)
    assert "m.room.create" in [event["type"] for event in answer[1]["state"]]
    assert romeo.members(room)[stranger.user("juliet")] == "join"


def test_a_join_is_proposed_only_for_ones_own_users_in_versions_that_one_knows(
    server: Federated, stranger: Stranger
) -> None:
    romeo, room = _room(server)
    status, answer = _made(stranger, server, room, "@nurse:elsewhere.example")
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    status, answer = _made(stranger, server, room, stranger.user("juliet"), "ver=1&ver=6")
    assert (status, answer["errcode"], answer["room_version"]) == (400, "M_INCOMPATIBLE_ROOM_VERSION", "12")
    status, answer = _made(stranger, server, "!none:elsewhere.example", stranger.user("juliet"))
    assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")
    romeo.sets_state(room, "m.room.server_acl", {"allow": ["*"], "deny": [], "allow_ip_literals": False})
    status, answer = _made(stranger, server, room, stranger.user("juliet"))
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


def test_what_is_no_proper_join_is_not_taken(server: Federated, stranger: Stranger) -> None:
    romeo, room = _room(server)
    good = _join(stranger, server, room, "juliet")
    name = server.server_name
    target = V2 + _path("send_join", room, good.event_id)
    changed = {**good.to_pdu(), "content": {"membership": "join", "displayname": "changed"}}
    assert stranger.asks(name, "PUT", target, changed)[0] == 400
    unsigned = {**good.to_pdu(), "signatures": {}}
    status, answer = stranger.asks(name, "PUT", target, unsigned)
    assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")
    knock = _path("make_knock", room, good.sender)
    status, answer = stranger.asks(name, "GET", f"/_matrix/federation/v1/{knock}")
    assert (status, answer["errcode"]) == (400, "M_MISSING_PARAM")
    leave = _join(stranger, server, room, "juliet", membership="leave")
    assert _sent(stranger, server, leave)[0] == 400
    assert stranger.asks(name, "PUT", V2 + _path("send_join", room, "$other"), good.to_pdu())[0] == 400
    assert stranger.asks(name, "PUT", target, {"type": "m.room.member"})[0] == 400
    assert list(romeo.members(room)) == [romeo.user_id]
    assert _sent(stranger, server, good)[0] == 200
    # The same once more is no mistake: the first answer may have been lost.
    assert _sent(stranger, server, good)[0] == 200


def test_what_is_no_proper_invite_is_not_signed(server: Federated, stranger: Stranger) -> None:
    romeo = server.cast("romeo")
    juliet = stranger.user("juliet")
    visit = Visit(stranger, server.server_name, f"!theirs:{stranger.name}", ROOM_RULES["10"])  # type: ignore[arg-type]
    create = visit.build(juliet, "m.room.create", {"room_version": "10"}, "", prev=[], auth=[])
    shown = [{"type": "m.room.name", "state_key": "", "sender": juliet, "content": {"name": "Garden"}}]

    def invited(event: Event, version: str = "10", path_id: str | None = None) -> tuple[int, str | None]:
        body = {"event": event.to_pdu(), "room_version": version, "invite_room_state": shown}
        target = V2 + _path("invite", event.room_id, path_id or event.event_id)
        status, answer = stranger.asks(server.server_name, "PUT", target, body)
        return status, answer.get("errcode")

    def invite(sender: str = juliet, membership: str = "invite", target: str = romeo.user_id) -> Event:
        content: Json = {"membership": membership}
        return visit.build(sender, "m.room.member", content, target, prev=[create.event_id], auth=[])  # type: ignore[arg-type]

    assert invited(invite(membership="join")) == (400, "M_INVALID_PARAM")
    assert invited(invite(sender=f"@nurse:{server.server_name}")) == (400, "M_INVALID_PARAM")
    assert invited(invite(target=stranger.user("nurse"))) == (400, "M_INVALID_PARAM")
    assert invited(invite(), path_id="$other") == (400, "M_INVALID_PARAM")
    assert invited(invite(), version="none") == (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert invited(invite(target=f"@nobody:{server.server_name}")) == (404, "M_NOT_FOUND")
    since = romeo.sync()
    assert invited(invite()) == (200, None)
    seen = romeo.syncs_until(since, lambda seen: visit.room_id in seen.last.invited)
    assert seen.last.invite_state(visit.room_id).content("m.room.name") == {"name": "Garden"}
    # The other server is gone: the invite can be declined all the same.
    romeo.leaves(visit.room_id)
    assert visit.room_id not in romeo.sync().invited


def test_a_server_that_knows_only_the_old_form_of_invites_is_asked_in_it(server: Federated, stranger: Stranger) -> None:
    romeo, old_room = _room(server, room_version="2", name="Garden")
    new_room = romeo.creates_room(room_version="10")
    juliet = stranger.user("juliet")
    asked: list[Json] = []

    def sign(request: Json) -> Json:
        asked.append(request)
        event = Event.parse(request.body, ROOM_RULES["2"])
        return [200, {"event": sign_event(event, stranger.signer).to_pdu()}]

    stranger.answers["invite"] = sign
    try:
        romeo.asks("POST", "rooms", old_room, "invite", body={"user_id": juliet})
        refusal = romeo.call("POST", client_path("rooms", new_room, "invite"), {"user_id": juliet})
    finally:
        del stranger.answers["invite"]
    assert romeo.members(old_room)[juliet] == "invite"
    shown = {event["type"]: event["content"] for event in asked[0].body["unsigned"]["invite_room_state"]}
    assert shown["m.room.name"] == {"name": "Garden"}
    # There is no old form for rooms of other versions.
    assert (refusal.status, len(asked)) == (404, 1)
    assert juliet not in romeo.members(new_room)


def test_a_space_is_shown_as_far_as_users_of_the_server_may_see(server: Federated, stranger: Stranger) -> None:
    romeo, space = _room(server, creation_content={"type": "m.space"})
    _, square = _room(server, name="Square")
    private = romeo.creates_room()
    for room in (square, private):
        romeo.sets_state(space, "m.space.child", {"via": [server.server_name]}, room)
    status, answer = stranger.reads(server.server_name, "hierarchy", space)
    assert status == 200, answer
    assert {event["state_key"] for event in answer["room"]["children_state"]} == {square, private}
    assert [room["room_id"] for room in answer["children"]] == [square]
    assert answer["inaccessible_children"] == [private]
    assert stranger.reads(server.server_name, "hierarchy", private)[0] == 404


def test_what_a_server_would_not_take_is_sent_again_and_nothing_is_lost(server: Federated, stranger: Stranger) -> None:
    romeo, room = _room(server)
    visit = stranger.joins(server.server_name, room, stranger.user("juliet"))
    taken: list[str] = []
    refusals = 2

    def take(asked: Json) -> Json:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise OSError("it goes without an answer")
        taken.extend(pdu["content"].get("body", "") for pdu in asked.body["pdus"])
        return {"pdus": {}}

    stranger.answers["send"] = take
    try:
        since = romeo.sync()
        said = [f"word {number}" for number in range(60)]
        for word in said:
            romeo.says(room, word)
        # Whatever it sends shows that it is there.
        answer = visit.says(stranger.user("juliet"), "go on", prev=[romeo.messages(room)[0].ids[0]], depth=1000)
        assert visit.sends(answer) == {answer.event_id: {}}
        romeo.syncs_until(since, lambda seen: answer.event_id in seen.timeline(room))
        until_s = time.monotonic() + 30
        while said != [word for word in dict.fromkeys(taken) if word]:
            assert time.monotonic() < until_s, taken
            time.sleep(0.1)
    finally:
        del stranger.answers["send"]
