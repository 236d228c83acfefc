"""Readers of the stream who take nothing for a while: they cost little, and get in one piece what they missed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Final

import pytest

from tests.cast import Cast, logged_in
from tests.servers import MakeServer
from tests.sync_answer import Events, Synced
from tests.wire import Json
from tests.ws_client import Stream

pytestmark = pytest.mark.myelin

MOST_UNACKNOWLEDGED_BYTES: Final = 256 * 1024
TEXT: Final = "x" * 60_000


def all_deltas(stream: Stream) -> list[Json]:
    """The deltas that the server has sent until now, and goes no further than."""
    deltas: list[Json] = []
    stream.send({"op": "ping", "id": "until here"})
    while True:
        frame = stream.frame()
        if frame.get("id") == "until here":
            return deltas
        deltas.append(frame)


def resident_bytes(process_id: int) -> int:
    """The memory that a process holds."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024


def test_who_takes_nothing_is_sent_little_and_then_all_the_rest_at_once(cast: Cast) -> None:
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = juliet.sync()
    with Stream(juliet.wire.host, juliet.wire.port, juliet.token) as stream:
        stream.asks("subscribe", since=since.next_batch)
        said = [romeo.says(room, f"{number} {TEXT}") for number in range(60)]
        first = [Synced(delta) for delta in all_deltas(stream)]
        sizes = [len(json.dumps(delta.answer)) for delta in first]
        # The one that goes over the limit is the last.
        assert sum(sizes[:-1]) < MOST_UNACKNOWLEDGED_BYTES
        told = [event for delta in first for event in delta.timeline(room).ids]
        assert told == said[: len(told)] and len(told) < 10

        # What comes is told once enough is acknowledged, as one delta up to now.
        stream.send({"op": "ack", "position": first[-1].next_batch})
        rest = Synced(stream.delta())
        assert rest.is_limited(room)
        assert rest.timeline(room).ids == said[-10:]
        stream.send({"op": "ack", "position": rest.next_batch})
        assert all_deltas(stream) == []
        between, _ = juliet.messages(room, limit=100, start=rest.prev_batch(room))
        gap = [event for event in Events(between).ids if event in said and event not in told]
        assert told + gap[::-1] + rest.timeline(room).ids == said

        # After a break in the middle of it, it goes on from what was acknowledged.
        more = [romeo.says(room, f"more {number} {TEXT}") for number in range(10)]
    with Stream(juliet.wire.host, juliet.wire.port, juliet.token) as stream:
        stream.asks("subscribe", since=rest.next_batch)
        assert Synced(stream.delta()).timeline(room).ids == more


def test_many_who_take_nothing_do_not_fill_the_memory(make_server: MakeServer) -> None:
    server = make_server()
    cast = Cast(server)
    romeo, juliet = cast("romeo"), cast("juliet")
    room = romeo.creates_room(preset="public_chat")
    juliet.joins(room)
    since = juliet.sync()
    with contextlib.ExitStack() as open_streams:
        for _ in range(40):
            device = logged_in(juliet.wire, juliet.user_id)
            stream = open_streams.enter_context(Stream(device.wire.host, device.wire.port, device.token))
            stream.asks("subscribe", since=since.next_batch)
        before = resident_bytes(server.process_id)
        for number in range(100):
            romeo.says(room, f"{number} {TEXT}")
        grown = resident_bytes(server.process_id) - before
        # 6 MB were said: for 40 readers 240 MB. Each of them may be sent 320 kB, and the events are kept once.
        assert grown < 80_000_000
