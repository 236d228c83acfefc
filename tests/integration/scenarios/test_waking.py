"""Whoever waits with /sync is woken by whatever concerns them, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cast import Actor, Cast
from tests.sync_answer import Synced
from tests.wire import Json

Act = Callable[[Actor, Actor, str], object]
Told = Callable[[Synced, str], object]

LONG_MS = 30_000

NEWS: dict[str, tuple[Act, Told]] = {
    "a message": (lambda romeo, juliet, room: romeo.says(room, "x"), lambda told, room: told.timeline(room)),
    "a state event": (
        lambda romeo, juliet, room: romeo.sets_state(room, "m.room.topic", {"topic": "x"}),
        lambda told, room: told.timeline(room),
    ),
    "a receipt": (
        lambda romeo, juliet, room: romeo.reads(room, romeo.sync().timeline(room).ids[-1]),
        lambda told, room: told.ephemeral(room).of_type("m.receipt"),
    ),
    "typing": (lambda romeo, juliet, room: romeo.types(room), lambda told, room: told.typing(room)),
    "an invite": (
        lambda romeo, juliet, room: romeo.creates_room(invite=[juliet]),
        lambda told, room: told.invited,
    ),
    "being put out": (lambda romeo, juliet, room: romeo.kicks(room, juliet), lambda told, room: room in told.left),
    "one's own account data": (
        lambda romeo, juliet, room: juliet.phone.keeps("org.example.x", {"x": 1}),
        lambda told, room: told.account_data.of_type("org.example.x"),
    ),
    "one's own account data of a room": (
        lambda romeo, juliet, room: juliet.phone.keeps("org.example.x", {"x": 1}, room),
        lambda told, room: told.room_account_data(room),
    ),
    "one's own join elsewhere": (
        lambda romeo, juliet, room: juliet.phone.joins(romeo.creates_room(preset="public_chat")),
        lambda told, room: len(told.joined) == 1,
    ),
    "a message to the device": (
        lambda romeo, juliet, room: romeo.asks(
            "PUT",
            "sendToDevice",
            "org.example.x",
            "t",
            body={"messages": {juliet.user_id: {juliet.device_id: {"x": 1}}}},
        ),
        lambda told, room: told.to_device,
    ),
}


@pytest.mark.parametrize("what", NEWS)
def test_one_is_woken_by(cast: Cast, in_parallel: Callable[..., list[Json]], what: str) -> None:
    act, told_of = NEWS[what]
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = juliet.sync()

    def waits() -> bool:
        # One request alone: if it were not woken, it would come back empty.
        return bool(told_of(juliet.sync(since, timeout_ms=LONG_MS), room))

    woken, _ = in_parallel(waits, lambda: act(romeo, juliet, room))
    assert woken


def test_one_is_not_woken_by_what_concerns_others(cast: Cast) -> None:
    romeo, juliet, stranger = cast("romeo"), cast("juliet"), cast("stranger")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = stranger.sync(filter={"presence": {"types": []}})
    romeo.says(room, "x")
    juliet.reads(room, romeo.says(room, "y"))
    juliet.types(room)
    juliet.keeps("org.example.x", {})
    romeo.invites(room, cast("someone"))
    told = stranger.sync(since, timeout_ms=100, filter={"presence": {"types": []}})
    assert not (told.joined or told.invited or told.left or told.account_data or told.to_device)


def test_many_who_wait_are_all_woken_by_one_message(cast: Cast, in_parallel: Callable[..., list[Json]]) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room(preset="public_chat")
    readers = [cast(f"reader{number}") for number in range(20)]
    for reader in readers:
        reader.joins(room)
    tokens = [reader.sync() for reader in readers]

    def waits(reader: Actor, since: Synced) -> list[str]:
        return reader.sync(since, timeout_ms=LONG_MS, filter={"room": {"ephemeral": {"types": []}}}).timeline(room).ids

    waiting = [
        lambda reader=reader, since=since: waits(reader, since) for reader, since in zip(readers, tokens, strict=True)
    ]
    *told, sent = in_parallel(*waiting, lambda: romeo.says(room, "to all of you"))
    assert told == [[sent]] * len(readers)
