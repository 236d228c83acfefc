"""An endpoint for servers that tells who they are, as far as their signature proves it."""

from __future__ import annotations

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName
from homeserver.web.endpoint import SERVER, endpoint, endpoints


class Whoami:
    """Nothing is needed for that."""


@endpoint("GET", "/_matrix/federation/v1/whoami", access=SERVER)
async def whoami(service: Whoami, who: ServerName) -> JsonObject:
    """Who asks."""
    return {"server": who}


@endpoint("PUT", "/_matrix/federation/v1/whoami/{thing}", access=SERVER)
async def whoami_with(service: Whoami, who: ServerName, thing: str, content: JsonObject) -> JsonObject:
    """Who asks, and what they have sent."""
    return {"server": who, "thing": thing, "content": content}


ENDPOINTS = endpoints(__name__)
