"""A mapping that forgets what was not used for longest, once it holds too much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Keeps entries up to a total weight (by default: a number of entries), dropping the least recently used.

    Dictionaries keep the order of insertion: the oldest entry is the first, and a use moves an entry to the end.
    `dropped` is called with each entry that is pushed out, not with those that are deleted or replaced.
    """

    __slots__ = ("_dropped", "_entries", "_max_weight", "_weigh", "hits", "misses", "weight")

    def __init__(
        self,
        max_weight: int,
        weigh: Callable[[K, V], int] | None = None,
        dropped: Callable[[K, V], object] | None = None,
    ) -> None:
        if max_weight < 1:
            raise ValueError("an LRU needs room for at least one entry")
        self._max_weight = max_weight
        self._weigh = weigh
        self._dropped = dropped
        self._entries: dict[K, V] = {}
        self.weight = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: K) -> V | None:
        """The value, now the most recently used; None if it is not here."""
        entries = self._entries
        try:
            value = entries.pop(key)
        except KeyError:
            self.misses += 1
            return None
        entries[key] = value
        self.hits += 1
        return value

    def peek(self, key: K) -> V | None:
        """The value, without counting as a use."""
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value. One that outweighs the whole LRU is not kept at all."""
        if key in self._entries:
            self.discard(key)
        weight = 1 if self._weigh is None else self._weigh(key, value)
        if weight > self._max_weight:
            return
        self._entries[key] = value
        self.weight += weight
        while self.weight > self._max_weight:
            self._drop_oldest()

    def discard(self, key: K) -> V | None:
        """Forget a key; its value if it was here."""
        if key not in self._entries:
            return None
        value = self._entries.pop(key)
        self.weight -= 1 if self._weigh is None else self._weigh(key, value)
        return value

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.weight = 0

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        """The keys, the least recently used first."""
        return iter(self._entries)

    def values(self) -> Iterable[V]:
        """The values, the least recently used first."""
        return self._entries.values()

    def _drop_oldest(self) -> None:
        key = next(iter(self._entries))
        value = self.discard(key)
        if self._dropped is not None and value is not None:
            self._dropped(key, value)
