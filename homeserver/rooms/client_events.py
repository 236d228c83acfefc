"""Events as clients get them: encoded once, with what differs between readers put in at the end.

Specification: client-server API, "Room event format"; api/client-server/definitions/client_event.yaml.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from homeserver.core import state_trie
from homeserver.core.client_format import client_event_bytes_without_room_id
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.state import StateStore
from storage.rows import EventRow

_encode = msgspec.json.encode


class ClientEvents:
    """Makes client events out of rows. First `prepare` (may read), then `render` as often as needed (never reads)."""

    def __init__(self, events: EventCache, state: StateStore) -> None:
        self._events = events
        self._state = state

    async def prepare(self, rows: Iterable[EventRow]) -> None:
        """Make what the `unsigned` of these rows needs: the state events that they replaced, and their redactions."""
        waiting = [row for row in rows if row.unsigned_json is None and (row.event.is_state or row.redacted_by)]
        if not waiting:
            return
        replaced = await self._replaced(waiting)
        redactions = [row.redacted_by for row in waiting if row.redacted_by]
        wanted = await self._events.by_positions([*replaced.values(), *redactions])
        for row in waiting:
            parts: list[bytes] = []
            before = wanted.get(replaced.get(row.position, 0))
            if before is not None:
                row.replaces = before.position
                row.prev_content_json = b',"prev_content":' + _encode(before.event.content)
                parts.append(b'"replaces_state":' + _encode(before.event.event_id))
            redaction = wanted.get(row.redacted_by or 0)
            if redaction is not None:
                parts.append(b'"redacted_because":' + with_room_id(redaction, base_of(redaction)))
            row.unsigned_json = b",".join(parts)

    async def _replaced(self, rows: Sequence[EventRow]) -> dict[int, int]:
        """Positions of state events → positions of the ones that they replaced."""
        replaced: dict[int, int] = {}
        for row in rows:
            event = row.event
            if row.state_root is None or event.state_key is None or row.state_root == state_trie.EMPTY_ROOT:
                continue
            before = await self._state.get(row.room, row.state_root, event.type, event.state_key)
            if before is not None and before != row.position:
                replaced[row.position] = before
        return replaced

    @staticmethod
    def render(
        row: EventRow,
        now_ms: int,
        *,
        device: int | None = None,
        membership: str | None = None,
        relations: bytes | None = None,
        room_id: bool = True,
        prev_content: bool = False,
    ) -> bytes:
        """One client event as JSON.

        `device`: the reader's; the device that sent the event gets its transaction id back. `membership`: the reader's
        at the event. `relations`: the encoded `m.relations`. `room_id`: whether the event names its room, which /sync
        leaves out. `prev_content`: whether the reader may see the state event that this one replaced; where state is
        told as it is at some time, what was before is not.
        """
        age_ms = now_ms - row.event.origin_server_ts
        unsigned = b'{"age":%d' % (age_ms if age_ms > 0 else 0)
        if row.unsigned_json:
            unsigned += b"," + row.unsigned_json
        if prev_content:
            unsigned += row.prev_content_json
        if membership is not None:
            unsigned += b',"membership":"' + membership.encode() + b'"'
        if device is not None and row.device == device and row.txn_path is not None:
            unsigned += b',"transaction_id":' + _encode(row.txn_id)
        if relations is not None:
            unsigned += b',"m.relations":' + relations
        base = base_of(row)
        if room_id:
            base = with_room_id(row, base)
        return base[:-1] + b',"unsigned":' + unsigned + b"}}"

    async def rendered_state(self, rows: Sequence[EventRow], now_ms: int) -> list[bytes]:
        """Prepare and render rows as parts of a state."""
        await self.prepare(rows)
        return [self.render(row, now_ms) for row in rows]

    def rendered(
        self,
        rows: Sequence[EventRow],
        now_ms: int,
        *,
        device: int | None,
        memberships: Mapping[int, str],
        relations: Mapping[str, bytes],
        concealed: Container[int],
    ) -> list[bytes]:
        """Render prepared rows for one reader, whose memberships at the events are given by position.

        `concealed`: positions of those events that replaced something which the reader may not see.
        """
        return [
            self.render(
                row,
                now_ms,
                device=device,
                membership=memberships.get(row.position),
                relations=relations.get(row.event.event_id),
                prev_content=row.position not in concealed,
            )
            for row in rows
        ]


def base_of(row: EventRow) -> bytes:
    """The client event without `unsigned` and without `room_id`, made once for a row."""
    if row.client_json is None:
        row.client_json = client_event_bytes_without_room_id(row.event)
    return row.client_json


def with_room_id(row: EventRow, base: bytes) -> bytes:
    """The same JSON object with the id of its room."""
    return b'{"room_id":' + _encode(row.event.room_id) + b"," + base[1:]


def json_array(items: Iterable[bytes]) -> bytes:
    """Encoded values as one JSON array."""
    return b"[" + b",".join(items) + b"]"
