"""What was read from tables, remembered until it changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from homeserver.runtime.lru import Lru

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Answers of the tables, those asked for lately. Whoever owns this tells it of changes once they are committed.

    What changes while it is read is answered, but not remembered: the reader may have come too early.
    """

    def __init__(self, max_weight: int, weigh: Callable[[K, V], int] | None = None) -> None:
        self._known: Lru[K, V] = Lru(max_weight, weigh)
        self._readings: list[set[K]] = []
        """For each reading under way what has changed since it began."""

    def get(self, key: K) -> V | None:
        """The value, if it is remembered."""
        return self._known.get(key)

    def changed(self, key: K) -> None:
        """The tables say something else now."""
        self._known.discard(key)
        for changed in self._readings:
            changed.add(key)

    async def of(self, keys: Iterable[K], read: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> dict[K, V]:
        """The values of several keys; `read` is asked for those that are not remembered. It need not find all."""
        found: dict[K, V] = {}
        missing: list[K] = []
        for key in keys:
            known = self._known.get(key)
            if known is None:
                missing.append(key)
            else:
                found[key] = known
        if missing:
            found.update(await self._read(missing, read))
        return found

    async def _read(self, keys: Sequence[K], read: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> Mapping[K, V]:
        changed: set[K] = set()
        self._readings.append(changed)
        try:
            values = await read(keys)
        finally:
            self._readings = [each for each in self._readings if each is not changed]
        for key, value in values.items():
            if key not in changed:
                self._known.put(key, value)
        return values
