"""The stream over WebSocket, as docs/websocket.md describes it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from tests.cast import PASSWORD, Cast, Device, logged_in
from tests.postgres import FreshDatabase
from tests.servers import MakeServer
from tests.sync_answer import Events, Synced
from tests.wire import Json
from tests.ws_client import Stream, StreamClosed

pytestmark = pytest.mark.myelin


def stream_of(who: Device, *, header: bool = True) -> Stream:
    return Stream(who.wire.host, who.wire.port, who.token if header else None)


@contextmanager
def closed(code: int) -> Iterator[None]:
    """What happens inside ends with the server closing the stream with this code."""
    with pytest.raises(StreamClosed) as caught:
        yield
    assert caught.value.code == code, caught.value


def message(text: str) -> Json:
    return {"msgtype": "m.text", "body": text}


def test_a_subscriber_hears_first_everything_and_then_what_is_new(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    before = romeo.says(room, "before")
    with stream_of(juliet) as stream:
        assert stream.asks("subscribe") == {"id": 1}
        first = Synced(stream.delta())
        assert before in first.timeline(room)
        stream.send({"op": "ack", "position": first.next_batch})
        said = romeo.says(room, "now")
        delta = Synced(stream.delta())
        assert delta.timeline(room).ids == [said]
        assert juliet.sync(first).timeline(room).ids == [said]


def test_browsers_say_who_they_are_in_the_first_frame(cast: Cast) -> None:
    romeo = cast("romeo")
    with stream_of(romeo, header=False) as stream:
        answer = stream.asks("auth", access_token=romeo.token)
        assert answer == {"id": 1, "user_id": romeo.user_id, "device_id": romeo.device_id}
        assert stream.asks("ping") == {"id": 2}
    with stream_of(romeo, header=False) as stream, closed(4401):
        stream.asks("auth", access_token="wrong")
    with stream_of(romeo, header=False) as stream, closed(4401):
        stream.asks("ping")


def test_a_reader_goes_on_where_it_stopped(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    with stream_of(romeo) as stream:
        stream.asks("subscribe")
        since = stream.delta()["next_batch"]
    missed = [romeo.says(room, str(number)) for number in range(3)]
    with stream_of(romeo) as stream:
        stream.asks("subscribe", since=since)
        assert Synced(stream.delta()).timeline(room).ids == missed


def test_everything_that_a_chat_needs_can_be_asked(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = juliet.sync()
    with stream_of(romeo) as stream:
        sent = stream.asks("send", room_id=room, type="m.room.message", txn_id="a", content=message("hello"))
        event = sent["event_id"]
        again = stream.asks("send", room_id=room, type="m.room.message", txn_id="a", content=message("hello"))
        assert again["event_id"] == event
        assert romeo.says(room, "hello", txn_id="a") == event
        named = stream.asks("state", room_id=room, type="m.room.name", content={"name": "Balcony"})
        assert romeo.state(room, "m.room.name") == {"name": "Balcony"}
        redaction = stream.asks("redact", room_id=room, event_id=event, txn_id="b", reason="shy")
        assert stream.asks("typing", room_id=room, typing=True, timeout=20_000) == {"id": 5}
        assert stream.asks("receipt", room_id=room, event_id=event) == {"id": 6}
    seen = juliet.sync(since)
    assert seen.timeline(room).ids == [event, named["event_id"], redaction["event_id"]]
    assert seen.typing(room) == [romeo.user_id]
    assert romeo.user_id in seen.readers(room, event)


def test_requests_for_one_room_are_carried_out_in_their_order(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    first = romeo.says(room, "first")
    with stream_of(romeo) as stream:
        for number in range(60):
            relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": str(number)}}
            kind, content = ("m.reaction", relation) if number % 3 else ("m.room.message", message(str(number)))
            stream.send(
                {"op": "send", "id": number, "room_id": room, "type": kind, "txn_id": str(number), "content": content}
            )
        by_id: dict[int, str] = {}
        while len(by_id) < 60:
            frame = stream.frame()
            by_id[frame["id"]] = frame["event_id"]
    history = romeo.whole_history(room, backwards=False)
    assert [event for event in history.ids if event in by_id.values()] == [by_id[number] for number in range(60)]


@pytest.mark.parametrize(
    ("frame", "errcode"),
    [
        ({"op": "send", "room_id": "!a:b", "type": "x", "txn_id": "1", "content": {}}, "M_FORBIDDEN"),
        ({"op": "send", "room_id": "nonsense", "type": "x", "txn_id": "1", "content": {}}, "M_INVALID_PARAM"),
        ({"op": "send", "room_id": "!a:b", "type": "x", "txn_id": "1"}, "M_MISSING_PARAM"),
        ({"op": "send", "room_id": "!a:b", "type": "x", "txn_id": "1", "content": []}, "M_BAD_JSON"),
        ({"op": "redact", "room_id": "!a:b", "event_id": "x", "txn_id": "1"}, "M_INVALID_PARAM"),
        ({"op": "receipt", "room_id": "!a:b", "event_id": "$x", "type": "m.unread"}, "M_INVALID_PARAM"),
        ({"op": "subscribe", "since": "nonsense"}, "M_INVALID_PARAM"),
        ({"op": "subscribe", "filter": {"room": 1}}, "M_INVALID_PARAM"),
        ({"op": "subscribe", "filter": "77"}, "M_NOT_FOUND"),
        ({"op": "ack", "position": "t1_2"}, "M_INVALID_PARAM"),
        ({"op": "dance"}, "M_UNRECOGNIZED"),
        ({"op": 5}, "M_UNRECOGNIZED"),
        ({}, "M_MISSING_PARAM"),
    ],
)
def test_what_makes_no_sense_is_refused_and_the_stream_goes_on(cast: Cast, frame: Json, errcode: str) -> None:
    with stream_of(cast("romeo")) as stream:
        stream.send({"id": "mine", **frame})
        answer = stream.frame()
        assert (answer["id"], answer["errcode"]) == ("mine", errcode)
        assert isinstance(answer["error"], str)
        assert stream.asks("ping") == {"id": 1}


def test_frames_that_are_no_frames_end_the_stream(cast: Cast) -> None:
    romeo = cast("romeo")
    with stream_of(romeo) as stream, closed(1003):
        stream.send([1, 2])
        stream.delta()
    with stream_of(romeo) as stream, closed(1003):
        stream._send_frame(0x1, b"{")
        stream.delta()
    with stream_of(romeo) as stream, closed(1003):
        stream._send_frame(0x2, b"{}")
        stream.delta()
    with stream_of(romeo) as stream, closed(1009):
        stream.send({"op": "ping", "id": 1, "more": "x" * 140_000})
        stream.delta()


def test_nesting_without_end_is_refused(cast: Cast) -> None:
    with stream_of(cast("romeo")) as stream:
        deep = b'{"op":"send","id":1,"room_id":"!a:b","type":"x","txn_id":"1","content":' + b'{"a":' * 10_000
        stream._send_frame(0x1, deep + b"1" + b"}" * 10_001)
        assert stream.frame()["errcode"] == "M_BAD_JSON"
        assert stream.asks("ping")["id"] == 1


def test_a_second_subscription_of_a_device_ends_the_first(cast: Cast) -> None:
    romeo = cast("romeo", devices=["sword", "letter"])
    with stream_of(romeo.sword) as first, stream_of(romeo.letter) as other, stream_of(romeo.sword) as second:
        first.asks("subscribe")
        first.delta()
        other.asks("subscribe")
        other.delta()
        second.asks("subscribe")
        with closed(4409):
            first.delta()
        assert "next_batch" in second.delta()
        assert other.asks("ping")["id"] == 2


def test_who_logs_out_is_heard_no_more(cast: Cast) -> None:
    romeo = cast("romeo")
    other = logged_in(romeo.wire, romeo.user_id)
    with stream_of(romeo) as stays, stream_of(other) as ends:
        ends.asks("subscribe")
        ends.delta()
        other.asks("POST", "logout")
        with closed(4401):
            ends.delta()
        assert stays.asks("ping")["id"] == 1
    with pytest.raises(StreamClosed, match="401"):
        stream_of(other)


def test_a_stream_ends_when_its_token_expires_unless_it_was_shown_the_next_one(
    make_server: MakeServer, fresh_database: FreshDatabase
) -> None:
    dsn = fresh_database()
    romeo = Cast(make_server(dsn=dsn))("romeo")
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": romeo.user_id}}
    expiring, renewed = (
        romeo.asks("POST", "login", body={**login, "password": PASSWORD, "refresh_token": True}) for _ in range(2)
    )
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as tx:
        soon = int(time.time() * 1000) + 3_000
        tx.execute("UPDATE access_tokens SET expires_ts = %s WHERE expires_ts IS NOT NULL RETURNING 1", (soon,))
        assert len(tx.fetchall()) == 2
    host, port = romeo.wire.host, romeo.wire.port
    with (
        stream_of(romeo) as lasting,
        Stream(host, port, expiring["access_token"]) as ends,
        Stream(host, port, renewed["access_token"]) as goes_on,
    ):
        ends.asks("subscribe")
        ends.delta()
        following = romeo.asks("POST", "refresh", body={"refresh_token": renewed["refresh_token"]})
        answer = goes_on.asks("auth", access_token=following["access_token"])
        assert answer["device_id"] == renewed["device_id"]
        with closed(4419):
            ends.delta()
        assert time.time() * 1000 >= soon
        assert goes_on.asks("ping") == {"id": 2}
        assert lasting.asks("ping") == {"id": 1}
    with Stream(host, port) as stream, closed(4419):
        stream.asks("auth", access_token=expiring["access_token"])
    with pytest.raises(StreamClosed, match="401"):
        Stream(host, port, expiring["access_token"])


def test_slow_readers_get_one_delta_of_what_they_missed(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    with stream_of(juliet) as stream:
        stream.asks("subscribe")
        since = Synced(stream.delta())
        stream.send({"op": "ack", "position": since.next_batch})
        got: list[Synced] = []
        for number in range(8):
            romeo.says(room, str(number) + "x" * 50_000)
            if sum(len(str(each.answer)) for each in got) < 256 * 1024:
                got.append(Synced(stream.delta()))
        missed = [romeo.says(room, f"missed {number}") for number in range(15)]
        stream.send({"op": "ack", "position": got[-1].next_batch})
        last = Synced(stream.delta())
        assert last.is_limited(room)
        assert last.timeline(room).ids == missed[-10:]
        gap, _ = juliet.messages(room, limit=100, start=last.prev_batch(room))
        assert Events(gap).ids[:5] == missed[4::-1]


def test_a_server_that_stops_says_so(make_server: MakeServer) -> None:
    server = make_server()
    romeo = Cast(server)("romeo")
    with stream_of(romeo) as stream:
        stream.asks("subscribe")
        stream.delta()
        os.kill(server.process_id, signal.SIGTERM)
        with closed(1012):
            stream.delta()
