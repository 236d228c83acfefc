"""Tokens that let people register. Specification: client-server API, "Token-authenticated registration"."""

from __future__ import annotations

import re
from typing import Final

from homeserver.runtime.clock import Clock
from storage import registration_tokens as registration_token_table
from storage.database import Database

# Opaque strings of 1 to 64 of these characters: client-server API, "Token-authenticated registration".
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~\-]{1,64}")


class RegistrationTokens:
    """Looks at registration tokens. An account's transaction uses them up."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def is_valid(self, token: str) -> bool:
        """Whether the token lets somebody in now."""
        if not _TOKEN.fullmatch(token):
            return False
        return await self._database.read(registration_token_table.is_valid, token, self._clock.now_ms())
