"""Who takes no invites. Specification: client-server API, "Invite permission". A follower of the ring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import account_data as account_data_table
from storage.database import Database
from storage.rows import AccountDataRow, Entry

CONFIG: Final = "m.invite_permission_config"
MAX_CACHED: Final = 20_000


class InvitePermission:
    """Knows whether a local user blocks invites."""

    def __init__(self, database: Database, ring: Ring) -> None:
        self._database = database
        self._blocked: Lru[str, bool] = Lru(MAX_CACHED)
        ring.subscribe(self._published, AccountDataRow)

    async def blocks(self, invitee: str, inviter: str) -> bool:
        """Whether the user takes no invite from the other."""
        blocked = self._blocked.get(invitee)
        if blocked is None:
            stored = await self._database.read(account_data_table.one, invitee, "", CONFIG)
            # What was published while we read is newer than what we read.
            blocked = self._blocked.get(invitee)
            if blocked is None:
                blocked = stored is not None and _blocks(stored)
                self._blocked.put(invitee, blocked)
        return blocked

    def _published(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, AccountDataRow) and entry.type == CONFIG and entry.room_id == "":
                self._blocked.put(entry.user_id, _blocks(entry.json))


def _blocks(json: bytes) -> bool:
    content = msgspec.json.decode(json)
    return isinstance(content, dict) and content.get("default_action") == "block"
