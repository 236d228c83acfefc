"""Reports of rooms, events and users."""

from __future__ import annotations

from tests.cast import Cast, refused


def test_what_one_sees_can_be_reported(cast: Cast) -> None:
    romeo, tybalt = cast("romeo"), cast("tybalt")
    room = romeo.creates_room(preset="public_chat")
    tybalt.joins(room)
    event = tybalt.says(room, "villain")
    assert romeo.asks("POST", "rooms", room, "report", event, body={"reason": "rude"}) == {}
    assert romeo.asks("POST", "rooms", room, "report", event, body={}) == {}
    assert romeo.asks("POST", "rooms", room, "report", body={"reason": ""}) == {}
    assert romeo.asks("POST", "users", tybalt.user_id, "report", body={"reason": "rude"}) == {}


def test_what_one_does_not_see_cannot_be_reported(cast: Cast) -> None:
    romeo, tybalt = cast("romeo"), cast("tybalt")
    room = romeo.creates_room()
    event = romeo.says(room, "hidden")
    with refused("M_NOT_FOUND", 404):
        tybalt.asks("POST", "rooms", room, "report", event, body={"reason": "x"})
    with refused("M_NOT_FOUND", 404):
        romeo.asks("POST", "rooms", room, "report", "$nothing", body={"reason": "x"})
    with refused("M_NOT_FOUND", 404):
        romeo.asks("POST", "rooms", "!nowhere:test.localhost", "report", body={"reason": "x"})
    with refused("M_MISSING_PARAM", 400):
        romeo.asks("POST", "rooms", room, "report", body={})
    with refused("M_BAD_JSON", 400):
        romeo.asks("POST", "users", tybalt.user_id, "report", body={"reason": 5})
    with refused("M_INVALID_PARAM", 400):
        romeo.asks("POST", "users", "tybalt", "report", body={"reason": "x"})
