"""What a server is sent that was away for long: enough to find the rest by itself, and no more."""

from __future__ import annotations

import time

from federation.outbound.catching_up import LATEST_PER_ROOM
from tests.federated import MakeFederated
from tests.stranger import Asked, NoAnswer, Stranger
from tests.wire import Json

PATIENCE_S = 30.0
MANY = LATEST_PER_ROOM + 60
MESSAGES = 130


def test_who_was_long_away_gets_the_latest_of_each_room_and_not_the_backlog(
    make_federated: MakeFederated, stranger: Stranger
) -> None:
    server = make_federated()
    romeo, juliet = server.cast("romeo"), stranger.user("juliet")
    loud, calm, silent = (romeo.creates_room(preset="public_chat") for _ in range(3))
    for room in (loud, calm, silent):
        stranger.joins(server.server_name, room, juliet)
    taken: list[Json] = []

    def away(asked: Asked) -> Json:
        raise NoAnswer

    def back(asked: Asked) -> Json:
        taken.append(asked.body)
        return {"pdus": {}}

    stranger.answers["send/"] = away
    for number in range(MANY):
        romeo.says(loud, f"{number}")
    romeo.says(calm, "only this")
    for number in range(MESSAGES):
        messages: Json = {juliet: {"*": {"number": number}}}
        romeo.asks("PUT", "sendToDevice", "test.pass", romeo.new_txn_id(), body={"messages": messages})
    stranger.answers["send/"] = back
    # It shows that it is back.
    stranger.sends(server.server_name)

    def events_of(room: str) -> list[Json]:
        return [pdu for body in list(taken) for pdu in body["pdus"] if pdu["room_id"] == room]

    deadline_s = time.monotonic() + PATIENCE_S
    while not events_of(loud) or not events_of(calm):
        assert time.monotonic() < deadline_s, taken
        time.sleep(0.05)
    romeo.says(calm, "and from now on all")
    while len(events_of(calm)) < 2:
        assert time.monotonic() < deadline_s + PATIENCE_S, taken
        time.sleep(0.05)
    assert [pdu["content"]["body"] for pdu in events_of(loud)] == [
        f"{number}" for number in range(MANY - LATEST_PER_ROOM, MANY)
    ]
    assert [pdu["content"]["body"] for pdu in events_of(calm)] == ["only this", "and from now on all"]
    assert events_of(silent) == []
    edus = [edu["content"] for body in taken for edu in body["edus"] if edu["edu_type"] == "m.direct_to_device"]
    assert [content["messages"][juliet]["*"]["number"] for content in edus] == list(range(MESSAGES))
    assert all(len(body["pdus"]) <= 50 and len(body["edus"]) <= 100 for body in taken)
