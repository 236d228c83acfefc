"""Turns: those who change the same thing after having looked at it go one after another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from twisted.internet.defer import DeferredLock

K = TypeVar("K")


class Turns(Generic[K]):
    """A lock for each key that somebody is at."""

    def __init__(self) -> None:
        self._locks: dict[K, DeferredLock] = {}

    @asynccontextmanager
    async def at(self, key: K) -> AsyncIterator[None]:
        """Wait for one's turn at the key, and hold it."""
        lock = self._locks.setdefault(key, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(key, None)
