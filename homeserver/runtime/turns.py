"""Turns: those who change the same thing after having looked at it go one after another."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

K = TypeVar("K")


class Turns(Generic[K]):
    """A lock for each key that somebody is at."""

    def __init__(self) -> None:
        self._waiting: dict[K, deque[Deferred[None]]] = {}

    def at(self, key: K) -> _Turn[K]:
        """`async with turns.at(key)`: wait for one's turn at the key, and hold it."""
        return _Turn(self._waiting, key)


class _Turn(Generic[K]):
    __slots__ = ("_key", "_waiting")

    def __init__(self, waiting: dict[K, deque[Deferred[None]]], key: K) -> None:
        self._waiting = waiting
        self._key = key

    async def __aenter__(self) -> None:
        others = self._waiting.get(self._key)
        if others is None:
            self._waiting[self._key] = deque()
            return
        mine: Deferred[None] = Deferred()
        others.append(mine)
        await mine

    async def __aexit__(self, *_: object) -> None:
        others = self._waiting[self._key]
        while others:
            following = others.popleft()
            if not following.called:  # else it was cancelled
                following.callback(None)
                return
        del self._waiting[self._key]
