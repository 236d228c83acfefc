"""Lanes, waiting together and waiting with an end, on a time that a test moves."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from federation.outbound.waiting import Lanes, Together, TookTooLong, within
from homeserver.runtime.clock import FakeClock


def result_of(waiting: Deferred[Any]) -> object:
    """What a Deferred that has fired came to; its exception as a value."""
    seen: list[object] = []

    def look(result: object) -> None:
        seen.append(result.value if isinstance(result, Failure) else result)

    waiting.addBoth(look)
    return seen[0]


@given(st.integers(1, 3), st.integers(1, 5), st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 10**6))
def test_lanes_are_never_overfull_and_everybody_gets_through(
    per_key: int, total: int, keys: list[str], seed: int
) -> None:
    lanes, chance = Lanes(per_key, total), random.Random(seed)
    inside: list[tuple[int, str]] = []
    arrived: set[int] = set()
    waiting: dict[int, Deferred[None]] = {}

    async def travel(number: int, key: str) -> None:
        await lanes.enter(key)
        inside.append((number, key))
        arrived.add(number)

    def check() -> None:
        assert len(inside) <= total
        assert all(count <= per_key for count in Counter(key for _, key in inside).values())

    cancelled: set[int] = set()
    for number, key in enumerate(keys):
        waiting[number] = Deferred.fromCoroutine(travel(number, key))
        check()
        if chance.random() < 0.2:
            gives_up = chance.randrange(number + 1)
            if gives_up not in arrived:
                waiting[gives_up].cancel()
                if gives_up not in cancelled:
                    assert isinstance(result_of(waiting[gives_up]), CancelledError)
                cancelled.add(gives_up)
        if inside and chance.random() < 0.3:
            lanes.leave(inside.pop(chance.randrange(len(inside)))[1])
            check()
    while inside:
        lanes.leave(inside.pop(chance.randrange(len(inside)))[1])
        check()
    assert arrived | cancelled == set(range(len(keys)))
    assert not arrived & cancelled


def test_those_who_want_the_same_wait_together_and_one_may_leave() -> None:
    started: list[str] = []
    running: dict[str, Deferred[int]] = {}

    async def work(key: str) -> int:
        started.append(key)
        running[key] = Deferred()
        return await running[key]

    async def wait(key: str) -> object:
        return await together(key)

    together = Together(work)
    first, second, other = (Deferred.fromCoroutine(wait(key)) for key in ("a", "a", "b"))
    first.cancel()
    assert isinstance(result_of(first), CancelledError)
    running["a"].callback(5)
    running["b"].errback(ValueError("no"))
    assert result_of(second) == 5
    assert isinstance(result_of(other), ValueError)
    assert started == ["a", "b"]
    again = Deferred.fromCoroutine(wait("a"))
    running["a"].callback(6)
    assert result_of(again) == 6
    assert started == ["a", "b", "a"]


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
