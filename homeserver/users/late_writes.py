"""What was given to the log while the database was away: it was not acknowledged, and may be written all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from homeserver.runtime.log import Ring, Writer
from homeserver.runtime.writer import Also
from storage.database import DatabaseUnavailable
from storage.rows import Entry

K = TypeVar("K")


class LateWrites(Generic[K]):
    """Appends each under a key; whoever repeats one that may still be written must wait, so that it counts once."""

    def __init__(
        self, writer: Writer, ring: Ring, *kinds: type[Entry], written: Callable[[K], object] | None = None
    ) -> None:
        """`kinds`: the classes of the entries. `written` is told of what was written late."""
        self._writer = writer
        self._late: dict[Entry, K] = {}
        """By the first entry of each."""
        self._tell = written
        ring.subscribe(self._written, *kinds)
        writer.on_failure(self._given_up)

    def check(self, key: K) -> None:
        """Raise DatabaseUnavailable if what was appended under this key is still to be written."""
        if self._late and key in self._late.values():
            raise DatabaseUnavailable("the same was sent before and is still to be written")

    async def append(self, key: K, entries: Sequence[Entry], also: Sequence[Also]) -> None:
        """Return when it is on disk; raises what `Writer.append` does."""
        written = self._writer.append(entries, also=also)  # what it does not take at all is not written late
        try:
            await written
        except DatabaseUnavailable:
            if entries:
                self._late[entries[0]] = key
            raise

    def _written(self, entries: Sequence[Entry]) -> None:
        for entry in entries if self._late else ():
            key = self._late.pop(entry, None)
            if key is not None and self._tell is not None:
                self._tell(key)

    def _given_up(self, entries: Sequence[Entry]) -> None:
        for entry in entries if self._late else ():
            self._late.pop(entry, None)
