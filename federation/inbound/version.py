"""What this server runs on. Specification: server-server API, "Server implementation"."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core import rate
from homeserver.core.canonical_json import JsonObject
from homeserver.web.endpoint import NONE, endpoint, endpoints


@dataclass(frozen=True, slots=True)
class Version:
    """Name and version of the program."""

    name: str
    version: str


@endpoint("GET", "/_matrix/federation/v1/version", access=NONE, limit=rate.OTHER)
async def version(running: Version) -> JsonObject:
    """Name and version. Specification: server-server API, GET /_matrix/federation/v1/version."""
    return {"server": {"name": running.name, "version": running.version}}


ENDPOINTS = endpoints(__name__)
