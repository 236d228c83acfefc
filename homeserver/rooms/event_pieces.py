"""Very many events, or their ids, as the elements of JSON arrays: read and sent some hundred at a time.

So the state of a large room takes no more memory than that of a small one, and is read no faster than it is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

from storage import events as event_table
from storage.database import Cursor, Database

EVENTS_AT_ONCE: Final = 500
IDS_AT_ONCE: Final = 5_000


class EventPieces:
    """Reads the pieces. Events are given by their positions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pdus(self, positions: Sequence[int]) -> AsyncIterator[bytes]:
        """The events as other servers get them, with commas between them."""
        return self._pieces(event_table.json_of, positions, EVENTS_AT_ONCE)

    def ids(self, positions: Sequence[int]) -> AsyncIterator[bytes]:
        """Their ids."""
        return self._pieces(event_table.json_of_ids, positions, IDS_AT_ONCE)

    async def _pieces(
        self, read: Callable[[Cursor, Sequence[int]], bytes], positions: Sequence[int], at_once: int
    ) -> AsyncIterator[bytes]:
        is_first = True
        for start in range(0, len(positions), at_once):
            piece = await self._database.read(read, positions[start : start + at_once])
            if piece:
                yield piece if is_first else b"," + piece
                is_first = False


async def object_of(arrays: Mapping[str, AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    """A JSON object of arrays, whose elements come in pieces."""
    before = b"{"
    for name, pieces in arrays.items():
        yield b'%s"%s":[' % (before, name.encode())
        async for piece in pieces:
            yield piece
        before = b"],"
    yield b"]}" if arrays else b"{}"
