"""Whatever a few people do in a few rooms: tables, tries, heads and caches tell one story, also after a restart."""

from __future__ import annotations

import random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList

from homeserver.core.ids import RoomId, UserId
from homeserver.core.state_trie import EMPTY_ROOT
from homeserver.web.errors import MatrixError
from tests.integration.rooms.house import SERVER, House, at_house
from tests.postgres import FreshDatabase

PRESETS = ("public_chat", "private_chat", "public_chat")
CAST = [UserId(f"@player{number}:{SERVER}") for number in range(5)]


async def something(house: House, dice: random.Random, rooms: list[RoomId]) -> None:
    """One deed, allowed or not."""
    room_id, actor, other = dice.choice(rooms), dice.choice(CAST), dice.choice(CAST)
    changes = house.changes
    deeds: list[Any] = [
        lambda: changes.join(actor, room_id),
        lambda: changes.join(actor, room_id),
        lambda: changes.leave(actor, room_id),
        lambda: changes.invite(actor, room_id, other),
        lambda: changes.invite(actor, room_id, other),
        lambda: changes.kick(actor, room_id, other),
        lambda: changes.ban(actor, room_id, other),
        lambda: changes.unban(actor, room_id, other),
        lambda: changes.forget(actor, room_id),
        lambda: house.sending.state(actor, room_id, "m.room.name", "", {"name": str(dice.random())}),
        lambda: house.says(actor, room_id, "words", device=CAST.index(actor), txn_id=str(dice.randrange(5))),
        lambda: house.says(actor, room_id, "words"),
    ]
    try:
        await dice.choice(deeds)()
    except MatrixError as refusal:
        assert refusal.status in (400, 403, 404)


async def tell(house: House) -> dict[str, object]:
    """All that is known, by way of memory; compared on the way with the tables."""
    told: dict[str, object] = {}
    for number, room_id in await house.ask("SELECT room, room_id FROM rooms ORDER BY room"):
        room = await house.heads.get(room_id)
        stored = dict(
            await house.ask("SELECT user_id, membership FROM memberships WHERE room = %s ORDER BY user_id", number)
        )
        in_trie: dict[str, object] = {}
        for user_id in CAST:
            content = await house.content(room_id, "m.room.member", user_id)
            if content is not None:
                in_trie[user_id] = content["membership"]
        assert in_trie == stored
        joined = {user_id for user_id, membership in stored.items() if membership == "join"}
        assert room.local_joined == joined
        assert room.joined_members == len(joined)
        assert room.invited_members == sum(membership == "invite" for membership in stored.values())
        counts = await house.ask("SELECT joined_members, invited_members FROM room_summaries WHERE room = %s", number)
        assert counts == [(room.joined_members, room.invited_members)]
        head = await house.ask(
            "SELECT extremities, state_root, depth, position FROM room_heads WHERE room = %s", number
        )
        [(extremities, root, depth, position)] = head
        assert extremities == [row.position for row in room.extremities]
        assert (bytes(root), depth, position) == (room.state_root, room.depth, room.position)
        told[room_id] = (in_trie, room.summary, room.state_root)
        await _check_chain(house, number)
    for user_id in CAST:
        rooms = await house.memberships.of_user(user_id)
        stays = dict(rooms.stays)
        told[user_id] = (dict(rooms.items()), set(rooms.joined), stays)
        assert stays.keys() == rooms.joined
    return told


async def _check_chain(house: House, number: int) -> None:
    """Each event follows the one before it, and says which state it was sent in."""
    positions = [each for (each,) in await house.ask("SELECT position FROM events WHERE room = %s", number)]
    found = await house.events.by_positions(positions)
    rows = [found[position] for position in sorted(positions)]
    root = EMPTY_ROOT
    for depth, (before, row) in enumerate(zip([None, *rows], rows, strict=False), start=1):
        assert row.event.depth == depth
        assert row.event.prev_events == (() if before is None else (before.event.event_id,))
        assert row.state_root == root
        if row.event.state_key is not None:
            await house.state.warm(number, root, [row.event.key])
            root, _ = house.state.update(root, {row.event.key: row.position})
    assert root == (await house.ask("SELECT state_root FROM room_heads WHERE room = %s", number))[0][0].tobytes()


@pytest.mark.parametrize("seed", range(4))
def test_tables_tries_heads_and_caches_tell_one_story(fresh_database: FreshDatabase, seed: int) -> None:
    dsn = fresh_database()
    dice = random.Random(seed)

    async def story(house: House) -> dict[str, object]:
        rooms = [await house.room(who, preset=preset) for who, preset in zip(CAST, PRESETS, strict=False)]
        for who in CAST:
            # Their rooms are in memory from the start, so that they are kept current by following.
            await house.memberships.of_user(who)
        for _ in range(60):
            deeds = [Deferred.fromCoroutine(something(house, dice, rooms)) for _ in range(dice.randrange(1, 6))]
            outcomes = await DeferredList(deeds, consumeErrors=True)
            assert all(succeeded for succeeded, _ in outcomes), outcomes
        return await tell(house)

    told = at_house(dsn, story)
    assert at_house(dsn, tell) == told
    assert at_house(dsn, tell, cache_bytes=30_000, most_rooms=1) == told
