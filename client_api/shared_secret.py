"""The de-facto standard by which scripts make accounts: Synapse's documentation, "Shared-Secret Registration"."""

from __future__ import annotations

from homeserver.users.sessions import SessionAnswer
from homeserver.users.shared_secret import SharedSecretBody, SharedSecretRegistration
from homeserver.web.endpoint import NONE, endpoint, endpoints
from homeserver.web.request import RequestInfo


@endpoint("GET", "/_synapse/admin/v1/register", access=NONE)
async def nonce(registration: SharedSecretRegistration, request: RequestInfo) -> dict[str, str]:
    """A nonce for one registration."""
    return {"nonce": registration.nonce(request.ip)}


@endpoint("POST", "/_synapse/admin/v1/register", access=NONE)
async def register(
    registration: SharedSecretRegistration, body: SharedSecretBody, request: RequestInfo
) -> SessionAnswer:
    """Make an account."""
    return await registration.register(body, request.ip)


ENDPOINTS = endpoints(__name__)
