"""An end to waiting, and a stop whose steps have ends, on a time that a test moves."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from homeserver.runtime.clock import FakeClock
from homeserver.runtime.stopping import Stopping
from homeserver.runtime.time_limit import TookTooLong, within
from tests.unit.deferreds import result_of


@pytest.mark.parametrize("early", [True, False])
def test_work_is_cancelled_when_its_time_is_over(early: bool) -> None:
    clock = FakeClock()
    cancelled: list[bool] = []
    answer: Deferred[int] = Deferred(lambda _: cancelled.append(True))

    async def work() -> int:
        return await answer

    waiting: Deferred[object] = Deferred.fromCoroutine(within(clock, 5.0, work()))
    clock.advance(4.9)
    if early:
        answer.callback(1)
    clock.advance(0.2)
    result = result_of(waiting)
    assert result == 1 if early else isinstance(result, TookTooLong)
    assert cancelled == [] if early else [True]


def test_one_who_is_cancelled_does_not_hear_of_time() -> None:
    clock = FakeClock()

    async def work() -> None:
        await Deferred()

    waiting: Deferred[object] = Deferred.fromCoroutine(within(clock, 5.0, work()))
    waiting.cancel()
    assert isinstance(result_of(waiting), CancelledError)
    clock.advance(10)


def test_a_step_that_fails_and_one_that_hangs_leave_the_next_its_turn() -> None:
    clock = FakeClock()
    stopping = Stopping(clock)
    done: list[str] = []

    async def fail() -> None:
        raise ValueError("the disk is full")

    async def hang() -> None:
        await Deferred()

    async def save() -> None:
        done.append("saved")

    async def stop() -> list[bool]:
        return [
            await stopping.step("one that fails", 2, fail),
            await stopping.step("one that hangs", 2, hang),
            await stopping.step("one that saves", 2, save),
        ]

    stopped = Deferred.fromCoroutine(stop())
    assert done == []
    clock.advance(2.1)
    assert result_of(stopped) == [False, False, True]
    assert done == ["saved"]
