"""Whatever another server sends: it is refused or contained, and the room and the server go on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.core import hashes
from homeserver.core.canonical_json import JsonObject
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.signatures import sign_event
from tests.cast import Actor
from tests.federated import Federated, TestAuthority
from tests.stranger import PREFIX, Asked, NotHere, Stranger, Visit
from tests.wire import Json


@pytest.fixture(scope="module")
def stranger(authority: TestAuthority) -> Iterator[Stranger]:
    """The hostile server."""
    made = Stranger(authority)
    yield made
    made.stop()


Scene = tuple[Actor, str, Visit]


@pytest.fixture(params=["1", "10", "12"])
def scene(server: Federated, stranger: Stranger, request: pytest.FixtureRequest) -> Scene:
    """A room with Romeo of the server and Juliet of the hostile one."""
    romeo = server.cast("romeo")
    room = romeo.creates_room(preset="public_chat", room_version=request.param)
    stranger.answers.clear()
    return romeo, room, stranger.joins(server.server_name, room, stranger.user("juliet"))


def goes_on(scene: Scene) -> None:
    """The room is as it was, and both sides hear each other."""
    romeo, room, seen = scene
    since = romeo.sync()
    message = seen.says(seen.stranger.user("juliet"), "still here")
    assert seen.sends(message) == {message.event_id: {}}
    last = romeo.says(room, "so am I")
    # What came before may still be asked for elsewhere; then the message waits for its turn.
    romeo.syncs_until(since, lambda seen: {message.event_id, last} <= set(seen.timeline(room).ids))
    users = romeo.state(room, "m.room.power_levels").get("users", {})
    assert seen.stranger.user("juliet") not in users
    assert romeo.state(room, "m.room.member", romeo.user_id)["membership"] == "join"


@pytest.fixture(scope="module")
def shared(server: Federated, stranger: Stranger) -> Visit:
    """One room for all examples."""
    room = server.cast("romeo").creates_room(preset="public_chat")
    return stranger.joins(server.server_name, room, stranger.user("juliet"))


nonsense = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    [
        "type",
        "sender",
        "state_key",
        "content",
        "depth",
        "prev_events",
        "auth_events",
        "hashes",
        "signatures",
        "origin_server_ts",
        "redacts",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(field=fields, value=nonsense, edus=st.lists(nonsense, max_size=3))
def test_events_with_nonsense_in_any_field_are_refused(
    server: Federated, stranger: Stranger, shared: Visit, field: str, value: Json, edus: list[Json]
) -> None:
    seen = shared
    pdu = seen.says(stranger.user("juliet"), "changed").to_pdu()
    pdu[field] = value
    typing = {"edu_type": "m.typing", "content": {"room_id": seen.room_id, "user_id": value, "typing": value}}
    receipt = {"edu_type": "m.receipt", "content": {seen.room_id: {"m.read": {"@a:b": value, str(value)[:9]: edus}}}}
    known = ("m.device_list_update", "m.direct_to_device", "m.presence", "m.signing_key_update", "m.typing")
    others = [{"edu_type": kind, "content": value} for kind in known]
    status, answer = stranger.sends(server.server_name, [pdu], [*edus, typing, receipt, *others])
    # What is no canonical JSON of a sane kind is refused as a whole.
    assert status in (200, 400), answer


def test_the_room_goes_on_when_nothing_happened(scene: Scene) -> None:
    goes_on(scene)


def test_an_oversized_event_is_refused(scene: Scene) -> None:
    _, _, seen = scene
    pdu = seen.says(seen.stranger.user("juliet"), "x").to_pdu()
    pdu["content"] = {"body": "x" * 70_000}
    results = seen.sends(pdu)
    assert all("format" in result["error"] for result in results.values())
    goes_on(scene)


def test_an_oversized_body_is_refused_before_it_is_read(server: Federated, stranger: Stranger) -> None:
    host, _, port = server.server_name.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=stranger.trust, timeout=30)
    connection.putrequest("PUT", f"{PREFIX}send/big")
    connection.putheader("Content-Length", str(10**10))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status in (401, 413)
    assert json.loads(answer.read())["errcode"] in ("M_TOO_LARGE", "M_UNAUTHORIZED")
    connection.close()


def test_a_transaction_whose_signature_does_not_fit_is_refused(server: Federated, stranger: Stranger) -> None:
    first = stranger.asks(server.server_name, "PUT", f"{PREFIX}send/a", {"pdus": [], "edus": []})
    assert first[0] == 200
    original = stranger.signer
    try:
        stranger.signer = type(original)(original.server, type(original.key).generate("x"))
        status, answer = stranger.asks(server.server_name, "PUT", f"{PREFIX}send/b", {"pdus": [], "edus": []})
    finally:
        stranger.signer = original
    assert (status, answer["errcode"]) == (401, "M_UNAUTHORIZED")


def test_events_that_lean_on_what_nobody_has_are_dropped(scene: Scene) -> None:
    romeo, room, seen = scene
    juliet = seen.stranger.user("juliet")
    nothing = EventId("$nothing") if not seen.rules.event_id_in_pdu else EventId(f"$nothing:{seen.stranger.name}")
    seen.stranger.answers["get_missing_events/"] = lambda asked: {"events": []}
    follows = seen.says(juliet, "after nothing", prev=[nothing])
    leans = seen.says(juliet, "on nothing", auth=[nothing])
    seen.sends(follows, leans)
    goes_on(scene)
    assert not {follows.event_id, leans.event_id} & set(romeo.whole_history(room).ids)


def test_a_forged_auth_chain_gives_no_power(scene: Scene) -> None:
    romeo, room, seen = scene
    juliet = seen.stranger.user("juliet")
    create = seen.state["m.room.create", ""]
    with_create = [create.event_id] if seen.rules.create_in_auth_events else []
    level: JsonObject = {"users": {juliet: 100}, "users_default": 100}
    own_levels = seen.build(juliet, "m.room.power_levels", level, "", auth=with_create, prev=[create.event_id])
    own_join = seen.build(
        juliet, "m.room.member", {"membership": "join"}, juliet, auth=[*with_create, own_levels.event_id]
    )
    name = seen.build(
        juliet,
        "m.room.name",
        {"name": "mine"},
        "",
        auth=[*with_create, own_levels.event_id, own_join.event_id],
    )
    chain = [own_levels, own_join]
    seen.stranger.answers["event_auth/"] = lambda asked: {"auth_chain": [each.to_pdu() for each in chain]}
    seen.sends(name)
    goes_on(scene)
    assert not any(event["type"] == "m.room.name" for event in romeo.whole_state(room))


def test_events_that_go_round_in_a_circle_are_dropped(server: Federated, stranger: Stranger) -> None:
    romeo = server.cast("romeo")
    room = romeo.creates_room(preset="public_chat", room_version="1")
    seen = stranger.joins(server.server_name, room, stranger.user("juliet"))
    juliet = stranger.user("juliet")
    ids = [EventId(f"$circle{number}:{stranger.name}") for number in range(3)]
    circle: list[Event] = []
    for number in range(3):
        pdu = seen.says(juliet, f"{number}", prev=[ids[number - 1]]).to_pdu()
        circle.append(resigned(seen, {**pdu, "event_id": ids[number]}))

    def one(asked: Asked) -> Json:
        found = [each for each in circle if each.event_id == asked.last]
        if not found:
            raise NotHere
        return {"pdus": [found[0].to_pdu()]}

    stranger.answers.clear()
    stranger.answers["get_missing_events/"] = lambda asked: {"events": [each.to_pdu() for each in circle]}
    stranger.answers["event/"] = one
    seen.sends(circle[2])
    goes_on((romeo, room, seen))
    assert not set(ids) & set(romeo.whole_history(room).ids)


def resigned(seen: Visit, pdu: JsonObject) -> Event:
    """The event with the hash and the signature that it should have."""
    fields = {name: value for name, value in pdu.items() if name not in ("hashes", "signatures")}
    fields["hashes"] = {"sha256": hashes.content_hash(fields, seen.rules)}
    fields["signatures"] = {}
    return sign_event(Event.parse(fields, seen.rules), seen.stranger.signer)


def test_an_event_of_another_room_version_is_refused(scene: Scene) -> None:
    romeo, room, seen = scene
    pdu = seen.says(seen.stranger.user("juliet"), "x").to_pdu()
    if seen.rules.event_id_in_pdu:
        del pdu["event_id"]
    else:
        pdu["prev_events"] = [[each, {"sha256": "x"}] for each in pdu["prev_events"]]  # type: ignore[union-attr]  # a list
    seen.sends(pdu)
    goes_on(scene)
    assert romeo.whole_history(room).bodies[-1] == "still here"


def test_another_create_event_does_not_take_the_room_over(scene: Scene) -> None:
    romeo, room, seen = scene
    juliet = seen.stranger.user("juliet")
    content: JsonObject = {"creator": juliet, "room_version": seen.rules.version}
    seen.sends(seen.build(juliet, "m.room.create", content, "", prev=[], auth=[]))
    seen.sends(seen.build(juliet, "m.room.create", content, ""))
    goes_on(scene)
    assert romeo.state(room, "m.room.create").get("creator") != juliet
