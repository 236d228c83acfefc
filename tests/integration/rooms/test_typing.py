"""Who types is told also to those who come back after a long pause."""

from __future__ import annotations

from homeserver.rooms.typing import Typing
from homeserver.runtime.clock import ReactorClock
from homeserver.runtime.ring import Ring
from homeserver.sync.changes import ChangeReader
from tests.integration.rooms.house import JULIET, ROMEO, House, at_house
from tests.postgres import FreshDatabase


def test_who_comes_back_after_the_ring_has_gone_on_hears_that_somebody_stopped_typing(
    fresh_database: FreshDatabase,
) -> None:
    async def story(house: House) -> None:
        typing = Typing(house.writer, house.heads, ReactorClock(house.reactor))
        room_id = await house.room(preset="public_chat")
        await house.changes.join(JULIET, room_id)
        number = (await house.heads.get(room_id)).number
        await typing.set(ROMEO, room_id, typing=True, timeout_ms=100_000)
        await house.says(JULIET, room_id, "go on")
        seen = house.ring.head
        await typing.set(ROMEO, room_id, typing=False, timeout_ms=0)
        await house.says(JULIET, room_id, "so quiet")
        gone_on = Ring()
        gone_on.begin(house.ring.head, house.ring.head)
        reader = ChangeReader(house.database, gone_on, typing)

        before = await reader.between(JULIET, 1, {number}, seen, house.ring.head)
        after = await reader.between(JULIET, 1, {number}, house.ring.head, house.ring.head)

        assert before.rooms[number].typing
        assert number not in after.rooms
        assert typing.typing_in(number) == ()

    at_house(fresh_database(), story)
