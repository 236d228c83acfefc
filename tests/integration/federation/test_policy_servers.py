"""Rooms with a policy server: nothing goes out without its signature.

Specification: server-server API, "Policy Servers". The policy server is played by the test.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from homeserver.core import canonical_json
from homeserver.core.event import Event
from homeserver.core.ids import EventId
from homeserver.core.policy import KEY_ID
from homeserver.core.room_rules import MAX_EVENT_BYTES
from homeserver.core.signatures import SigningKey, with_signatures
from tests.cast import Refused, refused
from tests.federated import Federated, MakeFederated, joins_through
from tests.policy_server import SIGN, PolicyServer, arrives, guarded, pdu_of
from tests.stranger import Refuses, Stranger

Pair = tuple[Federated, Federated]


def test_what_our_users_send_goes_out_with_the_signature_and_nobody_else_has_to_ask(
    pair: Pair, guard: PolicyServer
) -> None:
    here, there = pair
    alice, room, _ = guarded(here, guard)
    bob = there.cast("bob")
    joins_through(bob, room, here)
    event_ids = [
        alice.says(room, "hello"),
        alice.sets_state(room, "m.room.topic", {"topic": "guarded"}),
        alice.sets_state(room, "m.room.policy", {}, state_key="other"),
        alice.sends(room, "m.room.policy", {}),
    ]
    event_ids.append(alice.redacts(room, event_ids[0]))
    for event_id in event_ids:
        arrives(bob, room, event_id)
        for server in (here, there):
            assert KEY_ID in pdu_of(guard, server, event_id)["signatures"][guard.name]
        assert guard.asked_for(event_id) == 1
    answer = bob.says(room, "hello yourself")
    arrives(alice, room, answer)
    assert guard.asked_for(answer) == 1


def test_a_refusal_reaches_the_client_word_for_word_and_the_event_nobody(pair: Pair, guard: PolicyServer) -> None:
    here, there = pair
    alice, room, _ = guarded(here, guard)
    bob = there.cast("bob")
    joins_through(bob, room, here)
    guard.refuses("spam")
    renamed = {"membership": "join", "displayname": "spam"}
    for type, state_key, content in (
        ("m.room.message", None, {"msgtype": "m.text", "body": "spam"}),
        ("m.room.topic", "", {"topic": "spam"}),
        ("m.room.member", alice.user_id, renamed),
    ):
        with pytest.raises(Refused) as refusal:
            if state_key is None:
                alice.sends(room, type, content)
            else:
                alice.sets_state(room, type, content, state_key)
        assert refusal.value.status == 400
        assert refusal.value.answer.json == {
            "errcode": "M_FORBIDDEN",
            "error": "The message appears to contain possible spam",
            "org_guard": "strict",
        }
    after = alice.says(room, "nothing of the kind")
    arrives(bob, room, after)
    assert "spam" not in str(list(bob.whole_history(room))) + str(list(alice.whole_history(room)))


@pytest.mark.parametrize(
    ("refusal", "status", "errcode"),
    [
        (Refuses(429, "M_LIMIT_EXCEEDED", "slowly", retry_after_ms=1234), 429, "M_LIMIT_EXCEEDED"),
        (Refuses(403, "M_FORBIDDEN", "your server is shut out"), 403, "M_FORBIDDEN"),
        (Refuses(404, "M_NOT_FOUND", "unknown room"), 404, "M_NOT_FOUND"),
        (Refuses(404, "M_UNRECOGNIZED", "no policy server"), 404, "M_UNRECOGNIZED"),
        # A client would believe that it is logged out.
        (Refuses(403, "M_UNKNOWN_TOKEN", "log out"), 403, "M_FORBIDDEN"),
        (Refuses(401, "M_UNKNOWN_TOKEN", "log out"), 502, "M_UNKNOWN"),
        (Refuses(500, "M_UNKNOWN", "broken"), 502, "M_UNKNOWN"),
    ],
)
def test_what_the_policy_server_may_say_is_passed_on_and_nothing_else(
    pair: Pair, guard: PolicyServer, refusal: Refuses, status: int, errcode: str
) -> None:
    alice, room, _ = guarded(pair[0], guard)

    def think(event: Event) -> None:
        raise refusal

    guard.thinks = think
    with pytest.raises(Refused) as refused_with:
        alice.says(room, "hello")
    assert (refused_with.value.status, refused_with.value.errcode) == (status, errcode)
    assert refused_with.value.answer.json.get("retry_after_ms") == refusal.body.get("retry_after_ms")


def test_a_signature_by_another_key_does_not_count(pair: Pair, guard: PolicyServer) -> None:
    alice, room, _ = guarded(pair[0], guard)
    guard.signs_with = SigningKey.generate("policy_server")
    with refused("M_FORBIDDEN", 403):
        alice.says(room, "hello")
    # The room learns of the new key, and with it of the signatures that are made with it.
    guard.key = guard.signs_with
    alice.sets_state(room, "m.room.policy", guard.content)
    alice.says(room, "hello again")


def test_the_signature_has_to_fit_into_the_event(pair: Pair, guard: PolicyServer) -> None:
    here, _ = pair
    alice, room, _ = guarded(here, guard)
    size = len(canonical_json.encode(pdu_of(guard, here, alice.says(room, ""))))
    signature = len(canonical_json.encode(guard.signature_of(guard.asked[-1])))
    with refused("M_TOO_LARGE", 413):
        alice.says(room, "x" * (MAX_EVENT_BYTES - size + signature // 2))
    assert guard.asked
    alice.says(room, "x" * (MAX_EVENT_BYTES - size - signature))


def test_who_waits_for_a_silent_policy_server_is_told_so_and_may_take_it_away(pair: Pair, guard: PolicyServer) -> None:
    alice, room, _ = guarded(pair[0], guard)
    released = threading.Event()
    guard.thinks = lambda event: released.wait(30)
    try:
        with refused("M_UNKNOWN", 504):
            alice.says(room, "is anybody there?")
        alice.sets_state(room, "m.room.policy", {})
        alice.says(room, "it works without")
    finally:
        released.set()


def test_who_may_takes_the_policy_server_away_by_a_redaction_too(pair: Pair, guard: PolicyServer) -> None:
    alice, room, _ = guarded(pair[0], guard)
    policy = alice.sets_state(room, "m.room.policy", {**guard.content, "and": "more"})
    alice.redacts(room, policy)
    asked = len(guard.asked)
    alice.says(room, "unguarded")
    assert len(guard.asked) == asked


def test_a_policy_server_that_leaves_the_room_is_asked_no_more(pair: Pair, guard: PolicyServer) -> None:
    alice, room, seen = guarded(pair[0], guard)
    arrival = alice.says(room, "hello")
    assert guard.asked_for(arrival) == 1
    leave = seen.build(
        guard.user, "m.room.member", {"membership": "leave"}, guard.user, prev=[EventId(arrival)], depth=100
    )
    signed = with_signatures(leave, guard.signature_of(leave))
    assert seen.sends(signed) == {leave.event_id: {}}
    asked = len(guard.asked)
    alice.says(room, "it has gone")
    assert len(guard.asked) == asked


def test_a_server_that_is_named_without_being_in_the_room_is_not_asked(pair: Pair, guard: PolicyServer) -> None:
    alice = pair[0].cast("alice")
    room = alice.creates_room(preset="public_chat", room_version="12")
    alice.sets_state(room, "m.room.policy", guard.content)
    alice.says(room, "nobody guards this")
    assert guard.asked == []
    guard.joins(pair[0].server_name, room)
    assert guard.asked_for(alice.says(room, "now somebody does")) == 1


def test_what_names_no_policy_server_properly_is_as_good_as_nothing(pair: Pair, guard: PolicyServer) -> None:
    alice, room, _ = guarded(pair[0], guard)
    keys = guard.content["public_keys"]
    for content in (
        {"via": guard.name},
        {"public_keys": keys},
        {"via": 5, "public_keys": keys},
        {"via": guard.name, "public_keys": {"ed25519": 5}},
        {"via": guard.name, "public_keys": [keys]},
        {"via": "not a server", "public_keys": keys},
    ):
        alice.sets_state(room, "m.room.policy", content)
        asked = len(guard.asked)
        alice.says(room, "hello")
        assert len(guard.asked) == asked


def test_a_room_that_names_a_server_which_is_no_policy_server_gets_its_answer(pair: Pair) -> None:
    here, there = pair
    alice, bob = here.cast("alice"), there.cast("bob")
    room = alice.creates_room(preset="public_chat", room_version="12")
    joins_through(bob, room, here)
    for server in (here, there):
        content = {"via": server.server_name, "public_keys": {"ed25519": SigningKey.generate().verify_key_base64}}
        alice.sets_state(room, "m.room.policy", content)
        with refused("M_UNRECOGNIZED", 404):
            alice.says(room, "hello")


def test_myelin_is_no_policy_server_and_says_so(pair: Pair, guard: PolicyServer) -> None:
    status, answer = guard.server.asks(pair[0].server_name, "POST", SIGN, {"type": "m.room.message"})
    assert (status, answer["errcode"]) == (404, "M_UNRECOGNIZED")
    answer = pair[0].wire.ask("GET", "/.well-known/matrix/policy_server")
    assert answer.status == 404


def test_a_silent_policy_server_keeps_nobodys_other_rooms_waiting(pair: Pair, guard: PolicyServer) -> None:
    here, _ = pair
    alice, room, _ = guarded(here, guard)
    others = [alice.creates_room() for _ in range(20)]
    guard.stop()
    since = alice.sync()
    assert alice.asks("PUT", "profile", alice.user_id, "displayname", body={"displayname": "Alice"}) == {}
    alice.syncs_until(since, lambda seen: all(alice.user_id in seen.timeline(other).memberships for other in others))
    assert "displayname" not in alice.state(room, "m.room.member", alice.user_id)
    # The name is told later, by the first change after the policy server is away no more.
    alice.sets_state(room, "m.room.policy", {})
    assert alice.asks("PUT", "profile", alice.user_id, "displayname", body={"displayname": "Alicia"}) == {}
    alice.syncs_until(since, lambda seen: "Alicia" in str(seen.timeline(room)))


# While the policy server thinks.


def test_the_room_goes_on_while_the_policy_server_thinks(pair: Pair, guard: PolicyServer, stranger: Stranger) -> None:
    here, _ = pair
    alice, room, _ = guarded(here, guard)
    dan = here.cast("dan")
    dan.joins(room)
    seen = stranger.joins(here.server_name, room, stranger.user("mallory"))
    asked, released = threading.Event(), threading.Event()

    def think(event: Event) -> None:
        if event.content.get("body") == "weighty":
            asked.set()
            assert released.wait(8)

    guard.thinks = think
    with ThreadPoolExecutor() as threads:
        weighty = threads.submit(alice.says, room, "weighty", "same")
        assert asked.wait(8)
        repeated = threads.submit(alice.says, room, "weighty", "same")
        quick = dan.says(room, "quick")
        other = seen.says(stranger.user("mallory"), "from afar")
        seen.sends(other)
        arrives(alice, room, other.event_id)
        released.set()
        assert weighty.result() == repeated.result()
    event_id = weighty.result()
    last = alice.says(room, "last")
    timeline = alice.sync().timeline(room)
    assert {quick, other.event_id, event_id, last} <= set(timeline.ids)
    assert timeline.event(event_id)["unsigned"]["transaction_id"] == "same"
    assert set(pdu_of(guard, here, last)["prev_events"]) == {quick, other.event_id, event_id}
    assert guard.asked_for(event_id) == 1


def test_who_is_banned_while_the_policy_server_thinks_has_said_nothing(pair: Pair, guard: PolicyServer) -> None:
    here, _ = pair
    alice, room, _ = guarded(here, guard)
    dan = here.cast("dan")
    dan.joins(room)
    asked, released = threading.Event(), threading.Event()

    def think(event: Event) -> None:
        if event.content.get("body") == "last words":
            asked.set()
            assert released.wait(8)

    guard.thinks = think
    with ThreadPoolExecutor() as threads:
        words = threads.submit(dan.says, room, "last words")
        assert asked.wait(8)
        alice.bans(room, dan)
        released.set()
        with refused("M_FORBIDDEN", 403):
            words.result()
    assert "last words" not in str(list(alice.whole_history(room)))


def test_the_policy_server_of_a_room_is_remembered_over_a_restart(
    make_federated: MakeFederated, guard: PolicyServer
) -> None:
    server = make_federated()
    alice, room, _ = guarded(server, guard)
    server.stop()
    server.start()
    assert guard.asked_for(alice.says(room, "still guarded")) == 1
    guard.refuses("spam")
    with refused("M_FORBIDDEN", 400):
        alice.says(room, "spam")
