"""Invites to addresses, whose owners turn out to be users of another server than the inviter."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from homeserver.core.canonical_json import JsonObject
from homeserver.core.signatures import SigningKey, sign_json
from tests.cast import Actor, refused
from tests.federated import Federated, joins_through
from tests.wire import Json, Response

Pair = tuple[Federated, Federated]
IDENTITY_SERVER = "identity.example"


class Address:
    """An e-mail address that was invited to a room before anybody knew whose it is."""

    def __init__(self, inviter: Actor, room: str) -> None:
        self.inviter = inviter
        self.room = room
        self.key = SigningKey.generate("identity")
        content: Json = {
            "display_name": "j...@verona",
            "key_validity_url": f"https://{IDENTITY_SERVER}/valid",
            "public_key": self.key.verify_key_base64,
        }
        inviter.sets_state(room, "m.room.third_party_invite", content, "token")

    def proof(self, owner: Actor, *, key: SigningKey | None = None) -> JsonObject:
        """What the identity server signs once it knows whose the address is."""
        return sign_json({"mxid": owner.user_id, "token": "token"}, IDENTITY_SERVER, key or self.key)

    def bound(self, owner: Actor, server: Federated, proof: JsonObject) -> Response:
        """What the identity server tells the owner's homeserver; its answer."""
        invite = {
            "medium": "email",
            "address": "juliet@verona.example",
            "mxid": owner.user_id,
            "room_id": self.room,
            "sender": self.inviter.user_id,
            "signed": proof,
        }
        body = {
            "medium": "email",
            "address": "juliet@verona.example",
            "mxid": owner.user_id,
            "invites": [invite],
        }
        return server.put_federation("/_matrix/federation/v1/3pid/onbind", body)


def test_an_invited_address_becomes_an_invite_in_a_room_elsewhere(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(name="Orchard")
    address = Address(romeo, room)
    since, before = juliet.sync(), romeo.sync()
    assert address.bound(juliet, there, address.proof(juliet)).status == 200
    seen = juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    assert seen.last.invite_state(room).content("m.room.name") == {"name": "Orchard"}
    seen = romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "invite")
    invite = seen.timeline(room).content("m.room.member", juliet.user_id)
    assert invite["third_party_invite"]["display_name"] == "j...@verona"
    juliet.joins(room)
    assert juliet.members(room) == {romeo.user_id: "join", juliet.user_id: "join"}


def test_who_proves_to_own_an_invited_address_joins_a_room_elsewhere(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room()
    address = Address(romeo, room)
    with refused("M_FORBIDDEN", 403):
        joins_through(juliet, room, here)
    forged = {**address.proof(juliet, key=SigningKey.generate("identity")), "sender": romeo.user_id}
    with refused("M_FORBIDDEN", 403):
        juliet.asks("POST", "join", room, body={"third_party_signed": forged}, via=here.server_name)
    assert juliet.user_id not in romeo.members(room)
    proof = {**address.proof(juliet), "sender": romeo.user_id}
    juliet.asks("POST", "join", room, body={"third_party_signed": proof}, via=here.server_name)
    assert juliet.members(room) == {romeo.user_id: "join", juliet.user_id: "join"}


def test_a_server_in_the_room_makes_the_invite_itself_and_all_others_hear_of_it(pair: Pair) -> None:
    here, there = pair
    romeo, nurse, juliet = here.cast("romeo"), there.cast("nurse"), there.cast("juliet")
    room = romeo.creates_room()
    romeo.invites(room, nurse)
    joins_through(nurse, room, here)
    since = nurse.sync()
    address = Address(romeo, room)
    nurse.syncs_until(since, lambda seen: "m.room.third_party_invite" in seen.timeline(room).types)
    since, before = juliet.sync(), romeo.sync()
    assert address.bound(juliet, there, address.proof(juliet)).status == 200
    juliet.syncs_until(since, lambda seen: room in seen.last.invited)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "invite")
    juliet.joins(room)
    romeo.syncs_until(before, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "join")


def test_what_proves_nothing_makes_no_invite(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room()
    address = Address(romeo, room)
    assert address.bound(juliet, there, address.proof(juliet, key=SigningKey.generate("identity"))).status == 200
    assert address.bound(juliet, there, address.proof(romeo)).status == 200
    assert address.bound(romeo, there, address.proof(romeo)).status == 400
    juliet.keeps("m.invite_permission_config", {"default_action": "block"})
    assert address.bound(juliet, there, address.proof(juliet)).status == 200
    assert juliet.user_id not in romeo.members(room)
    assert room not in juliet.sync().invited


def test_an_exchange_that_is_not_signed_is_not_listened_to(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room()
    address = Address(romeo, room)
    content = {"membership": "invite", "third_party_invite": {"display_name": "j", "signed": address.proof(juliet)}}
    event = {
        "type": "m.room.member",
        "room_id": room,
        "sender": romeo.user_id,
        "state_key": juliet.user_id,
        "content": content,
    }
    path = f"/_matrix/federation/v1/exchange_third_party_invite/{quote(room)}"
    assert here.put_federation(path, event).status == 401
    assert juliet.user_id not in romeo.members(room)


@pytest.mark.parametrize("mxid", ["", "juliet", "!AAAA", "@juliet", "@juliet:nowhere.example"])
def test_an_address_of_nobody_here_is_refused(pair: Pair, mxid: str) -> None:
    _, there = pair
    body = {"medium": "email", "address": "juliet@verona.example", "mxid": mxid, "invites": []}
    answer = there.put_federation("/_matrix/federation/v1/3pid/onbind", body)
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
