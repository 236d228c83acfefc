"""Read receipts: their types, their threads, and the shapes in which they travel.

Specification: Client-Server API, "Receipts"; Server-Server API, "Receipts".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from homeserver.core.canonical_json import JsonObject, JsonValue
from homeserver.core.ids import EventId, RoomId, UserId, server_name_of

READ = "m.read"
READ_PRIVATE = "m.read.private"
FULLY_READ = "m.fully_read"

RECEIPT_TYPES = (READ, READ_PRIVATE, FULLY_READ)
"""What may be sent to `/receipt/{receiptType}/{eventId}`. m.fully_read becomes account data, not a receipt."""

MAIN = "main"
"""The thread ID of the main timeline."""


class BadReceipt(ValueError):
    """A receipt that cannot be. Its text is for the client; the error code is M_INVALID_PARAM."""

    errcode = "M_INVALID_PARAM"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A user has read up to an event: in the whole room (`thread_id` None), its main timeline ("main") or a thread."""

    room_id: RoomId
    user_id: UserId
    receipt_type: str
    event_id: EventId
    ts_ms: int
    thread_id: str | None = None

    @property
    def slot(self) -> tuple[UserId, str, str | None]:
        """Of the receipts of a room with the same slot only one is kept."""
        return self.user_id, self.receipt_type, self.thread_id

    def is_visible_to(self, reader: str) -> bool:
        """Private receipts are shown to nobody but the one who sent them."""
        return self.receipt_type != READ_PRIVATE or self.user_id == reader

    def data(self) -> JsonObject:
        """The timestamp and the thread, as they stand in events and EDUs."""
        if self.thread_id is None:
            return {"ts": self.ts_ms}
        return {"ts": self.ts_ms, "thread_id": self.thread_id}


def check_receipt_type(receipt_type: str) -> None:
    """Raise BadReceipt unless clients may send such a receipt."""
    if receipt_type not in RECEIPT_TYPES:
        raise BadReceipt(f"There is no receipt type {receipt_type!r}; the types are {', '.join(RECEIPT_TYPES)}.")


def parse_thread_id(receipt_type: str, body: JsonObject) -> str | None:
    """The `thread_id` in the body of a receipt request; None where there is none."""
    if "thread_id" not in body:
        return None
    thread_id = body["thread_id"]
    if receipt_type == FULLY_READ:
        raise BadReceipt("m.fully_read is for the whole room, so it cannot have a thread_id.")
    if not isinstance(thread_id, str) or not thread_id:
        raise BadReceipt("The thread_id must be a non-empty string.")
    if thread_id != MAIN and not thread_id.startswith("$"):
        raise BadReceipt("The thread_id must be 'main' or the ID of the event at the root of a thread.")
    return thread_id


def check_belongs(thread_id: str | None, event_id: EventId, event_thread: EventId | None) -> None:
    """Raise BadReceipt if an event is not in the thread for which the receipt is meant.

    `event_thread` is the root of the event's thread, None if it is in the main timeline. A thread's root, although in
    the main timeline, may be named for its thread too: clients do so before they have seen an answer.
    """
    if thread_id is None or thread_id == event_id:
        return
    if (event_thread or MAIN) != thread_id:
        raise BadReceipt(f"The event {event_id} is not in the thread {thread_id}.")


def moves_on(old_position: int | None, new_position: int) -> bool:
    """Whether a receipt should replace the one in its slot: receipts only go forward."""
    return old_position is None or new_position > old_position


def events_for(receipts: Iterable[Receipt], reader: str) -> list[JsonObject]:
    """The m.receipt events with what this reader may see of the receipts of one room: one event a thread.

    In one event a user can have only one receipt of a type for an event, so that threads must be kept apart.
    """
    contents: dict[str | None, JsonObject] = {}
    for receipt in receipts:
        if receipt.is_visible_to(reader):
            content = contents.setdefault(receipt.thread_id, {})
            _inner(_inner(content, receipt.event_id), receipt.receipt_type)[receipt.user_id] = receipt.data()
    return [{"type": "m.receipt", "content": content} for content in contents.values()]


def edus_for(receipts: Iterable[Receipt]) -> list[JsonObject]:
    """The contents of m.receipt EDUs for other servers; private receipts never go there.

    One EDU holds one receipt of a user in a room, so that receipts for several threads become several EDUs.
    """
    contents: list[JsonObject] = []
    for receipt in receipts:
        if receipt.receipt_type != READ:
            continue
        data: JsonObject = {"event_ids": [receipt.event_id], "data": receipt.data()}
        for content in contents:
            users = _inner(_inner(content, receipt.room_id), READ)
            if receipt.user_id not in users:
                users[receipt.user_id] = data
                break
        else:
            contents.append({receipt.room_id: {READ: {receipt.user_id: data}}})
    return contents


def parse_edu(content: JsonObject, origin: str) -> Iterator[Receipt]:
    """The receipts in an m.receipt EDU of the server `origin`; what is malformed or about others' users is left out."""
    for room_id, types in content.items():
        users = types.get(READ) if isinstance(types, dict) else None
        if not room_id.startswith("!") or not isinstance(users, dict):
            continue
        for user_id, json in users.items():
            receipt = _parse_federated(RoomId(room_id), user_id, json, origin)
            if receipt is not None:
                yield receipt


def _parse_federated(room_id: RoomId, user_id: str, json: JsonValue, origin: str) -> Receipt | None:
    if not user_id.startswith("@") or ":" not in user_id or server_name_of(user_id) != origin:
        return None
    if not isinstance(json, dict):
        return None
    event_ids, data = json.get("event_ids"), json.get("data")
    if not isinstance(event_ids, list) or not event_ids or not isinstance(data, dict):
        return None
    event_id, ts_ms, thread_id = event_ids[0], data.get("ts"), data.get("thread_id")
    if not isinstance(event_id, str) or not event_id.startswith("$"):
        return None
    if not isinstance(ts_ms, int) or isinstance(ts_ms, bool) or ts_ms < 0:
        return None
    if thread_id is not None and (not isinstance(thread_id, str) or not thread_id):
        return None
    return Receipt(room_id, UserId(user_id), READ, EventId(event_id), ts_ms, thread_id)


def _inner(outer: JsonObject, key: str) -> JsonObject:
    inner = outer.setdefault(key, {})
    if not isinstance(inner, dict):  # they are made here, and nowhere else
        raise TypeError(f"{key} holds no object")
    return inner
