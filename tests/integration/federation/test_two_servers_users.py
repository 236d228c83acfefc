"""What servers ask of each other about users: profiles, devices and keys, messages to devices."""

from __future__ import annotations

import base64

import canonicaljson
import psycopg2
from nacl.signing import SigningKey

from tests.cast import Device, refused
from tests.federated import Federated, MakeFederated, TestAuthority, joins_through
from tests.postgres import FreshDatabase
from tests.sync_answer import Seen, Synced
from tests.wire import Json

Pair = tuple[Federated, Federated]
ALGORITHMS = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]


def test_profiles_are_read_from_the_other_server(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    juliet.asks("PUT", "profile", juliet.user_id, "displayname", body={"displayname": "Juliet"})
    assert romeo.asks("GET", "profile", juliet.user_id) == {"displayname": "Juliet"}
    assert romeo.asks("GET", "profile", juliet.user_id, "displayname") == {"displayname": "Juliet"}
    with refused("M_NOT_FOUND", 404):
        romeo.asks("GET", "profile", f"@nobody:{there.server_name}")


def test_lists_of_rooms_are_read_from_the_other_server(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat", visibility="public", name=f"Square of {romeo.localpart}")
    listed = juliet.asks("GET", "publicRooms", server=here.server_name)
    assert room in [each["room_id"] for each in listed["chunk"]]
    wanted = {"filter": {"generic_search_term": romeo.localpart}, "limit": 10}
    found = juliet.asks("POST", "publicRooms", body=wanted, server=here.server_name)
    assert [each["room_id"] for each in found["chunk"]] == [room]


def test_rooms_of_the_other_server_are_shown_below_a_space(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    space = juliet.creates_room(preset="public_chat", creation_content={"type": "m.space"})
    below = romeo.creates_room(preset="public_chat", name="Streets", creation_content={"type": "m.space"})
    street = romeo.creates_room(preset="public_chat", name="Street")
    private = romeo.creates_room()
    for room in (street, private):
        romeo.sets_state(below, "m.space.child", {"via": [here.server_name]}, room)
    juliet.sets_state(space, "m.space.child", {"via": [there.server_name, here.server_name]}, below)
    tree = juliet.asks("GET", "rooms", space, "hierarchy", version="v1")
    assert [room["room_id"] for room in tree["rooms"]] == [space, below, street]
    assert tree["rooms"][1]["name"] == "Streets"


def test_a_token_proves_to_others_who_somebody_is(pair: Pair) -> None:
    here, _ = pair
    romeo, paris = here.cast("romeo"), here.cast("paris")
    given = romeo.asks("POST", "user", romeo.user_id, "openid", "request_token", body={})
    assert (given["token_type"], given["matrix_server_name"]) == ("Bearer", here.server_name)
    with refused("M_FORBIDDEN", 403):
        paris.asks("POST", "user", romeo.user_id, "openid", "request_token", body={})
    info = "/_matrix/federation/v1/openid/userinfo?access_token="
    answer = here.ask_federation(info + given["access_token"])
    assert (answer.status, answer.json) == (200, {"sub": romeo.user_id})
    for wrong in (given["access_token"][:-3] + "abc", "nothing", "a.b", romeo.token):
        answer = here.ask_federation(info + wrong)
        assert (answer.status, answer.errcode) == (401, "M_UNKNOWN_TOKEN")


def test_messages_to_devices_cross_once(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet", devices=("laptop", "phone"))
    since = {device: device.sync() for device in juliet.devices.values()}
    messages: Json = {"messages": {juliet.user_id: {"*": {"say": "hello"}}}}
    for _ in range(2):
        romeo.asks("PUT", "sendToDevice", "m.test", "txn-1", body=messages)
    for device, token in since.items():
        seen = device.syncs_until(token, lambda seen: bool(seen.last.to_device))
        told = [event for answer in seen for event in answer.to_device]
        assert told == [{"type": "m.test", "sender": romeo.user_id, "content": {"say": "hello"}}]


def test_a_message_to_a_device_waits_for_a_server_that_is_away(make_federated: MakeFederated) -> None:
    here, there = make_federated(), make_federated()
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    since = juliet.sync()
    there.stop()
    for number in range(120):
        messages: Json = {"messages": {juliet.user_id: {"*": {"number": number}}}}
        romeo.asks("PUT", "sendToDevice", "m.test", f"txn-{number}", body=messages)
    here.kill()
    here.start()
    there.start()
    seen = juliet.syncs_until(since, lambda seen: len(_numbers(seen)) >= 120)
    assert _numbers(seen) == list(range(120))


def test_messages_that_a_server_does_not_take_for_long_are_dropped(
    fresh_database: FreshDatabase, authority: TestAuthority, make_federated: MakeFederated
) -> None:
    dsn, there = fresh_database(), make_federated()
    juliet = there.cast("juliet")
    since = juliet.sync()
    here = Federated(dsn, authority, to_device={"max_age": "1h"})
    try:
        here.start()
        romeo = here.cast("romeo")
        there.stop()
        for number in range(3):
            messages: Json = {"messages": {juliet.user_id: {"*": {"number": number}}}}
            romeo.asks("PUT", "sendToDevice", "m.test", f"txn-{number}", body=messages)
        assert here.stop() == 0
        connection = psycopg2.connect(dsn)
        connection.autocommit = True
        with connection.cursor() as tx:
            hours_ms = 2 * 3_600_000
            tx.execute(
                "UPDATE outbound_messages SET created_ts = created_ts - %s WHERE json LIKE %s",
                (hours_ms, b'%"number":1%'),
            )
            assert tx.rowcount == 1
            here.start()
            for _ in range(200):
                tx.execute("SELECT count(*) FROM outbound_messages, pg_sleep(0.05)")
                if tx.fetchone() == (2,):
                    break
        connection.close()
        there.start()
        seen = juliet.syncs_until(since, lambda seen: len(_numbers(seen)) >= 2)
        assert _numbers(seen) == [0, 2]
    finally:
        here.remove()


def test_keys_are_read_and_claimed_and_changes_are_told(pair: Pair) -> None:
    here, there = pair
    romeo, juliet = here.cast("romeo"), there.cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    joins_through(juliet, room, here)
    before = romeo.sync()
    keys = _uploads_keys(juliet)
    romeo.syncs_until(before, lambda seen: juliet.user_id in _changed(seen.last))
    asked = romeo.asks("POST", "keys", "query", body={"device_keys": {juliet.user_id: []}})
    assert asked["device_keys"][juliet.user_id][juliet.device_id]["keys"] == keys["keys"]
    claim: Json = {"one_time_keys": {juliet.user_id: {juliet.device_id: "test_key"}}}
    given = [romeo.asks("POST", "keys", "claim", body=claim) for _ in range(3)]
    found = [answer["one_time_keys"].get(juliet.user_id, {}).get(juliet.device_id) for answer in given]
    assert found == [{"test_key:a": "one"}, {"test_key:b": "two"}, None]


def _changed(answer: Synced) -> list[str]:
    changed: list[str] = answer.answer.get("device_lists", {}).get("changed", [])
    return changed


def _numbers(seen: Seen) -> list[int]:
    return [event["content"]["number"] for answer in seen for event in answer.to_device]


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
