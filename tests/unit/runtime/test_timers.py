"""Calls that are put off: made in their order and once, or not at all; one call of the reactor serves them all."""

from __future__ import annotations

import random
from typing import Any

from structlog.testing import capture_logs
from twisted.internet.task import Clock as TwistedClock

from homeserver.runtime.timers import CANCELLED_AT_LEAST, Timers


def test_calls_are_made_in_the_order_of_their_times_and_of_one_time_in_that_of_asking() -> None:
    reactor = TwistedClock()
    timers = Timers(reactor)
    made: list[str] = []
    for seconds, name in ((3, "third"), (1, "first"), (2, "second"), (3, "fourth")):
        timers.call_later(seconds, lambda name=name: made.append(name))  # type: ignore[misc]

    reactor.advance(2)
    assert made == ["first", "second"]

    reactor.advance(1)
    assert made == ["first", "second", "third", "fourth"]


def test_a_cancelled_call_is_not_made_and_a_late_cancel_does_no_harm() -> None:
    reactor = TwistedClock()
    timers = Timers(reactor)
    made: list[str] = []
    cancelled = timers.call_later(1, lambda: made.append("cancelled"))
    kept = timers.call_later(1, lambda: made.append("kept"))

    cancelled.cancel()
    reactor.advance(1)
    kept.cancel()
    cancelled.cancel()

    assert made == ["kept"]


def test_the_reactor_knows_of_one_call_for_the_nearest_that_was_not_cancelled() -> None:
    reactor = TwistedClock()
    timers = Timers(reactor)
    limits = [timers.call_later(60 + number, lambda: None) for number in range(20)]
    for limit in limits[:10]:
        limit.cancel()

    assert _times(reactor) == [60]
    reactor.advance(60)

    assert _times(reactor) == [70]
    assert len(timers) == 10


def test_cancelled_calls_are_cleared_away_long_before_their_time() -> None:
    timers = Timers(TwistedClock())
    for _ in range(10 * CANCELLED_AT_LEAST):
        timers.call_later(3600, lambda: None).cancel()

    assert len(timers) <= 2 * CANCELLED_AT_LEAST


class _OneTurn(TwistedClock):
    """A reactor that makes just the calls that were due when its turn began."""

    def turn(self) -> None:
        calls: list[Any] = list(self.getDelayedCalls())
        for call in [call for call in calls if call.getTime() <= self.seconds()]:
            self.calls.remove(call)
            call.called = 1
            call.func()


def test_a_call_that_asks_for_another_at_once_gets_it_in_the_next_turn() -> None:
    reactor = _OneTurn()
    timers = Timers(reactor)
    made: list[str] = []

    def first() -> None:
        made.append("first")
        timers.call_later(0, lambda: made.append("second"))

    timers.call_later(0, first)
    reactor.turn()
    assert made == ["first"]

    reactor.turn()
    assert made == ["first", "second"]


def test_a_call_that_fails_is_logged_and_holds_up_no_other() -> None:
    reactor = TwistedClock()
    timers = Timers(reactor)
    made: list[str] = []

    def fail() -> None:
        raise RuntimeError("no")

    timers.call_later(1, fail)
    timers.call_later(1, lambda: made.append("kept"))
    with capture_logs() as lines:
        reactor.advance(1)

    assert made == ["kept"]
    assert [line["event"] for line in lines] == ["a call that was put off failed"]


def test_of_many_that_come_and_go_just_those_that_were_not_cancelled_are_made_each_once_and_in_time() -> None:
    chance, reactor = random.Random(7), TwistedClock()
    timers = Timers(reactor)
    made: dict[int, float] = {}
    wanted: dict[int, float] = {}
    for number in range(2_000):
        seconds = chance.choice((0.0, 0.5, 1.0, 7.25, 60.0))

        def call(number: int = number) -> None:
            assert number not in made
            made[number] = reactor.seconds()

        timer = timers.call_later(seconds, call)
        if chance.random() < 0.7:
            timer.cancel()
        else:
            wanted[number] = reactor.seconds() + seconds
        reactor.advance(chance.choice((0.0, 0.25, 0.25)))
    # In steps, as a reactor would: each call is made in the first turn at or after its time.
    for _ in range(300):
        reactor.advance(0.25)

    assert made.keys() == wanted.keys()
    assert all(when_s <= made[number] <= when_s + 0.25 for number, when_s in wanted.items())


def _times(reactor: TwistedClock) -> list[float]:
    calls: list[Any] = list(reactor.getDelayedCalls())
    return [call.getTime() for call in calls]
