"""Waiting for others: together for the same thing, and not too many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

K = TypeVar("K")
T = TypeVar("T")


class Together(Generic[K, T]):
    """Runs a piece of work once for all who want it at the same time. One who stops waiting does not end it."""

    def __init__(self, work: Callable[[K], Coroutine[Deferred[Any], Any, T]]) -> None:
        self._work = work
        self._waiting: dict[K, list[Deferred[T]]] = {}

    def __call__(self, key: K) -> Awaitable[T]:
        """The result for this key, of the work that is running or of one that begins now."""
        waiter: Deferred[T] = Deferred()
        waiters = self._waiting.get(key)
        if waiters is not None:
            waiters.append(waiter)
            return waiter
        waiters = self._waiting[key] = [waiter]

        def done(result: T | Failure) -> None:
            del self._waiting[key]
            for each in waiters:
                if not each.called:
                    each.callback(result)

        Deferred.fromCoroutine(self._work(key)).addBoth(done)
        return waiter


class Lanes:
    """So many at a time for each key, and so many in all; the others wait in the order of their coming."""

    def __init__(self, per_key: int, total: int) -> None:
        self._per_key = per_key
        self._free = total
        self._in_use: dict[str, int] = {}
        self._waiting: dict[str, deque[Deferred[None]]] = {}
        self._ready: deque[str] = deque()
        """Keys that have a lane of their own free, and wait for one of all."""

    def enter_now(self, key: str) -> bool:
        """Take a lane if one is free; whoever has entered must leave."""
        is_free = self._free > 0 and self._in_use.get(key, 0) < self._per_key
        if is_free:
            self._take(key)
        return is_free

    async def enter(self, key: str) -> None:
        """Wait for a lane. Whoever has entered must leave."""
        if self.enter_now(key):
            return
        waiter: Deferred[None] = Deferred()
        self._waiting.setdefault(key, deque()).append(waiter)
        self._ready.append(key)
        await waiter

    def leave(self, key: str) -> None:
        """Give a lane back, and wake who may have it."""
        self._free += 1
        left = self._in_use[key] - 1
        if left:
            self._in_use[key] = left
        else:
            del self._in_use[key]
        self._ready.appendleft(key)
        self._wake()

    def _take(self, key: str) -> None:
        self._free -= 1
        self._in_use[key] = self._in_use.get(key, 0) + 1

    def _wake(self) -> None:
        while self._free > 0 and self._ready:
            key = self._ready.popleft()
            waiting = self._waiting.get(key)
            while waiting and waiting[0].called:  # cancelled
                waiting.popleft()
            if not waiting:
                self._waiting.pop(key, None)
            elif self._in_use.get(key, 0) < self._per_key:
                waiter = waiting.popleft()
                self._take(key)
                waiter.callback(None)
            # else: it comes back into the row when one of its own leaves
