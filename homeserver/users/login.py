"""Login by password. Specification: client-server API, "Login"."""

from __future__ import annotations

import msgspec

from homeserver.core import rate, uia
from homeserver.core.canonical_json import JsonObject
from homeserver.core.ids import ServerName
from homeserver.users.credentials import WRONG, Credentials, Proven
from homeserver.users.sessions import NewSession, RefreshAnswer, SessionAnswer, Sessions, WrittenSession, write_session
from homeserver.web.access import Requester
from homeserver.web.decode import ObjectField
from homeserver.web.errors import BadRequest, Forbidden, MissingParam
from homeserver.web.limits import Limiter
from storage import accounts as account_table
from storage.database import Cursor, Database

PASSWORD = "m.login.password"


class LoginBody(msgspec.Struct, frozen=True):
    """Who wants to log in, and with what."""

    type: str
    identifier: ObjectField | None = None
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool = False

    def parsed_identifier(self) -> uia.Identifier:
        """Whom it speaks of. Raises uia.BadAttempt."""
        given: JsonObject = {"user": self.user, "medium": self.medium, "address": self.address}
        if self.identifier is not None:
            given["identifier"] = self.identifier
        return uia.parse_identifier({key: value for key, value in given.items() if value is not None})


class Login:
    """Lets users in, and out again."""

    def __init__(
        self,
        database: Database,
        credentials: Credentials,
        sessions: Sessions,
        limiter: Limiter,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._sessions = sessions
        self._limiter = limiter
        self._server_name = server_name

    @property
    def flows(self) -> list[JsonObject]:
        """The ways to log in. GET /login."""
        return [{"type": PASSWORD}]

    async def log_in(self, body: LoginBody) -> SessionAnswer:
        """A session for one who knows the password. POST /login."""
        if body.type != PASSWORD:
            raise BadRequest(f"This server has no login of the type {body.type!r}, but {PASSWORD}.", "M_UNKNOWN")
        try:
            identifier = body.parsed_identifier()
        except uia.BadAttempt as error:
            raise BadRequest(str(error), error.errcode) from None
        if body.password is None:
            raise MissingParam("password is missing.")
        user_id = self._credentials.user_of(identifier)
        if user_id is None:
            raise Forbidden(WRONG)
        self._limiter.spend(rate.LOGIN_BY_ACCOUNT, user_id)
        new = self._sessions.prepare(
            user_id, body.device_id, body.initial_device_display_name, refreshable=body.refresh_token
        )
        proven = await self._credentials.prove(user_id, body.password)
        written = await self._database.write(_write, new, proven)
        if written is None:
            raise Forbidden(WRONG)
        self._sessions.written(written)
        return new.answer(self._server_name)

    async def refresh(self, refresh_token: str) -> RefreshAnswer:
        """New tokens for a refresh token. POST /refresh."""
        return await self._sessions.refresh(refresh_token)

    async def log_out(self, who: Requester) -> None:
        """End this session. POST /logout."""
        await self._sessions.log_out(who)

    async def log_out_everywhere(self, who: Requester) -> None:
        """End all sessions of the user. POST /logout/all."""
        await self._sessions.log_out_everywhere(who.user_id)


def _write(tx: Cursor, new: NewSession, proven: Proven) -> WrittenSession | None:
    """The session; None if the password was changed, or the account closed, since it was looked at."""
    if not account_table.hold_open(tx, proven.user_id, proven.password_hash):
        return None
    return write_session(tx, new)
