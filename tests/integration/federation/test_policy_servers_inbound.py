"""What comes from other servers into rooms with a policy server: it is signed on the way in, or not shown.

Specification: server-server API, "Policy Servers", "Validating Policy Server signatures".
"""

from __future__ import annotations

from typing import Any

from homeserver.core.event import Event
from homeserver.core.policy import KEY_ID
from homeserver.core.signatures import SigningKey, with_signatures
from tests.cast import refused
from tests.federated import Federated, joins_through
from tests.policy_server import PolicyServer, arrives, guarded, pdu_of
from tests.stranger import Refuses, Stranger

Pair = tuple[Federated, Federated]


def test_what_came_unsigned_is_signed_on_the_way_in_and_what_is_refused_is_not_shown(
    pair: Pair, guard: PolicyServer, stranger: Stranger
) -> None:
    here, _ = pair
    alice, room, _ = guarded(here, guard)
    seen = stranger.joins(here.server_name, room, stranger.user("mallory"))
    assert guard.asked_for(seen.last.event_id if seen.last else "") == 1
    guard.refuses("spam")
    good = seen.says(stranger.user("mallory"), "good")
    bad = seen.says(stranger.user("mallory"), "spam", prev=[good.event_id])
    assert seen.sends(good, bad) == {good.event_id: {}, bad.event_id: {}}
    arrives(alice, room, good.event_id)
    after = alice.says(room, "after")
    assert KEY_ID in pdu_of(guard, here, good.event_id)["signatures"][guard.name]
    assert bad.event_id not in alice.sync().timeline(room)
    assert (guard.asked_for(good.event_id), guard.asked_for(bad.event_id)) == (1, 1)
    # Soft-failed: other servers may have it, but nothing of ours follows it.
    assert pdu_of(guard, here, bad.event_id)["content"]["body"] == "spam"
    assert pdu_of(guard, here, after)["prev_events"] == [good.event_id]


def test_a_forged_signature_is_no_signature(pair: Pair, guard: PolicyServer, stranger: Stranger) -> None:
    here, _ = pair
    alice, room, _ = guarded(here, guard)
    seen = stranger.joins(here.server_name, room, stranger.user("mallory"))
    guard.refuses("spam")
    key = guard.key
    guard.signs_with = SigningKey.generate("policy_server")
    spam = seen.says(stranger.user("mallory"), "spam")
    fine = seen.says(stranger.user("mallory"), "fine")
    forged = [with_signatures(event, guard.signature_of(event)) for event in (spam, fine)]
    guard.signs_with = key
    seen.sends(*forged)
    arrives(alice, room, fine.event_id)
    assert spam.event_id not in alice.sync().timeline(room)
    assert guard.asked_for(spam.event_id) == guard.asked_for(fine.event_id) == 1


def test_what_comes_signed_needs_no_question_even_if_the_policy_server_is_away(
    pair: Pair, guard: PolicyServer, stranger: Stranger
) -> None:
    here, _ = pair
    alice, room, _ = guarded(here, guard)
    seen = stranger.joins(here.server_name, room, stranger.user("mallory"))
    signed = seen.says(stranger.user("mallory"), "signed")
    signed = with_signatures(signed, guard.signature_of(signed))
    unsigned = seen.says(stranger.user("mallory"), "unsigned", prev=[signed.event_id])
    guard.stop()
    seen.sends(signed, unsigned)
    arrives(alice, room, signed.event_id)
    assert unsigned.event_id not in alice.sync().timeline(room)
    assert guard.asked_for(signed.event_id) == 0


def test_many_that_come_signed_at_once_need_no_question(pair: Pair, guard: PolicyServer, stranger: Stranger) -> None:
    here, _ = pair
    alice, room, _ = guarded(here, guard)
    seen = stranger.joins(here.server_name, room, stranger.user("mallory"))
    signed = [seen.says(stranger.user("mallory"), str(number)) for number in range(12)]
    signed = [with_signatures(event, guard.signature_of(event)) for event in signed]
    guard.stop()
    assert seen.sends(*signed) == {event.event_id: {} for event in signed}
    # They were taken before the answer: nothing of it had to wait for a question.
    assert alice.sync().timeline(room).ids[-10:] == [event.event_id for event in signed[-10:]]
    assert guard.asked_for(signed[0].event_id) == 0


def test_events_that_come_together_with_the_first_policy_are_judged_by_it(
    pair: Pair, guard: PolicyServer, stranger: Stranger
) -> None:
    here, _ = pair
    alice = here.cast("alice")
    mallory = stranger.user("mallory")
    levels = {"events": {"m.room.policy": 0}}
    room = alice.creates_room(preset="public_chat", room_version="12", power_level_content_override=levels)
    guard.joins(here.server_name, room)
    seen = stranger.joins(here.server_name, room, mallory)
    guard.refuses("spam")
    policy = seen.build(mallory, "m.room.policy", guard.content, "")
    good = seen.says(mallory, "good", prev=[policy.event_id], depth=50)
    bad = seen.says(mallory, "spam", prev=[policy.event_id], depth=50)
    seen.sends(policy, good, bad)
    arrives(alice, room, good.event_id)
    assert bad.event_id not in alice.sync().timeline(room)
    assert guard.asked_for(policy.event_id) == 0


def test_the_policy_server_is_asked_before_another_server_hears_of_an_invite(pair: Pair, guard: PolicyServer) -> None:
    here, there = pair
    alice, room, _ = guarded(here, guard)
    bob, carol = there.cast("bob"), there.cast("carol")
    guard.thinks = _refusing_memberships_of(bob.user_id)
    with refused("M_FORBIDDEN", 400):
        alice.invites(room, bob)
    alice.invites(room, carol)
    assert room in carol.sync().invited
    assert room not in bob.sync().invited
    members = alice.whole_state(room).of_type("m.room.member")
    invite = next(event["event_id"] for event in members if event["state_key"] == carol.user_id)
    assert set(pdu_of(guard, here, invite)["signatures"]) == {here.server_name, there.server_name, guard.name}


def test_a_join_through_us_is_refused_where_the_policy_server_refuses_it(pair: Pair, guard: PolicyServer) -> None:
    here, there = pair
    alice, room, _ = guarded(here, guard)
    bob, carol, dan = there.cast("bob"), there.cast("carol"), here.cast("dan")
    guard.thinks = _refusing_memberships_of(bob.user_id, dan.user_id)
    with refused("M_FORBIDDEN", 403):
        joins_through(bob, room, here)
    with refused("M_FORBIDDEN", 400):
        dan.joins(room)
    joins_through(carol, room, here)
    join = next(
        event["event_id"]
        for event in carol.whole_state(room).of_type("m.room.member")
        if event["state_key"] == carol.user_id
    )
    assert KEY_ID in pdu_of(guard, here, join)["signatures"][guard.name]
    assert pdu_of(guard, there, join)["signatures"] == pdu_of(guard, here, join)["signatures"]
    members = alice.members(room)
    assert members[carol.user_id] == "join"
    assert bob.user_id not in members
    assert dan.user_id not in members


def _refusing_memberships_of(*user_ids: str) -> Any:
    def think(event: Event) -> None:
        if event.type == "m.room.member" and event.state_key in user_ids:
            raise Refuses(400, "M_FORBIDDEN", "not this one")

    return think
