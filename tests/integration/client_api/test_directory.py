"""Aliases, the list of rooms, upgrades; joining by alias."""

from __future__ import annotations

from tests.cast import Actor, Cast, refused
from tests.wire import Json, client_path


def alias_of(who: Actor, name: str) -> str:
    return f"#{name}-{who.localpart}:{who.user_id.partition(':')[2]}"


def test_an_alias_leads_to_its_room_until_it_is_taken_away(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    alias = alias_of(romeo, "balcony")
    with refused("M_NOT_FOUND", 404):
        juliet.asks("GET", "directory", "room", alias)
    assert romeo.asks("PUT", "directory", "room", alias, body={"room_id": room}) == {}
    found = cast.server.wire.ask("GET", client_path("directory", "room", alias)).json
    assert found["room_id"] == room
    assert alias.partition(":")[2] in found["servers"]
    assert romeo.asks("GET", "rooms", room, "aliases") == {"aliases": [alias]}
    juliet.joins(alias)
    assert juliet.user_id in romeo.members(room)
    with refused("M_UNKNOWN", 409):
        juliet.asks("PUT", "directory", "room", alias, body={"room_id": room})
    with refused("M_FORBIDDEN", 403):
        juliet.asks("DELETE", "directory", "room", alias)
    romeo.sets_state(room, "m.room.canonical_alias", {"alias": alias})
    assert romeo.asks("DELETE", "directory", "room", alias) == {}
    assert romeo.state(room, "m.room.canonical_alias") == {}
    with refused("M_NOT_FOUND", 404):
        juliet.asks("GET", "directory", "room", alias)
    with refused("M_NOT_FOUND", 404):
        romeo.asks("DELETE", "directory", "room", alias)


def test_a_member_takes_back_their_own_alias_and_the_rooms_main_alias_stays(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    alias = alias_of(juliet, "hers")
    juliet.asks("PUT", "directory", "room", alias, body={"room_id": room})
    romeo.sets_state(room, "m.room.canonical_alias", {"alias": alias})
    assert juliet.asks("DELETE", "directory", "room", alias) == {}
    assert romeo.state(room, "m.room.canonical_alias") == {"alias": alias}


def test_aliases_that_cannot_be_are_refused(cast: Cast) -> None:
    romeo, tybalt = cast("romeo"), cast("tybalt")
    room = romeo.creates_room()
    with refused("M_INVALID_PARAM", 400):
        romeo.asks("PUT", "directory", "room", "#x:elsewhere.example", body={"room_id": room})
    with refused("M_INVALID_PARAM", 400):
        romeo.asks("PUT", "directory", "room", "not an alias", body={"room_id": room})
    with refused("M_INVALID_PARAM", 400):
        romeo.asks("GET", "directory", "room", "#no-server")
    with refused("M_MISSING_PARAM", 400):
        romeo.asks("PUT", "directory", "room", alias_of(romeo, "x"), body={})
    with refused("M_FORBIDDEN", 403):
        tybalt.asks("PUT", "directory", "room", alias_of(tybalt, "x"), body={"room_id": room})
    with refused("M_FORBIDDEN", 403):
        tybalt.asks("GET", "rooms", room, "aliases")
    with refused("M_INVALID_PARAM", 400):
        romeo.joins("neither")


def test_rooms_are_listed_by_those_who_may(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat", name="Verona")
    juliet.joins(room)
    assert romeo.asks("GET", "directory", "list", "room", room) == {"visibility": "private"}
    with refused("M_FORBIDDEN", 403):
        juliet.asks("PUT", "directory", "list", "room", room, body={"visibility": "public"})
    assert romeo.asks("PUT", "directory", "list", "room", room, body={"visibility": "public"}) == {}
    assert juliet.asks("GET", "directory", "list", "room", room) == {"visibility": "public"}
    with refused("M_NOT_FOUND", 404):
        romeo.asks("GET", "directory", "list", "room", "!nowhere:test.localhost")
    with refused("M_BAD_JSON", 400):
        romeo.asks("PUT", "directory", "list", "room", room, body={"visibility": "half"})


def test_the_list_is_searched_and_paged_through(cast: Cast) -> None:
    romeo = cast("romeo")
    mark = romeo.localpart
    rooms = [romeo.creates_room(visibility="public", name=f"Room {number} {mark}") for number in range(5)]
    space = romeo.creates_room(
        visibility="public", name=f"Space {mark}", creation_content={"type": "m.space"}, topic="of rooms"
    )

    def search(**body: Json) -> Json:
        wanted = {"generic_search_term": mark.upper(), **body.pop("filter", {})}
        return romeo.asks("POST", "publicRooms", body={"filter": wanted, **body})

    everything = search()
    assert {each["room_id"] for each in everything["chunk"]} == {*rooms, space}
    assert everything["total_room_count_estimate"] == 6
    shown = next(each for each in everything["chunk"] if each["room_id"] == space)
    assert shown == {
        "room_id": space,
        "name": f"Space {mark}",
        "topic": "of rooms",
        "num_joined_members": 1,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "room_type": "m.space",
    }
    assert [each["room_id"] for each in search(filter={"room_types": ["m.space"]})["chunk"]] == [space]
    assert {each["room_id"] for each in search(filter={"room_types": [None]})["chunk"]} == set(rooms)
    first = search(limit=4)
    second = search(limit=4, since=first["next_batch"])
    assert "next_batch" not in second
    assert "prev_batch" not in first
    paged = [each["room_id"] for page in (first, second) for each in page["chunk"]]
    assert paged == [each["room_id"] for each in everything["chunk"]]
    back = search(limit=4, since=second["prev_batch"])
    assert back["chunk"] == first["chunk"]
    listed = cast.server.wire.ask("GET", client_path("publicRooms", limit=2)).json
    assert len(listed["chunk"]) == 2
    with refused("M_INVALID_PARAM", 400):
        search(since="nonsense")
    with refused("M_UNRECOGNIZED", 404):
        romeo.asks("GET", "publicRooms", server="elsewhere.example")


def test_a_room_is_replaced_by_one_of_another_version(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat", room_version="10", name="Old")
    juliet.joins(room)
    with refused("M_FORBIDDEN", 403):
        juliet.asks("POST", "rooms", room, "upgrade", body={"new_version": "12"})
    with refused("M_UNSUPPORTED_ROOM_VERSION", 400):
        romeo.asks("POST", "rooms", room, "upgrade", body={"new_version": "1000"})
    new = romeo.asks("POST", "rooms", room, "upgrade", body={"new_version": "12"})["replacement_room"]
    assert romeo.state(room, "m.room.tombstone")["replacement_room"] == new
    assert romeo.state(new, "m.room.create")["predecessor"]["room_id"] == room
    assert romeo.state(new, "m.room.name") == {"name": "Old"}
