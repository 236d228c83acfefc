"""Several writers and a reader at once, who go on whatever happens to the server, and note what they were told."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.cast import Actor, Cast, Device, Refused
from tests.sync_answer import Events, Synced
from tests.wire import client_path

AWAY = (OSError, http.client.HTTPException)
PATIENCE_S = 60.0


@dataclass(slots=True)
class Writer:
    """Says numbers in a room, one after the other; a number that was not acknowledged is said again."""

    device: Device
    room: str
    acknowledged: list[str] = field(default_factory=list)
    retries: int = 0

    def says_next(self) -> None:
        """Say one number until the server has it."""
        number = len(self.acknowledged)
        path = client_path("rooms", self.room, "send", "m.room.message", f"t{number}")
        body = {"msgtype": "m.text", "body": f"{self.device.user_id} {number}"}
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self.device.call("PUT", path, body)
            except AWAY:
                pass
            else:
                if answer.status == 200:
                    self.acknowledged.append(answer.json["event_id"])
                    return
                # What the server may say while its database is away; anything else is a mistake.
                assert answer.status == 503, answer
            assert time.monotonic() < until_s, "the server did not come back"
            self.retries += 1
            time.sleep(0.01)


@dataclass(slots=True)
class Reader:
    """Follows /sync, always going on with the last token it has got."""

    device: Device
    since: Synced
    timelines: dict[str, Events] = field(default_factory=dict)

    def reads_next(self, timeout_ms: int = 1000) -> None:
        """One more answer."""
        try:
            told = self.device.sync(self.since, timeout_ms=timeout_ms)
        except AWAY:
            time.sleep(0.01)
            return
        except Refused as refusal:
            assert refusal.status == 503, refusal
            time.sleep(0.01)
            return
        for room in told.joined:
            timeline = self.timelines.setdefault(room, Events())
            if told.is_limited(room):
                timeline.extend(self._between(room, self.since, told))
            timeline.extend(told.timeline(room))
        self.since = told

    def _between(self, room: str, since: Synced, told: Synced) -> Events:
        """What a limited timeline left out."""
        found, start = Events(), told.prev_batch(room)
        while True:
            try:
                page, answer = self.device.messages(room, start=start, to=since.next_batch, limit=100)
            except (*AWAY, Refused):
                time.sleep(0.01)
                continue
            found.extend(page)
            if "end" not in answer:
                return Events(reversed(found))
            start = answer["end"]


class Load:
    """Writers in two rooms and a reader in both."""

    def __init__(self, cast: Cast, writers: int = 6) -> None:
        self.reader_actor: Actor = cast("reader")
        owner = cast("owner")
        self.rooms = [owner.creates_room(preset="public_chat") for _ in range(2)]
        for room in self.rooms:
            self.reader_actor.joins(room)
        self.writers: list[Writer] = []
        for number in range(writers):
            actor, room = cast(f"writer{number}"), self.rooms[number % 2]
            actor.joins(room)
            self.writers.append(Writer(actor, room))
        self.start = self.reader_actor.sync()
        self.reader = Reader(self.reader_actor, self.start)
        self._stop = threading.Event()
        self._failures: list[BaseException] = []

    @property
    def acknowledged(self) -> int:
        """How many messages the server has taken."""
        return sum(len(writer.acknowledged) for writer in self.writers)

    def wait_for(self, more: int) -> None:
        """Until so many more messages are acknowledged."""
        target, until_s = self.acknowledged + more, time.monotonic() + PATIENCE_S
        while self.acknowledged < target and not self._failures:
            assert time.monotonic() < until_s, "nothing goes on"
            time.sleep(0.001)

    def wait_a_moment(self, chance: random.Random) -> None:
        """Until some moment under load."""
        self.wait_for(chance.randint(20, 120))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Everybody at work meanwhile; afterwards the writers finish what they are at."""
        threads = [threading.Thread(target=self._work, args=(writer.says_next,)) for writer in self.writers]
        threads.append(threading.Thread(target=self._work, args=(self.reader.reads_next,)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]

    def check(self) -> None:
        """Every acknowledged event is there exactly once and in order, in the history and in what the reader got."""
        for _ in range(3):
            self.reader.reads_next(timeout_ms=0)
        late = Reader(self.reader_actor, self.start)
        for _ in range(3):
            late.reads_next(timeout_ms=0)
        for room in self.rooms:
            history = self.reader_actor.whole_history(room, backwards=False).of_type("m.room.message")
            backwards = self.reader_actor.whole_history(room).of_type("m.room.message")
            assert backwards.ids == history.ids[::-1]
            followed = self.reader.timelines[room].of_type("m.room.message")
            followed_late = late.timelines[room].of_type("m.room.message")
            for writer in self.writers:
                if writer.room != room:
                    continue
                for told in (history, followed, followed_late):
                    assert [e["event_id"] for e in told if e["sender"] == writer.device.user_id] == writer.acknowledged
            assert followed.ids == history.ids
            assert followed_late.ids == history.ids
            expected = sum(len(writer.acknowledged) for writer in self.writers if writer.room == room)
            assert len(history) == expected, "something is there that nobody has sent"

    def _work(self, step: object) -> None:
        assert callable(step)
        try:
            while not self._stop.is_set():
                step()
        except BaseException as failure:  # noqa: BLE001 - it is raised again by `running`, in the test's own thread
            self._failures.append(failure)
            self._stop.set()
