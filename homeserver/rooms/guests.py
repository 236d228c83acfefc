"""Takes guests out of rooms that no longer admit them. A durable follower of the log.

Specification: client-server API, "Guest Access", server behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog

from homeserver.core.ids import UserId
from homeserver.rooms.heads import Heads
from homeserver.rooms.membership import MembershipChanges
from homeserver.runtime.follow import Follower
from homeserver.runtime.ring import Ring
from homeserver.web.errors import MatrixError
from storage import accounts as account_table
from storage import events as event_table
from storage.database import Cursor, Database
from storage.rows import Entry, EventRow

GUEST_ACCESS: Final = "m.room.guest_access"

log: Final = structlog.get_logger("homeserver.rooms")


class GuestRemoval:
    """Has guests leave where `m.room.guest_access` was changed so that they may not be there."""

    def __init__(self, database: Database, ring: Ring, heads: Heads, changes: MembershipChanges, reactor: Any) -> None:
        self._database = database
        self._heads = heads
        self._changes = changes
        self._follower = Follower(
            "guest_removal", database, ring, _read_after, self._handle, reactor, concerns=_is_guest_access
        )

    async def run(self) -> None:
        """Follow the log until `stop` is called."""
        await self._follower.run()

    def stop(self) -> None:
        """Let `run` end."""
        self._follower.stop()

    async def _handle(self, entries: Sequence[Entry]) -> None:
        changed = [entry.room for entry in entries if isinstance(entry, EventRow) and _is_guest_access(entry)]
        for number in dict.fromkeys(changed):
            await self._empty_of_guests(number)

    async def _empty_of_guests(self, number: int) -> None:
        room = await self._heads.by_number(number)
        # What holds now counts: the event that we look at may be replaced again.
        if room is None or room.summary.guest_access == "can_join" or not room.local_joined:
            return
        for user_id in await self._database.read(account_table.guests_among, list(room.local_joined)):
            try:
                await self._changes.leave(UserId(user_id), room.room_id)
            except MatrixError as refusal:
                log.info("a guest could not leave a room", user=user_id, room=room.room_id, reason=refusal.message)


def _is_guest_access(entry: Entry) -> bool:
    return isinstance(entry, EventRow) and entry.event.type == GUEST_ACCESS and entry.event.state_key == ""


def _read_after(tx: Cursor, after: int, upto: int, limit: int) -> Sequence[Entry]:
    return event_table.of_type_between(tx, GUEST_ACCESS, after, upto, limit)
