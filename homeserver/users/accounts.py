"""A user's account as the user manages it: who am I, another password, the end.

Specification: client-server API, "Account registration and management", "Account deactivation".
"""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import JsonValue
from homeserver.core.ids import UserId
from homeserver.users.credentials import Credentials
from homeserver.users.jobs import LEAVE_ROOMS, UserJobs
from homeserver.users.passwords import Passwords
from homeserver.users.profiles import Profiles
from homeserver.users.sessions import Sessions
from homeserver.web.access import Requester
from storage import account_data as account_data_table
from storage import accounts as account_table
from storage import cross_signing as cross_signing_table
from storage import key_backups as key_backup_table
from storage import presence as presence_table
from storage import profiles as profile_table
from storage.database import Cursor, Database


class WhoAmI(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whose access token it is. `is_guest` is false where it is left out."""

    user_id: str
    device_id: str | None = None
    is_guest: bool = False


class Accounts:
    """Changes accounts."""

    def __init__(
        self,
        database: Database,
        credentials: Credentials,
        passwords: Passwords,
        sessions: Sessions,
        profiles: Profiles,
        jobs: UserJobs,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._passwords = passwords
        self._sessions = sessions
        self._profiles = profiles
        self._jobs = jobs

    async def exists(self, user_id: str) -> bool:
        """Whether there is such an account here, closed or not."""
        return bool(await self._database.read(account_table.existing, [user_id]))

    async def change_password(
        self, who: Requester, new_password: str, auth: JsonValue, *, logout_devices: bool
    ) -> None:
        """Another password; by default all other devices are logged out. POST /account/password."""
        session = await self._credentials.confirm(who, auth, "change the password")
        await self.set_password(who.user_id, new_password)
        self._credentials.done(session)
        if logout_devices:
            await self._sessions.log_out_everywhere(who.user_id, but=who.device_number)

    async def set_password(self, user_id: str, new_password: str) -> bool:
        """Another password, without a question; False if there is no such account."""
        password_hash = await self._passwords.hash(new_password)
        return await self._database.write(account_table.set_password, user_id, password_hash)

    async def deactivate(self, who: Requester, auth: JsonValue, *, erase: bool) -> None:
        """Close the account for good, once the user has confirmed it. POST /account/deactivate."""
        session = await self._credentials.confirm(who, auth, "deactivate the account")
        await self.close(who.user_id, erase=erase)
        self._credentials.done(session)

    async def close(self, user_id: UserId, *, erase: bool) -> None:
        """Close an account: nobody can log in any more, all devices go, and the user leaves all rooms.

        With `erase`, what the user told about themselves goes too.
        """
        await self._database.write(_close, user_id, erase)
        self._profiles.forget(user_id)
        await self._sessions.end(user_id)
        self._jobs.begin(user_id, LEAVE_ROOMS)


def _close(tx: Cursor, user_id: str, erase: bool) -> None:
    account_table.deactivate(tx, user_id, erase=erase)
    # Of no use to anybody any more: what they are for is gone with the devices.
    cross_signing_table.delete_of_user(tx, user_id)
    key_backup_table.delete_of_user(tx, user_id)
    if erase:
        profile_table.delete_of_user(tx, user_id)
        account_data_table.delete_of_user(tx, user_id)
        presence_table.delete_of_user(tx, user_id)
    UserJobs.want(tx, user_id, LEAVE_ROOMS)
