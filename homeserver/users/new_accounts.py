"""Makes accounts, with their first sessions: what registration, the shared secret and admins have in common."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from homeserver.core.ids import InvalidId, ServerName, UserId, check_new_localpart, make_user_id
from homeserver.runtime.clock import Clock
from homeserver.users.sessions import NewSession, SessionAnswer, Sessions, WrittenSession, write_session
from homeserver.web.errors import BadRequest, Unauthorized
from storage import accounts as account_table
from storage import profiles as profile_table
from storage import registration_tokens as registration_token_table
from storage.accounts import Account
from storage.database import Cursor, Database


@dataclass(frozen=True, slots=True)
class FirstSession:
    """What the client said about its device; None in its place: no login."""

    device_id: str | None = None
    display_name: str | None = None
    refreshable: bool = False


class NewAccounts:
    """Makes accounts of this server."""

    def __init__(self, database: Database, sessions: Sessions, clock: Clock, server_name: ServerName) -> None:
        self._database = database
        self._sessions = sessions
        self._clock = clock
        self._server_name = server_name

    def user_id_of(self, username: str) -> UserId:
        """The user id for a wanted name. Raises BadRequest (M_INVALID_USERNAME)."""
        # User names differ in more than case, so that nobody passes for another.
        localpart = username.lower()
        try:
            check_new_localpart(localpart)
            return make_user_id(localpart, self._server_name)
        except InvalidId as error:
            raise BadRequest(f"This user name cannot be had: {error}.", "M_INVALID_USERNAME") from None

    async def check_available(self, user_id: UserId) -> None:
        """Raise BadRequest (M_USER_IN_USE) if there is such an account."""
        if await self._database.read(account_table.existing, [user_id]):
            raise BadRequest("This user name is taken.", "M_USER_IN_USE")

    async def make(
        self,
        user_id: UserId,
        password_hash: str | None,
        session: FirstSession | None,
        *,
        is_admin: bool = False,
        is_guest: bool = False,
        displayname: str | None = None,
        registration_token: str | None = None,
    ) -> SessionAnswer:
        """Make an account, and log it in. Raises BadRequest (M_USER_IN_USE)."""
        account = Account(user_id, password_hash, self._clock.now_ms(), is_admin=is_admin, is_guest=is_guest)
        new = None
        if session is not None:
            new = self._sessions.prepare(
                user_id, session.device_id, session.display_name, refreshable=session.refreshable
            )
        written = await self._database.write(_write, account, new, displayname, registration_token)
        if new is None or written is None:
            return SessionAnswer(user_id, self._server_name)
        self._sessions.written(written)
        return new.answer(self._server_name)


def _write(
    tx: Cursor, account: Account, new: NewSession | None, displayname: str | None, registration_token: str | None
) -> WrittenSession | None:
    """Write all of it. What is raised here undoes everything."""
    if registration_token is not None and not registration_token_table.use(tx, registration_token, account.created_ts):
        raise Unauthorized("This registration token lets nobody in any more.", "M_FORBIDDEN")
    if not account_table.insert(tx, account):
        raise BadRequest("This user name is taken.", "M_USER_IN_USE")
    if displayname is not None:
        profile_table.put(tx, account.user_id, "displayname", msgspec.json.encode(displayname).decode())
    return None if new is None else write_session(tx, new)
