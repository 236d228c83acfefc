"""Whose keys changed between two tokens, for clients that were away.

Specification: client-server API, GET /keys/changes.
"""

from __future__ import annotations

from homeserver.rooms.memberships import Memberships
from homeserver.runtime.log import Ring
from homeserver.sync.asking import Asking
from homeserver.sync.changes import ChangeReader
from homeserver.sync.device_lists_part import DeviceLists, DeviceListsPart


class KeyChanges:
    """Answers from the same positions as /sync does."""

    def __init__(
        self, ring: Ring, asking: Asking, changes: ChangeReader, memberships: Memberships, part: DeviceListsPart
    ) -> None:
        self._ring = ring
        self._asking = asking
        self._changes = changes
        self._memberships = memberships
        self._part = part

    async def between(self, user_id: str, since_token: str, upto_token: str) -> DeviceLists:
        """What changed after the one token and up to the other. Raises InvalidParam for what is no token."""
        since, upto = self._asking.position(since_token) or 0, self._asking.position(upto_token)
        upto = self._ring.head if upto is None else upto
        if since >= upto:
            return DeviceLists()
        rooms = await self._memberships.of_user(user_id)
        changes = await self._changes.between(user_id, 0, rooms.joined, since, upto)
        return await self._part.of(user_id, rooms, changes, since, upto)
