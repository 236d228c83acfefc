"""Which rooms are encrypted from the start by the admin's choice."""

from __future__ import annotations

import pytest

from tests.cast import Actor, Cast, Refused
from tests.servers import MakeServer
from tests.wire import Json

MEGOLM = {"algorithm": "m.megolm.v1.aes-sha2"}
OTHER = {**MEGOLM, "rotation_period_msgs": 5}


def encryption(who: Actor, **options: Json) -> Json:
    """The m.room.encryption of a new room; None if it has none."""
    room = who.creates_room(**options)
    try:
        return who.state(room, "m.room.encryption")
    except Refused as refusal:
        assert refusal.errcode == "M_NOT_FOUND"
        return None


@pytest.mark.parametrize(
    ("choice", "private", "public"), [("none", None, None), ("private", MEGOLM, None), ("all", MEGOLM, MEGOLM)]
)
def test_new_rooms_are_encrypted_by_default_as_the_admin_wants_it(
    make_server: MakeServer, choice: str, private: Json, public: Json
) -> None:
    server = make_server(rooms={"encrypted": choice})
    romeo = Cast(server)("romeo")
    assert encryption(romeo) == private
    assert encryption(romeo, preset="trusted_private_chat") == private
    assert encryption(romeo, preset="public_chat") == public
    assert encryption(romeo, visibility="public") == public
    # Who asks for it gets what was asked for; a space has no messages.
    asked = [{"type": "m.room.encryption", "state_key": "", "content": OTHER}]
    assert encryption(romeo, initial_state=asked) == OTHER
    assert encryption(romeo, creation_content={"type": "m.space"}) is None


def test_a_room_stays_encrypted_when_it_is_upgraded(make_server: MakeServer) -> None:
    romeo = Cast(make_server(rooms={"encrypted": "private"}))("romeo")
    room = romeo.creates_room(room_version="10")
    assert romeo.state(room, "m.room.encryption") == MEGOLM
    new = romeo.asks("POST", "rooms", room, "upgrade", body={"new_version": "12"})["replacement_room"]
    assert romeo.state(new, "m.room.encryption") == MEGOLM
