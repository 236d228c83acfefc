"""Servers that lag behind: when they are tried again, and what they cost while they are away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from federation.outbound.errors import RemoteUnreachable
from federation.outbound.lagging import Lagging
from homeserver.runtime.clock import FakeClock
from homeserver.runtime.tasks import Tasks


class Backoffs:
    """When each server will be tried again, as a test says."""

    def __init__(self) -> None:
        self.retry_ms: dict[str, int] = {}
        self.heard: list[Callable[[Any], object]] = []

    def retry_at_ms(self, server: str) -> int | None:
        """When."""
        return self.retry_ms.get(server)

    def on_recovery(self, listener: Callable[[Any], object]) -> None:
        """Tell of servers that are heard from."""
        self.heard.append(listener)


class Scene:
    """Lagging servers, a clock, and what they were sent."""

    def __init__(self, lagging: dict[str, int] | None = None) -> None:
        self.clock = FakeClock()
        self.backoffs = Backoffs()
        self.sent: list[tuple[str, int, int]] = []
        self.away: set[str] = set()
        self.head = 10
        self.busy: set[str] = set()
        self.tasks = Tasks(self.clock)
        self.lagging = Lagging(self._catch_up, self.backoffs, self.clock)  # type: ignore[arg-type]  # what it uses of them
        self.lagging.begin(lagging or {}, lambda: self.head, self.busy.__contains__)
        self.lagging.start(self.tasks)

    async def _catch_up(self, server: str, after: int, upto: int) -> None:
        self.sent.append((server, after, upto))
        if server in self.away:
            self.backoffs.retry_ms[server] = self.clock.now_ms() + 60_000
            raise RemoteUnreachable(server, "is away")

    def end(self) -> None:
        """Stop what runs."""
        Deferred.fromCoroutine(self.tasks.stop())


def test_a_server_gets_all_that_came_meanwhile_and_is_up_to_date_then() -> None:
    scene = Scene({"two": 4})
    scene.clock.advance(11)
    assert scene.sent == [("two", 4, 10)]
    assert "two" not in scene.lagging
    assert scene.lagging.unsaved() == ({}, ["two"])
    scene.end()


def test_a_server_that_is_still_away_is_tried_when_its_time_comes() -> None:
    scene = Scene({"two": 4})
    scene.away.add("two")
    scene.clock.advance(11)
    scene.clock.advance(50)
    assert scene.sent == [("two", 4, 10)]
    scene.away.clear()
    scene.head = 12
    scene.clock.advance(20)
    assert scene.sent == [("two", 4, 10), ("two", 4, 12)]
    assert "two" not in scene.lagging
    scene.end()


def test_a_server_that_is_heard_from_is_tried_at_once() -> None:
    scene = Scene()
    scene.backoffs.retry_ms["two"] = scene.clock.now_ms() + 12 * 3_600_000
    scene.lagging.add("two", 7, RemoteUnreachable("two", "is away"))
    scene.clock.advance(60)
    assert scene.sent == []
    scene.backoffs.heard[0]("two")
    scene.clock.advance(1)
    assert scene.sent == [("two", 7, 10)]
    scene.end()


def test_nothing_is_sent_twice_at_a_time() -> None:
    scene = Scene()
    scene.busy.add("two")
    scene.lagging.add("two", 7, None)
    scene.clock.advance(5)
    assert scene.sent == []
    scene.busy.clear()
    # What was under way has failed: the server is further back than was thought.
    scene.lagging.add("two", 3, RemoteUnreachable("two", "is away"))
    scene.clock.advance(5)
    assert scene.sent == [("two", 3, 10)]
    scene.end()


def test_thousands_of_dead_servers_are_left_alone() -> None:
    scene = Scene()
    far_ms = scene.clock.now_ms() + 12 * 3_600_000
    for number in range(5_000):
        scene.backoffs.retry_ms[f"dead{number}"] = far_ms
        scene.lagging.add(f"dead{number}", 1, RemoteUnreachable("dead", "is away"))
    changed, caught_up = scene.lagging.unsaved()
    assert (len(changed), caught_up) == (5_000, [])
    for _ in range(100):
        scene.head += 100
        scene.clock.advance(10)
    assert scene.sent == []
    # Nothing is written for them either.
    assert scene.lagging.unsaved() == ({}, [])
    scene.end()
