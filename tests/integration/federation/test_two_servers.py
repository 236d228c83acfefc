"""Two servers, their users in the same rooms."""

from __future__ import annotations

from tests.federated import Federated, joins_through

Pair = tuple[Federated, Federated]


def test_a_user_of_another_server_joins_and_both_talk(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat", name="Verona")
    before = romeo.sync()
    joins_through(juliet, room, here)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "join")
    assert juliet.state(room, "m.room.name") == {"name": "Verona"}
    assert juliet.members(room) == {romeo.user_id: "join", juliet.user_id: "join"}
    since = juliet.sync()
    sent = romeo.says(room, "soft, what light")
    juliet.syncs_until(since, lambda seen: sent in seen.timeline(room))
    since = romeo.sync()
    answered = juliet.says(room, "wherefore art thou")
    romeo.syncs_until(since, lambda seen: answered in seen.timeline(room))
