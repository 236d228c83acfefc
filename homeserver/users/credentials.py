"""Is this the user's password? Asked by login and by user-interactive authentication; failures are counted."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.core import rate, uia
from homeserver.core.canonical_json import JsonValue
from homeserver.core.ids import InvalidId, ServerName, UserId, make_user_id, parse_user_id, server_name_of
from homeserver.users.passwords import Passwords
from homeserver.users.uia_sessions import UiaSessions
from homeserver.web.access import Requester
from homeserver.web.errors import Forbidden
from homeserver.web.limits import Limiter
from storage import accounts as account_table
from storage.database import Database

WRONG = "The user name or the password is wrong."


@dataclass(frozen=True, slots=True)
class Proven:
    """The user who knows the password, and the hash that it was compared with."""

    user_id: UserId
    password_hash: str


class Credentials:
    """Checks passwords of accounts."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        uia_sessions: UiaSessions,
        limiter: Limiter,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._uia_sessions = uia_sessions
        self._limiter = limiter
        self._server_name = server_name

    def user_of(self, identifier: uia.Identifier) -> UserId | None:
        """The local user that is meant; None if there can be none: no third-party identifier is bound to an account."""
        if not isinstance(identifier, uia.UserIdentifier):
            return None
        try:
            if identifier.user.startswith("@"):
                user_id = parse_user_id(identifier.user)
                return UserId(user_id.lower()) if server_name_of(user_id) == self._server_name else None
            return make_user_id(identifier.user.lower(), self._server_name)
        except InvalidId:
            return None

    async def prove(self, user_id: UserId, password: str) -> Proven:
        """The user, if this is the password. Raises Forbidden, after the same time where there is no such account."""
        # Taken beforehand, so that many attempts at once get no further than one after another; given back below.
        self._limiter.spend(rate.FAILED_LOGIN, user_id)
        account = await self._database.read(account_table.one, user_id)
        password_hash = None if account is None else account.password_hash
        is_right = await self._passwords.verify(password_hash, password)
        if account is not None and account.is_deactivated:
            raise Forbidden("This account has been deactivated.", "M_USER_DEACTIVATED")
        if not is_right or password_hash is None:
            raise Forbidden(WRONG)
        self._limiter.spend(rate.FAILED_LOGIN, user_id, -1)
        if self._passwords.is_outdated(password_hash):
            renewed = await self._passwords.hash(password)
            if await self._database.write(account_table.replace_password, user_id, password_hash, renewed):
                password_hash = renewed
        return Proven(user_id, password_hash)

    async def confirm(self, who: Requester, auth: JsonValue, purpose: str) -> uia.Session | None:
        """Have the user say their password once more before something that a stolen token must not be enough for.

        Raises AuthenticationNeeded. Bridges, which have no passwords, need not. `purpose` names the request, with
        what of it must not change. The caller says `done` once the thing is done.
        """
        if who.appservice_id is not None:
            return None

        async def check(attempt: uia.Attempt) -> uia.Verdict:
            if not isinstance(attempt, uia.PasswordAttempt):
                return uia.Refused("M_FORBIDDEN", WRONG)
            if self.user_of(attempt.identifier) != who.user_id:
                return uia.Refused("M_FORBIDDEN", "This must be confirmed by the user whose access token is used.")
            try:
                await self.prove(who.user_id, attempt.password)
            except Forbidden as error:
                return uia.Refused(error.errcode, error.message)
            return uia.Accepted()

        return await self._uia_sessions.require(auth, f"{purpose} by {who.user_id}", uia.PASSWORD_FLOWS, check)

    def done(self, session: uia.Session | None) -> None:
        """What was confirmed is done."""
        if session is not None:
            self._uia_sessions.done(session)
