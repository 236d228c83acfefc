"""Backups of room keys. Specification: client-server API, "Server-side key backups"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from homeserver.core.canonical_json import MAX_INTEGER, JsonObject
from homeserver.web.errors import BadJson, Forbidden, InvalidParam, NotFound
from storage import key_backups as backup_table
from storage.database import Cursor, Database
from storage.key_backups import BackedUpSession, Backup, Which

MAX_SESSION_BYTES: Final = 65_536
MAX_NAME: Final = 255

_encode = msgspec.json.encode
_decode = msgspec.json.decode

Rooms = Mapping[str, Mapping[str, "SessionData"]]


class SessionData(msgspec.Struct, frozen=True):
    """A room key as clients back it up."""

    first_message_index: int
    forwarded_count: int
    is_verified: bool
    session_data: msgspec.Raw


class BackupAnswer(msgspec.Struct, frozen=True):
    """A version as clients see it."""

    algorithm: str
    auth_data: msgspec.Raw
    count: int
    etag: str
    version: str


class StoredAnswer(msgspec.Struct, frozen=True):
    """What a change of sessions is answered with."""

    count: int
    etag: str


class Backups:
    """Keeps the backups of users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: str, algorithm: str, auth_data: JsonObject) -> str:
        """Begin a new version; its name."""
        return str(await self._database.write(backup_table.create, user_id, _name(algorithm), _encode(auth_data)))

    async def current(self, user_id: str) -> BackupAnswer:
        """The newest version."""
        found = await self._database.read(backup_table.current, user_id)
        if found is None:
            raise NotFound("You have no backup of room keys.")
        return _shown(found)

    async def one(self, user_id: str, version: str) -> BackupAnswer:
        """A version."""
        found = await self._database.read(backup_table.one, user_id, _number(version))
        if found is None:
            raise _unknown(version)
        return _shown(found)

    async def update(
        self, user_id: str, version: str, algorithm: str, auth_data: JsonObject, named: str | None
    ) -> None:
        """Replace the auth_data of a version. `named`: the version that the body names."""
        if named is not None and named != version:
            raise InvalidParam("version in the body must be the one in the path.")
        await self._database.write(_update, user_id, version, algorithm, _encode(auth_data))

    async def delete(self, user_id: str, version: str) -> None:
        """Delete a version."""
        if not await self._database.write(backup_table.delete, user_id, _number(version)):
            raise _unknown(version)

    async def put(self, user_id: str, version: str, rooms: Rooms) -> StoredAnswer:
        """Keep sessions in the current version, each unless a better one is there."""
        given = [_checked(room_id, name, each) for room_id, of in rooms.items() for name, each in of.items()]
        return await self._database.write(_put, user_id, version, given)

    async def rooms(self, user_id: str, version: str, room_id: str | None = None) -> dict[str, dict[str, SessionData]]:
        """Sessions by room, of all rooms or of one."""
        found: dict[str, dict[str, SessionData]] = {}
        for each in await self._database.read(_sessions, user_id, version, Which(room_id)):
            found.setdefault(each.room_id, {})[each.session_id] = _session(each)
        return found

    async def session(self, user_id: str, version: str, room_id: str, session_id: str) -> SessionData:
        """One session."""
        found = await self._database.read(_sessions, user_id, version, Which(room_id, session_id))
        if not found:
            raise NotFound("This session is not in the backup.")
        return _session(found[0])

    async def delete_sessions(
        self, user_id: str, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> StoredAnswer:
        """Delete sessions."""
        return await self._database.write(_delete_sessions, user_id, version, Which(room_id, session_id))


def _update(tx: Cursor, user_id: str, version: str, algorithm: str, auth_data: bytes) -> None:
    found = backup_table.one(tx, user_id, _number(version), to_change=True)
    if found is None:
        raise _unknown(version)
    if found.algorithm != algorithm:
        raise InvalidParam(f"This backup has the algorithm {found.algorithm}, which cannot be changed.")
    backup_table.set_auth_data(tx, user_id, found.version, auth_data)


def _put(tx: Cursor, user_id: str, version: str, given: Sequence[BackedUpSession]) -> StoredAnswer:
    newest = backup_table.current(tx, user_id)
    if newest is None:
        raise _unknown(version)
    if str(newest.version) != version:
        raise Forbidden(
            f"This is not the current backup: that is version {newest.version}.",
            "M_WRONG_ROOM_KEYS_VERSION",
            current_version=str(newest.version),
        )
    if backup_table.one(tx, user_id, newest.version, to_change=True) is None:
        raise _unknown(version)
    return _stored(backup_table.put(tx, user_id, newest.version, given))


def _sessions(tx: Cursor, user_id: str, version: str, which: Which) -> list[BackedUpSession]:
    number = _number(version)
    if backup_table.one(tx, user_id, number) is None:
        raise _unknown(version)
    return backup_table.sessions(tx, user_id, number, which)


def _delete_sessions(tx: Cursor, user_id: str, version: str, which: Which) -> StoredAnswer:
    number = _number(version)
    if backup_table.one(tx, user_id, number, to_change=True) is None:
        raise _unknown(version)
    return _stored(backup_table.delete_sessions(tx, user_id, number, which))


def _checked(room_id: str, session_id: str, data: SessionData) -> BackedUpSession:
    for number in (data.first_message_index, data.forwarded_count):
        if not 0 <= number <= MAX_INTEGER:
            raise BadJson(f"first_message_index and forwarded_count must lie between 0 and {MAX_INTEGER}.")
    session_data = bytes(data.session_data)
    if not session_data.startswith(b"{"):
        raise BadJson("session_data must be an object.")
    if len(session_data) > MAX_SESSION_BYTES:
        raise BadJson(f"session_data may have at most {MAX_SESSION_BYTES} bytes.")
    return BackedUpSession(
        _name(room_id),
        _name(session_id),
        data.is_verified,
        data.first_message_index,
        data.forwarded_count,
        session_data,
    )


def _session(found: BackedUpSession) -> SessionData:
    return SessionData(
        found.first_message_index, found.forwarded_count, found.is_verified, msgspec.Raw(found.session_data)
    )


def _shown(found: Backup) -> BackupAnswer:
    return BackupAnswer(
        found.algorithm, msgspec.Raw(found.auth_data), found.sessions, str(found.etag), str(found.version)
    )


def _stored(found: Backup) -> StoredAnswer:
    return StoredAnswer(found.sessions, str(found.etag))


def _number(version: str) -> int:
    """The number of a version; what is no number is no version of ours."""
    if not (version.isascii() and version.isdigit()) or len(version) > 18 or str(int(version)) != version:
        raise _unknown(version)
    return int(version)


def _name(text: str) -> str:
    if not text or len(text) > MAX_NAME:
        raise InvalidParam(f"Names of rooms, sessions and algorithms may have 1 to {MAX_NAME} characters.")
    return text


def _unknown(version: str) -> NotFound:
    return NotFound(f"You have no backup of the version {version[:40]}.")
