"""What a client sends beyond what the server knows does no harm (client-server API, "API Standards")."""

from __future__ import annotations

from tests.cast import PASSWORD, Cast
from tests.wire import Json, client_path

MORE: Json = {"org.example.more": {"a": [1, None]}, "more": "ü", "": True}
QUERY: Json = {"org.example.more": "1", "more": "%zz", "a b": "c&d"}


def test_unknown_keys_and_parameters_are_ignored(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")

    def posts(who: Json, *path: str, method: str = "POST", **body: Json) -> Json:
        return who.asks(method, *path, body={**body, **MORE}, **QUERY)

    room = posts(romeo, "createRoom", preset="private_chat", name="Balcony")["room_id"]
    posts(romeo, "rooms", room, "invite", user_id=juliet.user_id)
    posts(juliet, "join", room)
    said = posts(romeo, "rooms", room, "send", "m.room.message", "t", method="PUT", msgtype="m.text", body="hello")
    posts(juliet, "rooms", room, "receipt", "m.read", said["event_id"])
    posts(juliet, "rooms", room, "read_markers", **{"m.fully_read": said["event_id"]})
    posts(juliet, "rooms", room, "typing", juliet.user_id, method="PUT", typing=True, timeout=1000)
    posts(juliet, "profile", juliet.user_id, "displayname", method="PUT", displayname="Juliet")
    posts(romeo, "rooms", room, "redact", said["event_id"], "t", method="PUT", reason="shy")
    posts(romeo, "user", romeo.user_id, "rooms", room, "tags", "u.dear", method="PUT", order=0.5)
    posts(romeo, "rooms", room, "kick", user_id=juliet.user_id)
    posts(juliet, "rooms", room, "forget")
    for path, query in (
        (("sync",), {"timeout": 0}),
        (("rooms", room, "messages"), {"dir": "b"}),
        (("rooms", room, "members"), {}),
        (("rooms", room, "state"), {}),
        (("rooms", room, "context", said["event_id"]), {}),
        (("account", "whoami"), {}),
        (("devices",), {}),
        (("capabilities",), {}),
        (("publicRooms",), {}),
        (("profile", juliet.user_id), {}),
    ):
        assert isinstance(romeo.asks("GET", *path, **query, **QUERY), dict | list)
    login: Json = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": romeo.user_id, **MORE}}
    answer = romeo.wire.ask("POST", client_path("login", **QUERY), {**login, "password": PASSWORD, **MORE})
    assert answer.status == 200
    assert romeo.state(room, "m.room.name") == {"name": "Balcony"}
