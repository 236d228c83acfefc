"""Timelines that are cut where events are missing: a client that is told of no gap puts together what is not.

Such a gap is there where this server came into a room, or came back, or had been away for long: what others did
meanwhile is known as state, or as history that was fetched, not as news. Specification: client-server API, "Syncing",
`limited`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from homeserver.core.ids import EventId
from homeserver.rooms.event_cache import EventCache
from homeserver.sync.timelines import Timeline
from storage.rows import Status

MOST_HIDDEN: Final = 200
"""Soft-failed and rejected events through which the way is followed; behind more of them there may be a gap."""


class TimelineGaps:
    """Finds them. Where each event follows one before it in the timeline there is nothing to be looked up."""

    def __init__(self, events: EventCache) -> None:
        self._events = events

    async def cut(self, timeline: Timeline) -> Timeline:
        """What comes after the last gap."""
        rows = timeline.rows
        places = {row.event.event_id: index for index, row in enumerate(rows)}
        for index in range(len(rows) - 1, -1, -1):
            row = rows[index]
            if row.state_root is None:
                # It came by itself, such as an invite before this server was in the room.
                return Timeline(rows[index + 1 :], True, after_gap=True)
            prev_events = row.event.prev_events
            follows = any(places.get(each, index) < index for each in prev_events)
            if prev_events and not follows and not await self._came_after_news(prev_events):
                return Timeline(rows[index:], True, after_gap=True)
        return timeline

    async def _came_after_news(self, prev_events: Sequence[EventId]) -> bool:
        """Whether an event follows one that clients were shown, perhaps with others between that nobody is shown."""
        waiting, met = set(prev_events), set[EventId]()
        while waiting and len(met) < MOST_HIDDEN:
            known = await self._events.by_ids(waiting)
            met |= waiting
            waiting = set()
            for row in known.values():
                if row.state_root is not None and row.position > 0:
                    return True
                if row.state_root is not None and row.status is not Status.ACCEPTED:
                    waiting |= set(row.event.prev_events) - met
        return False
