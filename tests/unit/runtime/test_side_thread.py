"""What is done beside the reactor: in order, in one thread, and each answer goes to the one who asked."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.runtime.side_thread import MOST_AT_ONCE, SideThread
from tests.reactors import run_on_reactor


def test_all_is_done_in_order_in_one_other_thread() -> None:
    seen: list[tuple[int, int]] = []

    async def story(reactor: Any) -> None:
        side = SideThread(reactor, "side")
        here = threading.get_ident()

        def work(number: int) -> int:
            seen.append((number, threading.get_ident()))
            return number * number

        count = 5 * MOST_AT_ONCE + 3
        asked = [side.do(lambda number=number: work(number)) for number in range(count)]  # type: ignore[misc]
        assert await gatherResults(asked) == [number * number for number in range(count)]
        assert [number for number, _ in seen] == list(range(count))
        threads = {thread for _, thread in seen}
        assert len(threads) == 1
        assert here not in threads

    run_on_reactor(story)


def test_what_is_raised_comes_to_the_one_who_asked_and_the_next_one_is_served() -> None:
    async def story(reactor: Any) -> None:
        side = SideThread(reactor, "side")
        begin = threading.Event()
        first: Deferred[bool] = side.do(begin.wait)
        wrong: Deferred[int] = side.do(lambda: 1 // 0)
        right = side.do(lambda: 5)
        begin.set()
        assert await first
        with pytest.raises(ZeroDivisionError):
            await wrong
        assert await right == 5

    run_on_reactor(story)
