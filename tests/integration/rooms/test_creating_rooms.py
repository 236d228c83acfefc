"""POST /createRoom, as far as rooms are concerned."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredList

from homeserver.core.ids import EventId, RoomId, UserId
from homeserver.core.room_rules import ROOM_RULES
from homeserver.rooms.create import InitialState
from tests.integration.rooms.house import JULIET, ROMEO, SERVER, TYBALT, House, at_house, refusal
from tests.postgres import FreshDatabase


def test_a_new_room_has_its_events_in_the_order_of_the_specification(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(
            preset="public_chat",
            room_alias_name="balcony",
            name="Balcony",
            topic="Wherefore",
            invite=[JULIET],
            initial_state=[
                InitialState("m.room.avatar", {"url": "mxc://verona.example/balcony"}),
                InitialState("m.room.guest_access", {"guest_access": "can_join"}),
                InitialState("m.room.name", {"name": "goes away"}),
            ],
        )
        assert await house.timeline(room_id) == [
            ("m.room.create", ""),
            ("m.room.member", ROMEO),
            ("m.room.power_levels", ""),
            ("m.room.canonical_alias", ""),
            ("m.room.join_rules", ""),
            ("m.room.history_visibility", ""),
            ("m.room.avatar", ""),
            ("m.room.guest_access", ""),
            ("m.room.name", ""),
            ("m.room.topic", ""),
            ("m.room.member", JULIET),
        ]
        assert await house.content(room_id, "m.room.guest_access") == {"guest_access": "can_join"}
        assert await house.content(room_id, "m.room.name") == {"name": "Balcony"}
        topic = await house.content(room_id, "m.room.topic")
        assert topic is not None
        assert topic["topic"] == "Wherefore"
        assert topic["m.topic"] == {"m.text": [{"body": "Wherefore", "mimetype": "text/plain"}]}

    at_house(fresh_database(), story)


@pytest.mark.parametrize("version", ROOM_RULES)
def test_rooms_of_every_version_can_be_made_and_written_to(fresh_database: FreshDatabase, version: str) -> None:
    dsn = fresh_database()

    async def story(house: House) -> tuple[RoomId, EventId]:
        room_id = await house.room(room_version=version, invite=[JULIET])
        await house.changes.join(JULIET, room_id)
        event_id = await house.says(JULIET, room_id, "Good pilgrim")
        row = await house.event(event_id)
        assert row.event.rules.version == version
        rules = ROOM_RULES[version]
        assert (":" in room_id) is not rules.room_id_is_create_hash
        assert (":" in event_id) is rules.event_id_in_pdu
        await house.sending.redact(JULIET, room_id, event_id, {"reason": "blushing"})
        assert row.event.content == {}
        return room_id, event_id

    async def later(house: House) -> None:
        room = await house.heads.get(room_id)
        assert room.rules.version == version
        assert room.local_joined == {ROMEO, JULIET}
        assert (await house.event(event_id)).event.content == {}
        await house.says(ROMEO, room_id, "after a restart")

    room_id, event_id = at_house(dsn, story)
    at_house(dsn, later)


def test_presets_decide_who_may_join(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        wishes: list[tuple[dict[str, Any], str, str]] = [
            ({}, "invite", "can_join"),
            ({"visibility": "public"}, "public", "forbidden"),
            ({"preset": "private_chat"}, "invite", "can_join"),
            ({"preset": "public_chat"}, "public", "forbidden"),
            ({"preset": "trusted_private_chat", "visibility": "public"}, "invite", "can_join"),
        ]
        for wanted, join_rule, guests in wishes:
            room_id = await house.room(**wanted)
            room = await house.heads.get(room_id)
            assert (room.summary.join_rule, room.summary.guest_access) == (join_rule, guests)
            assert room.summary.history_visibility == "shared"
            published = await house.ask("SELECT is_published FROM rooms WHERE room_id = %s", room_id)
            assert published == [(wanted.get("visibility") == "public",)]

    at_house(fresh_database(), story)


def test_invitees_of_a_trusted_chat_stand_as_high_as_its_creator(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        old = await house.room(room_version="11", preset="trusted_private_chat", invite=[JULIET, JULIET])
        levels = await house.content(old, "m.room.power_levels")
        assert levels is not None
        assert levels["users"] == {ROMEO: 100, JULIET: 100}
        new = await house.room(
            preset="trusted_private_chat",
            invite=[JULIET],
            creation_content={"additional_creators": [TYBALT], "creator": TYBALT, "room_version": "1"},
        )
        create = await house.content(new, "m.room.create")
        assert create == {"room_version": "12", "additional_creators": [TYBALT, JULIET]}
        levels = await house.content(new, "m.room.power_levels")
        assert levels is not None
        assert levels["users"] == {}
        assert isinstance(levels["events"], dict)
        assert levels["events"]["m.room.tombstone"] == 150

    at_house(fresh_database(), story)


def test_wishes_that_cannot_be_met_make_no_room(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        assert await refusal(house.room(room_version="98")) == (400, "M_UNSUPPORTED_ROOM_VERSION")
        assert await refusal(house.room(invite=["juliet"])) == (400, "M_INVALID_PARAM")
        odd = [InitialState("m.room.member", {"membership": "invite"}, "juliet\0")]
        assert await refusal(house.room(initial_state=odd)) == (400, "M_INVALID_PARAM")
        assert await refusal(house.room(room_alias_name="a:b")) == (400, "M_INVALID_PARAM")
        assert await refusal(house.room(invite_3pid=[{"medium": "email"}])) == (400, "M_SERVER_NOT_TRUSTED")
        levels = {"users": {ROMEO: 0}}
        refused = await refusal(house.room(room_version="11", name="x", power_level_content_override=levels))
        assert refused == (400, "M_INVALID_ROOM_STATE")
        named_creator = house.room(power_level_content_override={"users": {ROMEO: 100}})
        assert await refusal(named_creator) == (400, "M_INVALID_ROOM_STATE")
        house.doors.closed.add(JULIET)
        assert await refusal(house.room(invite=[JULIET])) == (403, "M_INVITE_BLOCKED")
        assert await refusal(house.room(invite=["@paris:elsewhere.example"])) == (400, "M_UNKNOWN")
        assert await house.ask("SELECT count(*) FROM events") == [(0,)]
        assert await house.ask("SELECT count(*) FROM rooms") == [(0,)]

    at_house(fresh_database(), story)


def test_an_alias_goes_to_one_of_two_who_want_it_at_once(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        both = [Deferred.fromCoroutine(house.room(who, room_alias_name="crypt")) for who in (ROMEO, JULIET)]
        outcomes = [succeeded for succeeded, _ in await DeferredList(both, consumeErrors=True)]
        assert sorted(outcomes) == [False, True]
        assert await refusal(house.room(room_alias_name="crypt")) == (400, "M_ROOM_IN_USE")
        assert await house.ask("SELECT count(*) FROM rooms") == [(1,)]
        # What was not written left nothing behind in memory: both can go on.
        await house.says(ROMEO, await house.room(), "still here")

    at_house(fresh_database(), story)


def test_the_same_request_many_times_in_a_moment_makes_as_many_rooms(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        outcomes = await DeferredList([Deferred.fromCoroutine(house.room()) for _ in range(20)], consumeErrors=True)
        assert len({room_id for succeeded, room_id in outcomes if succeeded}) == 20
        assert await house.ask("SELECT count(*) FROM rooms") == [(20,)]

    at_house(fresh_database(), story)


def test_members_of_a_new_room_show_their_profiles(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        house.faces.faces[ROMEO] = {"displayname": "Romeo", "avatar_url": "mxc://verona.example/romeo"}
        house.faces.faces[JULIET] = {"displayname": "Juliet"}
        room_id = await house.room(invite=[JULIET], is_direct=True)
        assert await house.content(room_id, "m.room.member", ROMEO) == {
            "membership": "join",
            "displayname": "Romeo",
            "avatar_url": "mxc://verona.example/romeo",
        }
        assert await house.content(room_id, "m.room.member", JULIET) == {
            "membership": "invite",
            "displayname": "Juliet",
            "is_direct": True,
        }

    at_house(fresh_database(), story)


def test_hundreds_of_invites_make_a_state_of_many_nodes(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()

    async def story(house: House) -> str:
        guests = [f"@guest{number}:{SERVER}" for number in range(300)]
        room_id = await house.room(invite=guests)
        for guest in guests[:3]:
            await house.changes.join(UserId(guest), room_id)
        return room_id

    async def later(house: House) -> None:
        room = await house.heads.get(room_id)
        assert (room.joined_members, room.invited_members) == (4, 297)
        assert await house.state.counts(room.number, room.state_root) == (301, 5)
        entries = await house.state.items(room.number, room.state_root, members=True)
        stored = await house.ask("SELECT position FROM memberships WHERE room = %s", room.number)
        assert {position for _, position in entries} == {position for (position,) in stored}
        await house.changes.join(UserId(f"@guest200:{SERVER}"), room.room_id)

    room_id = at_house(dsn, story)
    at_house(dsn, later)
