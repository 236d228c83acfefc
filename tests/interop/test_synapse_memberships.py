"""Invites, knocks, bans, restricted rooms, upgrades, aliases between our server and Synapse."""

from __future__ import annotations

import pytest

from tests.cast import Device, refused
from tests.federated import joins_through
from tests.interop.synapse import Both, Sides, agree
from tests.servers import Homeserver
from tests.wire import Json

pytestmark = pytest.mark.interop


def test_an_invite_is_rejected_and_another_accepted(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    room = romeo.creates_room()
    since = juliet.sync()
    romeo.invites(room, juliet, reason="dance with me")
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    before = romeo.sync()
    juliet.leaves(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
    since = juliet.syncs_until(seen.last, lambda seen: room in seen.last.left).last
    assert room not in juliet.sync().invited
    romeo.invites(room, juliet)
    juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    juliet.joins(room)
    agree(romeo, juliet, room)


def test_an_invite_is_taken_back(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    since = juliet.sync()
    room = romeo.creates_room(invite=[juliet])
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    romeo.kicks(room, juliet)
    juliet.syncs_until(seen.last, lambda seen: room in seen.last.left)
    assert room not in juliet.sync().invited
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, sides.here)


def test_guests_bring_guests(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    nurse, tybalt = sides.there.cast("nurse"), sides.here.cast("tybalt")
    room = romeo.creates_room(preset="public_chat", power_level_content_override={"invite": 0})
    joins_through(juliet, room, sides.here)
    before, since = romeo.sync(), tybalt.sync()
    juliet.invites(room, nurse)
    juliet.invites(room, tybalt)
    tybalt.syncs_until(since, lambda seen: room in seen.last.invited)
    nurse.joins(room)
    tybalt.joins(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(nurse.user_id) == "join")
    agree(tybalt, nurse, room)
    assert len(romeo.members(room, membership="join")) == 4


def test_who_is_banned_stays_out_until_forgiven(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, sides.here)
    since = juliet.sync()
    romeo.bans(room, juliet, reason="a plague")
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.left)
    assert seen.timeline(room).content("m.room.member", juliet.user_id)["membership"] == "ban"
    with refused("M_FORBIDDEN", 403):
        juliet.says(room, "am I here?")
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, sides.here)
    romeo.unbans(room, juliet)
    joins_through(juliet, room, sides.here)
    agree(romeo, juliet, room)


def test_a_moderator_from_elsewhere_bans_and_all_obey(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    tybalt = sides.here.cast("tybalt")
    power: Json = {"users": {romeo.user_id: 100, juliet.user_id: 50}}
    room = romeo.creates_room(preset="public_chat", power_level_content_override=power, room_version="10")
    tybalt.joins(room)
    joins_through(juliet, room, sides.here)
    since = tybalt.sync()
    juliet.bans(room, tybalt)
    tybalt.syncs_until(since, lambda seen: room in seen.last.left)
    with refused("M_FORBIDDEN", 403):
        tybalt.says(room, "what?")
    with refused("M_FORBIDDEN", 403):
        juliet.kicks(room, romeo)
    agree(romeo, juliet, room)


def test_a_knock_is_heard_and_answered(sides: Sides) -> None:
    romeo, juliet, room = _at_the_door(sides)
    before = romeo.sync()
    _knocks(juliet, room, sides.here)
    seen = romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "knock")
    assert seen.timeline(room).content("m.room.member", juliet.user_id)["reason"] == "let me in"
    knocked = juliet.sync()
    assert knocked.knock_state(room).content("m.room.name") == {"name": "Cell"}
    romeo.invites(room, juliet)
    juliet.syncs_until(knocked, lambda seen: room in seen.last.invited)
    juliet.joins(room)
    agree(romeo, juliet, room)


def test_a_knock_is_taken_back(both: Both) -> None:
    # Not the other way: Synapse keeps it to itself that one of its users takes a knock back.
    romeo, juliet, room = _at_the_door(Sides(both.synapse, both.ours))
    _knocks(juliet, room, both.synapse)
    before = romeo.sync()
    juliet.leaves(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
    assert room not in juliet.sync().knocked


def test_who_was_refused_may_knock_again(sides: Sides) -> None:
    # Synapse tells nobody that a knock was refused, nor does it listen to who tells it.
    romeo, juliet, room = _at_the_door(sides)
    _knocks(juliet, room, sides.here)
    romeo.kicks(room, juliet, reason="no")
    assert romeo.members(room)[juliet.user_id] == "leave"
    _knocks(juliet, room, sides.here)
    assert romeo.members(room)[juliet.user_id] == "knock"
    romeo.invites(room, juliet)
    juliet.joins(room)
    agree(romeo, juliet, room)


@pytest.mark.parametrize(("version", "rule"), [("8", "restricted"), ("12", "restricted"), ("12", "knock_restricted")])
def test_members_of_a_space_join_its_restricted_room(sides: Sides, version: str, rule: str) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    space = romeo.creates_room(preset="public_chat", creation_content={"type": "m.space"})
    allow = [{"type": "m.room_membership", "room_id": space}]
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": rule, "allow": allow}}
    room = romeo.creates_room(initial_state=[rules], room_version=version)
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, sides.here)
    joins_through(juliet, space, sides.here)
    joins_through(juliet, room, sides.here)
    member = juliet.state(room, "m.room.member", juliet.user_id)
    assert member["join_authorised_via_users_server"] == romeo.user_id
    agree(romeo, juliet, room)


@pytest.mark.parametrize("versions", [("1", "11"), ("10", "12"), ("12", "12")])
def test_an_upgraded_room_is_followed_to_its_new_place(sides: Sides, versions: tuple[str, str]) -> None:
    old_version, new_version = versions
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    room = romeo.creates_room(preset="public_chat", room_version=old_version, name="Verona")
    joins_through(juliet, room, sides.here)
    since = juliet.sync()
    upgraded = romeo.asks("POST", "rooms", room, "upgrade", body={"new_version": new_version})["replacement_room"]
    seen = juliet.syncs_until(since, lambda seen: "m.room.tombstone" in seen.timeline(room).types)
    assert seen.timeline(room).content("m.room.tombstone")["replacement_room"] == upgraded
    joins_through(juliet, upgraded, sides.here)
    assert juliet.state(upgraded, "m.room.create")["predecessor"]["room_id"] == room
    assert juliet.state(upgraded, "m.room.name") == {"name": "Verona"}
    agree(romeo, juliet, upgraded)


def test_an_alias_leads_into_the_room(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    alias = f"#verona-{romeo.localpart}:{sides.here.server_name}"
    room = romeo.creates_room(preset="public_chat", room_alias_name=f"verona-{romeo.localpart}")
    assert sides.here.server_name in juliet.asks("GET", "directory", "room", alias)["servers"]
    assert juliet.asks("POST", "join", alias, body={})["room_id"] == room
    with refused("M_NOT_FOUND", 404):
        juliet.asks("GET", "directory", "room", f"#nothing:{sides.here.server_name}")


def test_who_left_hears_nothing_until_back(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, sides.here)
    before = romeo.sync()
    juliet.leaves(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
    romeo.sets_state(room, "m.room.topic", {"topic": "she is gone"})
    joins_through(juliet, room, sides.here)
    assert juliet.state(room, "m.room.topic") == {"topic": "she is gone"}
    agree(romeo, juliet, room)


def test_servers_that_a_room_shuts_out_are_not_heard(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, sides.here)
    since = juliet.sync()
    # Names in such a list have no port: it shuts both servers out, but neither of what its own people say.
    listed: Json = {"allow": ["*"], "deny": ["127.0.0.1"], "allow_ip_literals": True}
    shut = romeo.sets_state(room, "m.room.server_acl", listed)
    juliet.syncs_until(since, lambda seen: shut in seen.timeline(room))
    unheard = juliet.says(room, "do you hear me?")
    # What is said later in another room arrives, so the message has been passed over.
    before = romeo.sync()
    other = romeo.creates_room(preset="public_chat")
    joins_through(juliet, other, sides.here)
    heard = juliet.says(other, "and now?")
    romeo.syncs_until(before, lambda seen: heard in seen.timeline(other))
    assert unheard not in romeo.messages(room)[0]


def _at_the_door(sides: Sides) -> tuple[Device, Device, str]:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    return romeo, juliet, romeo.creates_room(initial_state=[rules], name="Cell")


def _knocks(who: Device, room: str, server: Homeserver) -> None:
    body = {"reason": "let me in"}
    assert who.asks("POST", "knock", room, body=body, via=server.server_name)["room_id"] == room
