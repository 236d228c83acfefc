"""The `ephemeral` events of a room in an answer: who types, and read receipts.

Specification: client-server API, "Typing Notifications" and "Receipts".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from homeserver.rooms.client_events import json_array
from homeserver.sync.reader import Reader
from homeserver.sync.room_receipts import RoomReceipts
from storage.rows import ReceiptRow

_encode = msgspec.json.encode


class TypingNow(Protocol):
    """Who types where."""

    def typing_in(self, room: int) -> Sequence[str]:
        """The users who type in a room now."""
        ...


class EphemeralPart:
    """Encodes typing notices and receipts."""

    def __init__(self, receipts: RoomReceipts, typing: TypingNow) -> None:
        self._receipts = receipts
        self.typing = typing

    async def everything(self, reader: Reader, room: int, since: int) -> bytes:
        """What a client that starts with a room gets: who types, and the receipts that fall in its timeline.

        `since`: position of the first event it gets. Older receipts are of no use to it, except its user's own.
        """
        receipts = await self._receipts.since(room, since, reader.user_id)
        return self.encode(reader, room, receipts, typing=bool(self.typing.typing_in(room)))

    def encode(self, reader: Reader, room: int, receipts: Sequence[ReceiptRow], *, typing: bool) -> bytes:
        """An encoded array of ephemeral events, `[]` where there are none that the filter lets through."""
        ephemeral = reader.filter.room_ephemeral
        events: list[bytes] = []
        if typing and ephemeral.matches_parts("m.typing", None):
            users = [user_id for user_id in self.typing.typing_in(room) if user_id not in reader.ignored]
            events.append(b'{"type":"m.typing","content":{"user_ids":' + _encode(users) + b"}}")
        shown = [
            each
            for each in receipts
            if (each.type != "m.read.private" or each.user_id == reader.user_id) and each.user_id not in reader.ignored
        ]
        if shown and ephemeral.matches_parts("m.receipt", None):
            events.append(b'{"type":"m.receipt","content":' + _encode(_receipt_content(shown)) + b"}")
        return json_array(events)


def _receipt_content(receipts: Iterable[ReceiptRow]) -> dict[str, dict[str, dict[str, dict[str, object]]]]:
    content: dict[str, dict[str, dict[str, dict[str, object]]]] = {}
    for receipt in receipts:
        data: dict[str, object] = {"ts": receipt.ts}
        if receipt.thread:
            data["thread_id"] = receipt.thread
        content.setdefault(receipt.event_id, {}).setdefault(receipt.type, {})[receipt.user_id] = data
    return content
