"""Lanes, and waiting together."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from federation.outbound.waiting import Lanes, Together
from tests.unit.deferreds import result_of


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
