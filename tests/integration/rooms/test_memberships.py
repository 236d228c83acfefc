"""Joining, leaving, inviting and the rest, with the error codes that clients rely on."""

from __future__ import annotations

from msgspec.json import decode
from twisted.internet.defer import Deferred

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import RoomId, UserId
from homeserver.core.signatures import SigningKey, sign_json
from homeserver.rooms.create import InitialState
from homeserver.rooms.guests import GuestRemoval
from storage import accounts as account_table
from storage.accounts import Account
from tests.integration.rooms.house import JULIET, ROMEO, TYBALT, House, at_house, refusal
from tests.postgres import FreshDatabase


def test_joining_twice_makes_one_event(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(preset="public_chat")
        await house.changes.join(JULIET, room_id, reason="love")
        events = await house.timeline(room_id)
        await house.changes.join(JULIET, room_id)
        assert await house.timeline(room_id) == events
        assert await house.content(room_id, "m.room.member", JULIET) == {"membership": "join", "reason": "love"}
        room = await house.heads.get(room_id)
        assert room.local_joined == {ROMEO, JULIET}
        assert room.joined_members == 2

    at_house(fresh_database(), story)


def test_who_is_not_invited_does_not_get_in(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        assert await refusal(house.changes.join(JULIET, room_id)) == (403, "M_FORBIDDEN")
        await house.changes.invite(ROMEO, room_id, JULIET, reason="come")
        events = await house.timeline(room_id)
        await house.changes.invite(ROMEO, room_id, JULIET, reason="again")
        assert await house.timeline(room_id) == events
        assert await refusal(house.changes.invite(TYBALT, room_id, JULIET)) == (403, "M_FORBIDDEN")
        await house.changes.join(JULIET, room_id)
        assert await refusal(house.changes.invite(ROMEO, room_id, JULIET)) == (403, "M_FORBIDDEN")
        unknown = RoomId("!nowhere:verona.example")
        assert await refusal(house.changes.join(JULIET, unknown)) == (404, "M_NOT_FOUND")
        assert await refusal(house.changes.invite(ROMEO, unknown, JULIET)) == (403, "M_FORBIDDEN")
        assert await refusal(house.changes.invite(ROMEO, room_id, "juliet")) == (400, "M_INVALID_PARAM")
        assert await refusal(house.changes.invite(ROMEO, room_id, "@paris:else.example")) == (400, "M_UNKNOWN")

    at_house(fresh_database(), story)


def test_leaving_rejecting_and_forgetting(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(invite=[JULIET, TYBALT])
        number = (await house.heads.get(room_id)).number
        assert await refusal(house.changes.forget(JULIET, room_id)) == (400, "M_UNKNOWN")
        await house.changes.leave(TYBALT, room_id)
        await house.changes.join(JULIET, room_id)
        assert await refusal(house.changes.forget(JULIET, room_id)) == (400, "M_UNKNOWN")
        await house.changes.leave(JULIET, room_id, reason="poison")
        events = await house.timeline(room_id)
        await house.changes.leave(JULIET, room_id)
        assert await house.timeline(room_id) == events
        assert (await house.memberships.of_user(JULIET)).membership(number) == "leave"
        await house.changes.forget(JULIET, room_id)
        await house.changes.forget(JULIET, room_id)
        assert (await house.memberships.of_user(JULIET)).membership(number) is None
        stranger = UserId("@friar:verona.example")
        assert await refusal(house.changes.leave(stranger, room_id)) == (403, "M_FORBIDDEN")
        assert await refusal(house.changes.forget(stranger, room_id)) == (404, "M_NOT_FOUND")
        await house.changes.invite(ROMEO, room_id, JULIET)
        assert (await house.memberships.of_user(JULIET)).membership(number) == "invite"
        assert await house.ask("SELECT is_forgotten FROM memberships WHERE user_id = %s", JULIET) == [(False,)]

    at_house(fresh_database(), story)


def test_removing_banning_and_lifting_bans(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(preset="public_chat")
        assert await refusal(house.changes.kick(ROMEO, room_id, TYBALT)) == (403, "M_FORBIDDEN")
        await house.changes.join(TYBALT, room_id)
        assert await refusal(house.changes.kick(TYBALT, room_id, ROMEO)) == (403, "M_FORBIDDEN")
        assert await refusal(house.changes.kick(JULIET, room_id, TYBALT)) == (403, "M_FORBIDDEN")
        await house.changes.kick(ROMEO, room_id, TYBALT, reason="duel")
        assert await house.content(room_id, "m.room.member", TYBALT) == {"membership": "leave", "reason": "duel"}
        assert await refusal(house.changes.unban(ROMEO, room_id, TYBALT)) == (403, "M_BAD_STATE")
        await house.changes.ban(ROMEO, room_id, TYBALT)
        assert await refusal(house.changes.join(TYBALT, room_id)) == (403, "M_FORBIDDEN")
        assert await refusal(house.changes.invite(ROMEO, room_id, TYBALT)) == (403, "M_FORBIDDEN")
        await house.changes.unban(ROMEO, room_id, TYBALT)
        await house.changes.join(TYBALT, room_id)

    at_house(fresh_database(), story)


def test_knocking_and_taking_it_back(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        closed = await house.room()
        assert await refusal(house.changes.knock(JULIET, closed)) == (403, "M_FORBIDDEN")
        room_id = await house.room(initial_state=[InitialState("m.room.join_rules", {"join_rule": "knock"})])
        await house.changes.knock(JULIET, room_id, reason="please")
        events = await house.timeline(room_id)
        await house.changes.knock(JULIET, room_id)
        assert await house.timeline(room_id) == events
        await house.changes.leave(JULIET, room_id)
        await house.changes.knock(JULIET, room_id)
        await house.changes.invite(ROMEO, room_id, JULIET)
        await house.changes.join(JULIET, room_id)
        assert await refusal(house.changes.knock(JULIET, room_id)) == (403, "M_FORBIDDEN")

    at_house(fresh_database(), story)


def test_members_of_an_allowed_room_get_into_a_restricted_one(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        club = await house.room(preset="public_chat")
        rule: JsonObject = {
            "join_rule": "restricted",
            "allow": [{"type": "m.room_membership", "room_id": club}, {"type": "unknown"}],
        }
        state = [InitialState("m.room.join_rules", rule)]
        room_id = await house.room(initial_state=state)
        assert await refusal(house.changes.join(JULIET, room_id)) == (403, "M_FORBIDDEN")
        await house.changes.join(JULIET, club)
        await house.changes.join(JULIET, room_id)
        content = await house.content(room_id, "m.room.member", JULIET)
        assert content == {"membership": "join", "join_authorised_via_users_server": ROMEO}
        # Who has an invite needs nobody to let them in.
        await house.changes.invite(ROMEO, room_id, TYBALT)
        await house.changes.join(TYBALT, room_id)
        assert await house.content(room_id, "m.room.member", TYBALT) == {"membership": "join"}

    at_house(fresh_database(), story)


def test_a_restricted_room_in_which_nobody_may_invite_lets_nobody_in(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        club = await house.room(preset="public_chat")
        await house.changes.join(JULIET, club)
        rule: JsonObject = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
        room_id = await house.room(
            invite=[TYBALT],
            initial_state=[InitialState("m.room.join_rules", rule)],
            power_level_content_override={"invite": 100},
        )
        await house.changes.join(TYBALT, room_id)
        await house.changes.leave(ROMEO, room_id)
        assert await refusal(house.changes.join(JULIET, room_id)) == (404, "M_NOT_FOUND")

    at_house(fresh_database(), story)


def test_guests_join_only_where_they_may(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        closed = await house.room(preset="public_chat")
        refused = await refusal(house.changes.join(JULIET, closed, is_guest=True))
        assert refused == (403, "M_GUEST_ACCESS_FORBIDDEN")
        open_to_guests = await house.room(
            preset="public_chat", initial_state=[InitialState("m.room.guest_access", {"guest_access": "can_join"})]
        )
        await house.changes.join(JULIET, open_to_guests, is_guest=True)

    at_house(fresh_database(), story)


def test_guests_leave_when_the_room_closes_to_them(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()
    guest = UserId("@guest:verona.example")

    async def left(house: House, room_id: RoomId) -> None:
        """Wait until the guest is out."""
        while (await house.content(room_id, "m.room.member", guest)) != {"membership": "leave"}:
            await house.news()

    def removal(house: House) -> GuestRemoval:
        return GuestRemoval(house.database, house.ring, house.heads, house.changes, house.reactor)

    async def close(house: House, room_id: RoomId) -> None:
        await house.sending.state(ROMEO, room_id, "m.room.guest_access", "", {"guest_access": "forbidden"})

    async def story(house: House) -> RoomId:
        await house.database.write(account_table.insert, Account(guest, None, 0, is_guest=True))
        guests = removal(house)
        following = Deferred.fromCoroutine(guests.run())
        rooms = []
        for _ in range(2):
            state = [InitialState("m.room.guest_access", {"guest_access": "can_join"})]
            rooms.append(await house.room(preset="public_chat", initial_state=state))
            await house.changes.join(guest, rooms[-1], is_guest=True)
            await house.changes.join(JULIET, rooms[-1])
        await close(house, rooms[0])
        await left(house, rooms[0])
        assert await house.content(rooms[0], "m.room.member", JULIET) == {"membership": "join"}
        guests.stop()
        await following
        # Nobody follows now; after the restart it is made up for.
        await close(house, rooms[1])
        return rooms[1]

    async def later(house: House) -> None:
        assert await house.content(room_id, "m.room.member", guest) == {"membership": "join"}
        guests = removal(house)
        following = Deferred.fromCoroutine(guests.run())
        await left(house, room_id)
        guests.stop()
        await following

    room_id = at_house(dsn, story)
    at_house(dsn, later)


def test_a_changed_profile_shows_in_the_rooms_of_the_user(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        house.faces.faces[ROMEO] = {"displayname": "Montague"}
        assert await house.changes.show_profile(ROMEO, room_id) is not None
        assert await house.changes.show_profile(ROMEO, room_id) is None
        assert await house.changes.show_profile(JULIET, room_id) is None
        content = await house.content(room_id, "m.room.member", ROMEO)
        assert content == {"membership": "join", "displayname": "Montague"}

    at_house(fresh_database(), story)


def test_member_events_can_be_set_as_state(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        send = house.sending.state

        async def put(sender: UserId, target: str, content: JsonObject) -> str:
            return await send(sender, room_id, "m.room.member", target, content)

        invited = await put(ROMEO, JULIET, {"membership": "invite", "reason": "x"})
        assert await put(ROMEO, JULIET, {"membership": "invite", "reason": "x"}) == invited
        joined = await put(JULIET, JULIET, {"membership": "join", "displayname": "J"})
        assert await put(JULIET, JULIET, {"membership": "join", "displayname": "J"}) == joined
        assert await put(JULIET, JULIET, {"membership": "join", "displayname": "Capulet"}) != joined
        assert await refusal(put(JULIET, TYBALT, {"membership": "join"})) == (403, "M_FORBIDDEN")
        assert await refusal(put(JULIET, JULIET, {"membership": "dance"})) == (403, "M_FORBIDDEN")
        assert await refusal(put(JULIET, JULIET, {})) == (400, "M_BAD_JSON")
        await put(JULIET, JULIET, {"membership": "leave"})
        assert (await house.heads.get(room_id)).local_joined == {ROMEO}

    at_house(fresh_database(), story)


def test_the_rooms_of_a_user_are_known_before_and_after_a_restart(fresh_database: FreshDatabase) -> None:
    dsn = fresh_database()

    async def story(house: House) -> tuple[int, int]:
        first = await house.room(preset="public_chat")
        number = (await house.heads.get(first)).number
        assert not await house.memberships.shares_room(ROMEO, JULIET)
        await house.changes.join(JULIET, first)
        assert await house.memberships.shares_room(ROMEO, JULIET)
        assert (await house.memberships.of_user(JULIET)).joined == {number}
        began = await house.memberships.joined_at(JULIET, number)
        house.faces.faces[JULIET] = {"displayname": "Juliet"}
        await house.changes.show_profile(JULIET, first)
        assert await house.memberships.joined_at(JULIET, number) == began
        assert await house.memberships.at(JULIET, number, began - 1) is None
        assert await house.memberships.at(JULIET, number, began) == "join"
        await house.changes.leave(ROMEO, first)
        assert await house.memberships.stay_ended_at(ROMEO, number) == house.ring.head
        assert await house.memberships.stay_ended_at(JULIET, number) is None
        return number, began

    async def later(house: House) -> None:
        rooms = await house.memberships.of_user(JULIET)
        assert (rooms.joined, rooms.stays) == ({number}, {number: began})
        assert (await house.memberships.of_user(ROMEO)).joined == set()
        assert (await house.memberships.of_user(ROMEO)).get(number)[0] == "leave"

    number, began = at_house(dsn, story)
    at_house(dsn, later)


def test_who_proves_a_third_party_invite_gets_in(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room()
        identity = SigningKey.generate("identity")
        public_key: JsonObject = {"public_key": identity.verify_key_base64, "display_name": "j...@verona"}
        await house.sending.state(ROMEO, room_id, "m.room.third_party_invite", "token", public_key)
        proof: JsonObject = {"mxid": JULIET, "token": "token"}
        forged = sign_json(proof, "identity.example", SigningKey.generate("identity"))
        refused = house.changes.join(JULIET, room_id, third_party_signed={**forged, "sender": ROMEO})
        assert await refusal(refused) == (403, "M_FORBIDDEN")
        assert await house.content(room_id, "m.room.member", JULIET) is None
        signed = sign_json(proof, "identity.example", identity)
        await house.changes.join(JULIET, room_id, third_party_signed={**signed, "sender": ROMEO})
        assert await house.content(room_id, "m.room.member", JULIET) == {"membership": "join"}

    at_house(fresh_database(), story)


def test_an_invite_shows_the_room_to_the_invited(fresh_database: FreshDatabase) -> None:
    async def story(house: House) -> None:
        room_id = await house.room(name="Vault", invite=[JULIET])
        _, position = (await house.memberships.of_user(JULIET)).get((await house.heads.get(room_id)).number)
        row = (await house.events.by_positions([position]))[position]
        shown = [decode(each) for each in await house.stripped.for_member(row)]
        assert [(each["type"], each["state_key"]) for each in shown] == [
            ("m.room.create", ""),
            ("m.room.name", ""),
            ("m.room.join_rules", ""),
            ("m.room.member", ROMEO),
            ("m.room.member", JULIET),
        ]
        assert all(each.keys() == {"type", "state_key", "sender", "content"} for each in shown)

    at_house(fresh_database(), story)
