"""Backups of room keys. Specification: client-server API, "Server-side key backups"."""

from __future__ import annotations

import msgspec

from homeserver.core.rate import KEYS
from homeserver.encryption.backups import BackupAnswer, Backups, SessionData, StoredAnswer
from homeserver.web.decode import ObjectField
from homeserver.web.endpoint import USER, Requester, endpoint, endpoints

VERSION = "/_matrix/client/v3/room_keys/version"
SESSIONS = "/_matrix/client/v3/room_keys/keys"
UNSTABLE_VERSION = "/_matrix/client/unstable/room_keys/version"
UNSTABLE_SESSIONS = "/_matrix/client/unstable/room_keys/keys"
MAX_BODY_BYTES = 16 * 1024 * 1024


class NewBackup(msgspec.Struct, frozen=True):
    """How the keys of a backup will be encrypted."""

    algorithm: str
    auth_data: ObjectField


class ChangedBackup(msgspec.Struct, frozen=True):
    """The same of a backup that is there."""

    algorithm: str
    auth_data: ObjectField
    version: str | None = None


class InVersion(msgspec.Struct, frozen=True):
    """Which backup."""

    version: str


class RoomSessions(msgspec.Struct, frozen=True):
    """Sessions of one room, by their ids."""

    sessions: dict[str, SessionData]


class AllSessions(msgspec.Struct, frozen=True):
    """Sessions by room."""

    rooms: dict[str, RoomSessions]


@endpoint("POST", VERSION, access=USER, limit=KEYS, also=(UNSTABLE_VERSION,))
async def create_backup(backups: Backups, who: Requester, body: NewBackup) -> dict[str, str]:
    """Begin a new backup."""
    return {"version": await backups.create(who.user_id, body.algorithm, body.auth_data)}


@endpoint("GET", VERSION, access=USER, limit=KEYS, also=(UNSTABLE_VERSION,))
async def current_backup(backups: Backups, who: Requester) -> BackupAnswer:
    """The newest backup."""
    return await backups.current(who.user_id)


@endpoint("GET", VERSION + "/{version}", access=USER, limit=KEYS, also=(UNSTABLE_VERSION + "/{version}",))
async def one_backup(backups: Backups, who: Requester, version: str) -> BackupAnswer:
    """A backup."""
    return await backups.one(who.user_id, version)


@endpoint("PUT", VERSION + "/{version}", access=USER, limit=KEYS, also=(UNSTABLE_VERSION + "/{version}",))
async def update_backup(backups: Backups, who: Requester, version: str, body: ChangedBackup) -> None:
    """Change what a backup tells of its key."""
    await backups.update(who.user_id, version, body.algorithm, body.auth_data, body.version)


@endpoint("DELETE", VERSION + "/{version}", access=USER, limit=KEYS, also=(UNSTABLE_VERSION + "/{version}",))
async def delete_backup(backups: Backups, who: Requester, version: str) -> None:
    """Delete a backup."""
    await backups.delete(who.user_id, version)


@endpoint("PUT", SESSIONS, access=USER, limit=KEYS, also=(UNSTABLE_SESSIONS,), body_limit_bytes=MAX_BODY_BYTES)
async def put_sessions(backups: Backups, who: Requester, query: InVersion, body: AllSessions) -> StoredAnswer:
    """Back sessions up."""
    rooms = {room_id: room.sessions for room_id, room in body.rooms.items()}
    return await backups.put(who.user_id, query.version, rooms)


@endpoint("GET", SESSIONS, access=USER, limit=KEYS, also=(UNSTABLE_SESSIONS,))
async def get_sessions(backups: Backups, who: Requester, query: InVersion) -> AllSessions:
    """All sessions."""
    rooms = await backups.rooms(who.user_id, query.version)
    return AllSessions({room_id: RoomSessions(sessions) for room_id, sessions in rooms.items()})


@endpoint("DELETE", SESSIONS, access=USER, limit=KEYS, also=(UNSTABLE_SESSIONS,))
async def delete_sessions(backups: Backups, who: Requester, query: InVersion) -> StoredAnswer:
    """Delete all sessions."""
    return await backups.delete_sessions(who.user_id, query.version)


@endpoint(
    "PUT",
    SESSIONS + "/{room_id}",
    access=USER,
    limit=KEYS,
    also=(UNSTABLE_SESSIONS + "/{room_id}",),
    body_limit_bytes=MAX_BODY_BYTES,
)
async def put_room_sessions(
    backups: Backups, who: Requester, room_id: str, query: InVersion, body: RoomSessions
) -> StoredAnswer:
    """Back sessions of a room up."""
    return await backups.put(who.user_id, query.version, {room_id: body.sessions})


@endpoint("GET", SESSIONS + "/{room_id}", access=USER, limit=KEYS, also=(UNSTABLE_SESSIONS + "/{room_id}",))
async def get_room_sessions(backups: Backups, who: Requester, room_id: str, query: InVersion) -> RoomSessions:
    """The sessions of a room."""
    return RoomSessions((await backups.rooms(who.user_id, query.version, room_id)).get(room_id, {}))


@endpoint("DELETE", SESSIONS + "/{room_id}", access=USER, limit=KEYS, also=(UNSTABLE_SESSIONS + "/{room_id}",))
async def delete_room_sessions(backups: Backups, who: Requester, room_id: str, query: InVersion) -> StoredAnswer:
    """Delete the sessions of a room."""
    return await backups.delete_sessions(who.user_id, query.version, room_id)


@endpoint(
    "PUT",
    SESSIONS + "/{room_id}/{session_id}",
    access=USER,
    limit=KEYS,
    also=(UNSTABLE_SESSIONS + "/{room_id}/{session_id}",),
)
async def put_session(
    backups: Backups, who: Requester, room_id: str, session_id: str, query: InVersion, body: SessionData
) -> StoredAnswer:
    """Back a session up."""
    return await backups.put(who.user_id, query.version, {room_id: {session_id: body}})


@endpoint(
    "GET",
    SESSIONS + "/{room_id}/{session_id}",
    access=USER,
    limit=KEYS,
    also=(UNSTABLE_SESSIONS + "/{room_id}/{session_id}",),
)
async def get_session(backups: Backups, who: Requester, room_id: str, session_id: str, query: InVersion) -> SessionData:
    """A session."""
    return await backups.session(who.user_id, query.version, room_id, session_id)


@endpoint(
    "DELETE",
    SESSIONS + "/{room_id}/{session_id}",
    access=USER,
    limit=KEYS,
    also=(UNSTABLE_SESSIONS + "/{room_id}/{session_id}",),
)
async def delete_session(
    backups: Backups, who: Requester, room_id: str, session_id: str, query: InVersion
) -> StoredAnswer:
    """Delete a session."""
    return await backups.delete_sessions(who.user_id, query.version, room_id, session_id)


ENDPOINTS = endpoints(__name__)
