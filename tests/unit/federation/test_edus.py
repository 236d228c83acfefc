"""EDUs as they gather for a server."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from federation.outbound.edus import PendingEdus, ReceiptKey, ReceiptNotice, receipt_edus
from tests.wire import Json

ROOMS = st.sampled_from(["!a:one", "!b:one"])
USERS = st.sampled_from(["@romeo:one", "@juliet:one"])
THREADS = st.sampled_from(["", "main", "$root"])
NOTICES = st.builds(
    ReceiptNotice,
    st.builds(ReceiptKey, ROOMS, st.just("m.read"), USERS, THREADS),
    st.sampled_from(["$1", "$2", "$3"]),
    st.integers(1, 9),
)


def _told(edus: list[bytes]) -> dict[tuple[str, str, str], tuple[str, int]]:
    """What a server knows that has read these: room, user and thread → event and time."""
    known: dict[tuple[str, str, str], tuple[str, int]] = {}
    for edu in edus:
        read: Json = msgspec.json.decode(edu)
        assert read["edu_type"] == "m.receipt"
        for room, types in read["content"].items():
            for user, receipt in types["m.read"].items():
                data = receipt["data"]
                (event,) = receipt["event_ids"]
                known[room, user, data.get("thread_id", "")] = (event, data["ts"])
    return known


@given(st.lists(NOTICES, max_size=30))
def test_the_last_receipt_of_each_kind_arrives(notices: list[ReceiptNotice]) -> None:
    last = {
        (notice.key.room_id, notice.key.user_id, notice.key.thread): (notice.event_id, notice.ts) for notice in notices
    }
    assert _told(receipt_edus(notices)) == last
    pending = PendingEdus()
    for notice in notices:
        pending.add_receipt(notice)
    taken: list[bytes] = []
    while pending:
        some = pending.take(1)
        assert len(some) == 1
        taken += some
    assert _told(taken) == last


def test_receipts_of_many_users_are_one_edu() -> None:
    notices = [ReceiptNotice(ReceiptKey("!a:one", "m.read", f"@u{n}:one", ""), "$1", 1) for n in range(500)]
    assert len(receipt_edus(notices)) == 1


def test_of_several_notices_about_one_thing_the_last_is_sent() -> None:
    pending = PendingEdus()
    pending.add_typing("!a:one", "@romeo:one", True)
    pending.add_typing("!a:one", "@romeo:one", False)
    pending.add("devices 1", b'{"first":1}')
    pending.add("devices 1", b'{"second":2}')
    pending.add_presence("@romeo:one", {"user_id": "@romeo:one", "presence": "online"})
    pending.add_presence("@romeo:one", {"user_id": "@romeo:one", "presence": "offline"})
    taken = [msgspec.json.decode(edu) for edu in pending.take(100)]
    assert {"second": 2} in taken
    assert {"first": 1} not in taken
    typing = [edu["content"] for edu in taken if edu.get("edu_type") == "m.typing"]
    assert typing == [{"room_id": "!a:one", "user_id": "@romeo:one", "typing": False}]
    pushes = [edu["content"]["push"] for edu in taken if edu.get("edu_type") == "m.presence"]
    assert pushes == [[{"user_id": "@romeo:one", "presence": "offline"}]]
    assert not pending


def test_no_transaction_gets_more_than_it_may_hold() -> None:
    pending = PendingEdus()
    for number in range(250):
        pending.add_typing(f"!{number}:one", "@romeo:one", True)
    assert [len(pending.take(100)) for _ in range(4)] == [100, 100, 50, 0]
