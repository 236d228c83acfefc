"""Rooms whose history forks: the state is resolved, and the next event brings the branches together."""

from __future__ import annotations

import copy
from functools import partial

import pytest

from homeserver.core.draft import Draft
from homeserver.core.ids import RoomId, UserId
from homeserver.rooms.plan import Inputs, Plan
from homeserver.rooms.resolve import Resolver
from homeserver.rooms.room import Room
from storage import room_log
from storage.rows import EventRow, RoomChanges, RoomHead
from tests.integration.rooms.house import JULIET, ROMEO, TYBALT, House, at_house, refusal
from tests.postgres import FreshDatabase


def fork_of(room: Room) -> Room:
    """The head as it is now, to be gone on from beside the real one."""
    fork = copy.copy(room)
    fork.known, fork.auth_sets = dict(room.known), {}
    return fork


def branch(house: House, fork: Room, drafts: list[Draft], position: int) -> Plan:
    """Events that follow another head than the real one, as if they came from elsewhere."""
    inputs = house.appender._inputs
    elsewhere = Inputs(inputs.signer, inputs.state, inputs.events, lambda _: fork)
    plan = Plan(elsewhere, position, house.clock.now_ms())
    for draft in drafts:
        plan.room(str(draft.room_id)).add(draft)
    plan.finish()
    return plan


def says_state(room_id: RoomId, sender: UserId, event_type: str, state_key: str, **content: object) -> Draft:
    return Draft(room_id, event_type, sender, dict(content), state_key)  # type: ignore[arg-type]  # plain values


@pytest.mark.parametrize("version", ["1", "2", "11", "12"])
def test_a_ban_in_one_branch_undoes_what_the_banned_did_in_the_other(
    fresh_database: FreshDatabase, version: str
) -> None:
    dsn = fresh_database()

    async def story(house: House) -> tuple[RoomId, list[str]]:
        users = {JULIET: 50, **({} if version == "12" else {ROMEO: 100})}
        room_id = await house.room(
            room_version=version, preset="public_chat", power_level_content_override={"users": users}
        )
        for user_id in (JULIET, TYBALT):
            await house.changes.join(user_id, room_id)
        await house.sending.state(ROMEO, room_id, "m.room.topic", "", {"topic": "before"})
        room = await house.heads.get(room_id)
        fork = fork_of(room)
        # In our branch Juliet is banned; in the other one she sets the topic, and Tybalt says who he is.
        await house.changes.ban(ROMEO, room_id, JULIET)
        ours = room.state_root
        plan = branch(
            house,
            fork,
            [
                says_state(room_id, JULIET, "m.room.topic", "", topic="hers"),
                says_state(room_id, TYBALT, "m.room.member", TYBALT, membership="join", displayname="Tybalt"),
            ],
            house.writer.next_position,
        )
        theirs = plan.room(room_id).state_root
        resolver = Resolver(house.database, house.state, house.events)
        last = plan.rows[-1]
        assert last.changes is not None
        last.changes.head = None
        await house.writer.append(plan.rows)
        resolved = await resolver.resolve(room.number, room.rules, [ours, theirs])
        assert await resolver.resolve(room.number, room.rules, [theirs, ours, ours]) is resolved
        await _take_over(house, room, last, resolved.root, dict(resolved.nodes))
        return room_id, [last.event.event_id, room.extremities[0].event.event_id]

    async def later(house: House) -> None:
        room = await house.heads.get(room_id)
        assert room.extremity_ids == tips
        assert await house.content(room_id, "m.room.topic") == {"topic": "before"}
        juliet = await house.content(room_id, "m.room.member", JULIET)
        assert juliet is not None
        assert juliet["membership"] == "ban"
        tybalt = await house.content(room_id, "m.room.member", TYBALT)
        assert tybalt is not None
        assert tybalt.get("displayname") == "Tybalt"
        assert await refusal(house.says(JULIET, room_id, "hear me")) == (403, "M_FORBIDDEN")
        row = await house.event(await house.says(TYBALT, room_id, "together"))
        assert list(row.event.prev_events) == tips
        assert (await house.heads.get(room_id)).extremity_ids == [row.event.event_id]

    room_id, tips = at_house(dsn, story)
    at_house(dsn, later)


async def _take_over(house: House, room: Room, last: EventRow, root: bytes, nodes: dict[bytes, bytes]) -> None:
    """Write down a head with both branches, as whoever accepts events from elsewhere will."""
    row = EventRow(room.number, last.event, last.state_root)
    row.position = last.position
    head = RoomHead((room.extremities[0].position, last.position), root, last.event.depth, last.position)
    row.changes = RoomChanges(head, nodes=nodes)
    changed = [(row, row.changes)]
    await house.writer.append(
        [], [partial(room_log._write_heads, changed=changed), partial(room_log._insert_nodes, changed=changed)]
    )
