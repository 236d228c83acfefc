"""GET /room_summary and GET /hierarchy."""

from __future__ import annotations

from tests.cast import Actor, Cast, refused
from tests.wire import Json, client_path


def space(who: Actor, **options: Json) -> str:
    return who.creates_room(creation_content={"type": "m.space"}, **options)


def has_child(who: Actor, parent: str, child: str, **more: Json) -> None:
    who.sets_state(parent, "m.space.child", {"via": ["test.localhost"], **more}, child)


def tree(who: Actor, room: str, **query: Json) -> Json:
    return who.asks("GET", "rooms", room, "hierarchy", version="v1", **query)


def ids(answer: Json) -> list[str]:
    return [room["room_id"] for room in answer["rooms"]]


def test_a_room_is_summed_up_for_those_who_could_join_it(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat", name="Verona", room_alias_name=f"verona-{romeo.localpart}")
    alias = f"#verona-{romeo.localpart}:{romeo.user_id.partition(':')[2]}"
    shown = juliet.asks("GET", "room_summary", alias, version="v1")
    assert shown == {
        "room_id": room,
        "name": "Verona",
        "canonical_alias": alias,
        "num_joined_members": 1,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "room_version": "12",
    }
    assert romeo.asks("GET", "room_summary", room, version="v1")["membership"] == "join"
    assert cast.server.wire.ask("GET", client_path("room_summary", room, version="v1")).json == shown


def test_a_room_that_one_could_not_enter_is_not_summed_up(cast: Cast) -> None:
    romeo, juliet, tybalt = cast("romeo"), cast("juliet"), cast("tybalt")
    room = romeo.creates_room(invite=[juliet])
    assert juliet.asks("GET", "room_summary", room, version="v1")["membership"] == "invite"
    with refused("M_NOT_FOUND", 404):
        tybalt.asks("GET", "room_summary", room, version="v1")
    with refused("M_NOT_FOUND", 404):
        tybalt.asks("GET", "room_summary", "!nowhere:test.localhost", version="v1")
    with refused("M_INVALID_PARAM", 400):
        tybalt.asks("GET", "room_summary", "nonsense", version="v1")


def test_a_tree_is_walked_down_first_in_the_order_of_its_children(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    root, inner = space(romeo, preset="public_chat"), space(romeo, preset="public_chat")
    rooms = [romeo.creates_room(preset="public_chat") for _ in range(3)]
    hidden = romeo.creates_room()
    gone = romeo.creates_room(preset="public_chat")
    has_child(romeo, root, rooms[0], order="b")
    has_child(romeo, root, inner, order="a", suggested=True)
    has_child(romeo, root, hidden)
    has_child(romeo, root, gone)
    romeo.sets_state(root, "m.space.child", {}, gone)
    has_child(romeo, inner, rooms[1])
    has_child(romeo, inner, rooms[2])
    has_child(romeo, inner, root)
    whole = tree(juliet, root)
    assert ids(whole) == [root, inner, rooms[1], rooms[2], rooms[0]]
    assert "next_batch" not in whole
    assert ids(tree(romeo, root)) == [root, inner, rooms[1], rooms[2], rooms[0], hidden]
    assert [child["state_key"] for child in whole["rooms"][0]["children_state"]] == [inner, rooms[0], hidden]
    assert whole["rooms"][0]["children_state"][0]["content"] == {
        "via": ["test.localhost"],
        "order": "a",
        "suggested": True,
    }
    assert whole["rooms"][0]["room_type"] == "m.space"
    assert whole["rooms"][4]["children_state"] == []
    assert ids(tree(juliet, root, max_depth=1)) == [root, inner, rooms[0]]
    assert ids(tree(juliet, root, suggested_only=True)) == [root, inner]
    pages = [tree(juliet, root, limit=2)]
    while "next_batch" in pages[-1]:
        pages.append(tree(juliet, root, limit=2, **{"from": pages[-1]["next_batch"]}))
    assert [room for page in pages for room in page["rooms"]] == whole["rooms"]
    with refused("M_INVALID_PARAM", 400):
        tree(juliet, root, max_depth=1, **{"from": pages[0]["next_batch"]})
    with refused("M_INVALID_PARAM", 400):
        tree(juliet, root, limit=0)
    with refused("M_FORBIDDEN", 403):
        tree(juliet, hidden)


def test_rooms_for_the_members_of_a_space_are_shown_to_them(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    root = space(romeo, preset="public_chat")
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": root}]}
    room = romeo.creates_room(initial_state=[{"type": "m.room.join_rules", "content": rule}])
    has_child(romeo, root, room)
    assert ids(tree(juliet, root)) == [root]
    juliet.joins(root)
    answer = tree(juliet, root)
    assert ids(answer) == [root, room]
    assert answer["rooms"][1]["allowed_room_ids"] == [root]
    juliet.joins(room)
