"""GET /sync. Specification: client-server API, "Syncing"."""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.core import rate
from homeserver.sync.asking import Asking
from homeserver.sync.reader import STATE, STATE_AFTER, STATE_AFTER_UNSTABLE
from homeserver.web.endpoint import USER_OR_GUEST, Requester, endpoint, endpoints


class SyncQuery(msgspec.Struct, frozen=True, rename={"unstable_state_after": "org.matrix.msc4222.use_state_after"}):
    """The query of GET /sync."""

    filter: str | None = None
    since: str | None = None
    full_state: bool = False
    set_presence: Literal["online", "offline", "unavailable"] = "online"
    timeout: int = 0
    use_state_after: bool = False
    unstable_state_after: bool = False

    @property
    def state_as(self) -> bytes:
        """The member of rooms that tells their state. Clients in use know it by the name it had as a proposal."""
        if self.use_state_after:
            return STATE_AFTER
        return STATE_AFTER_UNSTABLE if self.unstable_state_after else STATE


@endpoint("GET", "/_matrix/client/v3/sync", access=USER_OR_GUEST, limit=rate.SYNC)
async def sync(asking: Asking, who: Requester, query: SyncQuery) -> bytes:
    """What is new. Specification: client-server API, GET /sync."""
    return await asking.sync(
        who.user_id,
        who.device_number,
        since=query.since,
        filter=query.filter,
        full_state=query.full_state,
        state_as=query.state_as,
        timeout_ms=query.timeout,
        set_presence=query.set_presence,
    )


ENDPOINTS = endpoints(__name__)
