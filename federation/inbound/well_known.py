"""Where this server is, for those who know its name only.

Specification: server-server API, "Resolving server names".
"""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core.canonical_json import JsonObject
from homeserver.web.endpoint import NONE, endpoint, endpoints
from homeserver.web.errors import NotFound


@dataclass(frozen=True, slots=True)
class Delegating:
    """The server name under which other servers find this one; None: its own."""

    delegate_to: str | None


@endpoint("GET", "/.well-known/matrix/server", access=NONE)
async def well_known(delegating: Delegating) -> JsonObject:
    """The delegation. Specification: server-server API, GET /.well-known/matrix/server."""
    if delegating.delegate_to is None:
        raise NotFound("This server is found by its own name.")
    return {"m.server": delegating.delegate_to}


ENDPOINTS = endpoints(__name__)
