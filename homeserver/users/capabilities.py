"""What this server can do, as it tells clients.

Specification: client-server API, "API Versions", "Capabilities negotiation".
A version of the specification is named once a client of that version finds what it needs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import msgspec

from config.settings import Settings
from homeserver.core.canonical_json import JsonObject
from homeserver.core.room_rules import ROOM_RULES
from homeserver.web.errors import NotFound

VERSIONS: Final = ("r0.6.1", *(f"v1.{minor}" for minor in range(1, 20)))
UNSTABLE_FEATURES: Final = frozenset(
    (
        "org.myelin.stream",
        "org.matrix.e2e_cross_signing",
        "org.matrix.msc2285.stable",  # private read receipts
        "org.matrix.msc3771",  # read receipts of threads
        "org.matrix.msc3773",  # notification counts of threads
        "org.matrix.msc3440.stable",  # threads
        "org.matrix.msc3952_intentional_mentions",
        "org.matrix.msc4108",  # rendezvous for login by QR code
        "io.element.msc4388",  # the same as JSON
        "org.matrix.msc4222",  # use_state_after
        "org.matrix.msc4380.stable",  # blocking of invites
        "uk.tcpip.msc4133",  # extended profiles
        "uk.tcpip.msc4133.stable",
    )
)


class Capabilities:
    """Answers about the server itself, made once. `features`: keys of unstable_features that are true here."""

    def __init__(
        self,
        settings: Settings,
        features: Collection[str] = UNSTABLE_FEATURES,
        versions: Collection[str] = VERSIONS,
    ) -> None:
        base_url = settings.public_baseurl.rstrip("/")
        self.versions = msgspec.json.encode(
            {"versions": list(versions), "unstable_features": dict.fromkeys(sorted(features), True)}
        )
        """The answer to GET /versions."""
        self.capabilities = msgspec.json.encode({"capabilities": _capabilities(settings.rooms.default_version)})
        """The answer to GET /capabilities."""
        self.well_known_client = msgspec.json.encode({"m.homeserver": {"base_url": base_url}})
        """The answer to GET /.well-known/matrix/client."""
        federation = settings.federation
        self._delegation = (federation.delegate_to or _delegation(base_url)) if federation.enabled else None

    def well_known_server(self) -> dict[str, str]:
        """Where other servers reach this one; NotFound where they find it without. GET /.well-known/matrix/server."""
        if self._delegation is None:
            raise NotFound("This server is found at its own name.")
        return {"m.server": self._delegation}


def _capabilities(default_version: str) -> JsonObject:
    stability: JsonObject = {name: "stable" if rules.stable else "unstable" for name, rules in ROOM_RULES.items()}
    return {
        "m.change_password": {"enabled": True},
        "m.room_versions": {"default": default_version, "available": stability},
        "m.set_displayname": {"enabled": True},
        "m.set_avatar_url": {"enabled": True},
        "m.profile_fields": {"enabled": True},
        "m.3pid_changes": {"enabled": False},
        "m.get_login_token": {"enabled": False},
        "m.forget_forced_upon_leave": {"enabled": False},
    }


def _delegation(base_url: str) -> str | None:
    """Host and port for other servers: those of a public URL that is https; else they try port 8448."""
    parts = urlsplit(base_url)
    if parts.scheme != "https" or parts.hostname is None:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or 443}"
