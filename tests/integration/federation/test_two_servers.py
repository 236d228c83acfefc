"""Two servers, their users in the same rooms."""

from __future__ import annotations

from tests.federated import EVERYTHING, Federated, joins_through
from tests.sync_answer import Seen

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


def test_typing_and_receipts_cross(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    since = juliet.sync()
    romeo.types(room)
    juliet.syncs_until(since, lambda seen: seen.last.typing(room) == [romeo.user_id])
    romeo.types(room, typing=False)
    juliet.syncs_until(since, lambda seen: seen.last.typing(room) == [])
    since = juliet.sync()
    sent = romeo.says(room, "read this")
    juliet.syncs_until(since, lambda seen: sent in seen.timeline(room))
    before = romeo.sync()
    juliet.reads(room, sent)
    romeo.syncs_until(before, lambda seen: juliet.user_id in seen.last.readers(room, sent))


def test_state_redactions_and_reactions_cross(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    since = juliet.sync()
    romeo.sets_state(room, "m.room.topic", {"topic": "love"})
    said = romeo.says(room, "a thousand times")
    juliet.syncs_until(since, lambda seen: said in seen.timeline(room))
    assert juliet.state(room, "m.room.topic") == {"topic": "love"}
    before = romeo.sync()
    liked = juliet.reacts(room, said, "rose")
    romeo.syncs_until(before, lambda seen: liked in seen.timeline(room))
    since = juliet.sync()
    romeo.redacts(room, said)
    juliet.syncs_until(since, lambda seen: "m.room.redaction" in seen.timeline(room).types)
    assert juliet.event(room, said)["content"] == {}


def test_many_users_of_one_server_are_told_once(pair: Pair) -> None:
    here, there = pair
    romeo, juliet, nurse = here.cast("romeo"), there.cast("juliet"), there.cast("nurse")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    before = romeo.sync()
    nurse.joins(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(nurse.user_id) == "join")
    since = [juliet.sync(), nurse.sync()]
    sent = [romeo.says(room, f"word {number}") for number in range(20)]
    for who, token in zip((juliet, nurse), since, strict=True):
        seen = who.syncs_until(token, lambda seen: sent[-1] in seen.timeline(room), filter=EVERYTHING)
        assert seen.timeline(room).ids == sent


def test_both_talk_at_once_and_end_with_the_same_room(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    said = []
    tokens = {romeo: romeo.sync(), juliet: juliet.sync()}
    for number in range(15):
        said += [romeo.says(room, f"r{number}"), juliet.says(room, f"j{number}")]
    for who, token in tokens.items():
        who.syncs_until(token, lambda seen: set(said) <= set(seen.timeline(room).ids), filter=EVERYTHING)
    assert sorted(romeo.whole_state(room).ids) == sorted(juliet.whole_state(room).ids)


def test_who_is_online_is_known_at_the_other_server(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    since = juliet.sync()
    status = {"presence": "unavailable", "status_msg": "in the garden"}
    romeo.asks("PUT", "presence", romeo.user_id, "status", body=status)

    def is_told(seen: Seen) -> bool:
        told = [event["content"] for event in seen.last.presence if event["sender"] == romeo.user_id]
        return any(content.get("status_msg") == "in the garden" for content in told)

    juliet.syncs_until(since, is_told)
