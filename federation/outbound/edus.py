"""What passes and is not part of any room's history (EDUs), as it waits for one server.

Of several notices about the same thing only the last one is sent. Specification: server-server API, "EDUs",
"Typing Notifications", "Receipts".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from homeserver.core.canonical_json import JsonObject, JsonValue

MOST_EDUS: Final = 100
MOST_IN_A_PUSH: Final = 100

_encode: Final = msgspec.json.Encoder(order="sorted").encode


class ReceiptKey(NamedTuple):
    """What a receipt replaces the former one of. `thread` is '' where it has none."""

    room_id: str
    type: str
    user_id: str
    thread: str


class ReceiptNotice(NamedTuple):
    """A receipt of a local user."""

    key: ReceiptKey
    event_id: str
    ts: int


class PendingEdus:
    """The EDUs that wait for one server."""

    __slots__ = ("_others", "_presence", "_receipts", "_typing")

    def __init__(self) -> None:
        self._receipts: dict[ReceiptKey, ReceiptNotice] = {}
        self._typing: dict[tuple[str, str], bool] = {}
        self._presence: dict[str, JsonObject] = {}
        self._others: dict[str, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._receipts or self._typing or self._presence or self._others)

    def add_receipt(self, notice: ReceiptNotice) -> None:
        """A user has read so far."""
        self._receipts[notice.key] = notice

    def add_typing(self, room_id: str, user_id: str, typing: bool) -> None:
        """A user types, or stops."""
        self._typing[room_id, user_id] = typing

    def add_presence(self, user_id: str, content: JsonObject) -> None:
        """A user came or went."""
        self._presence[user_id] = content

    def add(self, key: str, edu: bytes) -> None:
        """Any other EDU, encoded; it replaces one with the same key."""
        self._others.pop(key, None)
        self._others[key] = edu

    def take(self, limit: int) -> list[bytes]:
        """At most so many, encoded; they no longer wait."""
        if not self:
            return []
        taken = [self._others.pop(key) for key in list(self._others)[:limit]]
        taken += [
            typing_edu(room_id, user_id, self._typing.pop((room_id, user_id)))
            for room_id, user_id in list(self._typing)[: limit - len(taken)]
        ]
        if self._presence and len(taken) < limit:
            users = list(self._presence)[:MOST_IN_A_PUSH]
            push: list[JsonValue] = [self._presence.pop(user_id) for user_id in users]
            taken.append(_encode({"content": {"push": push}, "edu_type": "m.presence"}))
        receipts, self._receipts = receipt_contents(self._receipts, limit - len(taken))
        taken += [_encode({"content": content, "edu_type": "m.receipt"}) for content in receipts]
        return taken


def typing_edu(room_id: str, user_id: str, typing: bool) -> bytes:
    """That a user types, or stops to."""
    return _encode({"content": {"room_id": room_id, "typing": typing, "user_id": user_id}, "edu_type": "m.typing"})


def receipt_edus(notices: Iterable[ReceiptNotice]) -> list[bytes]:
    """Any number of receipts in as few EDUs as can be."""
    contents, _ = receipt_contents({notice.key: notice for notice in notices}, None)
    return [_encode({"content": content, "edu_type": "m.receipt"}) for content in contents]


_Content = dict[str, dict[str, dict[str, object]]]


def receipt_contents(
    notices: Mapping[ReceiptKey, ReceiptNotice], limit: int | None
) -> tuple[list[_Content], dict[ReceiptKey, ReceiptNotice]]:
    """The contents of receipt EDUs, at most so many, and the receipts that found no place in them.

    An EDU has one receipt of a user in a room: those of several threads go into several EDUs.
    """
    contents: list[_Content] = []
    left: dict[ReceiptKey, ReceiptNotice] = {}
    for key, notice in notices.items():
        for content in contents:
            users = content.setdefault(key.room_id, {}).setdefault(key.type, {})
            if key.user_id not in users:
                break
        else:
            if limit is not None and len(contents) >= limit:
                left[key] = notice
                continue
            users = {}
            contents.append({key.room_id: {key.type: users}})
        data: dict[str, object] = {"ts": notice.ts}
        if key.thread:
            data["thread_id"] = key.thread
        users[key.user_id] = {"data": data, "event_ids": [notice.event_id]}
    return contents, left
