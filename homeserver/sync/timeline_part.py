"""The `timeline` of a room in an answer. Encoded once for all readers that get the same events in the same form."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from homeserver.core.tokens import PageToken, SyncToken
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.visible import Visible
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from homeserver.sync.reader import Reader
from homeserver.sync.timelines import Timeline
from storage.rows import Entry, TakesBack

MOST_SHARED_BYTES = 8 * 1024 * 1024


class TimelinePart:
    """Encodes timelines. A follower of the ring: after a redaction nothing that was encoded before may go out again."""

    def __init__(self, client_events: ClientEvents, visible: Visible, ring: Ring) -> None:
        self._client_events = client_events
        self._visible = visible
        self._shared: Lru[tuple[int, ...], bytes] = Lru(MOST_SHARED_BYTES, _weight)
        ring.subscribe(self._published, TakesBack)

    async def encode(
        self,
        reader: Reader,
        timeline: Timeline,
        start: int,
        memberships: Mapping[int, str] | None,
        relations: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """The encoded timeline. `start`: position that `prev_batch` stands for where there are no events.

        `memberships`: the reader's own at each event, None where that is join throughout.
        """
        rows = timeline.rows
        if not rows:
            return b'{"events":[],"limited":%s,"prev_batch":"s%d"}' % (b"true" if timeline.limited else b"false", start)
        shareable = memberships is None and not relations and reader.takes_common_form
        if not shareable or reader.device in [row.device for row in rows]:
            await self._client_events.prepare(rows)
            concealed: Container[int] = ()
            if memberships is not None:
                concealed = await self._visible.concealed(reader.user_id, rows[0].room, rows, memberships)
            return _encode(reader, timeline, memberships, relations or {}, concealed)
        # All positions: filters and ignored users leave out different events of the same stretch.
        key = (timeline.limited, timeline.after_gap, *[row.position for row in rows])
        known = self._shared.get(key)
        if known is None:
            await self._client_events.prepare(rows)
            known = _encode(reader, timeline, None, {}, ())
            self._shared.put(key, known)
        return known

    def _published(self, entries: Sequence[Entry]) -> None:
        # An event may have changed its form.
        self._shared.clear()


def _encode(
    reader: Reader,
    timeline: Timeline,
    memberships: Mapping[int, str] | None,
    relations: Mapping[str, bytes],
    concealed: Container[int],
) -> bytes:
    events = b",".join(
        reader.render(
            row,
            "join" if memberships is None else memberships.get(row.position),
            relations.get(row.event.event_id),
            prev_content=row.position not in concealed,
        )
        for row in timeline.rows
    )
    # The token stands for the place just before the first event.
    first = timeline.rows[0]
    before = first.position - 1
    token = PageToken(first.event.depth, before) if timeline.after_gap else SyncToken(before)
    limited = b"true" if timeline.limited else b"false"
    return b'{"events":[%s],"limited":%s,"prev_batch":"%s"}' % (events, limited, str(token).encode())


def _weight(key: tuple[int, ...], encoded: bytes) -> int:
    return len(encoded) + 40 * len(key) + 200
