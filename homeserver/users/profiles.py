"""Profiles: what users tell about themselves. Specification: client-server API, "Profiles".

A new name or picture is shown in the user's rooms soon after (`homeserver.users.rooms_of_user`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.ids import ServerName, UserId, is_namespaced_identifier, server_name_of
from homeserver.runtime.lru import Lru
from homeserver.users.jobs import SHOW_PROFILE, UserJobs
from homeserver.web.access import Requester
from homeserver.web.errors import BadRequest, Forbidden, GuestAccessForbidden, InvalidParam, MissingParam, NotFound
from storage import accounts as account_table
from storage import profiles as profile_table
from storage.database import CommitUnknown, Cursor, Database

DISPLAYNAME: Final = "displayname"
AVATAR_URL: Final = "avatar_url"
SHOWN_IN_ROOMS: Final = (DISPLAYNAME, AVATAR_URL)
MAX_CACHED: Final = 50_000
MAX_PROFILE_BYTES: Final = 64 * 1024
MAX_KEY_BYTES: Final = 255
MAX_DISPLAYNAME: Final = 256
MAX_AVATAR_URL: Final = 1000


class RemoteProfiles(Protocol):
    """Where the profiles of other servers' users come from."""

    async def profile(self, user_id: str, field: str | None) -> JsonObject:
        """The profile, or one field of it. Raises NotFound."""
        ...


class Profiles:
    """Reads and changes profiles."""

    def __init__(
        self,
        database: Database,
        jobs: UserJobs,
        server_name: ServerName,
        remote: RemoteProfiles | None = None,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._server_name = server_name
        self._remote = remote
        self._shown: Lru[str, Mapping[str, JsonValue]] = Lru(MAX_CACHED)
        self._changes = 0

    async def of(self, user_id: str) -> Mapping[str, JsonValue]:
        """`displayname` and `avatar_url` of a local user, those that are set: what member events say."""
        shown = self._shown.get(user_id)
        while shown is None:
            changes = self._changes
            fields = await self._database.read(profile_table.of_users, [user_id], SHOWN_IN_ROOMS)
            if changes == self._changes:
                shown = {name: msgspec.json.decode(value) for name, value in fields[user_id].items()}
                self._shown.put(user_id, shown)
        return shown

    async def profile(self, user_id: UserId) -> JsonObject:
        """A user's whole profile. GET /profile/{userId}."""
        if server_name_of(user_id) != self._server_name:
            return await self._elsewhere(user_id, None)
        fields = await self._database.read(_read, user_id)
        if fields is None:
            raise NotFound(f"There is no user {user_id}.")
        return {name: msgspec.json.decode(value) for name, value in fields.items()}

    async def field(self, user_id: UserId, name: str) -> JsonObject:
        """One field of a profile. GET /profile/{userId}/{keyName}."""
        if server_name_of(user_id) != self._server_name:
            profile = await self._elsewhere(user_id, name)
        else:
            profile = await self.profile(user_id)
        if name not in profile:
            raise NotFound(f"{user_id} has no {name} in the profile.")
        return {name: profile[name]}

    async def of_local(self, user_id: UserId, name: str | None) -> JsonObject:
        """A profile, or one field of it, for another server. Server-server API, GET /query/profile."""
        if server_name_of(user_id) != self._server_name:
            raise NotFound(f"{user_id} is a user of another server.")
        profile = await self.profile(user_id)
        return profile if name is None else {key: value for key, value in profile.items() if key == name}

    async def set(self, who: Requester, user_id: UserId, name: str, body: JsonObject) -> None:
        """Set a field. PUT /profile/{userId}/{keyName}."""
        _check_may_change(who, user_id, name)
        if name not in body:
            raise MissingParam(f"The body must have the key {name}.")
        value = body[name]
        if name in SHOWN_IN_ROOMS and value == "":
            # What older clients send to take it away.
            await self._change(user_id, name, None)
            return
        _check_value(name, value)
        await self._change(user_id, name, msgspec.json.encode(value))

    async def delete(self, who: Requester, user_id: UserId, name: str) -> None:
        """Remove a field. DELETE /profile/{userId}/{keyName}."""
        _check_may_change(who, user_id, name)
        await self._change(user_id, name, None)

    def forget(self, user_id: str) -> None:
        """The profile was changed by other means, such as the deactivation of the account."""
        self._changes += 1
        self._shown.discard(user_id)

    async def _change(self, user_id: UserId, name: str, value: bytes | None) -> None:
        try:
            is_new = await self._database.write(_write, user_id, name, value)
        except CommitUnknown:
            # It may have been made: whoever does the job looks.
            self._jobs.begin(user_id, SHOW_PROFILE)
            raise
        finally:
            self.forget(user_id)
        if is_new and name in SHOWN_IN_ROOMS:
            self._jobs.begin(user_id, SHOW_PROFILE)

    async def _elsewhere(self, user_id: UserId, name: str | None) -> JsonObject:
        if self._remote is None:
            raise NotFound(f"This server does not know {user_id}, and does not ask other servers.")
        return await self._remote.profile(user_id, name)


def _check_may_change(who: Requester, user_id: UserId, name: str) -> None:
    if who.user_id != user_id:
        raise Forbidden("You may change your own profile only.")
    if who.is_guest and name != DISPLAYNAME:
        raise GuestAccessForbidden("Guests may only change their display name.")
    if len(name.encode()) > MAX_KEY_BYTES:
        raise BadRequest(f"The name of a profile field may have at most {MAX_KEY_BYTES} bytes.", "M_KEY_TOO_LARGE")
    if not is_namespaced_identifier(name):
        raise InvalidParam("The name of a profile field begins with a-z and has a-z, 0-9, '.', '_' and '-' only.")


def _check_value(name: str, value: JsonValue) -> None:
    if name == DISPLAYNAME:
        if not isinstance(value, str) or "\0" in value or len(value) > MAX_DISPLAYNAME:
            raise InvalidParam(f"A display name is a text of at most {MAX_DISPLAYNAME} characters.")
    elif name == AVATAR_URL:
        if not isinstance(value, str) or not value.startswith("mxc://") or len(value) > MAX_AVATAR_URL:
            raise InvalidParam(f"An avatar is an mxc:// URI of at most {MAX_AVATAR_URL} characters.")
    elif name == "m.tz" and not isinstance(value, str):
        raise InvalidParam("A time zone is the name of one.")


def _read(tx: Cursor, user_id: str) -> dict[str, str] | None:
    """The fields; None if there is no such user, or they wanted to be forgotten."""
    account = account_table.one(tx, user_id)
    if account is None or account.is_erased:
        return None
    return profile_table.of_user(tx, user_id)


def _write(tx: Cursor, user_id: str, name: str, value: bytes | None) -> bool:
    """Write a field, or remove it; whether that changed anything. The rooms have to be told of what they show."""
    if value is None:
        changed = profile_table.delete(tx, user_id, name)
    else:
        # One change at a time for each user, or two could together exceed the limit.
        account_table.lock(tx, user_id)
        others = {key: old for key, old in profile_table.of_user(tx, user_id).items() if key != name}
        size = sum(len(key) + len(old.encode()) + 4 for key, old in others.items()) + len(name) + len(value) + 5
        if size > MAX_PROFILE_BYTES:
            raise BadRequest(f"A profile may have at most {MAX_PROFILE_BYTES} bytes.", "M_PROFILE_TOO_LARGE")
        changed = profile_table.put(tx, user_id, name, value.decode())
    if changed and name in SHOWN_IN_ROOMS:
        UserJobs.want(tx, user_id, SHOW_PROFILE)
    return changed
