"""Frames of the stream: what is read, what is refused, and how."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.sync.stream_frames import Ack, FrameReader, NotAFrame, Send, Subscribe, answer, refusal
from homeserver.web.errors import LimitExceeded, MatrixError

READ = FrameReader()


def test_frames_become_what_they_say() -> None:
    sent = READ(b'{"op":"send","id":7,"room_id":"!a:b","type":"x","txn_id":"t","content":{"a":1},"new":true}')
    assert sent == Send(7, "!a:b", "x", "t", {"a": 1})
    assert READ(b' {"op":"ack","position":"s5"}') == Ack("s5")
    assert READ(b'{"op":"subscribe","id":"x","filter":{"room":{}}}') == Subscribe("x", filter={"room": {}})
    assert READ(b'{"op":"subscribe","id":"x","filter":"3"}') == Subscribe("x", filter="3")


@pytest.mark.parametrize(
    ("text", "errcode"),
    [
        (b"{}", "M_MISSING_PARAM"),
        (b'{"op":"fly","id":1}', "M_UNRECOGNIZED"),
        (b'{"op":null,"id":1}', "M_MISSING_PARAM"),
        (b'{"op":[],"id":1}', "M_UNRECOGNIZED"),
        (b'{"op":"ping"}', "M_MISSING_PARAM"),
        (b'{"op":"ping","id":1.5}', "M_BAD_JSON"),
        (b'{"op":"typing","id":1,"room_id":"!a:b","typing":"yes"}', "M_BAD_JSON"),
        (b'{"op":"ack","position":"\\u0000"}', "M_BAD_JSON"),
    ],
)
def test_objects_that_make_no_sense_are_refused(text: bytes, errcode: str) -> None:
    with pytest.raises(MatrixError) as refused:
        READ(text)
    assert refused.value.errcode == errcode


@given(st.binary(max_size=60))
def test_whatever_comes_is_a_frame_or_refused(text: bytes) -> None:
    with contextlib.suppress(NotAFrame, MatrixError):
        READ(text)
    READ.id_of(text)


def test_ids_are_found_in_frames_that_cannot_be_read() -> None:
    assert READ.id_of(b'{"op":"fly","id":"mine"}') == "mine"
    assert READ.id_of(b'{"id":[]}') is None
    assert READ.id_of(b"[" * 100_000) is None


def test_refusals_look_as_over_http() -> None:
    assert json.loads(answer(1, {"event_id": "$x"})) == {"id": 1, "event_id": "$x"}
    told = json.loads(refusal("a", LimitExceeded(250)))
    assert told["id"] == "a"
    assert told["errcode"] == "M_LIMIT_EXCEEDED"
    assert told["retry_after_ms"] == 250
