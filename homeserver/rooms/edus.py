"""Typing notices and receipts of users of other servers.

Specification: server-server API, "Typing Notifications", "Receipts"; both are for servers that the room's ACL lets in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from homeserver.core.canonical_json import MAX_INTEGER, JsonObject
from homeserver.core.event import MAX_FIELD_BYTES
from homeserver.core.ids import InvalidId, parse_event_id, parse_user_id, server_name_of
from homeserver.rooms.event_cache import EventCache
from homeserver.rooms.heads import Heads
from homeserver.rooms.room import Room
from homeserver.rooms.server_acl import ServerAcls
from homeserver.rooms.typing import Typing
from homeserver.runtime.clock import Clock
from homeserver.runtime.turns import Turns
from homeserver.runtime.writer import Writer
from storage import memberships as membership_table
from storage import partial_rooms
from storage import receipts as receipt_table
from storage.database import Database
from storage.rows import Entry, ReceiptRow

TYPING_S: Final = 30.0
"""Other servers repeat a notice while it lasts, and say when it is over."""
MOST_RECEIPTS: Final = 1_000
READ: Final = "m.read"


class Guests:
    """Which rooms a server may speak in, and for whom."""

    def __init__(self, heads: Heads, acls: ServerAcls, database: Database) -> None:
        self._heads = heads
        self._acls = acls
        self._database = database

    async def room(self, origin: str, room_id: object) -> Room | None:
        """A room that we are in and that does not shut the server out."""
        room = await self._heads.if_known(room_id) if isinstance(room_id, str) else None
        if room is None or not room.local_joined or not await self._acls.allows(room, origin):
            return None
        return room

    async def joined(self, origin: str, room: Room, user_ids: list[str]) -> set[str]:
        """Those of the users who are of that server and in the room."""
        own = [user_id for user_id in user_ids if is_of(user_id, origin)]
        found = await self._database.read(membership_table.of, room.number, own) if own else {}
        joined = {user_id for user_id, (membership, _) in found.items() if membership == "join"}
        # Where not all members are known, a server that is in the room is believed about others of its users.
        if room.partial is not None and await self._database.read(partial_rooms.has_server, room.number, origin):
            joined.update(set(own).difference(found))
        return joined


class TypingEdus:
    """Takes m.typing."""

    def __init__(self, guests: Guests, typing: Typing) -> None:
        self._guests = guests
        self._typing = typing

    async def __call__(self, origin: str, content: JsonObject) -> None:
        """A user of the server begins or ceases to type."""
        user_id, typing = content.get("user_id"), content.get("typing")
        room = await self._guests.room(origin, content.get("room_id"))
        if room is None or not isinstance(user_id, str) or not isinstance(typing, bool):
            return
        if user_id in await self._guests.joined(origin, room, [user_id]):
            self._typing.note(room.number, user_id, typing=typing, timeout_s=TYPING_S)


class ReceiptEdus:
    """Takes m.receipt."""

    def __init__(self, guests: Guests, events: EventCache, database: Database, writer: Writer, clock: Clock) -> None:
        self._guests = guests
        self._events = events
        self._database = database
        self._writer = writer
        self._clock = clock
        self._turns: Turns[str] = Turns()

    async def __call__(self, origin: str, content: JsonObject) -> None:
        """Users of the server have read up to some events."""
        async with self._turns.at(origin):
            await self._take(origin, content)

    async def _take(self, origin: str, content: JsonObject) -> None:
        entries: list[Entry] = []
        for room_id, by_type in content.items():
            room = await self._guests.room(origin, room_id)
            by_user = by_type.get(READ) if isinstance(by_type, dict) else None
            if room is not None and isinstance(by_user, dict):
                entries += await self._news(origin, room, by_user)
        if entries:
            await self._writer.append(entries)

    async def _news(self, origin: str, room: Room, by_user: JsonObject) -> list[ReceiptRow]:
        """Receipts of one room that are newer than what we know."""
        told = list(_receipts(room.number, by_user, self._clock.now_ms()))[:MOST_RECEIPTS]
        present = await self._guests.joined(origin, room, [row.user_id for row in told])
        rows = [row for row in told if row.user_id in present]
        if not rows:
            return []
        events = await self._events.by_ids({row.event_id for row in rows})
        for row in rows:
            event = events.get(row.event_id)
            if event is not None and event.room == room.number:
                row.event_position = event.position
        known = await self._database.read(receipt_table.of_users_in_room, room.number, sorted(present))
        former = {(row.user_id, row.type, row.thread): row for row in known}
        return [row for row in rows if _is_newer(row, former.get((row.user_id, row.type, row.thread)))]


def is_of(user_id: str, server_name: str) -> bool:
    """Whether this is the id of a user of the server."""
    try:
        return server_name_of(parse_user_id(user_id)) == server_name
    except InvalidId:
        return False


def _receipts(room: int, by_user: JsonObject, now_ms: int) -> Iterator[ReceiptRow]:
    for user_id, receipt in by_user.items():
        event_ids = receipt.get("event_ids") if isinstance(receipt, dict) else None
        data = receipt.get("data") if isinstance(receipt, dict) else None
        event_id = event_ids[0] if isinstance(event_ids, list) and event_ids else None
        if not isinstance(event_id, str) or not _is_event_id(event_id):
            continue
        ts = data.get("ts") if isinstance(data, dict) else None
        thread = data.get("thread_id") if isinstance(data, dict) else None
        if not isinstance(ts, int) or isinstance(ts, bool) or not 0 <= ts <= MAX_INTEGER:
            ts = now_ms
        if not isinstance(thread, str) or len(thread) > MAX_FIELD_BYTES:
            thread = ""
        yield ReceiptRow(room, user_id, READ, thread, event_id, 0, ts)


def _is_event_id(text: str) -> bool:
    try:
        parse_event_id(text)
    except InvalidId:
        return False
    return True


def _is_newer(row: ReceiptRow, former: ReceiptRow | None) -> bool:
    """By the time that the users' server gives: the order in which events came there need not be the one here."""
    if former is None:
        return True
    return row.event_id != former.event_id and row.ts >= former.ts
