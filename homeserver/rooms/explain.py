"""What became of an event, for the admin who asks."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from homeserver.web.errors import Forbidden, NotFound
from storage import events as event_table
from storage import partial_rooms, staging
from storage import rooms as room_table
from storage.database import Cursor, Database
from storage.rows import EventRow, Status
from storage.staging import VerdictRow


@dataclass(frozen=True, slots=True)
class _Found:
    row: EventRow | None
    room_id: str | None
    verdict: VerdictRow | None
    waits_for: str | None
    is_provisional: bool


class Explanations:
    """Says what is known of events, in sentences."""

    def __init__(self, database: Database, local_secret: str) -> None:
        self._database = database
        self._local_secret = local_secret

    async def for_admin(self, secret: str | None, event_id: str) -> list[str]:
        """The same for who shows the secret of the data folder. Forbidden for all others."""
        if secret is None or not hmac.compare_digest(secret.encode(), self._local_secret.encode()):
            raise Forbidden("This is for `synctl explain` on the server's own machine.")
        lines = await self.of(event_id)
        if not lines:
            raise NotFound(f"Nothing is known of an event {event_id}: it never came, or was dropped long ago.")
        return lines

    async def of(self, event_id: str) -> list[str]:
        """Lines that tell what became of an event, and which rule decided. Empty if it never was here."""
        found = await self._database.read(_look, event_id)
        lines: list[str] = []
        if found.row is not None:
            lines += _told_of(found.row, found.room_id or "a room that is gone")
            if found.is_provisional:
                lines.append("Not all members of its room are known here yet: it is judged again when they are.")
        if found.waits_for is not None:
            lines.append(f"It came from {found.waits_for} and waits here for its past, or for keys, to be fetched.")
        verdict = found.verdict
        if verdict is not None:
            lines.append(f"It came from {verdict.origin} for the room {verdict.room_id} and was {verdict.verdict}.")
            lines.append(f"Decided by: {verdict.rule}.")
            lines.append(f"Because: {verdict.reason}.")
        elif found.row is not None and found.row.status is not Status.ACCEPTED:
            lines.append("It came as a part of the room's state or of an auth chain; no more is known of why.")
        return lines


def _told_of(row: EventRow, room_id: str) -> list[str]:
    event = row.event
    state = "" if event.state_key is None else f" for {event.state_key!r}"
    lines = [f"{event.type}{state} by {event.sender} in {room_id}, depth {event.depth}, position {row.position}."]
    if row.status is Status.ACCEPTED and row.state_root is None:
        lines.append("It is stored as a part of a state or of an auth chain, without a place in the history.")
    elif row.status is Status.ACCEPTED:
        lines.append("It was accepted." if row.position > 0 else "It was accepted, as history from before.")
    elif row.status is Status.SOFT_FAILED:
        lines.append("It was soft-failed: it is part of the room's history, but shown to no client.")
    else:
        lines.append("It was rejected: it has no effect, and is shown to nobody.")
    if row.redacted_by is not None:
        lines.append(f"It was redacted by the event at position {row.redacted_by}.")
    return lines


def _look(tx: Cursor, event_id: str) -> _Found:
    rows = event_table.by_ids(tx, [event_id])
    row = rows[0] if rows else None
    room_id = None if row is None else room_table.ids_of(tx, [row.room]).get(row.room)
    partial = None if row is None else partial_rooms.one(tx, row.room)
    is_provisional = (
        row is not None
        and partial is not None
        and (row.position >= partial.join_position or (row.position < 0 and row.status is not Status.ACCEPTED))
    )
    return _Found(row, room_id, staging.verdict_on(tx, event_id), staging.is_staged(tx, event_id), is_provisional)
