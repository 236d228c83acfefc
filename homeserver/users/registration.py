"""Registration by those who want an account.

Specification: client-server API, "Account registration and management".
"""

from __future__ import annotations

import msgspec

from config.settings import Registration as RegistrationSettings
from homeserver.core import uia
from homeserver.core.ids import UserId
from homeserver.users.new_accounts import FirstSession, NewAccounts
from homeserver.users.passwords import Passwords
from homeserver.users.registration_tokens import RegistrationTokens
from homeserver.users.secret_tokens import new_localpart
from homeserver.users.sessions import SessionAnswer
from homeserver.users.uia_sessions import UiaSessions
from homeserver.web.decode import ObjectField
from homeserver.web.errors import Forbidden, GuestAccessForbidden, MissingParam

PURPOSE = "POST /register"


class RegisterBody(msgspec.Struct, frozen=True):
    """What somebody who wants an account says."""

    auth: ObjectField | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool = False
    refresh_token: bool = False


class Registration:
    """Makes accounts for whoever may have one."""

    def __init__(
        self,
        settings: RegistrationSettings,
        accounts: NewAccounts,
        passwords: Passwords,
        uia_sessions: UiaSessions,
        registration_tokens: RegistrationTokens,
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._passwords = passwords
        self._uia_sessions = uia_sessions
        self._registration_tokens = registration_tokens

    async def register(self, body: RegisterBody) -> SessionAnswer:
        """Make a user's account. POST /register."""
        if not self._settings.enabled:
            raise Forbidden("Registration is closed on this server.")
        user_id = await self._wanted(body.username)
        flows = uia.registration_flows(require_token=self._settings.require_token)
        session = await self._uia_sessions.require(body.auth, PURPOSE, flows, self._check)
        if body.password is None:
            raise MissingParam("password is missing.")
        password_hash = await self._passwords.hash(body.password)
        made = await self._accounts.make(
            user_id,
            password_hash,
            None
            if body.inhibit_login
            else FirstSession(body.device_id, body.initial_device_display_name, body.refresh_token),
            registration_token=session.results.get(uia.REGISTRATION_TOKEN),
        )
        self._uia_sessions.done(session)
        return made

    async def register_guest(self, body: RegisterBody) -> SessionAnswer:
        """Make a guest's account; of the body only the device's name counts. POST /register?kind=guest."""
        if not self._settings.guests:
            raise GuestAccessForbidden("This server takes no guests: register an account.")
        user_id = self._accounts.user_id_of(f"guest-{new_localpart()}")
        session = FirstSession(display_name=body.initial_device_display_name)
        return await self._accounts.make(user_id, None, session, is_guest=True)

    async def check_available(self, username: str) -> None:
        """Raise unless somebody may have this name. GET /register/available."""
        if not self._settings.enabled:
            raise Forbidden("Registration is closed on this server.")
        await self._accounts.check_available(self._accounts.user_id_of(username))

    async def is_token_valid(self, token: str) -> bool:
        """Whether a registration token lets somebody in. GET /register/m.login.registration_token/validity."""
        if not (self._settings.enabled and self._settings.require_token):
            raise Forbidden("This server does not ask for registration tokens.")
        return await self._registration_tokens.is_valid(token)

    async def _wanted(self, username: str | None) -> UserId:
        if username is None:
            return self._accounts.user_id_of(new_localpart())
        user_id = self._accounts.user_id_of(username)
        await self._accounts.check_available(user_id)
        return user_id

    async def _check(self, attempt: uia.Attempt) -> uia.Verdict:
        if isinstance(attempt, uia.TokenAttempt) and await self._registration_tokens.is_valid(attempt.token):
            return uia.Accepted(attempt.token)
        return uia.Refused("M_UNAUTHORIZED", "This registration token lets nobody in.")
