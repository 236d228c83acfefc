"""The account data of a user in an answer: what they keep for themselves, for their clients, and for single rooms.

Specification: client-server API, "Client Config", GET /sync `account_data`; push rules appear as `m.push_rules`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from homeserver.core.filters import EventFilter
from homeserver.rooms.client_events import json_array
from homeserver.runtime.log import Ring
from homeserver.runtime.lru import Lru
from storage import account_data as account_data_table
from storage.database import Database
from storage.rows import AccountDataRow, Entry

PUSH_RULES = "m.push_rules"
IGNORED_USERS = "m.ignored_user_list"
MOST_USERS = 20_000

_encode = msgspec.json.encode
_decode = msgspec.json.decode


class PushRulesContent(Protocol):
    """Where the push rules of users come from, in the form that clients get."""

    async def content(self, user_id: str) -> bytes:
        """The encoded content of `m.push_rules`, the server's default rules included."""
        ...


class AccountDataPart:
    """Reads and encodes account data. A follower of the ring: a new list of ignored users counts at once."""

    def __init__(self, database: Database, ring: Ring, push_rules: PushRulesContent) -> None:
        self._database = database
        self._push_rules = push_rules
        self._ignored: Lru[str, frozenset[str]] = Lru(MOST_USERS)
        ring.subscribe(self._published, AccountDataRow)

    async def everything(self, user_id: str) -> tuple[list[AccountDataRow], dict[str, list[AccountDataRow]]]:
        """All account data of a user: what belongs to no room, and the rest by room id."""
        rows = await self._database.read(account_data_table.of_user, user_id)
        by_room: dict[str, list[AccountDataRow]] = {}
        for row in rows:
            by_room.setdefault(row.room_id, []).append(row)
        overall = [row for row in by_room.pop("", []) if row.type != PUSH_RULES]
        overall.append(AccountDataRow(user_id, "", PUSH_RULES, b"{}"))
        return overall, by_room

    async def ignored(self, user_id: str) -> frozenset[str]:
        """The users that this user ignores (client-server API, "Ignoring Users")."""
        known = self._ignored.get(user_id)
        if known is None:
            row = await self._database.read(account_data_table.one, user_id, "", IGNORED_USERS)
            known = _ignored_users(row) if row is not None else frozenset()
            self._ignored.put(user_id, known)
        return known

    async def encode(self, rows: Sequence[AccountDataRow], wanted: EventFilter) -> bytes:
        """An encoded array of account data events, `[]` where there are none that the filter lets through."""
        events = []
        for row in rows:
            if not wanted.matches_parts(row.type, row.user_id, row.room_id or None):
                continue
            content = row.json
            if row.type == PUSH_RULES and row.room_id == "":
                content = await self._push_rules.content(row.user_id)
            events.append(b'{"type":' + _encode(row.type) + b',"content":' + content + b"}")
        return json_array(events)

    def _published(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, AccountDataRow) and entry.type == IGNORED_USERS and entry.room_id == "":
                self._ignored.put(entry.user_id, _ignored_users(entry.json))


def _ignored_users(json: bytes) -> frozenset[str]:
    """The keys of `ignored_users`; clients write this event, so its shape is not taken for granted."""
    content = _decode(json)
    ignored = content.get("ignored_users") if isinstance(content, dict) else None
    return frozenset(ignored) if isinstance(ignored, dict) else frozenset()
