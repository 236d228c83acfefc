"""Pauses end after their time, or when somebody ends them."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime.clock import FakeClock
from homeserver.runtime.pauses import Pauses


def test_a_pause_lasts_as_long_as_it_was_asked_for() -> None:
    clock = FakeClock()
    pause = Deferred.fromCoroutine(Pauses[int](clock).wait(7, 5.0))
    clock.advance(4.9)
    assert not pause.called

    clock.advance(0.1)

    assert pause.called


def test_a_pause_that_is_ended_is_over_at_once_and_others_go_on() -> None:
    clock = FakeClock()
    pauses = Pauses[int](clock)
    ended, other = (Deferred.fromCoroutine(pauses.wait(key, 5.0)) for key in (7, 8))

    pauses.end(7)
    pauses.end(7)
    assert [ended.called, other.called] == [True, False]

    again = Deferred.fromCoroutine(pauses.wait(7, 60.0))
    clock.advance(5.0)
    assert [other.called, again.called] == [True, False]


def test_who_waits_may_stop_waiting_and_pause_again() -> None:
    clock = FakeClock()
    pauses = Pauses[int](clock)
    failures: list[object] = []
    pause = Deferred.fromCoroutine(pauses.wait(7, 5.0))
    pause.addErrback(lambda failure: failures.append(failure.type))
    pause.cancel()
    assert failures == [CancelledError]

    again = Deferred.fromCoroutine(pauses.wait(7, 6.0))
    clock.advance(5.0)
    assert not again.called
    clock.advance(1.0)
    assert again.called
