"""Proofs for third parties of who somebody is here: tokens that say a user id, for a while, under a seal of ours.

Nothing is kept of them. Specification: client-server API, "OpenID"; server-server API, "OpenID".
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName, UserId
from homeserver.core.unpadded_base64 import decode_base64, encode_base64_urlsafe
from homeserver.runtime.clock import Clock
from homeserver.web.access import Requester
from homeserver.web.errors import Forbidden, UnknownToken
from storage import accounts as account_table
from storage import secrets as secret_table
from storage.database import Database

SECRET: Final = "openid"
VALID_FOR_S: Final = 3600
MAX_TOKEN: Final = 1_000


class OpenId:
    """Gives the tokens out, and tells what they say."""

    def __init__(self, database: Database, clock: Clock, server_name: ServerName) -> None:
        self._database = database
        self._clock = clock
        self._server_name = server_name
        self._secret: bytes | None = None

    async def token(self, who: Requester, user_id: UserId) -> JsonObject:
        """A token of one's own. POST /user/{userId}/openid/request_token."""
        if who.user_id != user_id:
            raise Forbidden("You can ask for a token only for yourself.")
        said = f"{self._clock.now_ms() + VALID_FOR_S * 1000} {secrets.token_urlsafe(8)} {user_id}".encode()
        token = f"{encode_base64_urlsafe(said)}.{encode_base64_urlsafe(await self._seal(said))}"
        return {
            "access_token": token,
            "token_type": "Bearer",
            "matrix_server_name": self._server_name,
            "expires_in": VALID_FOR_S,
        }

    async def user_info(self, token: str) -> JsonObject:
        """Whose token this is. GET /_matrix/federation/v1/openid/userinfo."""
        said, _, seal = token.partition(".")
        try:
            if len(token) > MAX_TOKEN:
                raise ValueError("a token of ours is shorter")
            plain = decode_base64(said)
            is_ours = hmac.compare_digest(decode_base64(seal), await self._seal(plain))
        except ValueError:
            is_ours = False
        if is_ours:
            expires_ts, _, user_id = plain.decode().split(" ", 2)
            account = await self._database.read(account_table.one, user_id)
            if int(expires_ts) > self._clock.now_ms() and account is not None and not account.is_deactivated:
                return {"sub": user_id}
        raise UnknownToken("This token is not known here, or its time is over.")

    async def _seal(self, said: bytes) -> bytes:
        if self._secret is None:
            self._secret = await self._database.write(secret_table.keep, SECRET, secrets.token_bytes(32))
        return hmac.digest(self._secret, said, hashlib.sha256)
