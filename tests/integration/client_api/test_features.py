"""What /versions says that the server can do, it does: each of the features is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.cast import Actor, Cast
from tests.servers import Homeserver
from tests.wire import Json, client_path
from tests.ws_client import Stream

pytestmark = pytest.mark.myelin

UNSTABLE: Final = "/_matrix/client/unstable"


def stream(romeo: Actor, juliet: Actor, room: str) -> bool:
    with Stream(romeo.wire.host, romeo.wire.port, romeo.token) as opened:
        return bool(opened.asks("ping") == {"id": 1})


def cross_signing(romeo: Actor, juliet: Actor, room: str) -> bool:
    answer = romeo.asks("POST", "keys", "query", body={"device_keys": {romeo.user_id: []}})
    uploaded = romeo.call("POST", client_path("keys", "device_signing", "upload"), {"master_key": {}})
    return "master_keys" in answer and uploaded.status == 400


def private_receipts(romeo: Actor, juliet: Actor, room: str) -> bool:
    juliet.reads(room, romeo.says(room, "hello"), "m.read.private")
    return juliet.sync().unread(room) == (0, 0)


def receipts_of_threads(romeo: Actor, juliet: Actor, room: str) -> bool:
    root = romeo.says(room, "hello")
    juliet.reads(room, romeo.replies_in_thread(room, root, "again"), thread=root)
    return True


def counts_of_threads(romeo: Actor, juliet: Actor, room: str) -> bool:
    root = romeo.says(room, "hello")
    romeo.replies_in_thread(room, root, "again")
    told = juliet.sync(filter={"room": {"timeline": {"org.matrix.msc3773.unread_thread_notifications": True}}})
    counts: Json = told.room(room)["unread_thread_notifications"][root]
    return bool(counts["notification_count"] == 1)


def threads(romeo: Actor, juliet: Actor, room: str) -> bool:
    root = romeo.says(room, "hello")
    romeo.replies_in_thread(room, root, "again")
    return bool(juliet.event(room, root)["unsigned"]["m.relations"]["m.thread"]["count"] == 1)


def mentions(romeo: Actor, juliet: Actor, room: str) -> bool:
    since = juliet.sync()
    content = {"msgtype": "m.text", "body": "you there", "m.mentions": {"user_ids": [juliet.user_id]}}
    romeo.sends(room, "m.room.message", content)
    return juliet.sync(since).unread(room) == (1, 1)


def rendezvous(romeo: Actor, juliet: Actor, room: str) -> bool:
    answer = romeo.call(
        "POST", f"{UNSTABLE}/org.matrix.msc4108/rendezvous", raw=b"hello", headers={"Content-Type": "text/plain"}
    )
    return answer.status == 201 and "etag" in answer.headers and "url" in answer.json


def rendezvous_as_json(romeo: Actor, juliet: Actor, room: str) -> bool:
    path = f"{UNSTABLE}/io.element.msc4388/rendezvous"
    opened = romeo.call("POST", path, {"data": "hello"}).json
    return bool(juliet.call("GET", f"{path}/{opened['id']}").json["data"] == "hello")


def state_after(romeo: Actor, juliet: Actor, room: str) -> bool:
    since = juliet.sync()
    topic = romeo.sets_state(room, "m.room.topic", {"topic": "balconies"})
    query: Json = {"since": since.next_batch, "org.matrix.msc4222.use_state_after": True}
    told = juliet.asks("GET", "sync", **query)["rooms"]["join"][room]
    return [each["event_id"] for each in told["org.matrix.msc4222.state_after"]["events"]] == [topic]


def blocked_invites(romeo: Actor, juliet: Actor, room: str) -> bool:
    juliet.keeps("m.invite_permission_config", {"default_action": "block"})
    other = romeo.creates_room()
    answer = romeo.call("POST", client_path("rooms", other, "invite"), {"user_id": juliet.user_id})
    return answer.status == 403 and answer.errcode == "M_INVITE_BLOCKED"


def profiles_as_proposed(romeo: Actor, juliet: Actor, room: str) -> bool:
    path = f"{UNSTABLE}/uk.tcpip.msc4133/profile/{romeo.user_id}"
    romeo.call("PUT", f"{path}/org.example.mood", {"org.example.mood": "in love"})
    field, whole = juliet.call("GET", f"{path}/org.example.mood"), juliet.call("GET", path)
    return bool(field.json == {"org.example.mood": "in love"} and whole.json["org.example.mood"] == "in love")


def profiles(romeo: Actor, juliet: Actor, room: str) -> bool:
    romeo.asks("PUT", "profile", romeo.user_id, "m.tz", body={"m.tz": "Europe/Rome"})
    return bool(juliet.asks("GET", "profile", romeo.user_id)["m.tz"] == "Europe/Rome")


TRIED: Final[dict[str, Callable[[Actor, Actor, str], bool]]] = {
    "org.myelin.stream": stream,
    "org.matrix.e2e_cross_signing": cross_signing,
    "org.matrix.msc2285.stable": private_receipts,
    "org.matrix.msc3440.stable": threads,
    "org.matrix.msc3771": receipts_of_threads,
    "org.matrix.msc3773": counts_of_threads,
    "org.matrix.msc3952_intentional_mentions": mentions,
    "org.matrix.msc4108": rendezvous,
    "io.element.msc4388": rendezvous_as_json,
    "org.matrix.msc4222": state_after,
    "org.matrix.msc4380.stable": blocked_invites,
    "uk.tcpip.msc4133": profiles_as_proposed,
    "uk.tcpip.msc4133.stable": profiles,
}


def test_every_feature_that_is_named_is_tried_here(homeserver: Homeserver) -> None:
    features = homeserver.wire.ask("GET", "/_matrix/client/versions").json["unstable_features"]
    assert set(features) == set(TRIED)
    assert all(features.values())


@pytest.mark.parametrize("feature", TRIED)
def test_a_feature_that_is_named_is_there(cast: Cast, feature: str) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    assert TRIED[feature](romeo, juliet, room)
