"""Answers that hold the state of a room: put down event by event as they come, however large the room is.

What is at hand of such an answer is a few hundred kilobytes: its events are cut off as they come and put down, in
memory as long as they are few, else in a temporary file. They are read from there, in their order or one by one.
Specification: server-server API, PUT /v2/send_join/{roomId}/{eventId}, GET /state/{roomId}.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from tempfile import SpooledTemporaryFile
from typing import Final

from federation.outbound.bodies import NotTaken
from federation.outbound.client import MEBIBYTE, FederationClient, Query
from federation.outbound.errors import RemoteNonsense, RemoteUnreachable
from federation.outbound.space import NoSpace, Space
from homeserver.core.canonical_json import BadJson, JsonObject
from homeserver.core.json_stream import ObjectSplitter

STATE_LIMIT_BYTES: Final = 600 * MEBIBYTE
"""The largest rooms have some 300,000 state events and as many in their auth chains, of about a kilobyte each."""
STATE_TIMEOUT_S: Final = 600.0
"""For the whole answer: some servers think about a large room for minutes before its first byte."""
MOST_EVENTS: Final = 1_000_000
HELD_BYTES: Final = 4 * MEBIBYTE
"""What is put down beyond this goes to a file."""


@dataclass(frozen=True, slots=True)
class PutDown:
    """An event of an answer: in which of its arrays it came, and where it is put down."""

    array: str
    at: int
    pdu: bytes


class StateAnswer:
    """The events of one answer. It has to be closed. Of the other fields, `finish` gives what there is."""

    def __init__(self, arrays: Sequence[str]) -> None:
        self._names = tuple(arrays)
        self._space: tuple[Space, str] | None = None
        self._taken_bytes = 0
        self._begin()

    def _begin(self) -> None:
        self._splitter = ObjectSplitter(self._names)
        self._file = SpooledTemporaryFile(max_size=HELD_BYTES)  # noqa: SIM115 -- `close` closes it
        self._sizes = array("L")
        self._runs: list[tuple[str, int]] = []
        """Name of an array, and how many events came of it in a row."""

    def takes(self, space: Space, destination: str) -> None:
        """What is put down from now on is taken from this space, until it is closed."""
        self._space = (space, destination)

    def restart(self, _: object = None) -> None:
        """The answer begins; perhaps anew."""
        self.close()
        self._begin()

    def feed(self, data: bytes) -> None:
        """Bytes of the answer have come. Raises BadJson."""
        self._put_down(self._splitter.feed(data))

    def finish(self) -> JsonObject:
        """All has come; the fields that are no arrays of events. Raises BadJson where something is missing."""
        found, others = self._splitter.close()
        self._put_down(found)
        return others

    def close(self) -> None:
        """Forget the events."""
        self._file.close()
        if self._space is not None:
            space, destination = self._space
            space.give_back(destination, self._taken_bytes)
        self._taken_bytes = 0

    def __enter__(self) -> StateAnswer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._sizes)

    def events(self) -> Iterator[PutDown]:
        """The events in the order of their coming."""
        at, number = 0, 0
        for name, count in self._runs:
            for size in self._sizes[number : number + count]:
                yield PutDown(name, at, self.read(at, size))
                at += size
            number += count

    def read(self, at: int, size: int) -> bytes:
        """One event again."""
        self._file.seek(at)
        return self._file.read(size)

    def _put_down(self, found: Sequence[tuple[str, bytes]]) -> None:
        if not found:
            return
        for name, group in groupby(found, itemgetter(0)):
            pdus = [pdu for _, pdu in group]
            joined = b"".join(pdus)
            if self._space is not None:
                space, destination = self._space
                space.take(destination, len(joined))
                self._taken_bytes += len(joined)
            self._file.write(joined)
            self._sizes.extend(map(len, pdus))
            self._runs.append((name, len(pdus)))
        if len(self._sizes) > MOST_EVENTS:
            raise BadJson(f"the state has more than {MOST_EVENTS} events")


async def fetch(
    client: FederationClient, destination: str, path: str, query: Query, body: bytes | None, events: StateAnswer
) -> JsonObject:
    """GET, or PUT if there is a body, with an answer of which the events are put down; its other fields.

    Raises RemoteError.
    """
    events.takes(client.space, destination)
    try:
        await client.hand_on(
            destination,
            path,
            query,
            body,
            take=events.feed,
            opened=events.restart,
            timeout_s=STATE_TIMEOUT_S,
            limit_bytes=STATE_LIMIT_BYTES,
        )
        return events.finish()
    except NotTaken as error:
        if isinstance(error.__cause__, NoSpace):
            raise RemoteUnreachable(destination, f"sends a large answer, and {error.__cause__}") from None
        raise RemoteNonsense(destination, f"told a state that makes no sense: {error}") from error
    except NoSpace as error:
        raise RemoteUnreachable(destination, f"sends a large answer, and {error}") from None
    except BadJson as error:
        raise RemoteNonsense(destination, f"told a state that makes no sense: {error}") from None
