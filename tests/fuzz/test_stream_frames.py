"""The stream over WebSocket, with frames of all kinds: each is answered, or ends it with a code that says why."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.cast import Cast
from tests.fuzz.shapes import any_json, mostly, nasty_text
from tests.wire import Json
from tests.ws_client import Stream, StreamClosed

pytestmark = pytest.mark.myelin

OPERATIONS = ["auth", "subscribe", "ack", "send", "state", "redact", "typing", "receipt", "ping"]
# Normal, a frame that is no JSON object, no UTF-8, too large, and a token that is none.
CODES = {1003, 1007, 1009, 4401}
LAST = "the last one"


def fitting_members(cast: Cast) -> dict[str, list[Json]]:
    """What fits into frames."""
    who = cast("streamer")
    room = who.creates_room(preset="public_chat")
    event = who.says(room, "hello")
    return {
        "room_id": [room, "!none:elsewhere.example"],
        "event_id": [event, "$none"],
        "type": ["m.room.message", "m.room.topic", "m.read"],
        "state_key": ["", who.user_id],
        "txn_id": ["1", "2"],
        "content": [{"body": "x"}, {"msgtype": "m.text", "body": "y"}],
        "since": [who.sync().next_batch],
        "position": [who.sync().next_batch],
        "filter": [{}, {"room": {"timeline": {"limit": 1}}}],
        "typing": [True, False],
        "timeout": [1000],
        "reason": ["why"],
        "thread_id": ["main"],
        "use_state_after": [True],
        "access_token": [who.token],
        "set_presence": ["offline"],
    }


def frames(known: dict[str, list[Json]]) -> SearchStrategy[bytes]:
    """Frames to send: objects mostly, with fitting members mostly."""
    members = {name: mostly(st.sampled_from(some), any_json) for name, some in known.items()}
    requests = st.fixed_dictionaries(
        {"op": mostly(st.sampled_from(OPERATIONS), any_json), "id": mostly(st.integers(0, 9), any_json)},
        optional=members,
    )
    encoded = mostly(requests, st.dictionaries(nasty_text, any_json, max_size=3)).map(
        lambda frame: json.dumps(frame).encode("utf-8", "surrogatepass")
    )
    rubbish = st.sampled_from([b"", b"{", b"[]", b"1", b'"x"', b"\xff", b'{"a":' * 3000, b"{" + b" " * 200_000 + b"}"])
    return st.integers(0, 40).flatmap(lambda number: encoded if number else rubbish)


def test_every_frame_is_answered_or_ends_the_stream(cast: Cast) -> None:
    known = fitting_members(cast)
    token = known["access_token"][0]
    numbers = itertools.count()
    answered = 0

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(batch=st.lists(frames(known), min_size=1, max_size=12))
    def answers(batch: list[bytes]) -> None:
        nonlocal answered
        wire = cast.server.wire
        with Stream(wire.host, wire.port, token) as stream:
            last = f"{LAST} {next(numbers)}"
            try:
                for frame in batch:
                    stream.send_text(frame)
                stream.send({"op": "ping", "id": last})
                while (frame := stream.frame()).get("id") != last:
                    assert "errcode" not in frame or isinstance(frame["error"], str)
                    assert frame.get("errcode") != "M_UNKNOWN", f"{frame} to {batch}"
                answered += 1
            except StreamClosed as closed:
                assert closed.code in CODES, f"{closed} after {batch}"

    answers()
    assert answered > 20, "hardly any batch came through: the frames are too wild to test anything"
