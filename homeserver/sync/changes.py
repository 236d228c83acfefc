"""What happened, for one user, between two positions of the log.

Where the ring reaches back far enough it is answered from memory, at the cost of the entries since then; else from the
tables, by position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Protocol

from psycopg2.extensions import cursor as Cursor

from homeserver.runtime.log import Ring
from storage import account_data as account_data_table
from storage import cross_signing as cross_signing_table
from storage import device_lists as device_list_table
from storage import events as event_table
from storage import memberships as membership_table
from storage import receipts as receipt_table
from storage import rooms as room_table
from storage import to_device as to_device_table
from storage.database import Database
from storage.rows import (
    AccountDataRow,
    DeviceListRow,
    Entry,
    EventRow,
    KeyCountsRow,
    PresenceRow,
    ReceiptRow,
    SignedOthersRow,
    StateRow,
    Status,
    ToDeviceRow,
    TypingRow,
)

MOST_TO_DEVICE = 100
"""To-device messages in one answer; the rest waits for the next."""


@dataclass(slots=True)
class RoomNews:
    """What happened in one room."""

    has_events: bool = False
    members_moved: bool = False
    """Whether it may have changed who is in the room."""
    receipts: list[ReceiptRow] = field(default_factory=list)
    typing: bool = False


@dataclass(frozen=True, slots=True)
class OwnMembership:
    """A change of the user's own membership in a room."""

    position: int
    room: int
    membership: str


@dataclass(slots=True)
class Changes:
    """Everything that concerns one user and device in (since, upto]."""

    rooms: dict[int, RoomNews] = field(default_factory=dict)
    memberships: list[OwnMembership] = field(default_factory=list)
    account_data: list[AccountDataRow] = field(default_factory=list)
    to_device: list[ToDeviceRow] = field(default_factory=list)
    more_to_device: bool = False
    device_lists: set[str] = field(default_factory=set)
    """Users whose devices or keys changed, whether or not this user may hear of it."""
    signed_others: set[str] = field(default_factory=set)
    """Users whose keys this user has signed: their keys look different to this user alone."""
    members_moved: set[int] = field(default_factory=set)
    """Joined rooms with events that may have changed who is in them."""
    presence: set[str] = field(default_factory=set)
    """Users whose presence changed; some may be in no room with this one."""
    came: set[str] = field(default_factory=set)
    """Users who came into joined rooms, or are in them under another name."""
    presence_since: bool = False
    """Whether it is not known whose presence changed."""
    key_counts_urgent: bool = False
    """Whether the device should hear at once how many one-time keys it has left."""

    def room(self, number: int) -> RoomNews:
        """The changes of a room, made where there are none yet."""
        found = self.rooms.get(number)
        if found is None:
            found = self.rooms[number] = RoomNews()
        return found


class TypingChanges(Protocol):
    """Where it changed who types."""

    def rooms_changed_after(self, position: int) -> Iterable[int]:
        """Rooms in which that changed after a position of the log."""
        ...


class ChangeReader:
    """Finds changes, in the ring or in the tables."""

    def __init__(self, database: Database, ring: Ring, typing: TypingChanges) -> None:
        self._database = database
        self._ring = ring
        self._typing = typing

    async def between(self, user_id: str, device: int, joined: Set[int], since: int, upto: int) -> Changes:
        """The changes in (since, upto]; `joined`: the rooms that the user is in at `upto`."""
        if self._ring.covers(since):
            return from_entries(self._ring.after(since), user_id, device, joined, upto)
        changes = await self._database.read(from_tables, user_id, device, list(joined), since, upto)
        for room in self._typing.rooms_changed_after(since):
            if room in joined:
                changes.room(room).typing = True
        return changes


def from_entries(entries: Iterable[Entry], user_id: str, device: int, joined: Set[int], upto: int) -> Changes:
    """Pick out of log entries what concerns the user and the device."""
    changes = Changes()
    for entry in entries:
        if entry.position > upto:
            break
        if isinstance(entry, (EventRow, StateRow)):
            if entry.status is not Status.ACCEPTED or entry.is_history:
                continue
            if entry.room in joined:
                changes.room(entry.room).has_events = True
            if entry.members and entry.room in joined:
                changes.members_moved.add(entry.room)
                changes.room(entry.room).members_moved = True
                changes.came.update(change.user_id for change in entry.members if change.membership == "join")
            for change in entry.members:
                if change.user_id == user_id:
                    changes.memberships.append(OwnMembership(entry.position, entry.room, change.membership))
        elif isinstance(entry, ReceiptRow):
            if entry.room in joined and (entry.type != "m.read.private" or entry.user_id == user_id):
                changes.room(entry.room).receipts.append(entry)
        elif isinstance(entry, TypingRow):
            if entry.room in joined:
                changes.room(entry.room).typing = True
        elif isinstance(entry, AccountDataRow):
            if entry.user_id == user_id:
                changes.account_data.append(entry)
        elif isinstance(entry, ToDeviceRow):
            if entry.device == device:
                changes.to_device.append(entry)
        elif isinstance(entry, DeviceListRow):
            changes.device_lists.add(entry.user_id)
        elif isinstance(entry, SignedOthersRow):
            if entry.user_id == user_id:
                changes.signed_others |= entry.others
        elif isinstance(entry, PresenceRow):
            if entry.concerns(user_id, joined):
                changes.presence.update(each for each in entry.user_ids if each != user_id or each in entry.themselves)
        elif isinstance(entry, KeyCountsRow) and device in entry.devices:
            changes.key_counts_urgent |= entry.is_urgent
    if len(changes.to_device) > MOST_TO_DEVICE:
        del changes.to_device[MOST_TO_DEVICE:]
        changes.more_to_device = True
    changes.account_data = newest_account_data(changes.account_data)
    for news in changes.rooms.values():
        if len(news.receipts) > 1:
            news.receipts = newest_receipts(news.receipts)
    return changes


def from_tables(tx: Cursor, user_id: str, device: int, joined: Sequence[int], since: int, upto: int) -> Changes:
    """The same from the tables. Typing is not kept there: the caller adds it."""
    changes = Changes(presence_since=True)
    for position, room, membership in membership_table.changes_of(tx, user_id, since, upto):
        changes.memberships.append(OwnMembership(position, room, membership))
    for room in room_table.with_news(tx, joined, since):
        changes.room(room).has_events = True
    for receipt in receipt_table.in_rooms_between(tx, joined, since, upto):
        if receipt.type != "m.read.private" or receipt.user_id == user_id:
            changes.room(receipt.room).receipts.append(receipt)
    changes.account_data = account_data_table.of_user_between(tx, user_id, since, upto)
    changes.device_lists = set(device_list_table.changed_near(tx, user_id, since))
    changes.signed_others = set(cross_signing_table.signed_others(tx, user_id, since))
    for room in event_table.rooms_with_moves(tx, joined, since, upto):
        changes.members_moved.add(room)
        changes.room(room).members_moved = True
    waiting = to_device_table.waiting(tx, device, since, upto, MOST_TO_DEVICE + 1)
    changes.to_device = waiting[:MOST_TO_DEVICE]
    changes.more_to_device = len(waiting) > MOST_TO_DEVICE
    return changes


def newest_account_data(rows: Sequence[AccountDataRow]) -> list[AccountDataRow]:
    """Of several changes of the same data only the last."""
    if len(rows) < 2:
        return list(rows)
    return list({(row.room_id, row.type): row for row in rows}.values())


def newest_receipts(rows: Iterable[ReceiptRow]) -> list[ReceiptRow]:
    """A reader's receipts of one kind replace each other; what was replaced is not told."""
    return list({(row.user_id, row.type, row.thread): row for row in rows}.values())
