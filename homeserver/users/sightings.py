"""When and whence devices were last heard of; written in batches, at most once a minute for each device."""

from __future__ import annotations

from typing import Final

from homeserver.runtime.clock import Clock
from homeserver.web.access import Requester
from homeserver.web.request import RequestInfo
from storage import devices as device_table
from storage.database import Database, DatabaseUnavailable
from storage.devices import Seen

FLUSH_EVERY_S: Final = 60.0
MAX_USER_AGENT: Final = 500


class Sightings:
    """Collects sightings. Call `flush` every FLUSH_EVERY_S and at the stop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[int, Seen] = {}

    def note(self, who: Requester, request: RequestInfo) -> None:
        """A device has asked for something. On the way of every request: only the first in a while is noted."""
        device = who.device_number
        if device in self._seen or device == 0 or who.appservice_id is not None:
            return
        user_agent = (request.user_agent or "").replace("\0", "")[:MAX_USER_AGENT]
        self._seen[device] = Seen(device, self._clock.now_ms(), request.ip, user_agent)

    def latest(self, device: int) -> Seen | None:
        """A sighting that is not written yet."""
        return self._seen.get(device)

    async def flush(self) -> None:
        """Write what was collected."""
        seen, self._seen = self._seen, {}
        if not seen:
            return
        try:
            await self._database.write(device_table.note_seen, list(seen.values()))
        except DatabaseUnavailable:
            # Not worth an error: it is tried again with the next ones.
            self._seen = {**seen, **self._seen}
