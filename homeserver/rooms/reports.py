"""Reports of rooms, events and users, kept for the admins of this server and written to its log.

Specification: client-server API, "Reporting content".
"""

from __future__ import annotations

from typing import Final

import structlog

from homeserver.rooms.event_reads import EventReads
from homeserver.rooms.heads import Heads
from homeserver.runtime.clock import Clock
from homeserver.web.errors import NotFound
from storage import reports as report_table
from storage.database import Database
from storage.reports import Report

LONGEST_REASON: Final = 10_000

log: Final = structlog.get_logger("homeserver.reports")


class Reports:
    """Takes reports."""

    def __init__(self, database: Database, heads: Heads, event_reads: EventReads, clock: Clock) -> None:
        self._database = database
        self._heads = heads
        self._event_reads = event_reads
        self._clock = clock

    async def of_room(self, reporter: str, room_id: str, reason: str) -> None:
        """Report a room; one need not be in it. NotFound if this server does not know it."""
        await self._heads.get(room_id)
        await self._keep(reporter, reason, room_id=room_id)

    async def of_event(self, reporter: str, room_id: str, event_id: str, reason: str) -> None:
        """Report an event of a room that the reporter is in. NotFound otherwise."""
        row = await self._event_reads.row(reporter, room_id, event_id)
        room = await self._heads.by_number(row.room)
        if room is None or reporter not in room.local_joined:
            raise NotFound("There is no such event, or you may not read it.")
        await self._keep(reporter, reason, room_id=room_id, event_id=event_id)

    async def of_user(self, reporter: str, user_id: str, reason: str) -> None:
        """Report a user. Whether there is such a user is not told."""
        await self._keep(reporter, reason, user_id=user_id)

    async def _keep(
        self,
        reporter: str,
        reason: str,
        *,
        room_id: str | None = None,
        event_id: str | None = None,
        user_id: str | None = None,
    ) -> None:
        report = Report(reporter, room_id, event_id, user_id, reason[:LONGEST_REASON], self._clock.now_ms())
        await self._database.write(report_table.add, report)
        log.warning("reported", reporter=reporter, room_id=room_id, event_id=event_id, user_id=user_id)
