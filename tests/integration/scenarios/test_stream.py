"""The stream over WebSocket tells what /sync tells, and takes what HTTP takes (docs/websocket.md)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cast import Actor, Cast, Device
from tests.servers import MakeServer
from tests.sync_answer import Seen, Synced
from tests.wire import Json
from tests.ws_client import Stream, StreamClosed

pytestmark = pytest.mark.myelin

Couple = tuple[Actor, Actor, str]


@pytest.fixture
def couple(cast: Cast) -> Couple:
    """Two people in a room."""
    romeo, juliet = cast("romeo"), cast("juliet", devices=["laptop", "phone"])
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    return romeo, juliet, room


def stream_of(device: Device) -> Stream:
    """A stream with the token in its head, as programs open it."""
    return Stream(device.wire.host, device.wire.port, device.token)


def deltas_until(stream: Stream, room: str, event: str) -> Seen:
    """Deltas up to the one that tells of an event, each acknowledged."""
    seen = Seen()
    while event not in seen.timeline(room):
        delta = Synced(stream.delta())
        seen.append(delta)
        stream.send({"op": "ack", "position": delta.next_batch})
    return seen


def test_the_same_scenario_shows_the_same_timeline_over_both(couple: Couple) -> None:
    romeo, juliet, room = couple
    since = juliet.sync()
    with stream_of(juliet.phone) as stream:
        assert "errcode" not in stream.asks("subscribe", since=since.next_batch)
        sent = romeo.says(room, "but soft")
        edit = romeo.edits(room, sent, "but hard")
        reaction = juliet.laptop.reacts(room, sent, "🌹")
        romeo.sets_state(room, "m.room.topic", {"topic": "balconies"})
        redaction = romeo.redacts(room, sent)
        seen = deltas_until(stream, room, redaction)
    told = juliet.laptop.sync(since)
    assert seen.timeline(room).ids == told.timeline(room).ids
    assert [sent, edit, reaction] == told.timeline(room).ids[:3]
    # The stream told of the message before it was redacted; from then on both show the same.
    again = juliet.phone.sync(since)
    assert [event["type"] for event in seen.timeline(room)] == again.timeline(room).types
    assert seen.last.next_batch == told.next_batch


def test_the_first_delta_is_the_first_sync(couple: Couple) -> None:
    romeo, juliet, room = couple
    sent = romeo.says(room, "hello")
    with stream_of(juliet.phone) as stream:
        stream.asks("subscribe")
        first = Synced(stream.delta())
    synced = juliet.laptop.sync()
    assert sent in first.timeline(room)
    assert first.timeline(room).ids == synced.timeline(room).ids
    assert sorted(first.state(room).ids) == sorted(synced.state(room).ids)
    assert first.account_data.types == synced.account_data.types
    assert first.summary(room) == synced.summary(room)


def test_a_browser_sends_its_token_in_the_first_frame(couple: Couple) -> None:
    romeo, juliet, room = couple
    with Stream(juliet.wire.host, juliet.wire.port) as stream:
        who = stream.asks("auth", access_token=juliet.token)
        assert (who["user_id"], who["device_id"]) == (juliet.user_id, juliet.device_id)
        sent = stream.asks("send", room_id=room, type="m.room.message", txn_id="1", content={"body": "hi"})
    assert sent["event_id"] in romeo.sync().timeline(room)


def test_a_wrong_token_is_shown_the_door(couple: Couple) -> None:
    _, juliet, _ = couple
    with Stream(juliet.wire.host, juliet.wire.port) as stream, pytest.raises(StreamClosed) as closed:
        stream.asks("auth", access_token="none of ours")
        stream.delta()
    assert closed.value.code == 4401


def test_one_acts_over_the_stream_as_over_http(couple: Couple) -> None:
    romeo, juliet, room = couple
    with stream_of(juliet.phone) as stream:
        content = {"msgtype": "m.text", "body": "over the stream"}
        sent = stream.asks("send", room_id=room, type="m.room.message", txn_id="t", content=content)["event_id"]
        again = stream.asks("send", room_id=room, type="m.room.message", txn_id="t", content=content)["event_id"]
        assert again == sent
        # The same transaction over HTTP is the same, too.
        assert juliet.phone.sends(room, "m.room.message", content, txn_id="t") == sent
        since = romeo.sync()
        assert "errcode" not in stream.asks("typing", room_id=room, typing=True, timeout=20_000)
        assert "errcode" not in stream.asks("receipt", room_id=room, event_id=sent)
        redaction = stream.asks("redact", room_id=room, event_id=sent, txn_id="r", reason="oops")["event_id"]
        seen = romeo.syncs_until(since, lambda seen: redaction in seen.timeline(room))
        typing = [answer.typing(room) for answer in seen if answer.typing(room) is not None]
        assert typing[0] == [juliet.user_id]
        assert any(juliet.user_id in answer.readers(room, sent) for answer in seen)
        refused = stream.asks("state", room_id=room, type="m.room.name", content={"name": "mine"})
        assert refused["errcode"] == "M_FORBIDDEN"
        assert stream.asks("ping") == {"id": refused["id"] + 1}
    assert romeo.event(room, sent)["content"] == {}


def test_after_a_break_the_stream_goes_on_where_it_was(couple: Couple) -> None:
    romeo, juliet, room = couple
    with stream_of(juliet.phone) as stream:
        stream.asks("subscribe", since=juliet.phone.sync().next_batch)
        first = romeo.says(room, "first")
        since = deltas_until(stream, room, first).last
    missed = [romeo.says(room, str(number)) for number in range(3)]
    with stream_of(juliet.phone) as stream:
        stream.asks("subscribe", since=since.next_batch)
        assert deltas_until(stream, room, missed[-1]).timeline(room).ids == missed
    assert juliet.phone.sync(since).timeline(room).ids == missed


def test_a_second_subscription_of_a_device_ends_the_first(couple: Couple) -> None:
    _, juliet, _ = couple
    since = juliet.phone.sync().next_batch
    with stream_of(juliet.phone) as first, stream_of(juliet.phone) as second:
        first.asks("subscribe", since=since)
        second.asks("subscribe", since=since)
        with pytest.raises(StreamClosed) as closed:
            first.delta()
        assert closed.value.code == 4409


def test_to_device_messages_stay_until_they_are_acknowledged(couple: Couple) -> None:
    romeo, juliet, _ = couple
    since = juliet.phone.sync().next_batch
    body: Json = {"messages": {juliet.user_id: {juliet.phone.device_id: {"n": 1}}}}
    with stream_of(juliet.phone) as stream:
        stream.asks("subscribe", since=since)
        romeo.asks("PUT", "sendToDevice", "org.example.key", "t", body=body)
        delta = Synced(stream.delta())
        assert delta.to_device.content("org.example.key") == {"n": 1}
    assert juliet.phone.sync().to_device.content("org.example.key") == {"n": 1}
    with stream_of(juliet.phone) as stream:
        stream.asks("subscribe", since=since)
        assert Synced(stream.delta()).to_device.content("org.example.key") == {"n": 1}
        stream.asks("ack", position=delta.next_batch)
    assert juliet.phone.sync().to_device == []


def test_farewells_amid_messages_are_no_trouble(couple: Couple) -> None:
    romeo, juliet, room = couple
    for number in range(20):
        with stream_of(juliet.phone) as stream:
            stream.asks("subscribe", since=juliet.phone.sync().next_batch)
            romeo.says(room, str(number))
            stream.says_farewell()
            romeo.says(room, f"{number} again")
            with pytest.raises(StreamClosed) as closed:
                while True:
                    stream.delta()
            assert closed.value.code == 1000
    # That the server has logged no mistake is looked at when it is stopped.


def test_a_logout_ends_the_stream(couple: Couple) -> None:
    _, juliet, _ = couple
    with stream_of(juliet.phone) as stream:
        stream.asks("subscribe")
        stream.delta()
        juliet.phone.asks("POST", "logout")
        with pytest.raises(StreamClosed) as closed:
            stream.delta()
        assert closed.value.code == 4401


def test_a_restart_is_told_and_loses_nothing(make_server: MakeServer, in_parallel: Callable[..., list[Json]]) -> None:
    server = make_server()
    cast = Cast(server)
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = juliet.sync().next_batch
    with stream_of(juliet) as stream:
        stream.asks("subscribe", since=since)
        sent = romeo.says(room, "before")
        since = deltas_until(stream, room, sent).last.next_batch

        def end() -> int | None:
            with pytest.raises(StreamClosed) as closed:
                stream.delta()
            stream.close()
            return closed.value.code

        assert in_parallel(server.stop, end) == [0, 1012]
    server.start()
    after = romeo.says(room, "after")
    with stream_of(juliet) as stream:
        stream.asks("subscribe", since=since)
        assert deltas_until(stream, room, after).timeline(room).ids == [after]
