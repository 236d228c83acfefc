"""Who reads an answer, and in which form they want it."""

from __future__ import annotations

from typing import Final

import msgspec

from homeserver.core.filters import Filter
from homeserver.rooms.client_events import ClientEvents
from homeserver.sync.lazy_members import DeviceMemory
from storage.rows import EventRow

STATE: Final = b"state"
STATE_AFTER: Final = b"state_after"
STATE_AFTER_UNSTABLE: Final = b"org.matrix.msc4222.state_after"

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class Reader(msgspec.Struct, frozen=True):
    """The user and device that an answer is for."""

    user_id: str
    device: int
    filter: Filter
    ignored: frozenset[str]
    memory: DeviceMemory | None
    """Members the device has; None where members are not loaded lazily."""
    state_as: bytes
    """The member of rooms that tells their state."""
    now_ms: int

    @property
    def state_after(self) -> bool:
        """Whether state is told up to the end of the timeline instead of its start."""
        return self.state_as != STATE

    @property
    def takes_common_form(self) -> bool:
        """Whether events look for this reader as they do for most, so that one encoding serves all."""
        return self.filter.event_fields is None and self.filter.event_format == "client"

    def render(
        self, row: EventRow, membership: str | None, relations: bytes | None = None, *, prev_content: bool = False
    ) -> bytes:
        """One event in the form that this reader asked for; its `unsigned` must have been prepared."""
        if self.filter.event_format == "federation":
            json = row.event.json
        else:
            json = ClientEvents.render(
                row,
                self.now_ms,
                device=self.device,
                membership=membership,
                relations=relations,
                room_id=False,
                prev_content=prev_content,
            )
        if self.filter.event_fields is None:
            return json
        return _encode(self.filter.select_fields(_decode(json)))

    def wants_in_timeline(self, row: EventRow) -> bool:
        """Whether the event passes the filter and does not come from an ignored user (whose state events stay)."""
        event = row.event
        if self.ignored and event.sender in self.ignored and not event.is_state:
            return False
        timeline = self.filter.room_timeline
        return timeline.matches_everything or timeline.matches(event)
