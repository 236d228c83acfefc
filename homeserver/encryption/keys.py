"""What the endpoints below /keys call."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.encryption.claims import KeyClaims
from homeserver.encryption.queries import KeyQueries
from homeserver.encryption.uploads import KeyUploads


@dataclass(frozen=True, slots=True)
class Keys:
    """Uploads, look-ups and claims of keys."""

    uploads: KeyUploads
    queries: KeyQueries
    claims: KeyClaims
