"""What passes between people of ours and of Synapse besides the events of rooms; profiles, lists of rooms."""

from __future__ import annotations

import base64

import canonicaljson
import pytest
from nacl.signing import SigningKey

from tests.cast import Actor, Device, logged_in, refused
from tests.federated import joins_through
from tests.interop.synapse import Sides
from tests.sync_answer import Synced
from tests.wire import Json

pytestmark = pytest.mark.interop

ALGORITHMS = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]


def test_typing_and_receipts_pass_both_ways(sides: Sides) -> None:
    romeo, juliet, room = _in_a_room(sides)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        since = other.sync()
        one.types(room)
        seen = other.syncs_until(since, lambda seen: seen.last.typing(room) == [one.user_id])  # noqa: B023
        one.types(room, typing=False)
        other.syncs_until(seen.last, lambda seen: seen.last.typing(room) == [])
        before, since = one.sync(), other.sync()
        sent = one.says(room, "read this")
        other.syncs_until(since, lambda seen: sent in seen.timeline(room))  # noqa: B023
        other.reads(room, sent)
        one.syncs_until(before, lambda seen: other.user_id in seen.last.readers(room, sent))  # noqa: B023


def test_presence_passes_both_ways(sides: Sides) -> None:
    romeo, juliet, _ = _in_a_room(sides)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        since = other.sync()
        status = {"presence": "unavailable", "status_msg": f"says {one.user_id}"}
        assert one.asks("PUT", "presence", one.user_id, "status", body=status) == {}

        def is_told(answer: Synced, who: str = one.user_id, status: Json = status) -> bool:
            told = [event["content"] for event in answer.presence if event["sender"] == who]
            return any({name: content.get(name) for name in status} == status for content in told)

        other.syncs_until(since, lambda seen: is_told(seen.last))
        known = other.asks("GET", "presence", one.user_id, "status")
        assert (known["presence"], known["status_msg"]) == ("unavailable", f"says {one.user_id}")


def test_keys_are_read_and_claimed_and_changes_are_told(sides: Sides) -> None:
    romeo, juliet, _ = _in_a_room(sides)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        since = other.sync()
        keys = _uploads_keys(one)
        since = other.syncs_until(since, lambda seen: one.user_id in _changed(seen.last)).last  # noqa: B023
        asked = other.asks("POST", "keys", "query", body={"device_keys": {one.user_id: []}})
        assert asked["failures"] == {}
        assert asked["device_keys"][one.user_id][one.device_id]["keys"] == keys["keys"]
        claim: Json = {"one_time_keys": {one.user_id: {one.device_id: "test_key"}}}
        given = [other.asks("POST", "keys", "claim", body=claim) for _ in range(3)]
        found = [answer["one_time_keys"].get(one.user_id, {}).get(one.device_id) for answer in given]
        assert found == [{"test_key:a": "one"}, {"test_key:b": "two"}, None]
        # A device more, with another name, and gone again.
        body = {"display_name": "a phone"}
        assert one.asks("PUT", "devices", one.device_id, body=body) == {}
        other.syncs_until(since, lambda seen: one.user_id in _changed(seen.last))  # noqa: B023


def test_who_meets_and_parts_is_told_to_both_and_lists_are_read_anew(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    known = {who.user_id: {who.device_id: _uploads_keys(who)["keys"]} for who in (romeo, juliet)}
    room = romeo.creates_room(preset="public_chat")
    tokens = {who: who.sync() for who in (romeo, juliet)}
    for _ in range(2):
        joins_through(juliet, room, sides.here)
        for one, other in ((romeo, juliet), (juliet, romeo)):
            tokens[one] = one.syncs_until(tokens[one], lambda seen: other.user_id in _changed(seen.last)).last  # noqa: B023
            asked = one.asks("POST", "keys", "query", body={"device_keys": {other.user_id: []}})
            devices = asked["device_keys"][other.user_id]
            assert {device: keys["keys"] for device, keys in devices.items()} == known[other.user_id]
        since = tokens[romeo]
        juliet.leaves(room)
        # Synapse does not tell this to who leaves.
        mine, theirs = (romeo, juliet) if sides.here.is_ours else (juliet, romeo)
        left = mine.syncs_until(tokens[mine], lambda seen: theirs.user_id in _left(seen.last))  # noqa: B023
        tokens[mine] = left.last
        romeo.syncs_until(since, lambda seen: seen.timeline(room).memberships.get(juliet.user_id) == "leave")
        # Apart, both take another device, of which the other hears when they meet again.
        for who in (romeo, juliet):
            tablet = logged_in(who.wire, who.user_id)
            known[who.user_id][tablet.device_id] = _uploads_keys(tablet)["keys"]


def test_signing_keys_of_users_cross(sides: Sides) -> None:
    romeo, juliet, _ = _in_a_room(sides)
    for one, other in ((romeo, juliet), (juliet, romeo)):
        since = other.sync()
        key = SigningKey.generate()
        public = base64.b64encode(key.verify_key.encode()).decode().rstrip("=")
        master = {"user_id": one.user_id, "usage": ["master"], "keys": {f"ed25519:{public}": public}}
        answer = one.asks("POST", "keys", "device_signing", "upload", body={"master_key": master})
        assert answer == {}
        other.syncs_until(since, lambda seen: one.user_id in _changed(seen.last))  # noqa: B023
        asked = other.asks("POST", "keys", "query", body={"device_keys": {one.user_id: []}})
        assert asked["master_keys"][one.user_id]["keys"] == master["keys"]


def test_messages_to_devices_arrive_in_order_and_once(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet", devices=("laptop", "phone"))
    since = {device: device.sync() for device in juliet.devices.values()}
    for number in range(30):
        body: Json = {"messages": {juliet.user_id: {"*": {"number": number}}}}
        for _ in range(2):
            romeo.asks("PUT", "sendToDevice", "m.test", f"txn-{number}", body=body)
    for device, token in since.items():
        seen = device.syncs_until(token, lambda seen: sum(len(answer.to_device) for answer in seen) >= 30)
        told = [event for answer in seen for event in answer.to_device]
        assert told == [
            {"type": "m.test", "sender": romeo.user_id, "content": {"number": number}} for number in range(30)
        ]


def test_profiles_are_read_and_follow_into_rooms(sides: Sides) -> None:
    romeo, juliet, room = _in_a_room(sides)
    before = romeo.sync()
    juliet.asks("PUT", "profile", juliet.user_id, "displayname", body={"displayname": "Juliet"})
    assert romeo.asks("GET", "profile", juliet.user_id)["displayname"] == "Juliet"
    seen = romeo.syncs_until(before, lambda seen: juliet.user_id in seen.timeline(room).memberships)
    assert seen.timeline(room).content("m.room.member", juliet.user_id)["displayname"] == "Juliet"
    with refused("M_NOT_FOUND", 404):
        romeo.asks("GET", "profile", f"@nobody:{sides.there.server_name}")


def test_public_rooms_are_listed_and_looked_into(sides: Sides) -> None:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    name = f"Square of {romeo.localpart}"
    room = romeo.creates_room(preset="public_chat", visibility="public", name=name)
    wanted = {"filter": {"generic_search_term": name}, "limit": 10}
    found = juliet.asks("POST", "publicRooms", body=wanted, server=sides.here.server_name)
    assert [each["room_id"] for each in found["chunk"]] == [room]
    space = romeo.creates_room(preset="public_chat", creation_content={"type": "m.space"})
    joins_through(juliet, space, sides.here)
    child = {"via": [sides.here.server_name]}
    since = juliet.sync()
    named = romeo.sets_state(space, "m.space.child", child, state_key=room)
    juliet.syncs_until(since, lambda seen: named in seen.timeline(space))
    listed = juliet.asks("GET", "rooms", space, "hierarchy", version="v1")["rooms"]
    assert [(each["room_id"], each.get("name")) for each in listed] == [(space, None), (room, name)]


def _in_a_room(sides: Sides) -> tuple[Actor, Actor, str]:
    romeo, juliet = sides.here.cast("romeo"), sides.there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, sides.here)
    return romeo, juliet, room


def _changed(answer: Synced) -> list[str]:
    changed: list[str] = answer.answer.get("device_lists", {}).get("changed", [])
    return changed


def _left(answer: Synced) -> list[str]:
    left: list[str] = answer.answer.get("device_lists", {}).get("left", [])
    return left


def _uploads_keys(device: Device) -> Json:
    """Keys of the device, signed with the first of them."""
    key = SigningKey.generate()
    public = base64.b64encode(key.verify_key.encode()).decode().rstrip("=")
    keys: Json = {
        "user_id": device.user_id,
        "device_id": device.device_id,
        "algorithms": ALGORITHMS,
        "keys": {f"ed25519:{device.device_id}": public, f"curve25519:{device.device_id}": public},
    }
    signature = key.sign(canonicaljson.encode_canonical_json(keys)).signature
    signed = base64.b64encode(signature).decode().rstrip("=")
    keys["signatures"] = {device.user_id: {f"ed25519:{device.device_id}": signed}}
    body = {"device_keys": keys, "one_time_keys": {"test_key:a": "one", "test_key:b": "two"}}
    device.asks("POST", "keys", "upload", body=body)
    return keys
