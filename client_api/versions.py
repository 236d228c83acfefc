"""What the server is and can do: versions, capabilities, well-known documents.

Specification: client-server API, "API Versions", "Capabilities negotiation", "Well-known URIs"; server-server API,
"Server discovery".
"""

from __future__ import annotations

from homeserver.core.rate import OTHER
from homeserver.users.capabilities import Capabilities
from homeserver.web.endpoint import NONE, USER, Requester, endpoint, endpoints


@endpoint("GET", "/_matrix/client/versions", access=NONE)
async def versions(capabilities: Capabilities) -> bytes:
    """Versions of the specification, and experimental features."""
    return capabilities.versions


@endpoint("GET", "/_matrix/client/v3/capabilities", access=USER, limit=OTHER)
async def server_capabilities(capabilities: Capabilities, who: Requester) -> bytes:
    """What users can do here."""
    return capabilities.capabilities


@endpoint("GET", "/.well-known/matrix/client", access=NONE)
async def well_known_client(capabilities: Capabilities) -> bytes:
    """Where clients reach the server."""
    return capabilities.well_known_client


@endpoint("GET", "/.well-known/matrix/server", access=NONE)
async def well_known_server(capabilities: Capabilities) -> dict[str, str]:
    """Where other servers reach the server."""
    return capabilities.well_known_server()


ENDPOINTS = endpoints(__name__)
