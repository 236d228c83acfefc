"""What is read of a room while something that changes it is still on its way to the disk."""

from __future__ import annotations

import msgspec

from homeserver.core.draft import Draft
from homeserver.rooms.member_lists import MemberLists
from storage.statements import Statements
from tests.integration.rooms.house import JULIET, ROMEO, TYBALT, House, at_house
from tests.postgres import FreshDatabase


def slowly(tx: Statements) -> None:
    """Keeps a commit waiting."""
    tx.execute("SELECT pg_sleep(0.3)", ())


def test_a_list_of_members_holds_what_is_committed_and_lacks_nobody_afterwards(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        lists = MemberLists(house.ring, house.state, house.events)
        room_id = await house.room(preset="public_chat")
        room = await house.heads.get(room_id)

        async def members() -> set[str]:
            found = await lists.of(room.number, room.committed_root)
            return set(msgspec.json.decode(b"{" + b"".join(found.joined) + b"}"))

        for newcomer, before in ((JULIET, {ROMEO}), (TYBALT, {ROMEO, JULIET})):
            join = Draft(room_id, "m.room.member", newcomer, {"membership": "join"}, newcomer)
            _, committed = await house.appender.queue_script(
                lambda plan, join=join: plan.room(room_id).add(join),  # type: ignore[misc]
                [slowly],
            )
            assert room.state_root != room.committed_root
            assert await members() == before
            await committed
            assert room.state_root == room.committed_root
            assert await members() == {*before, newcomer}

    at_house(fresh_database(), story)
