"""Rooms of Synapse that are joined without their members."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.federated import Federated, TestAuthority, joins_through
from tests.interop.synapse import Both, agree
from tests.postgres import TestServer

pytestmark = pytest.mark.interop

BANNED = 20


@pytest.fixture
def talkative(postgres: TestServer, authority: TestAuthority) -> Iterator[Federated]:
    """A server of ours that says what it does."""
    with contextlib.ExitStack() as stack:
        server = Federated(postgres.fresh_database(), authority, log={"level": "info"})
        stack.callback(server.remove)
        server.start()
        yield server
        assert server.stop() == 0, server.output()
        assert server.errors() == []


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
def test_a_room_of_synapse_is_joined_without_its_members(both: Both, talkative: Federated, version: str) -> None:
    romeo, juliet = both.synapse.cast("romeo"), talkative.cast("juliet")
    room = romeo.creates_room(preset="public_chat", name="Ball", room_version=version)
    for number in range(BANNED):
        romeo.asks("POST", "rooms", room, "ban", body={"user_id": f"@capulet{number}:nowhere.example"})
    before = romeo.sync()
    joins_through(juliet, room, both.synapse)
    said = juliet.says(room, "who are you all?")
    romeo.syncs_until(before, lambda seen: said in seen.timeline(room))
    assert len(juliet.members(room)) == BANNED + 2
    agree(romeo, juliet, room)
    told = talkative.output()
    assert "a room was taken over" in told
    assert "the rest of a room's state came" in told
    assert "a room is complete" in told
    since = juliet.sync()
    answered = romeo.says(room, "your friends")
    juliet.syncs_until(since, lambda seen: answered in seen.timeline(room))
