"""Joining a room through whichever server helps."""

from __future__ import annotations

import pytest

from bench.authority import HOST
from tests.cast import Refused, refused
from tests.federated import Federated, MakeFederated
from tests.integration.admin import free_port

Pair = tuple[Federated, Federated]

UNHEARD_OF = "!tvNcMVrSC6Ud9vkkdXpTGaeHy4Xzb1bBw0TaCOjZ9yk"
"""The id of a room of version 12, which names no server."""


def test_a_join_goes_on_until_a_server_helps(pair: Pair, make_federated: MakeFederated) -> None:
    here, there = pair
    stranger = make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    ways = (f"{HOST}:{free_port()}", "no server's name", there.server_name, stranger.server_name, here.server_name)
    joined = juliet.asks("POST", "join", room, body={}, via=ways)
    assert joined == {"room_id": room}
    assert juliet.members(room) == {romeo.user_id: "join", juliet.user_id: "join"}


def test_when_no_server_helps_the_answer_tells_what_the_most_knowing_one_said(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    private = romeo.creates_room(preset="private_chat")
    dead = f"{HOST}:{free_port()}"
    with pytest.raises(Refused) as refusal:
        juliet.asks("POST", "join", private, body={}, via=(dead, here.server_name))
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")
    assert here.server_name in refusal.value.answer.json["error"]
    with refused("M_NOT_FOUND", 404):
        juliet.asks("POST", "join", UNHEARD_OF, body={}, via=here.server_name)


def test_when_nobody_answers_the_room_is_not_called_missing(pair: Pair) -> None:
    _, there = pair
    juliet = there.cast("juliet")
    dead = f"{HOST}:{free_port()}"
    with pytest.raises(Refused) as refusal:
        juliet.asks("POST", "join", UNHEARD_OF, body={}, via=dead)
    assert refusal.value.status == 504
    assert dead in refusal.value.answer.json["error"]


def test_a_room_without_any_way_to_it_asks_for_one(pair: Pair) -> None:
    _, there = pair
    juliet = there.cast("juliet")
    with pytest.raises(Refused) as refusal:
        juliet.asks("POST", "join", UNHEARD_OF, body={})
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")
    assert "via" in refusal.value.answer.json["error"]
