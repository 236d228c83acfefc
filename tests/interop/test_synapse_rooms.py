"""Rooms of all versions with people of ours and of Synapse in them."""

from __future__ import annotations

import pytest

from tests.cast import refused
from tests.federated import joins_through
from tests.interop.synapse import Sides, agree

pytestmark = pytest.mark.interop

VERSIONS = [str(number) for number in range(1, 13)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_room_of_any_version_lives_on_both_servers(sides: Sides, version: str) -> None:
    here, there = sides
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    since = juliet.sync()
    room = romeo.creates_room(name="Orchard", room_version=version, invite=[juliet])
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    assert seen.last.invite_state(room).content("m.room.name") == {"name": "Orchard"}
    before = romeo.sync()
    juliet.joins(room)
    seen = romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "join")
    assert juliet.members(room) == {romeo.user_id: "join", juliet.user_id: "join"}

    # Messages, an edit, and a message that someone else takes back.
    since, before = juliet.sync(), seen.last
    said = juliet.says(room, "wherefore art thou")
    edited = juliet.edits(room, said, "wherefore art thou Romeo")
    seen = romeo.syncs_until(before, lambda seen: edited in seen.timeline(room))
    assert seen.timeline(room).event(edited)["content"]["m.new_content"]["body"] == "wherefore art thou Romeo"
    assert [event["event_id"] for event in romeo.relations(room, said, "m.replace")] == [edited]
    redacted = romeo.redacts(room, said, "too loud")
    seen = juliet.syncs_until(since, lambda seen: "m.room.redaction" in seen.timeline(room).types)
    assert redacted in seen.timeline(room)
    assert romeo.event(room, said)["content"] == juliet.event(room, said)["content"] == {}

    # Power over the room is given, and used.
    with refused("M_FORBIDDEN", 403):
        juliet.sets_state(room, "m.room.topic", {"topic": "not yet"})
    power = romeo.state(room, "m.room.power_levels")
    power["users"][juliet.user_id] = 50
    raised = romeo.sets_state(room, "m.room.power_levels", power)
    juliet.syncs_until(seen.last, lambda seen: raised in seen.timeline(room))
    before = romeo.sync()
    topic = juliet.sets_state(room, "m.room.topic", {"topic": "love"})
    romeo.syncs_until(before, lambda seen: topic in seen.timeline(room))

    # Put out, and back through the open door.
    since = juliet.sync()
    romeo.kicks(room, juliet, reason="begone")
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.left)
    assert seen.timeline(room).content("m.room.member", juliet.user_id)["reason"] == "begone"
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, here)
    romeo.sets_state(room, "m.room.join_rules", {"join_rule": "public"})
    romeo.says(room, "come back")
    joins_through(juliet, room, here)
    agree(romeo, juliet, room)
    assert sorted(romeo.whole_history(room).ids) == sorted(juliet.whole_history(room).ids)
