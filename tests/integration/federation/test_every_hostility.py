"""All that a hostile server may try: it is refused or contained, others are served meanwhile, one line says why.

Each hostility is a function that does the deed and sees that it came to nothing; it gives back what the line must hold.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.signatures import Signer, SigningKey, sign_event
from tests.cast import Actor, Refused
from tests.federated import Federated, TestAuthority, faultless
from tests.integration.admin import until
from tests.integration.federation.test_hostile_peers import resigned
from tests.postgres import TestServer
from tests.stranger import PREFIX, Asked, NotHere, Stranger, Visit
from tests.wire import Json

V2: Final = "/_matrix/federation/v2/"


@pytest.fixture(scope="module")
def server(postgres: TestServer, authority: TestAuthority) -> Iterator[Federated]:
    """One server that says what it does."""
    made = Federated(postgres.fresh_database(), authority, **_LOUD)
    with faultless(made):
        yield made


_LOUD: Final[dict[str, Json]] = {"log": {"level": "info"}}


class Scene:
    """Romeo's room, with Juliet of a hostile server in it, and Benvolio of an honest one."""

    def __init__(
        self, server: Federated, authority: TestAuthority, hostile: Stranger, honest: Stranger, version: str
    ) -> None:
        self.server = server
        self.authority = authority
        self.hostile = hostile
        self.romeo: Actor = server.cast("romeo")
        self.room = self.romeo.creates_room(preset="public_chat", room_version=version)
        self.juliet = hostile.user("juliet")
        self.benvolio = honest.user("benvolio")
        self.honest = honest.joins(server.server_name, self.room, self.benvolio)
        self.seen = hostile.joins(server.server_name, self.room, self.juliet)

    def others_are_served(self) -> None:
        """Whoever speaks is heard: a user of the server, and one of another server, here and in another room."""
        elsewhere = self.romeo.creates_room(preset="public_chat")
        visit = self.honest.stranger.joins(self.server.server_name, elsewhere, self.benvolio)
        since = self.romeo.sync()
        near = self.romeo.says(self.room, "I am here")
        far = visit.says(self.benvolio, "so am I")
        assert visit.sends(far) == {far.event_id: {}}
        self.romeo.syncs_until(
            since, lambda seen: near in seen.timeline(self.room) and far.event_id in seen.timeline(elsewhere)
        )

    def is_as_it_was(self) -> None:
        """The hostile server has got nothing by it."""
        assert self.juliet not in self.romeo.state(self.room, "m.room.power_levels").get("users", {})
        assert self.romeo.state(self.room, "m.room.create") == self.seen.state["m.room.create", ""].content
        assert self.romeo.members(self.room)[self.romeo.user_id] == "join"
        assert not any(event["type"] == "m.room.name" for event in self.romeo.whole_state(self.room))

    def lines(self, *texts: str) -> list[str]:
        """Of the log, those that have all of this."""
        return [line for line in self.server.output().splitlines() if all(text in line for text in texts)]


Line = tuple[str, ...]
Hostility = Callable[[Scene], Line]


def a_bad_signature(scene: Scene) -> Line:
    pdu = scene.seen.says(scene.juliet, "forged").to_pdu()
    pdu["signatures"] = {scene.hostile.name: {scene.hostile.signer.key.key_id: "A" * 86}}
    (result,) = scene.seen.sends(pdu).items()
    assert "2. signatures" in result[1]["error"]
    return result[0], "dropped", "2. signatures", "does not match"


def a_request_with_a_bad_signature(scene: Scene) -> Line:
    original = scene.hostile.signer
    scene.hostile.signer = Signer(original.server, SigningKey.generate("x"))
    try:
        status, answer = scene.hostile.sends(scene.server.server_name, txn_id=f"bad{id(scene)}")
    finally:
        scene.hostile.signer = original
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")
    return f"bad{id(scene)}", "refused", "does not match"


def a_wrong_hash(scene: Scene) -> Line:
    pdu = scene.seen.says(scene.juliet, "as it was").to_pdu()
    pdu["content"] = {"body": "as somebody wants it", "msgtype": "m.text"}
    ((event_id, result),) = scene.seen.sends(pdu).items()
    assert result == {}
    assert scene.romeo.event(scene.room, event_id)["content"] == {}
    return event_id, "redacted", "3. content hash"


def an_event_that_fails_auth(scene: Scene) -> Line:
    name = scene.seen.build(scene.juliet, "m.room.name", {"name": "mine"}, "")
    assert "Rejected" in scene.seen.sends(name)[name.event_id]["error"]
    return name.event_id, "rejected", "4. authorisation rules", "needs power level 50"


def a_forged_auth_chain(scene: Scene) -> Line:
    seen, juliet = scene.seen, scene.juliet
    create = seen.state["m.room.create", ""]
    with_create = [create.event_id] if seen.rules.create_in_auth_events else []
    content: JsonObject = {"users": {juliet: 100}, "users_default": 100}
    levels = seen.build(juliet, "m.room.power_levels", content, "", auth=with_create, prev=[create.event_id])
    join = seen.build(juliet, "m.room.member", {"membership": "join"}, juliet, auth=[*with_create, levels.event_id])
    auth = [*with_create, levels.event_id, join.event_id]
    name = seen.build(juliet, "m.room.name", {"name": "mine"}, "", auth=auth)
    scene.hostile.answers["event_auth/"] = lambda asked: {"auth_chain": [levels.to_pdu(), join.to_pdu()]}
    forged: dict[str, Event] = {levels.event_id: levels, join.event_id: join}
    scene.hostile.answers["event/"] = lambda asked: {"pdus": [forged[asked.last].to_pdu()]}
    seen.sends(name)
    return name.event_id, "an event was"


def a_circle(scene: Scene) -> Line:
    if not scene.seen.rules.event_id_in_pdu:
        # Where ids are hashes nobody can make one: what follows itself does not exist.
        nothing = EventId("$" + "A" * 43)
        scene.hostile.answers["get_missing_events/"] = lambda asked: {"events": []}
        after = scene.seen.says(scene.juliet, "after nothing", prev=[nothing])
        scene.seen.sends(after)
        return after.event_id, "dropped", "past"
    ids = [EventId(f"$circle{number}x{id(scene)}:{scene.hostile.name}") for number in range(3)]
    circle: dict[str, Event] = {}
    for number, event_id in enumerate(ids):
        pdu = scene.seen.says(scene.juliet, f"{number}", prev=[ids[number - 1]]).to_pdu()
        circle[event_id] = resigned(scene.seen, {**pdu, "event_id": event_id})

    def one(asked: Asked) -> Json:
        if asked.last not in circle:
            raise NotHere
        return {"pdus": [circle[asked.last].to_pdu()]}

    scene.hostile.answers["get_missing_events/"] = lambda asked: {"events": [each.to_pdu() for each in circle.values()]}
    scene.hostile.answers["event/"] = one
    scene.seen.sends(circle[ids[2]])
    return ids[2], "dropped", "past"


def a_wrong_room_format(scene: Scene) -> Line:
    pdu = scene.seen.says(scene.juliet, "x").to_pdu()
    other = "$x" if scene.seen.rules.event_id_in_pdu else ["$x", {"sha256": "x"}]
    pdu["prev_events"] = [other]  # type: ignore[list-item]  # a pair
    results = scene.seen.sends(pdu)
    assert all("1. format" in result["error"] for result in results.values()), results
    return scene.room, "dropped", "1. format", "prev_events must hold"


def an_oversized_event(scene: Scene) -> Line:
    pdu = scene.seen.says(scene.juliet, "x").to_pdu()
    pdu["content"] = {"body": "x" * 70_000}
    results = scene.seen.sends(pdu)
    assert all("1. format" in result["error"] for result in results.values()), results
    return scene.room, "dropped", "1. format", "at most 65536 are allowed"


def an_oversized_body(scene: Scene) -> Line:
    host, _, port = scene.server.server_name.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=scene.hostile.trust, timeout=30)
    connection.putrequest("PUT", f"{PREFIX}send/big{id(scene)}")
    connection.putheader("Content-Length", str(10**10))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    return f"big{id(scene)}", "refused", "413"


def an_endless_answer(scene: Scene) -> Line:
    """What it is asked for never ends."""
    endless = b'{"events":[' + b"[]," * 5_000_000 + b"[]]}"
    scene.hostile.answers["get_missing_events/"] = lambda asked: endless
    after = scene.seen.says(scene.juliet, "after much", prev=[EventId("$" + "B" * 43)])
    if scene.seen.rules.event_id_in_pdu:
        after = scene.seen.says(scene.juliet, "after much", prev=[EventId(f"$much:{scene.hostile.name}")])
    scene.seen.sends(after)
    return after.event_id, "an event", "longer than"


def a_peer_that_never_answers(scene: Scene) -> Line:
    was_asked, is_over = threading.Event(), threading.Event()

    def never(asked: Asked) -> Json:
        was_asked.set()
        is_over.wait(60)
        raise NotHere

    scene.hostile.answers["get_missing_events/"] = never
    prev = EventId(f"$never:{scene.hostile.name}" if scene.seen.rules.event_id_in_pdu else "$" + "C" * 43)
    after = scene.seen.says(scene.juliet, "after nothing", prev=[prev])
    assert scene.seen.sends(after) == {after.event_id: {}}
    assert was_asked.wait(30)
    scene.others_are_served()
    assert not scene.lines(after.event_id), "it is being waited for"
    until(lambda: bool(scene.lines(after.event_id)), "it is put off")
    is_over.set()
    return after.event_id, "an event waits", "no answer within"


def a_key_server_that_lies(scene: Scene) -> Line:
    liar = Stranger(scene.authority)
    try:
        liar.claims_of_keys = {"server_name": "somebody.else"}
        tybalt = liar.user("tybalt")
        join = scene.seen.build(tybalt, "m.room.member", {"membership": "join"}, tybalt, signer=liar.signer)
        # In old room versions also the server in the event's id has to sign it.
        scene.seen.sends(sign_event(join, scene.hostile.signer))
        until(lambda: bool(scene.lines("keys not accepted", liar.name)), "the lie is seen through")
        assert tybalt not in scene.romeo.members(scene.room)
    finally:
        liar.stop()
    return "keys not accepted", liar.name


def a_replay(scene: Scene) -> Line:
    join = scene.seen.last
    assert join is not None
    scene.romeo.asks("POST", "rooms", scene.room, "kick", body={"user_id": scene.juliet})
    assert scene.seen.sends(join) == {join.event_id: {}}
    target = V2 + f"send_join/{quote(scene.room, safe='')}/{quote(join.event_id, safe='')}"
    scene.hostile.asks(scene.server.server_name, "PUT", target, join.to_pdu())
    assert scene.romeo.members(scene.room)[scene.juliet] == "leave"
    assert scene.romeo.whole_history(scene.room).ids.count(join.event_id) == 1
    speech = scene.seen.says(scene.juliet, "I never left")
    assert scene.seen.sends(speech) == {speech.event_id: {}}
    assert speech.event_id not in scene.romeo.whole_history(scene.room)
    return speech.event_id, "soft-failed", "6. authorisation rules", "not in this room"


def an_attempted_state_reset(scene: Scene) -> Line:
    """Another beginning for the room, as the state before an event of its own."""
    seen, juliet = scene.seen, scene.juliet
    levels: JsonObject = {**seen.state["m.room.power_levels", ""].content, "users": {juliet: 100}}
    grab = seen.build(juliet, "m.room.power_levels", levels, "", prev=[seen.state["m.room.create", ""].event_id])
    lie = {**seen.state, grab.key: grab}
    known = {**seen.events, grab.event_id: grab}
    lost = EventId(f"$lost:{scene.hostile.name}" if seen.rules.event_id_in_pdu else "$" + "D" * 43)
    after = seen.says(juliet, "all power to me", prev=[lost])

    def event(asked: Asked) -> Json:
        if asked.last not in known:
            raise NotHere
        return {"pdus": [known[asked.last].to_pdu()]}

    ids = [each.event_id for each in lie.values()]
    scene.hostile.answers["get_missing_events/"] = lambda asked: {"events": []}
    scene.hostile.answers["state_ids/"] = lambda asked: {"pdu_ids": ids, "auth_chain_ids": []}
    scene.hostile.answers["event/"] = event
    seen.sends(after)
    return after.event_id, "dropped", "past"


def an_invite_by_a_denied_server(scene: Scene) -> Line:
    paris, seen = scene.server.cast("paris"), scene.seen
    scene.romeo.sets_state(scene.room, "m.room.server_acl", {"allow": ["*"], "deny": ["127.0.0.1"]})
    invite = seen.build(scene.juliet, "m.room.member", {"membership": "invite"}, paris.user_id)
    target = V2 + f"invite/{quote(scene.room, safe='')}/{quote(invite.event_id, safe='')}"
    body: Json = {"event": invite.to_pdu(), "room_version": seen.rules.version, "invite_room_state": _whole_state(seen)}
    status, answer = scene.hostile.asks(scene.server.server_name, "PUT", target, body)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert scene.room not in paris.sync().invited
    return quote(invite.event_id, safe=""), "refused", scene.hostile.name, "shut out"


def a_tampered_proposal(scene: Scene) -> Line:
    room = f"!theirs{id(scene)}:{scene.hostile.name}"

    def propose(asked: Asked) -> Json:
        user = asked.last
        event: Json = {"type": "m.room.member", "room_id": room, "sender": user, "state_key": scene.juliet}
        event |= {"content": {"membership": "join"}, "depth": 7, "prev_events": ["$p"], "auth_events": ["$a"]}
        return {"room_version": "10", "event": event}

    scene.hostile.answers["make_join/"] = propose
    with pytest.raises(Refused) as refusal:
        scene.romeo.asks("POST", "join", room, body={}, via=scene.hostile.name)
    assert refusal.value.status == 502
    assert not [asked for asked in scene.hostile.asked if "send_join" in asked.path and room in asked.path]
    return room, "a server did not help", scene.hostile.name


def _whole_state(seen: Visit) -> list[Json]:
    return [seen.state["m.room.create", ""].to_pdu()]


HOSTILITIES: Final[tuple[Hostility, ...]] = (
    a_bad_signature,
    a_request_with_a_bad_signature,
    a_wrong_hash,
    an_event_that_fails_auth,
    a_forged_auth_chain,
    a_circle,
    a_wrong_room_format,
    an_oversized_event,
    an_oversized_body,
    an_endless_answer,
    a_peer_that_never_answers,
    a_key_server_that_lies,
    a_replay,
    an_attempted_state_reset,
    an_invite_by_a_denied_server,
    a_tampered_proposal,
)


@pytest.mark.parametrize("version", ["1", "12"])
@pytest.mark.parametrize("hostility", HOSTILITIES, ids=lambda each: each.__name__)
def test_it_comes_to_nothing_others_are_served_and_the_log_says_why(
    server: Federated, authority: TestAuthority, stranger: Stranger, hostility: Hostility, version: str
) -> None:
    honest = Stranger(authority)
    try:
        scene = Scene(server, authority, stranger, honest, version)
        line = hostility(scene)
        scene.others_are_served()
        until(lambda: bool(scene.lines(*line)), f"a line of the log with {line} among {scene.lines(line[0])}")
        scene.is_as_it_was()
        assert len(scene.lines(*line)) == 1, scene.lines(*line)
    finally:
        honest.stop()
