"""POST /rooms/{roomId}/upgrade."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.rooms.create import InitialState
from tests.integration.rooms.house import JULIET, ROMEO, TYBALT, House, at_house, refusal
from tests.postgres import FreshDatabase


@pytest.mark.parametrize(("old", "new"), [("9", "11"), ("11", "12"), ("12", "12"), ("12", "10")])
def test_the_new_room_is_like_the_old_one(fresh_database: FreshDatabase, old: str, new: str) -> None:
    async def story(house: House) -> None:
        old_id = await house.room(
            room_version=old,
            visibility="public",
            name="Verona",
            topic="Feud",
            room_alias_name="verona",
            creation_content={"type": "m.space", "m.federate": False},
            initial_state=[
                InitialState("m.room.server_acl", {"allow": ["*"]}),
                InitialState("example.private", {}),
            ],
            power_level_content_override={"users": {**({} if old == "12" else {ROMEO: 100}), JULIET: 60}},
        )
        await house.changes.join(JULIET, old_id)
        new_id = await house.upgrades.upgrade(ROMEO, old_id, new)
        room = await house.heads.get(new_id)
        assert room.rules.version == new
        assert (room.summary.name, room.summary.topic, room.summary.room_type) == ("Verona", "Feud", "m.space")
        assert (room.summary.join_rule, room.summary.canonical_alias) == ("public", "#verona:verona.example")
        create: dict[str, Any] = await house.content(new_id, "m.room.create") or {}
        assert create["predecessor"]["room_id"] == old_id
        assert create["m.federate"] is False
        end = (await house.heads.get(old_id)).known[("m.room.tombstone", "")]
        assert end is not None
        assert end.event.content["replacement_room"] == new_id
        if new != "12":
            assert create["predecessor"]["event_id"] == end.event.event_id
        assert await house.content(new_id, "m.room.server_acl") == {"allow": ["*"]}
        assert await house.content(new_id, "example.private") is None
        assert await house.content(new_id, "m.room.member", JULIET) is None
        assert room.power.of_user(ROMEO) >= 100
        assert room.power.of_user(JULIET) == 60
        levels: dict[str, Any] = await house.content(new_id, "m.room.power_levels") or {}
        assert (ROMEO in levels["users"]) == (new != "12")
        if new == "12":
            assert levels["events"]["m.room.tombstone"] > levels["state_default"]
        assert await house.ask("SELECT alias, room_id FROM aliases JOIN rooms USING (room)") == [
            ("#verona:verona.example", new_id)
        ]
        assert await house.ask("SELECT room_id FROM rooms WHERE is_published") == [(new_id,)]
        # The old room is quiet.
        assert await refusal(house.says(TYBALT, old_id, "x")) == (403, "M_FORBIDDEN")
        old_levels: dict[str, Any] = await house.content(old_id, "m.room.power_levels") or {}
        assert (old_levels["events_default"], old_levels["invite"]) == (50, 50)
        await house.says(JULIET, old_id, "a moderator may speak")
        await house.changes.join(JULIET, new_id)

    at_house(fresh_database(), story)


def test_who_may_not_end_a_room_may_not_replace_it(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(preset="public_chat")
        await house.changes.join(JULIET, room_id)
        assert await refusal(house.upgrades.upgrade(JULIET, room_id, "11")) == (403, "M_FORBIDDEN")
        assert await refusal(house.upgrades.upgrade(TYBALT, room_id, "11")) == (403, "M_FORBIDDEN")
        assert await refusal(house.upgrades.upgrade(ROMEO, room_id, "77")) == (400, "M_UNSUPPORTED_ROOM_VERSION")
        bad = house.upgrades.upgrade(ROMEO, room_id, "12", ["juliet"])
        assert await refusal(bad) == (400, "M_INVALID_PARAM")
        assert await house.ask("SELECT count(*) FROM rooms") == [(1,)]

    at_house(fresh_database(), story)


def test_creators_are_named_anew(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        old_id = await house.room(creation_content={"additional_creators": [TYBALT]})
        new_id = await house.upgrades.upgrade(ROMEO, old_id, "12", [JULIET])
        content: dict[str, Any] = await house.content(new_id, "m.room.create") or {}
        assert content["additional_creators"] == [JULIET]

    at_house(fresh_database(), story)
