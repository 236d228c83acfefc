"""Invites, knocks and removals between two servers."""

from __future__ import annotations

import pytest

from tests.cast import refused
from tests.federated import Federated, joins_through

Pair = tuple[Federated, Federated]


@pytest.mark.parametrize("version", ["1", "6", "10", "11", "12"])
def test_an_invite_crosses_and_is_accepted(pair: Pair, version: str) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(name="Orchard", room_version=version)
    since, before = juliet.sync(), romeo.sync()
    romeo.invites(room, juliet)
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    shown = seen.last.invite_state(room)
    assert shown.content("m.room.name") == {"name": "Orchard"}
    assert shown.content("m.room.member", juliet.user_id)["membership"] == "invite"
    assert "m.room.create" in shown.types
    juliet.joins(room)
    assert juliet.members(room) == {romeo.user_id: "join", juliet.user_id: "join"}
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "join")


def test_an_invite_in_createroom_crosses(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    since = juliet.sync()
    room = romeo.creates_room(invite=[juliet], is_direct=True, preset="trusted_private_chat")
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    member = seen.last.invite_state(room).content("m.room.member", juliet.user_id)
    assert member["is_direct"] is True


def test_an_invite_is_rejected(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room()
    since = juliet.sync()
    romeo.invites(room, juliet)
    juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    before = romeo.sync()
    juliet.leaves(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
    assert room not in juliet.sync().invited
    # And once more.
    since = juliet.sync()
    romeo.invites(room, juliet)
    juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    juliet.joins(room)


def test_who_blocks_invites_gets_none_from_elsewhere(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    juliet.keeps("m.invite_permission_config", {"default_action": "block"})
    room = romeo.creates_room()
    with refused("M_INVITE_BLOCKED", 403):
        romeo.invites(room, juliet)
    assert juliet.user_id not in romeo.members(room)


def test_nobody_can_be_invited_who_does_not_exist(pair: Pair) -> None:
    here, there = pair
    romeo = here.cast("romeo")
    room = romeo.creates_room()
    answer = romeo.call("POST", f"/_matrix/client/v3/rooms/{room}/invite", {"user_id": f"@nobody:{there.server_name}"})
    assert answer.status == 404, answer


def test_a_knock_crosses_and_is_answered(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = romeo.creates_room(initial_state=[rules], name="Cell")
    before = romeo.sync()
    juliet.asks("POST", "knock", room, body={"reason": "let me in"}, via=here.server_name)
    seen = romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "knock")
    assert seen.timeline(room).content("m.room.member", juliet.user_id)["reason"] == "let me in"
    knocked = juliet.sync()
    assert knocked.knock_state(room).content("m.room.name") == {"name": "Cell"}
    romeo.invites(room, juliet)
    juliet.syncs_until(knocked, lambda seen: room in seen.last.invited)
    juliet.joins(room)
    assert romeo.user_id in juliet.members(room)


def test_an_invite_is_taken_back(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room()
    since = juliet.sync()
    romeo.invites(room, juliet)
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    romeo.kicks(room, juliet)
    juliet.syncs_until(seen.last, lambda seen: room in seen.last.left)
    assert room not in juliet.sync().invited
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, here)


def test_a_knock_is_refused(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = romeo.creates_room(initial_state=[rules])
    since = juliet.sync()
    juliet.asks("POST", "knock", room, body={}, via=here.server_name)
    romeo.kicks(room, juliet, reason="no")
    juliet.syncs_until(since, lambda seen: room in seen.last.left)
    assert room not in juliet.sync().knocked


def test_a_knock_is_taken_back(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = romeo.creates_room(initial_state=[rules])
    juliet.asks("POST", "knock", room, body={}, via=here.server_name)
    before = romeo.sync()
    juliet.leaves(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
    assert room not in juliet.sync().knocked


def test_a_private_room_lets_no_stranger_in(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room()
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, here)
    with refused("M_FORBIDDEN", 403):
        juliet.asks("POST", "knock", room, body={}, via=here.server_name)


def test_a_room_that_nobody_knows_is_not_found(pair: Pair) -> None:
    here, there = pair
    juliet = there.cast("juliet")
    with refused("M_NOT_FOUND", 404):
        joins_through(juliet, f"!nothing:{here.server_name}", here)


def test_who_is_put_out_or_banned_hears_of_it(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    since = juliet.sync()
    romeo.kicks(room, juliet, reason="begone")
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.left)
    assert seen.timeline(room).content("m.room.member", juliet.user_id)["reason"] == "begone"
    with refused("M_FORBIDDEN"):
        juliet.says(room, "am I here?")
    joins_through(juliet, room, here)
    since = juliet.sync()
    romeo.bans(room, juliet)
    juliet.syncs_until(since, lambda seen: room in seen.last.left)
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, here)
    romeo.unbans(room, juliet)
    joins_through(juliet, room, here)


def test_who_leaves_and_comes_back_sees_what_is_new(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    before = romeo.sync()
    juliet.leaves(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
    romeo.sets_state(room, "m.room.topic", {"topic": "she is gone"})
    joins_through(juliet, room, here)
    assert juliet.state(room, "m.room.topic") == {"topic": "she is gone"}
    since = juliet.sync()
    sent = romeo.says(room, "welcome")
    juliet.syncs_until(since, lambda seen: sent in seen.timeline(room))


def test_who_accepts_an_invite_is_told_the_whole_state(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    since = juliet.sync()
    room = romeo.creates_room(invite=[juliet], topic="an orchard")
    invited = juliet.syncs_until(since, lambda seen: room in seen.last.invited).last
    juliet.joins(room)
    # Whether or not the invite itself was fetched before.
    for token in (since, invited, None):
        told = juliet.sync(token)
        assert told.all_events(room).content("m.room.topic")["topic"] == "an orchard"
        state = {(event["type"], event["state_key"]): event["event_id"] for event in told.all_events(room)}
        assert sorted(state.values()) == sorted(juliet.whole_state(room).ids)
        assert told.is_limited(room)
        assert "m.room.create" in juliet.messages(room, start=told.prev_batch(room), limit=50)[0].types


def test_what_changed_while_a_server_was_not_in_a_room_is_told_to_who_comes_back(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    before, since = romeo.sync(), juliet.sync()
    juliet.leaves(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
    left = juliet.sync(since)
    romeo.sets_state(room, "m.room.topic", {"topic": "she is gone"})
    said = romeo.says(room, "alone")
    joins_through(juliet, room, here)
    for token in (since, left, None):
        told = juliet.sync(token)
        assert told.all_events(room).content("m.room.topic") == {"topic": "she is gone"}
        assert told.is_limited(room)
        assert said in juliet.messages(room, start=told.prev_batch(room), limit=50)[0]


def test_members_of_a_space_join_its_restricted_room(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    space = romeo.creates_room(preset="public_chat", creation_content={"type": "m.space"})
    allow = [{"type": "m.room_membership", "room_id": space}]
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "restricted", "allow": allow}}
    room = romeo.creates_room(initial_state=[rules])
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, here)
    joins_through(juliet, space, here)
    joins_through(juliet, room, here)
    member = juliet.state(room, "m.room.member", juliet.user_id)
    assert member["join_authorised_via_users_server"] == romeo.user_id
    assert romeo.members(room)[juliet.user_id] == "join"


def test_an_alias_of_another_server_leads_into_its_room(pair: Pair) -> None:
    here, there = pair
    romeo, juliet, nurse = here.cast("romeo"), there.cast("juliet"), there.cast("nurse")
    room = romeo.creates_room(preset="public_chat", room_alias_name=f"verona-{romeo.localpart}")
    alias = f"#verona-{romeo.localpart}:{here.server_name}"
    assert juliet.asks("GET", "directory", "room", alias)["servers"] == [here.server_name]
    assert juliet.asks("POST", "join", alias, body={})["room_id"] == room
    before = romeo.sync()
    nurse.joins(alias)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(nurse.user_id) == "join")
    assert romeo.members(room).keys() == {romeo.user_id, juliet.user_id, nurse.user_id}
