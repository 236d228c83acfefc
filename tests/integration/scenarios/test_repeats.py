"""The same PUT again is carried out once (client-server API, "Transaction identifiers")."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cast import Cast, logged_in, refused
from tests.servers import MakeServer
from tests.wire import Json, client_path


def test_the_same_transaction_gives_the_same_event(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    sent = romeo.says(room, "once", txn_id="t")
    assert romeo.says(room, "once", txn_id="t") == sent
    assert romeo.says(room, "something else", txn_id="t") == sent
    assert romeo.sync().timeline(room).bodies == ["once"]


def test_another_device_has_its_own_transactions(cast: Cast) -> None:
    juliet = cast("juliet", devices=["laptop", "phone"])
    room = juliet.creates_room()
    one, two = juliet.laptop.says(room, "laptop", txn_id="t"), juliet.phone.says(room, "phone", txn_id="t")
    assert one != two
    assert juliet.sync().timeline(room).bodies == ["laptop", "phone"]


def test_another_path_is_another_transaction(cast: Cast) -> None:
    romeo = cast("romeo")
    first, second = romeo.creates_room(), romeo.creates_room()
    sent = {
        romeo.says(first, "hello", txn_id="t"),
        romeo.says(second, "hello", txn_id="t"),
        romeo.sends(first, "m.sticker", {"body": "s", "url": "mxc://a/b", "info": {}}, txn_id="t"),
    }
    assert len(sent) == 3
    target = romeo.says(first, "target")
    assert romeo.redacts(first, target, txn_id="t") not in sent


def test_the_old_alias_of_the_path_is_the_same_transaction(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    sent = romeo.says(room, "hello", txn_id="t")
    body = {"msgtype": "m.text", "body": "hello"}
    again = romeo.asks("PUT", "rooms", room, "send", "m.room.message", "t", version="r0", body=body)
    assert again["event_id"] == sent


def test_a_redaction_is_repeated_without_effect(cast: Cast) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    target = romeo.says(room, "target")
    redaction = romeo.redacts(room, target, txn_id="r")
    assert romeo.redacts(room, target, txn_id="r") == redaction
    assert romeo.sync().timeline(room).types.count("m.room.redaction") == 1


def test_simultaneous_repeats_make_one_event(cast: Cast, in_parallel: Callable[..., list[str]]) -> None:
    romeo = cast("romeo")
    room = romeo.creates_room()
    sent = in_parallel(*[lambda: romeo.says(room, "once", txn_id="t")] * 12)
    assert len(set(sent)) == 1
    assert romeo.sync().timeline(room).bodies == ["once"]


def test_a_refused_transaction_may_be_tried_again(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room()
    with refused("M_FORBIDDEN", 403):
        juliet.says(room, "let me in", txn_id="t")
    romeo.invites(room, juliet)
    juliet.joins(room)
    sent = juliet.says(room, "let me in", txn_id="t")
    assert sent in romeo.sync().timeline(room)


def test_the_device_counts_not_the_token(cast: Cast) -> None:
    # "the transaction ID [...] scope of a device": logging in again on the same device goes on with it.
    romeo = cast("romeo")
    room = romeo.creates_room()
    sent = romeo.says(room, "once", txn_id="t")
    again = logged_in(romeo.wire, romeo.user_id, romeo.device_id)
    assert again.says(room, "once", txn_id="t") == sent
    assert again.sync().timeline(room).event(sent)["unsigned"]["transaction_id"] == "t"


@pytest.mark.myelin
def test_a_restart_forgets_nothing(make_server: MakeServer) -> None:
    server = make_server()
    cast = Cast(server)
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = juliet.sync()
    sent = [romeo.says(room, str(number), txn_id=f"t{number}") for number in range(5)]
    redaction = romeo.redacts(room, sent[0], txn_id="r")
    juliet.reads(room, sent[3])
    juliet.keeps("org.example.kept", {"kept": True})
    to_device: Json = {"messages": {juliet.user_id: {juliet.device_id: {"kept": True}}}}
    romeo.asks("PUT", "sendToDevice", "org.example.kept", "d", body=to_device)
    server.restart()
    assert [romeo.says(room, str(number), txn_id=f"t{number}") for number in range(5)] == sent
    assert romeo.redacts(room, sent[0], txn_id="r") == redaction
    romeo.asks("PUT", "sendToDevice", "org.example.kept", "d", body=to_device)
    told = juliet.sync(since)
    assert told.timeline(room).ids == [*sent, redaction]
    assert told.timeline(room).event(sent[0])["content"] == {}
    assert told.unread(room) == (1, 0)
    assert juliet.user_id in told.readers(room, sent[3])
    assert told.account_data.content("org.example.kept") == {"kept": True}
    assert told.to_device.content("org.example.kept") == {"kept": True}
    assert len(told.to_device) == 1
    new = romeo.says(room, "after the restart")
    assert juliet.sync(told).timeline(room).ids == [new]


def test_nobody_is_waited_for_who_hung_up(cast: Cast) -> None:
    romeo = cast("romeo")
    since = romeo.sync()
    with pytest.raises(TimeoutError):
        romeo.call("GET", client_path("sync", since=since.next_batch, timeout=30_000), timeout_s=0.2)
    room = romeo.creates_room()
    assert room in romeo.sync(since).joined
